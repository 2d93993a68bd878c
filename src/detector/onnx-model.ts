/**
 * A YOLO model in ONNX Runtime: the one file that imports it. `run` blocks its thread for as long as the inference takes,
 * so this lives in the inference threads only (inference-thread.ts).
 */
import { InferenceSession, type OnnxValue, Tensor } from "onnxruntime-node";
import { VigilaneError } from "../errors.ts";
import type { ModelFile } from "../model-file.ts";
import { type InputSize, type Letterbox, toFrame } from "./letterbox.ts";
import { RAW_BOX_LENGTH, type RawBoxes, readBoxes, recogniseLayout, suppress } from "./output-layouts.ts";
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
  const outputName = session.outputNames[0] ?? "";
  const tensors = new Map<string, Tensors>();

  const tensorsFor = (box: Letterbox) => {
    const name = [box.width, box.height, box.contentWidth, box.contentHeight].join("x");
    let entry = tensors.get(name);
    if (!entry) {
      const data = blankTensor(box, file.valueRange);
      entry = { box, data, input: new Tensor("float32", data, [1, 3, box.height, box.width]), output: undefined };
      tensors.set(name, entry);
    }
    return entry;
  };

  /** Into the same memory again and again: new output is megabytes a look, and garbage collections with them. */
  const run = async (entry: Tensors) => {
    const fetches = entry.output ? { [outputName]: entry.output } : [outputName];
    const outputs = await session.run({ [inputName]: entry.input }, fetches);
    const output = readableOutput(outputs[outputName]);
    // (How many boxes an end-to-end model gives may differ from look to look; they are few.)
    if (recogniseLayout(output.dims, entry.box.width, entry.box.height) !== "end-to-end") entry.output = output;
    return output;
  };

  return {
    inputSize,
    async look(picture, wanted, minScore) {
      const { box } = picture.layout;
      const entry = tensorsFor(box);
      writeTensor(picture, file.channels, file.valueRange, entry.data);
      const output = await run(entry);
      const boxes = suppress(readBoxes(output.data, output.dims, box, wanted, minScore), MAX_IOU);
      return inFrame(boxes, box);
    },
    async bare(box) {
      await run(tensorsFor(box));
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

/** What one size of frames needs. */
interface Tensors {
  box: Letterbox;
  /** The input's memory. */
  data: Float32Array;
  input: Tensor;
  /** Of the first run, where its shape follows from the input's. */
  output: FloatTensor | undefined;
}

type FloatTensor = Tensor & { data: Float32Array };

function readableOutput(output: OnnxValue | undefined): FloatTensor {
  if (!(output instanceof Tensor) || !(output.data instanceof Float32Array)) {
    throw new VigilaneError("MODEL_UNREADABLE", "the model's first output is not a float32 tensor");
  }
  return output as FloatTensor;
}

function inFrame(boxes: RawBoxes, box: Letterbox): RawBoxes {
  for (let at = 0; at < boxes.length; at += RAW_BOX_LENGTH) {
    const [x1, y1, x2, y2] = boxes.subarray(at, at + 4) as unknown as [number, number, number, number];
    boxes.set(toFrame(box, [x1, y1, x2, y2]), at);
  }
  return boxes;
}
