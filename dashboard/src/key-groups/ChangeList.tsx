import type { KeyGroupChange } from "../../../src/events.ts";
import { useNow } from "../live/now.ts";
import { usePage } from "../live/store.ts";
import { causeInWords, clockTime, countdown } from "../look/format.ts";
import styles from "./ChangeList.module.css";
import { StateBadge } from "./StateBadge.tsx";

const SHOWN = 6;

/** "key-002: Key rejected, 37 s left"; may be empty. */
function why({ keyId, cause, reason, untilMs }: KeyGroupChange, nowMs: number): string {
  const left = untilMs !== null && untilMs > nowMs ? `${countdown(untilMs - nowMs)} left` : "";
  const said = [cause === null ? "" : causeInWords(cause, reason), left].filter(Boolean).join(", ");
  return keyId === null ? said : `${keyId}${said ? `: ${said}` : ""}`;
}

/** Who came into another state lately, newest first; the rest is at /api/key-groups/events. */
export function ChangeList() {
  const changes = usePage((page) => page.keyGroupChanges);
  const nowMs = useNow();
  return (
    <div className={styles.box}>
      <h3 className={styles.title}>Latest changes</h3>
      {changes.length === 0 ? <p className={styles.none}>No key group has changed its state yet.</p> : null}
      <ol className={styles.list} aria-label="Latest changes of key groups">
        {changes.slice(0, SHOWN).map((change) => (
          <li key={change.id} className={styles.change}>
            <b className={styles.who}>{change.keyGroup}</b>
            <StateBadge state={change.to} />
            <time className={styles.when} dateTime={new Date(change.atMs).toISOString()}>
              {clockTime(change.atMs)}
            </time>
            <span className={styles.why}>{why(change, nowMs)}</span>
          </li>
        ))}
      </ol>
    </div>
  );
}
