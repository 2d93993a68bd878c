import { ListChecks } from "lucide-react";
import { useNow } from "../live/now.ts";
import { clockTime, fullTime } from "../look/format.ts";
import { HealthMenu } from "./HealthMenu.tsx";
import { LinkState } from "./LinkState.tsx";
import styles from "./TopBar.module.css";

export function TopBar() {
  return (
    <header className={styles.bar}>
      <h1 className={styles.brand}>
        <Mark />
        vigilane
      </h1>
      <LinkState />
      <div className={styles.right}>
        <Clock />
        <HealthMenu />
        <a className={styles.link} href="/jobs" title="Queues of every key group, the waiting room and failed jobs">
          <ListChecks size={16} aria-hidden />
          Jobs
        </a>
      </div>
    </header>
  );
}

function Clock() {
  const nowMs = useNow();
  return (
    <time className={styles.clock} dateTime={new Date(nowMs).toISOString()} title={fullTime(nowMs)}>
      {clockTime(nowMs)}
    </time>
  );
}

function Mark() {
  return (
    <svg className={styles.mark} width="26" height="26" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <path d="M9 26 14 6h4l5 20" />
      <circle cx="16" cy="16" r="3.4" />
    </svg>
  );
}
