import type { KeyState } from "../../../src/events.ts";
import { STATES } from "./key-group-look.ts";
import styles from "./StateBadge.module.css";

/** Icon and word; the icon alone where there is a word beside it already. */
export function StateBadge({ state, children }: { state: KeyState; children?: React.ReactNode }) {
  const { Icon, word } = STATES[state];
  return (
    <span className={styles.badge} data-state={state}>
      <Icon size={14} aria-hidden />
      <span>
        {word}
        {children}
      </span>
    </span>
  );
}
