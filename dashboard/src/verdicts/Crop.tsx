import { ImageOff } from "lucide-react";
import { useState } from "react";
import type { OutcomeEvent } from "../../../src/events.ts";
import styles from "./Crop.module.css";

/** The picture that was judged. Where there is none (any more), that is said, never an empty frame. */
export function Crop({ event, className }: { event: OutcomeEvent; className?: string | undefined }) {
  const { imagePath, result } = event;
  const [goneFor, setGoneFor] = useState<string | null>(null);
  if (imagePath === null || goneFor === imagePath) {
    return (
      <span className={`${styles.crop} ${styles.gone} ${className ?? ""}`}>
        <ImageOff size={18} aria-hidden />
        {imagePath === null ? "no picture" : "picture is gone"}
      </span>
    );
  }
  const seen = (result.classes ?? []).join(", ");
  return (
    <img
      className={`${styles.crop} ${className ?? ""}`}
      src={imagePath}
      alt={`Group ${result.groupIndex}${seen ? `: ${seen}` : ""}`}
      loading="lazy"
      decoding="async"
      onError={() => setGoneFor(imagePath)}
    />
  );
}
