import { memo } from "react";
import type { KeyGroupEvent } from "../../../src/events.ts";
import { useNow } from "../live/now.ts";
import { usePage } from "../live/store.ts";
import { causeInWords, count, countdown, duration } from "../look/format.ts";
import { Meter } from "../totals/Meter.tsx";
import styles from "./KeyGroupRow.module.css";
import { describe, refusalsByCause, windowName } from "./key-group-look.ts";
import { StateBadge } from "./StateBadge.tsx";

export const KeyGroupRow = memo(function KeyGroupRow({ group }: { group: KeyGroupEvent }) {
  return (
    <li className={styles.row} data-state={group.state} data-group={group.id} title={describe(group)}>
      <p className={styles.state}>
        <StateBadge state={group.state}>{group.state === "cooling" ? <CoolingLeft id={group.id} /> : null}</StateBadge>
        {group.cause ? <span className={styles.cause}>{causeInWords(group.cause, group.reason)}</span> : null}
      </p>
      <p className={styles.name}>
        <b>{group.id}</b>
        {group.simulated ? <span className={styles.simulated}>sim.</span> : null}
        <KeysOut group={group} />
      </p>
      <Windows group={group} />
      <p className={styles.figure}>
        <b>{count(group.ok)}</b> answered
      </p>
      <Refusals group={group} />
      <p className={styles.figure}>
        {group.medianLatencyMs === null ? (
          "no latency yet"
        ) : (
          <>
            <b>{duration(group.medianLatencyMs)}</b> P95 {duration(group.p95LatencyMs)}
          </>
        )}
      </p>
    </li>
  );
});

/** Counts down between the events that tell of it. */
function CoolingLeft({ id }: { id: string }) {
  const until = usePage((page) => page.coolingUntilMs[id]);
  const nowMs = useNow();
  return until === undefined ? null : ` ${countdown(until - nowMs)}`;
}

function KeysOut({ group: { keys } }: { group: KeyGroupEvent }) {
  const out = keys.filter((key) => key.state === "disabled").length;
  if (keys.length < 2) return null;
  return out === 0 ? (
    <span className={styles.keys}>{keys.length} keys</span>
  ) : (
    <span className={styles.keysOut}>
      {out} of {keys.length} keys out
    </span>
  );
}

function Windows({ group: { id, windows, concurrency } }: { group: KeyGroupEvent }) {
  return (
    <ul className={styles.windows}>
      {windows.map((window) => (
        <Places key={window.name} words={windowName(window)} label={`${id}, ${window.name}`} {...window} />
      ))}
      {concurrency ? <Places words="at once" label={`${id}, maxConcurrent`} {...concurrency} /> : null}
    </ul>
  );
}

function Places({ words, label, used, limit }: { words: string; label: string; used: number; limit: number }) {
  return (
    <li className={styles.window}>
      <span className={styles.span}>{words}</span>
      <Meter share={limit > 0 ? used / limit : null} label={label} />
      <span className={styles.places}>
        {count(used)}/{count(limit)}
      </span>
    </li>
  );
}

/** By cause, the most frequent first. */
function Refusals({ group }: { group: KeyGroupEvent }) {
  const causes = refusalsByCause(group);
  if (causes.length === 0) return <p className={styles.noRefusals}>0 refused</p>;
  return (
    <p className={styles.refusals}>
      {causes.map(({ words, n }) => (
        <span key={words}>
          <b>{count(n)}</b> {words}
        </span>
      ))}
    </p>
  );
}
