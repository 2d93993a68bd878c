import { DatabaseZap, FlaskConical, TriangleAlert, Unplug, WifiOff } from "lucide-react";
import type { ReactNode } from "react";
import type { Health, TopicsHealth } from "../../../src/events.ts";
import { useLocalNow, useNow } from "../live/now.ts";
import { isSimulated } from "../live/state.ts";
import { usePage } from "../live/store.ts";
import { age, clockTime, count, noticedBy } from "../look/format.ts";
import styles from "./Banners.module.css";

/** What the reader must know before believing anything below: worst first. */
export function Banners() {
  const link = usePage((page) => page.link);
  const health = usePage((page) => page.health);
  const simulated = usePage(isSimulated);
  const topics = health?.store === "up" ? health.topics : null;
  const problems = health?.store === "up" ? health.problems.filter((problem) => problem !== topics?.problem) : [];
  return (
    <div className={styles.banners}>
      <div role="alert" className={styles.alerts}>
        {link === "lost" ? <LinkLost /> : null}
        {link === "live" && health?.store === "away" ? (
          <Banner kind="bad" icon={<DatabaseZap size={18} aria-hidden />} title="The store is away.">
            Nothing is lost: all parts wait for it and go on by themselves. Until then no new verdict arrives, and the
            figures below stand still.
          </Banner>
        ) : null}
        {link === "live" && health && topics ? <TopicsAway health={health} topics={topics} /> : null}
        {link === "live" && problems.length > 0 ? (
          <Banner kind="warn" icon={<TriangleAlert size={18} aria-hidden />} title="Something is wrong.">
            {problems.join(" · ")}
          </Banner>
        ) : null}
      </div>
      {simulated ? (
        <Banner kind="simulated" icon={<FlaskConical size={18} aria-hidden />} title="Verdicts are simulated.">
          No real model looks at the pictures. Put a key into <code>config/keys.yaml</code> to have them judged.
        </Banner>
      ) : null}
    </div>
  );
}

function LinkLost() {
  const sinceMs = usePage((page) => page.linkSinceMs);
  const nowMs = useLocalNow();
  return (
    <Banner kind="bad" icon={<WifiOff size={18} aria-hidden />} title="The connection is lost.">
      What you see has not been live
      <span aria-live="off"> for {age(Math.max(2_000, nowMs - sinceMs))}</span>. The page connects again by itself.
    </Banner>
  );
}

/** What is read aloud is the first sentence; the figures behind it change each second. */
function TopicsAway({ health, topics }: { health: Health; topics: TopicsHealth }) {
  const nowMs = useNow();
  const { detectionsToPublish: detections, resultsToPublish: results } = health;
  return (
    <Banner kind={topics.problem ? "bad" : "warn"} icon={<Unplug size={18} aria-hidden />} title={`${topics.title}.`}>
      {topics.problem ? "No new verdict arrives until that is mended; nothing that was accepted is lost." : null}
      <span className={styles.line}>What to do: {topics.remedy}</span>
      <span className={`${styles.line} ${styles.figures}`} aria-live="off">
        Since {clockTime(topics.sinceMs)} ({age(Math.max(2_000, nowMs - topics.sinceMs))}), noticed by{" "}
        {noticedBy(topics)}.{" "}
        {detections
          ? `Of each camera the newest detections are kept: ${count(detections.waiting)} wait, ${count(detections.dropped)} older ones dropped. `
          : null}
        {results ? `${count(results.waiting)} of at most ${count(results.most)} results wait in the store.` : null}
      </span>
    </Banner>
  );
}

interface BannerProps {
  kind: "bad" | "warn" | "simulated";
  icon: ReactNode;
  title: string;
  children: ReactNode;
}

function Banner({ kind, icon, title, children }: BannerProps) {
  return (
    <div className={`${styles.banner} ${styles[kind]}`} data-banner={kind}>
      {icon}
      <p>
        <strong>{title}</strong> {children}
      </p>
    </div>
  );
}
