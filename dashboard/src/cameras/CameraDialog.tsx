import { useNow } from "../live/now.ts";
import { isLive } from "../live/state.ts";
import { show, usePage } from "../live/store.ts";
import { cameraLook, cameraName } from "../look/camera-look.ts";
import { RiskBadge, SimulatedMark } from "../look/RiskBadge.tsx";
import { Dialog } from "../panel/Dialog.tsx";
import styles from "./CameraDialog.module.css";
import { CameraState, Stretched } from "./CameraState.tsx";
import { LivePicture } from "./LivePicture.tsx";

/** One camera's live picture, large, with each object's class and the newest verdict below. */
export function CameraDialog() {
  const cameraId = usePage((page) => (page.shown?.kind === "camera" ? page.shown.cameraId : null));
  const camera = usePage((page) => (cameraId ? page.cameras[cameraId] : undefined));
  const live = usePage(isLive);
  const nowMs = useNow();
  if (!cameraId || !camera) return null;
  const look = cameraLook(camera, live, nowMs);
  return (
    <Dialog title={cameraName(camera, cameraId)} onClose={() => show(null)}>
      <div className={styles.picture}>
        <LivePicture cameraId={cameraId} large />
      </div>
      <div className={styles.marks}>
        <RiskBadge look={look.look} word={look.word} />
        {look.simulated ? <SimulatedMark /> : null}
        <span className={styles.detail}>{look.detail}</span>
      </div>
      {look.look !== "away" && camera.risk?.description ? (
        <p className={styles.text}>{camera.risk.description}</p>
      ) : null}
      {camera.status ? <CameraState status={camera.status} nowMs={nowMs} /> : null}
      {camera.status ? <Stretched status={camera.status} /> : null}
    </Dialog>
  );
}
