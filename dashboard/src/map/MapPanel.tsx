import { Maximize, Video } from "lucide-react";
import { useEffect, useMemo, useRef, useState } from "react";
import { createPortal } from "react-dom";
import type { CameraEvent } from "../../../src/events.ts";
import { useNow } from "../live/now.ts";
import { isLive, isSimulated } from "../live/state.ts";
import { chooseCamera, usePage } from "../live/store.ts";
import { cameraLook, cameraName } from "../look/camera-look.ts";
import { Button } from "../panel/Button.tsx";
import { EmptyNote } from "../panel/EmptyNote.tsx";
import { Panel } from "../panel/Panel.tsx";
import type { CameraMap, MapCamera } from "./camera-map.ts";
import { Legend } from "./Legend.tsx";
import styles from "./MapPanel.module.css";
import { Marker, markerWords } from "./Marker.tsx";

/** Up to so many cameras each marker bears its name and risk in words; above it only when pointed at, focused or chosen. */
const LABELLED = 12;

/** The cameras where they stand, coloured, shaped and lettered by their newest verdict. */
export function MapPanel() {
  const cameras = usePage((page) => page.cameras);
  const loaded = usePage((page) => page.loaded);
  const simulated = usePage(isSimulated);
  const { placed, unplaced } = useMemo(() => byPlace(Object.values(cameras)), [cameras]);
  const [map, setMap] = useState<CameraMap | null>(null);
  const note = unplaced > 0 ? `${unplaced} without a place on the map` : null;
  return (
    <Panel
      title="Map"
      className={styles.panel}
      note={note}
      actions={
        placed.length > 0 ? (
          <Button onClick={() => map?.showAll()} title="Back to all cameras">
            <Maximize size={14} aria-hidden />
            All cameras
          </Button>
        ) : null
      }
    >
      <div className={styles.stage}>
        <Stage placed={placed} map={map} setMap={setMap} />
        {loaded && placed.length === 0 ? <NoCamera unplaced={unplaced} /> : null}
        {placed.length > 0 ? <Legend simulated={simulated} /> : null}
      </div>
    </Panel>
  );
}

type Placed = CameraEvent & { lat: number; lon: number };

function byPlace(cameras: CameraEvent[]): { placed: Placed[]; unplaced: number } {
  const placed = cameras.flatMap((camera) => {
    const { lat, lon } = camera.status ?? {};
    return lat == null || lon == null ? [] : [{ ...camera, lat, lon }];
  });
  placed.sort((a, b) => a.cameraId.localeCompare(b.cameraId));
  return { placed, unplaced: cameras.length - placed.length };
}

interface StageProps {
  placed: Placed[];
  map: CameraMap | null;
  setMap: (map: CameraMap | null) => void;
}

function Stage({ placed, map, setMap }: StageProps) {
  const container = useRef<HTMLDivElement>(null);
  const [, setSlots] = useState(0);
  const live = usePage(isLive);
  const raisedAtMs = usePage((page) => page.raisedAtMs);
  const chosenCamera = usePage((page) => page.chosenCamera);
  const nowMs = useNow();

  useEffect(() => {
    let made: CameraMap | null = null;
    let gone = false;
    // Leaflet comes by itself, after the page has been painted.
    void import("./camera-map.ts").then(({ createCameraMap }) => {
      if (gone || !container.current) return;
      made = createCameraMap(container.current, chooseCamera, () => setSlots((n) => n + 1));
      setMap(made);
    });
    return () => {
      gone = true;
      made?.remove();
      setMap(null);
    };
  }, [setMap]);

  const shown = placed.map((camera) => ({ camera, look: cameraLook(camera, live, nowMs) }));
  const onMapNow: MapCamera[] = shown.map(({ camera, look }) => ({
    id: camera.cameraId,
    lat: camera.lat,
    lon: camera.lon,
    // Begins with the words that the marker itself bears.
    title: [
      `${cameraName(camera, camera.cameraId)} ${markerWords(look)}`,
      look.look === "away" || look.look === "unknown" ? look.detail : camera.risk?.description,
    ]
      .filter(Boolean)
      .join(" – "),
    look: look.look,
    chosen: chosenCamera === camera.cameraId,
  }));
  useEffect(() => map?.update(onMapNow));

  return (
    <>
      <div
        ref={container}
        className={styles.map}
        role="application"
        aria-label="Map of the cameras. Tab moves from camera to camera; Enter lists one camera's verdicts; plus, minus and the arrows move the map."
        data-labels={placed.length <= LABELLED ? "all" : "some"}
      />
      {shown.map(({ camera, look }) => {
        const slot = map?.slot(camera.cameraId);
        if (!slot) return null;
        const marker = (
          <Marker
            name={cameraName(camera, camera.cameraId)}
            look={look}
            chosen={chosenCamera === camera.cameraId}
            pulses={isNewHigh(look.look, raisedAtMs[camera.cameraId], nowMs)}
          />
        );
        return createPortal(marker, slot, camera.cameraId);
      })}
    </>
  );
}

/** How long a camera that turned high pulses. */
const PULSE_MS = 12_000;
const isNewHigh = (look: string, raisedMs: number | undefined, nowMs: number) =>
  look === "high" && raisedMs !== undefined && nowMs - raisedMs < PULSE_MS;

function NoCamera({ unplaced }: { unplaced: number }) {
  return (
    <div className={styles.empty}>
      {unplaced > 0 ? (
        <EmptyNote icon={Video} title="No camera has a place">
          Give the cameras <code>lat</code> and <code>lon</code> in <code>config/cameras.yaml</code>, and they appear
          here. Their pictures and verdicts are shown all the same.
        </EmptyNote>
      ) : (
        <EmptyNote icon={Video} title="No camera yet">
          Each camera appears here by itself as soon as the detector has opened it. If none does within a minute, look
          at the roles above, or list your cameras in <code>config/cameras.yaml</code>.
        </EmptyNote>
      )}
    </div>
  );
}
