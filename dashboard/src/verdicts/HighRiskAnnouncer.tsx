import { usePage } from "../live/store.ts";
import { cameraName } from "../look/camera-look.ts";

/** Says aloud, to screen readers, only a camera's turn to high: anything more would never stop talking. */
export function HighRiskAnnouncer() {
  const sentence = usePage((page) => {
    const newest = Object.entries(page.raisedAtMs).sort((a, b) => b[1] - a[1])[0];
    if (!newest) return "";
    const camera = page.cameras[newest[0]];
    return `High risk at ${cameraName(camera, newest[0])}${camera?.risk?.simulated ? " (simulated)" : ""}`;
  });
  return (
    <div className="visually-hidden" role="status" aria-live="assertive">
      {sentence}
    </div>
  );
}
