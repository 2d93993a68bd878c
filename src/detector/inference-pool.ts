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
  /**
   * Looks that may be under way at once: one in each thread and one before it, so that a thread does not wait for this
   * one between two looks.
   */
  readonly places: number;
  /** Boxes of at least `minScore`, best first. The picture is read until it resolves. At most `places` at once. */
  look(picture: Picture, classes: readonly string[], minScore: number): Promise<Box[]>;
}

interface Thread {
  worker: Worker;
  buffers: BufferNames;
  /** Answer the looks that are under way, oldest first: a thread answers in the order of asking. */
  settles: ((message: FromThread | Error) => void)[];
  /** Between ready and stop its end is a fault. */
  mayEnd: boolean;
}

const LOOKS_A_THREAD = 2;

export function createInferencePool(
  model: ModelFile,
  context: Context,
  threads: number = availableParallelism(),
): InferencePool {
  const running: Thread[] = [];
  let inputSize: InputSize | undefined;

  const base = service("inference threads", context, async (acquired) => {
    running.length = 0;
    const sizes = await Promise.all(
      Array.from({ length: threads }, async () => {
        const { thread, ready } = startThread(model);
        acquired.add(thread, "inference thread", stopThread);
        const size = await ready;
        running.push(thread);
        return size;
      }),
    );
    inputSize = sizes[0];
    context.log.info({ model: model.name, threads, inputSize }, "the detector's model is loaded");
  });

  return {
    ...base,
    places: threads * LOOKS_A_THREAD,
    get inputSize() {
      if (!inputSize) throw new Error("the inference threads are not started");
      return inputSize;
    },
    async look(picture, classes, minScore) {
      const thread = running.reduce((least, other) => (other.settles.length < least.settles.length ? other : least));
      if (thread.settles.length >= LOOKS_A_THREAD) throw new Error("more looks at once than places");
      const wanted = classes.map((name) => model.classes.indexOf(name)).filter((index) => index >= 0);
      const { layout, data } = picture;
      const buffer = thread.buffers.name(data);
      return boxesOf(await ask(thread, { kind: "look", layout, buffer, wanted, minScore }), model.classes);
    },
  };
}

/** Node loads the source itself here, and the compiled file in a published package. */
const THREAD_FILE = new URL(`./inference-thread.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`, import.meta.url);

function startThread(model: ModelFile): { thread: Thread; ready: Promise<InputSize> } {
  const worker = new Worker(THREAD_FILE, { workerData: model, name: "inference" });
  const thread: Thread = { worker, buffers: new BufferNames(), settles: [], mayEnd: true };
  const ready = new Promise<InputSize>((resolve, reject) => {
    thread.settles.push((message) => {
      if (message instanceof Error) reject(message);
      else if (message.kind === "ready") {
        thread.mayEnd = false;
        resolve(message.inputSize);
      }
    });
  });
  const answer = (message: FromThread) => thread.settles.shift()?.(message);
  const end = (error: Error) => {
    for (const settle of thread.settles.splice(0)) settle(error);
  };
  worker.on("message", answer);
  worker.on("error", (error) => end(asUnreadable(error, model)));
  worker.on("exit", () => {
    const ended = new VigilaneError("STOPPED", "the inference thread has ended");
    end(ended);
    // Uncaught on purpose: without its thread this process looks at nothing, and a new one does.
    if (!thread.mayEnd) throw ended;
  });
  return { thread, ready };
}

/** Errors of ours lose their class between threads. */
function asUnreadable(error: unknown, model: ModelFile): Error {
  const message = error instanceof Error ? error.message : String(error);
  return new VigilaneError("MODEL_UNREADABLE", `${model.path}: ${message}`, { cause: error });
}

/** By message, so that it ends between two looks. */
function stopThread(thread: Thread): Promise<void> {
  const { worker } = thread;
  thread.mayEnd = true;
  if (worker.threadId === -1) return Promise.resolve();
  return new Promise((resolve) => {
    worker.once("exit", () => resolve());
    worker.postMessage({ kind: "stop" } satisfies ToThread);
  });
}

function ask(thread: Thread, message: ToThread): Promise<FromThread> {
  return new Promise((resolve, reject) => {
    thread.settles.push((answer) => (answer instanceof Error ? reject(answer) : resolve(answer)));
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
