import type { ButtonHTMLAttributes } from "react";
import styles from "./Button.module.css";

interface Props extends ButtonHTMLAttributes<HTMLButtonElement> {
  look?: "plain" | "chip";
}

export function Button({ look = "plain", className, ...rest }: Props) {
  return <button type="button" className={`${styles.button} ${styles[look]} ${className ?? ""}`} {...rest} />;
}
