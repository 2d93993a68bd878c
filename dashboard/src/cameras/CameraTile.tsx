import { CircleSlash, Filter, Gauge, Loader, Radio, TriangleAlert } from "lucide-react";
import type { CameraStatus } from "../../../src/messages.ts";
import { useNow } from "../live/now.ts";
import { isLive } from "../live/state.ts";
import { chooseCamera, show, usePage } from "../live/store.ts";
import { cameraLook, cameraName } from "../look/camera-look.ts";
import { age, interval } from "../look/format.ts";
import { RiskBadge, SimulatedMark } from "../look/RiskBadge.tsx";
import styles from "./CameraTile.module.css";
import { LivePicture } from "./LivePicture.tsx";

/** A camera's picture, its risk and its state. Opens the large picture; the funnel lists its verdicts alone. */
export function CameraTile({ cameraId }: { cameraId: string }) {
  const camera = usePage((page) => page.cameras[cameraId]);
  const live = usePage(isLive);
  const chosen = usePage((page) => page.chosenCamera === cameraId);
  const nowMs = useNow();
  if (!camera) return null;
  const name = cameraName(camera, cameraId);
  const look = cameraLook(camera, live, nowMs);
  return (
    <li className={styles.tile} data-camera={cameraId} data-look={look.look} data-chosen={chosen}>
      <button
        type="button"
        className={styles.picture}
        onClick={() => show({ kind: "camera", cameraId })}
        title="Show the large picture"
      >
        <LivePicture cameraId={cameraId} />
      </button>
      <div className={styles.line}>
        <b className={styles.name} title={name}>
          {name}
        </b>
        {camera.status && isWell(camera.status) ? <State status={camera.status} nowMs={nowMs} /> : null}
        <button
          type="button"
          className={styles.filter}
          aria-pressed={chosen}
          aria-label={`List only the verdicts of ${name}`}
          title="List only this camera's verdicts"
          onClick={() => chooseCamera(cameraId)}
        >
          <Filter size={14} aria-hidden />
        </button>
      </div>
      <div className={styles.marks}>
        <RiskBadge look={look.look} word={look.word} />
        {look.simulated ? <SimulatedMark /> : null}
      </div>
      {camera.status && !isWell(camera.status) ? <State status={camera.status} nowMs={nowMs} /> : null}
    </li>
  );
}

const STATES = {
  online: { Icon: Radio, word: "Online" },
  connecting: { Icon: Loader, word: "Connecting" },
  stalled: { Icon: TriangleAlert, word: "Stalled" },
  offline: { Icon: CircleSlash, word: "Offline" },
} as const;

/** An interval longer than this times what was asked for is worth saying. */
const STRETCHED = 1.25;

const isStretched = ({ state, actualIntervalMs, frameIntervalMs }: CameraStatus) =>
  state === "online" && actualIntervalMs !== null && actualIntervalMs > frameIntervalMs * STRETCHED;

const isWell = (status: CameraStatus) => status.state === "online" && !isStretched(status);

export function State({ status, nowMs }: { status: CameraStatus; nowMs: number }) {
  const { Icon, word } = STATES[status.state];
  const { actualIntervalMs: actualMs, frameIntervalMs: askedMs } = status;
  const stretched = isStretched(status);
  return (
    <p className={styles.state} data-state={status.state} title={status.detail || undefined}>
      <span>
        <Icon size={13} aria-hidden />
        {word}
        {status.state === "online" ? "" : ` for ${age(nowMs - status.sinceMs)}`}
      </span>
      {stretched && actualMs !== null ? (
        <span className={styles.stretched} title="The detector cannot keep up: it looks less often than asked">
          <Gauge size={13} aria-hidden />
          every {interval(actualMs)}, asked {interval(askedMs)}
        </span>
      ) : null}
      {status.state !== "online" && status.detail ? <span className={styles.detail}>{status.detail}</span> : null}
    </p>
  );
}
