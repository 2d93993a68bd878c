import styles from "./RiskBadge.module.css";
import { RiskShape } from "./RiskShape.tsx";
import { LOOK_WORDS, type Look } from "./risk.ts";

/** Shape, colour and word together. `word`: another word than the look's own. */
export function RiskBadge({ look, word }: { look: Look; word?: string }) {
  return (
    <span className={`${styles.badge} ${styles[look]}`}>
      <RiskShape look={look} size={16} />
      {word ?? LOOK_WORDS[look]}
    </span>
  );
}

/** The plain mark on whatever no real model judged. */
export function SimulatedMark() {
  return (
    <span className={styles.simulated} title="Judged by the simulated provider: no real model looked at this picture">
      simulated
    </span>
  );
}
