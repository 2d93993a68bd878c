import { isLive, type Link } from "../live/state.ts";
import { usePage } from "../live/store.ts";
import styles from "./LinkState.module.css";

const WORDS: Record<Link, string> = { connecting: "Connecting", live: "Live", lost: "Not live" };

/** Whether what the page shows is live. */
export function LinkState() {
  // The link may stand while the gateway itself knows nothing new.
  const link = usePage((page) => (page.link === "live" && !isLive(page) ? "lost" : page.link));
  return (
    <span className={`${styles.state} ${styles[link]}`} role="status">
      <span className={styles.dot} aria-hidden="true" />
      {WORDS[link]}
    </span>
  );
}
