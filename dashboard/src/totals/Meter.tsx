import styles from "./Meter.module.css";

interface Props {
  /** 0 to 1; null: unknown, drawn empty. */
  share: number | null;
  label: string;
  /** True: little is bad (coverage). False: much is bad (quota). */
  lowIsBad?: boolean;
}

/** A share as a bar, in another colour where it is bad. */
export function Meter({ share, label, lowIsBad = false }: Props) {
  const value = Math.min(1, Math.max(0, share ?? 0));
  const words = share === null ? "unknown" : `${Math.round(value * 100)}%`;
  return (
    <meter
      className={styles.meter}
      min={0}
      max={1}
      value={value}
      {...(lowIsBad ? { low: 0.9, high: 0.9, optimum: 1 } : { low: 0.95, high: 0.95, optimum: 0 })}
      aria-label={label}
      aria-valuetext={words}
    >
      {words}
    </meter>
  );
}
