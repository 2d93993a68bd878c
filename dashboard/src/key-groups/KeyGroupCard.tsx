import { Ban, CircleDot, Hourglass, LogOut, Snowflake, UserX } from "lucide-react";
import { memo } from "react";
import type { KeyGroupEvent } from "../../../src/events.ts";
import { age, codeInWords, count, duration, interval } from "../look/format.ts";
import { Meter } from "../totals/Meter.tsx";
import styles from "./KeyGroupCard.module.css";

const STATES = {
  available: { Icon: CircleDot, word: "Available" },
  in_use: { Icon: Hourglass, word: "In use" },
  cooling: { Icon: Snowflake, word: "Cooling" },
  disabled: { Icon: Ban, word: "Disabled" },
  unmanned: { Icon: UserX, word: "No worker" },
  removed: { Icon: LogOut, word: "Removed" },
} as const satisfies Record<KeyGroupEvent["state"], unknown>;

export const KeyGroupCard = memo(function KeyGroupCard({ group }: { group: KeyGroupEvent }) {
  const { Icon, word } = STATES[group.state];
  const left =
    group.state === "cooling" && group.coolingLeftMs > 0 ? ` ${age(Math.max(2_000, group.coolingLeftMs))}` : "";
  return (
    <li className={styles.card} data-state={group.state} title={describe(group)}>
      <b className={styles.id}>{group.id}</b>
      <p className={styles.state}>
        <Icon size={13} aria-hidden />
        {word}
        {left}
        {group.simulated ? <span className={styles.simulated}>sim.</span> : null}
      </p>
      {group.cause && (group.state === "cooling" || group.state === "disabled") ? (
        <p className={styles.cause}>{codeInWords(group.cause)}</p>
      ) : null}
      <ul className={styles.windows}>
        {group.windows.map((window) => (
          <li key={`${window.name} ${window.windowMs}`}>
            <span className={styles.window}>
              <span>
                {interval(window.windowMs)}
                {window.unit === "tokens" ? " tokens" : ""}
              </span>
              <span>
                {count(window.used)}/{count(window.limit)}
              </span>
            </span>
            <Meter share={window.limit > 0 ? window.used / window.limit : null} label={`${group.id}, ${window.name}`} />
          </li>
        ))}
      </ul>
      <p className={styles.calls}>
        <span>{count(group.calls)} calls</span>
        <Refused group={group} />
      </p>
    </li>
  );
});

function Refused({ group }: { group: KeyGroupEvent }) {
  const failed = Object.values(group.failures).reduce((sum, n) => sum + n, 0);
  const refused = Math.max(group.rejected429, failed);
  return refused === 0 ? <span>0 refused</span> : <b className={styles.refused}>{count(refused)} refused</b>;
}

/** All of it, for the tooltip. */
function describe(group: KeyGroupEvent): string {
  const failures = Object.entries(group.failures).map(([code, n]) => `${codeInWords(code)}: ${n}`);
  return [
    `${group.provider}, ${group.model}${group.simulated ? " (simulated)" : ""}`,
    `${group.inFlight} in flight, ${group.ok} of ${group.calls} calls answered, ${group.rejected429} refused with 429`,
    ...group.windows.map(
      ({ name, kind, zone, unit, used, limit }) =>
        `${name} (${kind}${zone ? `, ${zone}` : ""}): ${count(used)} of ${count(limit)} ${unit}`,
    ),
    group.waitsFor ? `waits for ${group.waitsFor.window}, ${duration(group.waitsFor.leftMs)}` : null,
    group.medianLatencyMs === null ? null : `median latency ${duration(group.medianLatencyMs)}`,
    ...failures,
  ]
    .filter(Boolean)
    .join("\n");
}
