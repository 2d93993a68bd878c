/**
 * The contract of a camera's frames. Adapter: ffmpeg-frame-source.ts; tests have one of their own.
 *
 * A source delivers at most one frame an interval, at once when it has it, and never waits for whoever takes it: the
 * sink keeps the newest and releases the rest. It mends itself (restart with back-off) until it is stopped.
 */
import type { Service } from "../lifecycle.ts";
import type { CameraState } from "../messages.ts";
import type { InputSize } from "./letterbox.ts";
import type { Picture } from "./picture.ts";

export interface Frame {
  /** When the frame's first byte arrived from ffmpeg, ms since the epoch. */
  capturedAtMs: number;
  picture: Picture;
  /** The buffer may be written over after this. Once only. */
  release(): void;
}

export interface FrameSink {
  frame(frame: Frame): void;
  /** At every change, and when `detail` changes. */
  state(state: CameraState, detail: string): void;
}

/** Starts at once, also when the camera is away: its state says so. */
export type FrameSource = Service;

/** Makes the source of one camera; the model's input decides how frames are scaled. */
export type FrameSourceFactory = (options: {
  cameraId: string;
  source: string;
  intervalMs: number;
  startAtSeconds: number;
  loop: boolean;
  inputSize: InputSize;
  sink: FrameSink;
}) => FrameSource;
