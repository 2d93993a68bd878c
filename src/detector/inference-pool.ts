/** The inference threads, each with a session of its own: as many looks at once as there are threads. */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { type Service, service } from "../lifecycle.ts";
import type { Bbox } from "../messages.ts";
import type { ModelFile } from "../model-file.ts";
import type { FromThread, ToThread } from "./inference-thread.ts";
import type { InputSize } from "./letterbox.ts";
import { RAW_BOX_LENGTH } from "./output-layouts.ts";
import type { Picture } from "./picture.ts";
import { BufferNames } from "./shared-buffers.ts";

/** A box of one frame, in its pixels, before tracking. */
export interface Box {
  class: string;
  confidence: number;
  bbox: Bbox;
}

export interface InferencePool extends Service {
  /** What the model takes. Only after start. */
  readonly inputSize: InputSize;
  readonly threads: number;
  /** Boxes of at least `minScore`, best first. The picture is read until it resolves. At most `threads` at once. */
  look(picture: Picture, classes: readonly string[], minScore: number): Promise<Box[]>;
}

interface Thread {
  worker: Worker;
  buffers: BufferNames;
  /** Answers the look that is under way. */
  settle: ((message: FromThread | Error) => void) | undefined;
}

export function createInferencePool(
  model: ModelFile,
  context: Context,
  threads: number = availableParallelism(),
): InferencePool {
  const idle: Thread[] = [];
  let inputSize: InputSize | undefined;

  const base = service("inference threads", context, async (acquired) => {
    idle.length = 0;
    const sizes = await Promise.all(
      Array.from({ length: threads }, async () => {
        const { thread, ready } = startThread(model);
        acquired.add(thread, "inference thread", stopThread);
        const size = await ready;
        idle.push(thread);
        return size;
      }),
    );
    inputSize = sizes[0];
    context.log.info({ model: model.name, threads, inputSize }, "the detector's model is loaded");
  });

  return {
    ...base,
    threads,
    get inputSize() {
      if (!inputSize) throw new Error("the inference threads are not started");
      return inputSize;
    },
    async look(picture, classes, minScore) {
      const thread = idle.pop();
      if (!thread) throw new Error("more looks at once than inference threads");
      const wanted = classes.map((name) => model.classes.indexOf(name)).filter((index) => index >= 0);
      try {
        const answer = await ask(thread, {
          kind: "look",
          layout: picture.layout,
          buffer: thread.buffers.name(picture.data),
          wanted,
          minScore,
        });
        return boxesOf(answer, model.classes);
      } finally {
        idle.push(thread);
      }
    },
  };
}

/** Node loads the source itself here, and the compiled file in a published package. */
const THREAD_FILE = new URL(`./inference-thread.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`, import.meta.url);

function startThread(model: ModelFile): { thread: Thread; ready: Promise<InputSize> } {
  const worker = new Worker(THREAD_FILE, { workerData: model, name: "inference" });
  const thread: Thread = { worker, buffers: new BufferNames(), settle: undefined };
  const answer = (message: FromThread | Error) => {
    const settle = thread.settle;
    thread.settle = undefined;
    settle?.(message);
  };
  const ready = new Promise<InputSize>((resolve, reject) => {
    thread.settle = (message) => {
      if (message instanceof Error) reject(message);
      else if (message.kind === "ready") resolve(message.inputSize);
    };
  });
  worker.on("message", answer);
  worker.on("error", (error) => answer(asUnreadable(error, model)));
  worker.on("exit", () => answer(new VigilaneError("STOPPED", "the inference thread has ended")));
  return { thread, ready };
}

/** Errors of ours lose their class between threads. */
function asUnreadable(error: unknown, model: ModelFile): Error {
  const message = error instanceof Error ? error.message : String(error);
  return new VigilaneError("MODEL_UNREADABLE", `${model.path}: ${message}`, { cause: error });
}

/** By message, so that it ends between two looks. */
function stopThread({ worker }: Thread): Promise<void> {
  if (worker.threadId === -1) return Promise.resolve();
  return new Promise((resolve) => {
    worker.once("exit", () => resolve());
    worker.postMessage({ kind: "stop" } satisfies ToThread);
  });
}

function ask(thread: Thread, message: ToThread): Promise<FromThread> {
  return new Promise((resolve, reject) => {
    thread.settle = (answer) => (answer instanceof Error ? reject(answer) : resolve(answer));
    thread.worker.postMessage(message);
  });
}

function boxesOf(answer: FromThread, names: readonly string[]): Box[] {
  if (answer.kind !== "boxes") throw answer.kind === "failed" ? answer.error : new Error(`unexpected ${answer.kind}`);
  const boxes: Box[] = [];
  for (let at = 0; at < answer.boxes.length; at += RAW_BOX_LENGTH) {
    const [x1 = 0, y1 = 0, x2 = 0, y2 = 0, confidence = 0, index = 0] = answer.boxes.subarray(at, at + RAW_BOX_LENGTH);
    boxes.push({ class: names[index] ?? `class ${index}`, confidence, bbox: [x1, y1, x2, y2] });
  }
  return boxes;
}
