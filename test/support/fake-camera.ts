/** Cameras and inference threads without ffmpeg and model: frames and boxes as the test wants them. */
import type { Frame, FrameSink, FrameSourceFactory } from "../../src/detector/frame-source.ts";
import type { Box, InferencePool } from "../../src/detector/inference-pool.ts";
import { letterbox } from "../../src/detector/letterbox.ts";
import { pictureBytes, pictureLayout } from "../../src/detector/picture.ts";

const inputSize = { kind: "open", longSidePx: 640 } as const;
const layout = pictureLayout(letterbox(inputSize, 640, 360), { matrix: "bt601", range: "limited" });

export interface FakeCameras {
  sources: FrameSourceFactory;
  /** Hands a grey frame to the camera's sink. */
  frame(cameraId: string, capturedAtMs: number): void;
  sink(cameraId: string): FrameSink;
  /** Frames handed out and not yet released. */
  readonly lent: number;
}

export function fakeCameras(): FakeCameras {
  const sinks = new Map<string, FrameSink>();
  let lent = 0;
  const sink = (cameraId: string) => {
    const found = sinks.get(cameraId);
    if (!found) throw new Error(`camera ${cameraId} is not started`);
    return found;
  };
  return {
    sources: ({ cameraId, sink: given }) => ({
      name: `fake ${cameraId}`,
      start() {
        sinks.set(cameraId, given);
        given.state("online", "");
        return Promise.resolve();
      },
      stop: () => Promise.resolve(),
    }),
    frame(cameraId, capturedAtMs) {
      lent += 1;
      const frame: Frame = {
        capturedAtMs,
        picture: { layout, data: new SharedArrayBuffer(pictureBytes(layout)) },
        release() {
          lent -= 1;
        },
      };
      sink(cameraId).frame(frame);
    },
    sink,
    get lent() {
      return lent;
    },
  };
}

/** Answers every look with the same boxes. `looked` counts. */
export function fakePool(boxes: readonly Box[], places = 2): InferencePool & { readonly looked: number } {
  let looked = 0;
  return {
    name: "fake threads",
    start: () => Promise.resolve(),
    stop: () => Promise.resolve(),
    inputSize,
    places,
    look() {
      looked += 1;
      return Promise.resolve(boxes.map((box) => ({ ...box })));
    },
    get looked() {
      return looked;
    },
  };
}
