import { count } from "../look/format.ts";
import { OUTCOME_WORDS } from "../look/risk.ts";
import styles from "./OutcomeBar.module.css";

const ORDER = ["assessed", "reused", "failed", "expired", "superseded"] as const;

/** How the groups ended since the store began: a bar of shares, and each with its number. */
export function OutcomeBar({ groups, outcomes }: { groups: number | null; outcomes: Record<string, number> }) {
  const ended = ORDER.reduce((sum, outcome) => sum + (outcomes[outcome] ?? 0), 0);
  return (
    <div className={styles.outcomes}>
      <p className={styles.head}>
        <span>Groups</span>
        <strong>{groups === null ? "–" : count(groups)}</strong>
      </p>
      <div className={styles.bar} aria-hidden="true">
        {ORDER.map((outcome) => {
          const share = ended === 0 ? 0 : (outcomes[outcome] ?? 0) / ended;
          return share > 0 ? (
            <span key={outcome} className={styles[outcome]} style={{ flexGrow: share, minInlineSize: 2 }} />
          ) : null;
        })}
      </div>
      <ul className={styles.legend}>
        {ORDER.map((outcome) => (
          <li key={outcome}>
            <span className={`${styles.key} ${styles[outcome]}`} aria-hidden="true" />
            {OUTCOME_WORDS[outcome]} <b>{count(outcomes[outcome] ?? 0)}</b>
          </li>
        ))}
      </ul>
    </div>
  );
}
