/** One inference thread: a session of its own, one look at a time. Started by inference-pool.ts with the ModelFile as data. */
import { parentPort, workerData } from "node:worker_threads";
import type { ModelFile } from "../model-file.ts";
import { openModel } from "./onnx-model.ts";
import type { RawBoxes } from "./output-layouts.ts";
import type { PictureLayout } from "./picture.ts";
import { type NamedBuffer, NamedBuffers } from "./shared-buffers.ts";

export type ToThread =
  | { kind: "look"; layout: PictureLayout; buffer: NamedBuffer; wanted: readonly number[]; minScore: number }
  | { kind: "stop" };
export type FromThread =
  | { kind: "ready"; inputSize: import("./letterbox.ts").InputSize }
  | { kind: "boxes"; boxes: RawBoxes; inferenceMs: number }
  | { kind: "failed"; error: unknown };

const port = parentPort;
if (!port) throw new Error("inference-thread.ts is started as a worker thread");

const say = (message: FromThread) => port.postMessage(message);
const model = await openModel(workerData as ModelFile);
const buffers = new NamedBuffers();
let looking = Promise.resolve();

port.on("message", (message: ToThread) => {
  looking = looking.then(() => obey(message));
});
say({ kind: "ready", inputSize: model.inputSize });

async function obey(message: ToThread) {
  if (message.kind === "stop") {
    await model.release(); // never while a run is under way: that would end the whole process
    port?.close();
    return;
  }
  try {
    const startedMs = performance.now();
    const picture = { layout: message.layout, data: buffers.find(message.buffer) };
    const boxes = await model.look(picture, message.wanted, message.minScore);
    say({ kind: "boxes", boxes, inferenceMs: performance.now() - startedMs });
  } catch (error) {
    say({ kind: "failed", error });
  }
}
