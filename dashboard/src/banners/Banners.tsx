import { DatabaseZap, FlaskConical, TriangleAlert, WifiOff } from "lucide-react";
import type { ReactNode } from "react";
import { useLocalNow } from "../live/now.ts";
import { isSimulated } from "../live/state.ts";
import { usePage } from "../live/store.ts";
import { age } from "../look/format.ts";
import styles from "./Banners.module.css";

/** What the reader must know before believing anything below: worst first. */
export function Banners() {
  const link = usePage((page) => page.link);
  const health = usePage((page) => page.health);
  const simulated = usePage(isSimulated);
  const problems = health && health.store === "up" ? health.problems : [];
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
