import { useEffect, useRef, useState } from "react";
import { useLocalNow } from "../live/now.ts";
import { pictureArrivedAtMs, watchPictures } from "../live/pictures.ts";
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
  const link = usePage((page) => page.link);
  const camera = usePage((page) => page.cameras[cameraId]);
  const nowMs = useLocalNow();

  useEffect(() => {
    if (!visible) return;
    return watchPictures(cameraId, ({ header, bitmap }) => {
      if (canvas.current) drawPicture(canvas.current, bitmap, header, large);
      setSeen(tally(header.objects.map((object) => object.class)) || "no road user");
    });
  }, [cameraId, visible, large]);

  const arrivedMs = pictureArrivedAtMs(cameraId);
  const status = camera?.status;
  const intervalMs = status?.actualIntervalMs ?? status?.frameIntervalMs ?? 1_000;
  const ageMs = arrivedMs === null ? null : nowMs - arrivedMs;
  const stale =
    ageMs !== null &&
    (link !== "live" ||
      (status && status.state !== "online") ||
      ageMs > Math.max(LEAST_STALE_MS, intervalMs * STALE_INTERVALS));
  const name = cameraName(camera, cameraId);
  return (
    <span className={styles.frame} data-stale={stale} data-picture={ageMs === null ? "none" : "some"}>
      <canvas
        ref={canvas}
        className={styles.canvas}
        width={320}
        height={180}
        role="img"
        aria-label={ageMs === null ? `${name}: no picture yet` : `${name}${stale ? ", not live" : ""}: ${seen}`}
      />
      {ageMs === null ? <span className={styles.words}>{waitingFor(status?.state)}</span> : null}
      {stale && ageMs !== null ? <span className={styles.age}>picture of {age(ageMs)} ago</span> : null}
    </span>
  );
}

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
