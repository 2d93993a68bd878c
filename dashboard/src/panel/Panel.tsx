import { type ReactNode, useId } from "react";
import styles from "./Panel.module.css";

interface Props {
  title: string;
  /** Beside the title: a figure, a note. */
  note?: ReactNode;
  /** At the right end of the heading: controls. */
  actions?: ReactNode;
  className?: string | undefined;
  children: ReactNode;
}

/** A titled region of the page. */
export function Panel({ title, note, actions, className, children }: Props) {
  const id = useId();
  return (
    <section className={`${styles.panel} ${className ?? ""}`} aria-labelledby={id}>
      <header className={styles.head}>
        <h2 id={id} className={styles.title}>
          {title}
        </h2>
        {note ? <span className={styles.note}>{note}</span> : null}
        {actions ? <div className={styles.actions}>{actions}</div> : null}
      </header>
      {children}
    </section>
  );
}
