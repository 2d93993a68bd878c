import { Filter } from "lucide-react";
import { useNow } from "../live/now.ts";
import { isLive } from "../live/state.ts";
import { chooseCamera, show, usePage } from "../live/store.ts";
import { cameraLook, cameraName } from "../look/camera-look.ts";
import { RiskBadge, SimulatedMark } from "../look/RiskBadge.tsx";
import { CameraState, Stretched } from "./CameraState.tsx";
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
        {live && camera.status?.state === "online" ? <CameraState status={camera.status} nowMs={nowMs} /> : null}
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
      {/* A camera that is not there has no risk now: its state says all. */}
      {camera.status && camera.status.state !== "online" && live ? null : (
        <div className={styles.marks} title={look.detail || undefined}>
          <RiskBadge look={look.look} word={look.age ? `${look.word} · ${look.age}` : look.word} />
          {look.simulated ? <SimulatedMark /> : null}
        </div>
      )}
      {live && camera.status && camera.status.state !== "online" ? (
        <CameraState status={camera.status} nowMs={nowMs} />
      ) : null}
      {live && camera.status ? <Stretched status={camera.status} /> : null}
    </li>
  );
}
