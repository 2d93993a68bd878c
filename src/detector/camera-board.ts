/** What every camera of this detector is doing: counted here, written to the store once a second and at each change. */
import type { Redis } from "ioredis";
import type { Camera } from "../cameras.ts";
import type { Context } from "../context.ts";
import type { CameraEvent } from "../events.ts";
import type { CameraState, CameraStatus } from "../messages.ts";
import { KEYS } from "../names.ts";

const EVENTS_KEPT = 10_000;
/** How much of the newest interval goes into the mean that is shown. */
const FRESH = 0.3;

export class CameraBoard {
  readonly #redis: Redis;
  readonly #context: Context;
  readonly #instance: string;
  readonly #statuses = new Map<string, CameraStatus>();
  readonly #lookedAtMs = new Map<string, number>();
  /** A write that hangs must not pile up others behind it. */
  #writing: Promise<void> | undefined;
  #changed = new Set<string>();

  constructor(redis: Redis, instance: string, context: Context) {
    this.#redis = redis;
    this.#instance = instance;
    this.#context = context;
  }

  add(camera: Camera, frameIntervalMs: number): void {
    const nowMs = this.#context.clock.nowMs();
    this.#statuses.set(camera.id, {
      cameraId: camera.id,
      name: camera.name ?? camera.id,
      lat: camera.lat ?? null,
      lon: camera.lon ?? null,
      state: "connecting",
      detail: "",
      sinceMs: nowMs,
      atMs: nowMs,
      lastFrameAtMs: null,
      imageWidth: null,
      imageHeight: null,
      frameIntervalMs,
      actualIntervalMs: null,
      detector: this.#instance,
      frames: { decoded: 0, detected: 0, dropped: 0 },
    });
    this.#changed.add(camera.id);
  }

  state(cameraId: string, state: CameraState, detail: string): void {
    const status = this.#of(cameraId);
    if (status.state !== state) status.sinceMs = this.#context.clock.nowMs();
    status.state = state;
    status.detail = detail;
    this.#changed.add(cameraId);
    this.#context.log.info({ cameraId, state, detail }, "camera");
    void this.write();
  }

  arrived(cameraId: string, frame: { capturedAtMs: number; width: number; height: number }, replaced: boolean): void {
    const status = this.#of(cameraId);
    status.frames.decoded += 1;
    if (replaced) status.frames.dropped += 1;
    status.lastFrameAtMs = frame.capturedAtMs;
    status.imageWidth = frame.width;
    status.imageHeight = frame.height;
  }

  looked(cameraId: string, capturedAtMs: number): void {
    const status = this.#of(cameraId);
    status.frames.detected += 1;
    const before = this.#lookedAtMs.get(cameraId);
    this.#lookedAtMs.set(cameraId, capturedAtMs);
    if (before === undefined) return;
    const mean = status.actualIntervalMs ?? capturedAtMs - before;
    status.actualIntervalMs = mean + FRESH * (capturedAtMs - before - mean);
  }

  totals() {
    const sum = { decoded: 0, detected: 0, dropped: 0, online: 0, cameras: this.#statuses.size };
    for (const { frames, state } of this.#statuses.values()) {
      sum.decoded += frames.decoded;
      sum.detected += frames.detected;
      sum.dropped += frames.dropped;
      if (state === "online") sum.online += 1;
    }
    return sum;
  }

  /** Cameras that this detector watched before and does not any more: nobody else will take them off the map. */
  async forgetOthers(): Promise<void> {
    const all = await this.#redis.hgetall(KEYS.cameras);
    const gone = Object.entries(all).filter(
      ([id, json]) => !this.#statuses.has(id) && ownerOf(json) === this.#instance,
    );
    if (gone.length > 0) await this.#redis.hdel(KEYS.cameras, ...gone.map(([id]) => id));
  }

  /** All statuses to the hash, and an event for each that changed. One at a time; never rejects. */
  write(): Promise<void> {
    this.#writing ??= this.#writeOnce()
      .catch((error: unknown) => this.#context.log.debug({ err: error }, "the cameras' states were not written"))
      .finally(() => {
        this.#writing = undefined;
      });
    return this.#writing;
  }

  async #writeOnce(): Promise<void> {
    await Promise.resolve(); // several changes in one turn are one write
    const changed = this.#changed;
    this.#changed = new Set();
    const nowMs = this.#context.clock.nowMs();
    const pipeline = this.#redis.pipeline();
    for (const status of this.#statuses.values()) {
      status.atMs = nowMs;
      pipeline.hset(KEYS.cameras, status.cameraId, JSON.stringify(status));
      if (!changed.has(status.cameraId)) continue;
      const event: CameraEvent = { cameraId: status.cameraId, status, risk: null };
      pipeline.xadd(KEYS.events, "MAXLEN", "~", EVENTS_KEPT, "*", "type", "camera", "json", JSON.stringify(event));
    }
    try {
      await pipeline.exec();
    } catch (error) {
      for (const cameraId of changed) this.#changed.add(cameraId);
      throw error;
    }
  }

  #of(cameraId: string): CameraStatus {
    const status = this.#statuses.get(cameraId);
    if (!status) throw new Error(`camera ${cameraId} is not on the board`);
    return status;
  }
}

function ownerOf(json: string): unknown {
  try {
    const status: unknown = JSON.parse(json);
    return typeof status === "object" && status !== null && "detector" in status ? status.detector : undefined;
  } catch {
    return undefined;
  }
}
