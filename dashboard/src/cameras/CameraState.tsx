import { CircleSlash, Gauge, Loader, Radio, TriangleAlert } from "lucide-react";
import type { CameraStatus } from "../../../src/messages.ts";
import { age, interval } from "../look/format.ts";
import styles from "./CameraState.module.css";

const STATES = {
  online: { Icon: Radio, word: "Online" },
  connecting: { Icon: Loader, word: "Connecting" },
  stalled: { Icon: TriangleAlert, word: "Stalled" },
  offline: { Icon: CircleSlash, word: "Offline" },
} as const;

/** Icon and word; of a camera that is not online also since when, and why. */
export function CameraState({ status, nowMs }: { status: CameraStatus; nowMs: number }) {
  const { Icon, word } = STATES[status.state];
  const online = status.state === "online";
  return (
    <div className={styles.state} data-state={status.state} title={status.detail || undefined}>
      <p className={styles.word}>
        <Icon size={13} aria-hidden />
        {word}
        {online ? "" : ` for ${age(nowMs - status.sinceMs)}`}
      </p>
      {!online && status.detail ? <p className={styles.detail}>{status.detail}</p> : null}
    </div>
  );
}

/** An interval longer than this times what was asked for is worth saying. */
const STRETCHED = 1.25;

/** The interval that the detector manages, where it is longer than asked. */
export function Stretched({ status: { state, actualIntervalMs, frameIntervalMs } }: { status: CameraStatus }) {
  if (state !== "online" || actualIntervalMs === null || actualIntervalMs <= frameIntervalMs * STRETCHED) return null;
  return (
    <p className={styles.stretched} title="The detector cannot keep up: it looks less often than asked">
      <Gauge size={13} aria-hidden />
      every {interval(actualIntervalMs)}, asked {interval(frameIntervalMs)}
    </p>
  );
}
