import type { CameraLook } from "../look/camera-look.ts";
import { RiskShape } from "../look/RiskShape.tsx";
import styles from "./Marker.module.css";

interface Props {
  name: string;
  look: CameraLook;
  chosen: boolean;
  pulses: boolean;
}

/** "Medium · simulated", "Offline · 4 min" */
export const markerWords = ({ word, age, simulated }: CameraLook) =>
  [word, age, simulated ? "simulated" : ""].filter(Boolean).join(" · ");

/** What a camera's marker holds. The marker itself bears the whole sentence, so this is silent to screen readers. */
export function Marker({ name, look, chosen, pulses }: Props) {
  return (
    <span className={styles.marker} data-look={look.look} data-chosen={chosen} data-pulses={pulses} aria-hidden="true">
      {pulses ? <span className={styles.pulse} /> : null}
      <RiskShape look={look.look} size={look.look === "high" ? 34 : 28} />
      <span className={styles.label} data-label>
        <b>{name}</b> <span>{markerWords(look)}</span>
      </span>
    </span>
  );
}
