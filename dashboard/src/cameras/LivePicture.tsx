import { useEffect, useRef, useState } from "react";
import { useLocalNow, useNow } from "../live/now.ts";
import { newestPicture, watchPictures } from "../live/pictures.ts";
import { isLive } from "../live/state.ts";
import { usePage } from "../live/store.ts";
import { cameraName } from "../look/camera-look.ts";
import { age, tally } from "../look/format.ts";
import { drawPicture } from "./draw-picture.ts";
import styles from "./LivePicture.module.css";

/** A picture is stale after so many of its camera's intervals, but never sooner than `LEAST_STALE_MS`. */
const STALE_INTERVALS = 4;
const LEAST_STALE_MS = 5_000;

/** The newest picture with its boxes, drawn as it comes. A stale one is greyed and bears its age. */
export function LivePicture({ cameraId, large = false }: { cameraId: string; large?: boolean }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const visible = useVisible(canvas);
  const [seen, setSeen] = useState("");
  const live = usePage(isLive);
  const camera = usePage((page) => page.cameras[cameraId]);
  const localNowMs = useLocalNow();
  const nowMs = useNow();

  useEffect(() => {
    if (!visible) return;
    return watchPictures(cameraId, ({ header, bitmap }) => {
      if (canvas.current) drawPicture(canvas.current, bitmap, header, large);
      setSeen(tally(header.objects.map((object) => object.class)) || "no road user");
    });
  }, [cameraId, visible, large]);

  const picture = newestPicture(cameraId);
  const status = camera?.status;
  const intervalMs = status?.actualIntervalMs ?? status?.frameIntervalMs ?? 1_000;
  const silentMs = picture ? localNowMs - picture.arrivedAtMs : 0;
  const stale =
    picture !== undefined &&
    (!live ||
      (status && status.state !== "online") ||
      silentMs > Math.max(LEAST_STALE_MS, intervalMs * STALE_INTERVALS));
  const name = cameraName(camera, cameraId);
  return (
    <span className={styles.frame} data-stale={stale} data-picture={picture ? "some" : "none"}>
      <canvas
        ref={canvas}
        className={styles.canvas}
        width={320}
        height={180}
        role="img"
        aria-label={picture ? `${name}${stale ? ", not live" : ""}: ${seen}` : `${name}: no picture yet`}
      />
      {picture ? null : <span className={styles.words}>{waitingFor(status?.state)}</span>}
      {stale && picture ? (
        <span className={styles.age}>not live: {pictureAge(nowMs - picture.header.capturedAtMs)}</span>
      ) : null}
    </span>
  );
}

const pictureAge = (ms: number) => (age(ms) === "now" ? "last picture" : `picture of ${age(ms)} ago`);

const waitingFor = (state: string | undefined) =>
  state === "offline" || state === "stalled" ? "no picture" : "waiting for the first picture";

/** True while any of the element is in view. */
function useVisible(element: React.RefObject<HTMLElement | null>) {
  const [visible, setVisible] = useState(false);
  useEffect(() => {
    if (!element.current) return;
    const observer = new IntersectionObserver((entries) => setVisible(entries.at(-1)?.isIntersecting === true), {
      rootMargin: "80px",
    });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [element]);
  return visible;
}
