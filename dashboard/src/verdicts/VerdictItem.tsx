import { Ban, Clock, Layers } from "lucide-react";
import { memo } from "react";
import type { OutcomeEvent } from "../../../src/events.ts";
import type { Outcome } from "../../../src/messages.ts";
import { show, usePage } from "../live/store.ts";
import { cameraName } from "../look/camera-look.ts";
import { clockTime, duration } from "../look/format.ts";
import { RiskBadge, SimulatedMark } from "../look/RiskBadge.tsx";
import { OUTCOME_WORDS, verdictOf } from "../look/risk.ts";
import { Crop } from "./Crop.tsx";
import styles from "./VerdictItem.module.css";

/** One outcome in the list: a verdict with its crop, or, smaller, how a group ended without one. */
export const VerdictItem = memo(function VerdictItem({ event }: { event: OutcomeEvent }) {
  const { result } = event;
  const cameraId = String(result.cameraId);
  const name = usePage((page) => cameraName(page.cameras[cameraId], cameraId));
  const { verdict, reason } = verdictOf(event);
  return (
    <li className={styles.item} data-level={verdict?.riskLevel ?? "unjudged"}>
      <button
        type="button"
        className={styles.button}
        data-verdict={result.taskId}
        onClick={() => show({ kind: "verdict", event })}
      >
        {verdict ? <Crop event={event} className={styles.crop} /> : null}
        <span className={styles.body}>
          <span className={styles.top}>
            {verdict ? <RiskBadge look={verdict.riskLevel} /> : <NoVerdict outcome={result.outcome} />}
            {verdict && result.metadata.simulated ? <SimulatedMark /> : null}
            {result.revision > 1 ? <span className={styles.revision}>retried by hand</span> : null}
          </span>
          <span className={styles.text}>{verdict ? verdict.description : reason}</span>
          <span className={styles.meta}>
            <b>{name}</b>
            <time dateTime={new Date(event.shownAtMs).toISOString()}>{clockTime(event.shownAtMs)}</time>
          </span>
          {verdict ? <How event={event} /> : null}
        </span>
      </button>
    </li>
  );
});

const ICONS: Record<Outcome, typeof Ban> = {
  assessed: Ban,
  reused: Ban,
  failed: Ban,
  expired: Clock,
  superseded: Layers,
};

/** Never a risk, never "none": the outcome's own word. */
export function NoVerdict({ outcome }: { outcome: Outcome }) {
  const Icon = ICONS[outcome];
  return (
    <span className={styles.unjudged} data-outcome={outcome}>
      <Icon size={14} aria-hidden />
      {OUTCOME_WORDS[outcome]} <span className={styles.without}>no verdict</span>
    </span>
  );
}

/** Who judged, and how long it took from capture to this page; a reused verdict says so, for no call was made. */
function How({ event: { result, shownAtMs } }: { event: OutcomeEvent }) {
  const took = duration(shownAtMs - result.metadata.timings.capturedAt);
  return (
    <span className={styles.how} title={`${took} from capture to this page`}>
      {result.outcome === "reused" ? "Reused verdict of" : "By"} {result.metadata.llmModel} after {took}
    </span>
  );
}
