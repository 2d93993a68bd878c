/**
 * What the detector saw, at once, for whoever looks at the live page: by pub/sub, whatever became of the topics. A store
 * that hangs delays no camera: one preview a camera is on its way, the newest waits, the rest are dropped and counted.
 */
import type { Redis } from "ioredis";
import type { Context } from "../context.ts";
import type { PreviewHeader } from "../messages.ts";
import { KEYS } from "../names.ts";

interface Lane {
  sending: boolean;
  newest: Buffer | undefined;
  capturedAtMs: number;
}

export class PreviewPublisher {
  readonly #redis: Redis;
  readonly #context: Context;
  readonly #lanes = new Map<string, Lane>();
  #watched: ReadonlySet<string> = new Set();
  dropped = 0;

  constructor(redis: Redis, context: Context) {
    this.#redis = redis;
    this.#context = context;
  }

  /** Asks who is watched by anybody; a preview costs some CPU, and nobody may be looking. Every second. */
  async refresh(cameraIds: readonly string[]): Promise<void> {
    if (cameraIds.length === 0) return;
    const channels = cameraIds.map((id) => KEYS.preview(id));
    const answer = (await this.#redis.pubsub("NUMSUB", ...channels)) as unknown[];
    const patterns = Number(await this.#redis.pubsub("NUMPAT"));
    this.#watched = new Set(cameraIds.filter((_, i) => patterns > 0 || Number(answer[2 * i + 1]) > 0));
  }

  isWatched(cameraId: string): boolean {
    return this.#watched.has(cameraId);
  }

  /** Never waits, never throws. */
  offer(header: PreviewHeader, jpeg: Buffer): void {
    const lane = this.#lane(header.cameraId);
    if (header.capturedAtMs < lane.capturedAtMs) return; // its JPEG was ready after that of a later one
    lane.capturedAtMs = header.capturedAtMs;
    const message = previewMessage(header, jpeg);
    if (!lane.sending) {
      void this.#send(header.cameraId, lane, message);
      return;
    }
    if (lane.newest) this.dropped += 1;
    lane.newest = message;
  }

  async #send(cameraId: string, lane: Lane, first: Buffer): Promise<void> {
    lane.sending = true;
    for (let message: Buffer | undefined = first; message; ) {
      await this.#redis.publish(KEYS.preview(cameraId), message).catch((error: unknown) => {
        this.dropped += 1;
        this.#context.log.debug({ cameraId, cause: String(error) }, "a preview was not sent");
      });
      message = lane.newest;
      lane.newest = undefined;
    }
    lane.sending = false;
  }

  #lane(cameraId: string): Lane {
    let lane = this.#lanes.get(cameraId);
    if (!lane) {
      lane = { sending: false, newest: undefined, capturedAtMs: Number.NEGATIVE_INFINITY };
      this.#lanes.set(cameraId, lane);
    }
    return lane;
  }
}

/** As messages.ts says: UInt32BE length of the header, the header as JSON, the JPEG. */
export function previewMessage(header: PreviewHeader, jpeg: Buffer): Buffer {
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(json.length);
  return Buffer.concat([length, json, jpeg]);
}
