import type { OutcomeEvent } from "../../../src/events.ts";
import { show, usePage } from "../live/store.ts";
import { cameraName } from "../look/camera-look.ts";
import { clockTime, codeInWords, duration, fullTime, percent } from "../look/format.ts";
import { RiskBadge, SimulatedMark } from "../look/RiskBadge.tsx";
import { OUTCOME_WORDS, verdictOf } from "../look/risk.ts";
import { Dialog } from "../panel/Dialog.tsx";
import { Crop } from "./Crop.tsx";
import styles from "./VerdictDialog.module.css";
import { NoVerdict } from "./VerdictItem.tsx";

/** The verdict beside its evidence, with everything that is known of how it came about. */
export function VerdictDialog() {
  const event = usePage((page) => (page.shown?.kind === "verdict" ? page.shown.event : null));
  if (!event) return null;
  return (
    <Dialog title="Verdict" onClose={() => show(null)}>
      <Details event={event} />
    </Dialog>
  );
}

function Details({ event }: { event: OutcomeEvent }) {
  const { result } = event;
  const { verdict, reason } = verdictOf(event);
  return (
    <div className={styles.details}>
      <Crop event={event} className={styles.crop} />
      <div className={styles.words}>
        <p className={styles.marks}>
          {verdict ? <RiskBadge look={verdict.riskLevel} /> : <NoVerdict outcome={result.outcome} />}
          {verdict && result.metadata.simulated ? <SimulatedMark /> : null}
        </p>
        <p className={styles.text}>{verdict ? verdict.description : reason}</p>
        {result.error ? <p className={styles.code}>{codeInWords(result.error.code)}</p> : null}
        <dl className={styles.facts}>
          {facts(event).map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
      </div>
    </div>
  );
}

/** What is known, as name and value; what is not known is left out. */
function facts(event: OutcomeEvent): [string, string][] {
  const { result, shownAtMs } = event;
  const { metadata } = result;
  const { verdict } = verdictOf(event);
  const cameraId = String(result.cameraId);
  const times = metadata.timings;
  const rows: [string, string | null | undefined | false][] = [
    ["Camera", cameraName(usePage.getState().cameras[cameraId], cameraId)],
    ["Captured", fullTime(times.capturedAt)],
    ["Shown", `${clockTime(shownAtMs)}, ${duration(shownAtMs - times.capturedAt)} after capture`],
    ["Seen", (result.classes ?? []).join(", ")],
    ["Risk types", verdict?.riskTypes.join(", ")],
    ["Confidence", verdict ? percent(verdict.confidence) : null],
    [
      "Outcome",
      OUTCOME_WORDS[result.outcome] + (result.revision > 1 ? `, revision ${result.revision} (retried by hand)` : ""),
    ],
    ["Model", metadata.llmModel + (metadata.simulated ? " (simulated)" : "")],
    ["Key group", metadata.keyGroup],
    ["Model's time", metadata.llmLatency > 0 && duration(metadata.llmLatency * 1000)],
    ["Attempts", metadata.attempts > 1 && String(metadata.attempts)],
    ["Tokens", metadata.tokens && `${metadata.tokens.prompt} + ${metadata.tokens.completion}`],
    ["Task", result.taskId],
  ];
  return rows.filter((row): row is [string, string] => Boolean(row[1]));
}
