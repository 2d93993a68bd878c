import styles from "./RiskShape.module.css";
import type { Look } from "./risk.ts";

/** Outline of each look in a box of 24: shape tells it apart where colour cannot. */
const OUTLINES: Record<Look, string> = {
  none: "M12 1.5a10.5 10.5 0 1 1 0 21 10.5 10.5 0 0 1 0-21Z",
  low: "M3 4.5A1.5 1.5 0 0 1 4.5 3h15A1.5 1.5 0 0 1 21 4.5v15a1.5 1.5 0 0 1-1.5 1.5h-15A1.5 1.5 0 0 1 3 19.5Z",
  medium: "M10.7 2.2a1.5 1.5 0 0 1 2.6 0l10 17.6a1.5 1.5 0 0 1-1.3 2.2H2a1.5 1.5 0 0 1-1.3-2.2Z",
  high: "M7.3 1h9.4L23 7.3v9.4L16.7 23H7.3L1 16.7V7.3Z",
  unknown: "M12 1 23 12 12 23 1 12Z",
  away: "M12 1.5a10.5 10.5 0 1 1 0 21 10.5 10.5 0 0 1 0-21Z",
};

/** A letter in each, drawn, for it must not be read aloud: H, M, L, 0, ?, ×. */
const LETTERS: Record<Look, string> = {
  high: "M8.5 7v10M15.5 7v10M8.5 12h7",
  medium: "M8.4 18.6v-7.4l3.6 4.4 3.6-4.4v7.4",
  low: "M9.5 7v10h6",
  none: "M12 7.2a3.2 4.8 0 1 1 0 9.6 3.2 4.8 0 0 1 0-9.6Z",
  unknown: "M9.3 9.6a2.8 2.6 0 1 1 4.6 2c-1.2.9-1.9 1.3-1.9 2.7M12 17v.3",
  away: "M8.5 8.5l7 7M15.5 8.5l-7 7",
};

/** Decoration only: the word stands beside it, or its bearer is named. `size` in px. */
export function RiskShape({ look, size = 18 }: { look: Look; size?: number }) {
  return (
    <svg
      className={`${styles.shape} ${styles[look]}`}
      width={size}
      height={size}
      viewBox="0 0 24 24"
      aria-hidden="true"
    >
      {look === "unknown" ? <Hatching /> : null}
      <path className={styles.outline} d={OUTLINES[look]} fill={look === "unknown" ? "url(#hatching)" : undefined} />
      <path className={styles.letter} d={LETTERS[look]} />
    </svg>
  );
}

/** Not assessed is hatched. The same pattern under the same id may stand in the page many times. */
function Hatching() {
  return (
    <defs>
      <pattern id="hatching" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
        <rect className={styles.hatchGround} width="5" height="5" />
        <rect className={styles.hatchLine} width="1.6" height="5" />
      </pattern>
    </defs>
  );
}
