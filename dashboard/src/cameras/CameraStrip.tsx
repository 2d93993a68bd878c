import { Cctv } from "lucide-react";
import { isLive } from "../live/state.ts";
import { usePage } from "../live/store.ts";
import { EmptyNote } from "../panel/EmptyNote.tsx";
import { Panel } from "../panel/Panel.tsx";
import styles from "./CameraStrip.module.css";
import { CameraTile } from "./CameraTile.tsx";

/** Each camera's live picture, small. Only those in view are sent. */
export function CameraStrip() {
  const cameras = usePage((page) => page.cameras);
  const loaded = usePage((page) => page.loaded);
  const live = usePage(isLive);
  const ids = Object.keys(cameras).sort((a, b) => a.localeCompare(b));
  const offline = Object.values(cameras).filter((camera) => camera.status && camera.status.state !== "online").length;
  const note = ids.length === 0 ? null : live ? `${ids.length - offline} of ${ids.length} online` : "not live";
  return (
    <Panel title="Cameras" note={note}>
      {loaded && ids.length === 0 ? (
        <EmptyNote icon={Cctv} title="No live picture yet">
          With the first frame of a camera its picture appears here, with what the detector sees drawn into it.
        </EmptyNote>
      ) : (
        <ul className={styles.strip} aria-label="Cameras">
          {ids.map((id) => (
            <CameraTile key={id} cameraId={id} />
          ))}
        </ul>
      )}
    </Panel>
  );
}
