import { RiskShape } from "../look/RiskShape.tsx";
import { LOOK_WORDS, LOOKS } from "../look/risk.ts";
import styles from "./Legend.module.css";

/** What the shapes mean. */
export function Legend({ simulated }: { simulated: boolean }) {
  return (
    <ul className={styles.legend} aria-label="Legend">
      {LOOKS.map((look) => (
        <li key={look}>
          <RiskShape look={look} size={15} />
          {LOOK_WORDS[look]}
        </li>
      ))}
      {simulated ? <li className={styles.simulated}>simulated verdicts</li> : null}
    </ul>
  );
}
