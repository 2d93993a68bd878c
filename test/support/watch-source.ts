/** One camera through the real frame source, and what it says and shows; its frames say their own number (clock-video.ts). */
import type { TestContext } from "vitest";
import { createFfmpegSources } from "../../src/detector/ffmpeg-frame-source.ts";
import { readClock } from "./clock-video.ts";
import { quiet } from "./detector-assets.ts";

export interface WatchedSource {
  readonly frames: readonly { number: number; capturedAtMs: number }[];
  /** Each state with its detail behind a blank. */
  readonly states: readonly string[];
  /** Resolves when the condition holds; it is asked at each frame and each state. */
  until(met: () => boolean): Promise<void>;
  /** Resolves with the first state from now on that matches. */
  state(pattern: RegExp): Promise<string>;
  /** Resolves after so many more frames. */
  more(count: number): Promise<void>;
}

/** Started; stops with the test whose `onTestFinished` is given (of tests side by side only it knows which). */
export async function watchSource(
  onTestFinished: TestContext["onTestFinished"],
  ffmpeg: string,
  source: string,
  options: { intervalMs: number; startAtSeconds?: number; loop?: boolean },
): Promise<WatchedSource> {
  const frames: { number: number; capturedAtMs: number }[] = [];
  const states: string[] = [];
  const waiting = new Set<() => void>();
  const told = () => {
    for (const look of waiting) look();
  };
  const made = createFfmpegSources(
    ffmpeg,
    quiet,
  )({
    cameraId: "a",
    source,
    startAtSeconds: 0,
    loop: true,
    ...options,
    inputSize: { kind: "open", longSidePx: 640 },
    sink: {
      frame({ capturedAtMs, picture, release }) {
        frames.push({ number: readClock(picture), capturedAtMs });
        release();
        told();
      },
      state(state, detail) {
        states.push(`${state} ${detail}`.trim());
        told();
      },
    },
  });
  onTestFinished(() => made.stop());
  await made.start();
  const until = (met: () => boolean) =>
    new Promise<void>((resolve) => {
      const look = () => {
        if (!met()) return;
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
      look();
    });
  return {
    frames,
    states,
    until,
    async state(pattern) {
      const from = states.length;
      const found = () => states.slice(from).find((state) => pattern.test(state));
      await until(() => found() !== undefined);
      return found() ?? "";
    },
    more(count) {
      const target = frames.length + count;
      return until(() => frames.length >= target);
    },
  };
}
