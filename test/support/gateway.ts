/** A gateway for tests: on a free port, over a real redis-server, with a waiting room and an image store of the test's own. */
import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Redis } from "ioredis";
import { pino } from "pino";
import { io, type Socket } from "socket.io-client";
import { expect, onTestFinished } from "vitest";
import { type Context, systemClock } from "../../src/context.ts";
import { VigilaneError } from "../../src/errors.ts";
import type { ClientToServerEvents, RoleHealth, ServerToClientEvents } from "../../src/events.ts";
import { createGatewayService, type GatewayOptions, type GatewayService } from "../../src/gateway/gateway.ts";
import type { ImageStore } from "../../src/images/image-store.ts";
import type { AssessmentResult, CameraStatus } from "../../src/messages.ts";
import { KEYS } from "../../src/names.ts";
import { connectStore } from "../../src/store.ts";
import type { TaskView, WaitingView } from "../../src/waiting-view.ts";
import { startRedis, type TestRedis } from "./redis.ts";

export const TOKEN = "a-token-for-tests-only";

export const quiet: Context = {
  clock: systemClock,
  log: pino({ level: process.env.VIGILANE_TEST_LOG ?? "silent" }),
};

export interface GatewayWorld {
  store: TestRedis;
  /** A connection of the test's own. */
  redis: Redis;
  waiting: FakeWaitingRoom;
  images: MemoryImages;
  start(options?: Partial<GatewayOptions>): Promise<GatewayService>;
}

/** Everything ends with the test. */
export async function gatewayWorld(): Promise<GatewayWorld> {
  const store = await startRedis();
  const redis = await connectStore(store.url, quiet);
  onTestFinished(() => redis.disconnect());
  const waiting = new FakeWaitingRoom();
  const images = new MemoryImages();
  const pageFolder = mkdtempSync(join(tmpdir(), "vigilane-page-"));
  onTestFinished(() => rm(pageFolder, { recursive: true, force: true }));
  let started = 0;
  return {
    store,
    redis,
    waiting,
    images,
    async start(options = {}) {
      started += 1;
      const gateway = createGatewayService(
        {
          redisUrl: store.url,
          port: 0,
          host: "127.0.0.1",
          allowedHosts: [],
          token: TOKEN,
          askedRoles: ["worker"],
          instance: `gateway-${started}`,
          waiting: () => waiting,
          images,
          pageFolder,
          version: "9.8.7",
          frameIntervalMs: 1_500,
          ...options,
        },
        quiet,
      );
      onTestFinished(() => gateway.stop());
      await gateway.start();
      return gateway;
    },
  };
}

/** Task views by id; reopen as the real room does it. */
export class FakeWaitingRoom implements WaitingView {
  readonly tasks = new Map<string, TaskView>();
  readonly reopened: string[] = [];
  readonly imagesGone = new Set<string>();

  async counts() {
    return {
      waiting: [...this.tasks.values()].filter((task) => task.state === "waiting").length,
      moving: 0,
      calling: 0,
    };
  }
  async next(limit: number) {
    return [...this.tasks.values()].filter((task) => task.state === "waiting").slice(0, limit);
  }
  async task(taskId: string) {
    return this.tasks.get(taskId) ?? null;
  }
  async reopen(taskId: string) {
    const task = this.tasks.get(taskId);
    if (!task) throw new VigilaneError("NO_SUCH_TASK", `there is no task ${taskId}`);
    if (task.outcome !== "failed") throw new VigilaneError("NOT_FAILED", `task ${taskId} has not failed`);
    if (this.imagesGone.has(taskId)) throw new VigilaneError("IMAGE_GONE", `the crop of ${taskId} has been deleted`);
    const next = {
      ...task,
      state: "waiting" as const,
      outcome: null,
      revision: task.revision + 1,
      epoch: task.epoch + 1,
    };
    this.tasks.set(taskId, next);
    this.reopened.push(taskId);
    return { revision: next.revision, epoch: next.epoch };
  }
}

export function taskView(taskId: string, over: Partial<TaskView> = {}): TaskView {
  return {
    taskId,
    state: "waiting",
    epoch: 1,
    attempts: 0,
    revision: 1,
    outcome: null,
    keyGroup: null,
    remainingMs: 5_000,
    task: null,
    timings: { capturedAt: quiet.clock.nowMs() },
    ...over,
  };
}

export class MemoryImages implements ImageStore {
  readonly name = "images";
  readonly kept = new Map<string, Buffer>();
  async start() {}
  async stop() {}
  async put(camera: string, name: string, jpeg: Buffer) {
    const reference = `vigilane:images/${camera}/2026112314/${name}.jpg`;
    this.kept.set(reference, jpeg);
    return reference;
  }
  async get(reference: string) {
    const jpeg = this.kept.get(reference);
    if (!jpeg) throw new VigilaneError("IMAGE_GONE", `there is no ${reference}`);
    return jpeg;
  }
  async has(reference: string) {
    return this.kept.has(reference);
  }
  async remove(references: readonly string[]) {
    for (const reference of references) this.kept.delete(reference);
  }
  async sweep() {
    return { removed: 0, bytes: 0 };
  }
}

/** Appends outcomes to the stream of events, as the results role does. */
export async function appendOutcomes(redis: Redis, ...results: AssessmentResult[]): Promise<void> {
  for (const result of results) {
    await redis.xadd(KEYS.events, "*", "type", "outcome", "json", JSON.stringify(result));
  }
}

export function cameraStatus(cameraId: string, over: Partial<CameraStatus> = {}): CameraStatus {
  const nowMs = quiet.clock.nowMs();
  return {
    cameraId,
    name: cameraId,
    lat: 52.52,
    lon: 13.4,
    state: "online",
    detail: "",
    sinceMs: nowMs - 60_000,
    atMs: nowMs,
    lastFrameAtMs: nowMs,
    imageWidth: 768,
    imageHeight: 576,
    frameIntervalMs: 1_000,
    actualIntervalMs: 1_000,
    frames: { decoded: 10, detected: 10, dropped: 0 },
    ...over,
  };
}

export async function beat(redis: Redis, role: string, over: Partial<RoleHealth> = {}): Promise<void> {
  const nowMs = quiet.clock.nowMs();
  const health: RoleHealth = {
    role,
    instance: `${role}-1`,
    pid: 1,
    ready: true,
    detail: "",
    atMs: nowMs,
    startedAtMs: nowMs,
    rssMb: 50,
    topics: null,
    toPublish: null,
    ...over,
  };
  await redis.hset(KEYS.roles, `${role}/${health.instance}`, JSON.stringify(health));
}

export type Client = Socket<ServerToClientEvents, ClientToServerEvents>;

/** A connected client of the given namespace, closed with the test. */
export async function connectClient(
  url: string,
  namespace = "/",
  options: Parameters<typeof io>[1] = {},
): Promise<Client> {
  const client: Client = io(`${url}${namespace}`, { transports: ["websocket"], forceNew: true, ...options });
  onTestFinished(() => void client.disconnect());
  await new Promise<void>((resolve, reject) => {
    client.once("connect", resolve);
    client.once("connect_error", reject);
  });
  return client;
}

/** Resolves when `check` says so, asked again at each `event` of the client. */
export function until(client: Client, event: keyof ServerToClientEvents, check: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (!check()) return;
      client.off(event, look);
      resolve();
    };
    client.on(event, look);
    look();
  });
}

/** As `expect.poll`, with the patience that a busy machine needs. */
export const eventually = <T>(ask: () => T | Promise<T>) => expect.poll(ask, { timeout: 15_000 });
