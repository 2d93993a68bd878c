import type { ReactNode } from "react";
import { usePage } from "../live/store.ts";
import { count, duration, percent, rate } from "../look/format.ts";
import { Meter } from "./Meter.tsx";
import { OutcomeBar } from "./OutcomeBar.tsx";
import styles from "./TotalsStrip.module.css";

/** The figures of the whole system; rates, coverage and times are over the last minute. */
export function TotalsStrip() {
  const totals = usePage((page) => page.totals);
  return (
    <section className={styles.strip} aria-label="Totals">
      <dl className={styles.figures}>
        <Figure
          name="Time to verdict"
          hint="From capture to this page: 95% of verdicts took no longer, over the last minute"
        >
          {duration(totals?.endToEndP95Ms ?? null)}
          <Small>
            P95
            {totals?.endToEndP50Ms == null ? null : (
              <span className={styles.median}> · P50 {duration(totals.endToEndP50Ms)}</span>
            )}
          </Small>
        </Figure>
        <Figure name="Verdicts" hint="Verdicts a second, over the last minute">
          {totals ? rate(totals.verdictsPerSecond) : "–"}
          <Small>per second</Small>
        </Figure>
        <Figure name="Coverage" hint="Share of groups that got a verdict in time, over the last minute">
          {percent(totals?.coverage ?? null)}
          <Meter share={totals?.coverage ?? null} lowIsBad label="Coverage" />
        </Figure>
        <Figure name="Quota used" hint="Of the tightest window of all key groups">
          {totals ? percent(totals.quotaUsed) : "–"}
          <Meter share={totals?.quotaUsed ?? null} label="Quota used" />
        </Figure>
        <Figure name="Waiting" hint="Groups in the waiting room">
          {totals ? count(totals.waiting) : "–"}
          <Small>groups</Small>
        </Figure>
        <Figure name="In flight" hint="Groups on their way to the model, or being judged">
          {totals ? count(totals.inFlight) : "–"}
          <Small>groups</Small>
        </Figure>
      </dl>
      <OutcomeBar groups={totals?.groups ?? null} outcomes={totals?.outcomes ?? {}} />
    </section>
  );
}

function Figure({ name, hint, children }: { name: string; hint: string; children: ReactNode }) {
  return (
    <div className={styles.figure} title={hint}>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

const Small = ({ children }: { children: ReactNode }) => <small className={styles.small}>{children}</small>;
