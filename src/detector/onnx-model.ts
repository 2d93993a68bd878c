/**
 * A YOLO model in ONNX Runtime: the one file that imports it. `run` blocks its thread for as long as the inference takes,
 * so this lives in the inference threads only (inference-thread.ts).
 */
import { InferenceSession, Tensor } from "onnxruntime-node";
import { VigilaneError } from "../errors.ts";
import type { ModelFile } from "../model-file.ts";
import { type InputSize, type Letterbox, toFrame } from "./letterbox.ts";
import { RAW_BOX_LENGTH, type RawBoxes, readBoxes, suppress } from "./output-layouts.ts";
import type { Picture } from "./picture.ts";
import { blankTensor, writeTensor } from "./pixels.ts";

/** Above this, two boxes of one class are the same road user. As the YOLO family's own default. */
const MAX_IOU = 0.7;

export interface OnnxModel {
  readonly inputSize: InputSize;
  /** Boxes in px of the frame, best first; six numbers each as in RawBoxes. */
  look(picture: Picture, wanted: readonly number[], minScore: number): Promise<RawBoxes>;
  /** The bare inference of a blank input: for benchmarks and warming up. */
  bare(box: Letterbox): Promise<void>;
  /** Only when no look is under way: else the process ends. */
  release(): Promise<void>;
}

/** Rejects with MODEL_UNREADABLE. One thread, never spinning: several sessions share the machine's cores. */
export async function openModel(file: ModelFile): Promise<OnnxModel> {
  const session = await InferenceSession.create(file.path, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    executionMode: "sequential",
    graphOptimizationLevel: "all",
    extra: { session: { intra_op: { allow_spinning: "0" }, inter_op: { allow_spinning: "0" } } },
  }).catch((cause: unknown) => {
    throw new VigilaneError("MODEL_UNREADABLE", `${file.path} cannot be read as an ONNX model: ${String(cause)}`, {
      cause,
    });
  });
  const { inputName, inputSize } = readInput(session, file);
  const tensors = new Map<string, { data: Float32Array; tensor: Tensor }>();

  const tensorFor = (box: Letterbox) => {
    const name = [box.width, box.height, box.contentWidth, box.contentHeight].join("x");
    let entry = tensors.get(name);
    if (!entry) {
      const data = blankTensor(box, file.valueRange);
      entry = { data, tensor: new Tensor("float32", data, [1, 3, box.height, box.width]) };
      tensors.set(name, entry);
    }
    return entry;
  };

  return {
    inputSize,
    async look(picture, wanted, minScore) {
      const { box } = picture.layout;
      const { data, tensor } = tensorFor(box);
      writeTensor(picture, file.channels, file.valueRange, data);
      const output = firstOutput(await session.run({ [inputName]: tensor }));
      const boxes = suppress(readBoxes(output.data, output.dims, box, wanted, minScore), MAX_IOU);
      return inFrame(boxes, box);
    },
    async bare(box) {
      await session.run({ [inputName]: tensorFor(box).tensor });
    },
    release: () => session.release(),
  };
}

function readInput(session: InferenceSession, file: ModelFile): { inputName: string; inputSize: InputSize } {
  const input = session.inputMetadata[0];
  if (!input?.isTensor || input.type !== "float32" || input.shape.length !== 4) {
    throw new VigilaneError("MODEL_UNREADABLE", `${file.path} does not take one float32 image of four axes`);
  }
  const [, , height, width] = input.shape;
  const inputSize: InputSize =
    typeof width === "number" && typeof height === "number" && width > 0 && height > 0
      ? { kind: "fixed", width, height }
      : { kind: "open", longSidePx: file.longSidePx };
  return { inputName: input.name, inputSize };
}

function firstOutput(outputs: InferenceSession.OnnxValueMapType): { data: Float32Array; dims: readonly number[] } {
  const output = Object.values(outputs)[0];
  if (!(output instanceof Tensor) || !(output.data instanceof Float32Array)) {
    throw new VigilaneError("MODEL_UNREADABLE", "the model's first output is not a float32 tensor");
  }
  return { data: output.data, dims: output.dims };
}

function inFrame(boxes: RawBoxes, box: Letterbox): RawBoxes {
  for (let at = 0; at < boxes.length; at += RAW_BOX_LENGTH) {
    const [x1, y1, x2, y2] = boxes.subarray(at, at + 4) as unknown as [number, number, number, number];
    boxes.set(toFrame(box, [x1, y1, x2, y2]), at);
  }
  return boxes;
}
