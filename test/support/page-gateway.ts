/**
 * A gateway's double for the page's tests: express and socket.io speak the contract of docs/socket.md, and the test says
 * what happens, so that rare states are definite. It serves the built page under a policy stricter than the gateway's own.
 */
import { once } from "node:events";
import { createServer } from "node:http";
import express from "express";
import { type DefaultEventsMap, Server } from "socket.io";
import type {
  ClientToServerEvents,
  Health,
  KeyGroupChange,
  KeyGroupEvent,
  OutcomeEvent,
  ServerToClientEvents,
  Totals,
} from "../../src/events.ts";
import { previewOf, type Scene } from "./page-scenes.ts";
import { cropOf, streetPicture } from "./street-picture.ts";

const POLICY =
  "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; object-src 'none'; base-uri 'none'";

export interface PageGateway {
  readonly url: string;
  /** What the next snapshot says. */
  scene: Scene;
  emitOutcome(event: OutcomeEvent): void;
  emitCamera(cameraId: string): void;
  emitHealth(health: Health): void;
  emitTotals(totals: Totals): void;
  emitKeyGroup(group: KeyGroupEvent): void;
  emitKeyGroupChange(change: KeyGroupChange): void;
  /** Tells the scene as events: all of it, but of its outcomes only so many of the newest (default: all). */
  emitNews(scene: Scene, outcomes?: number): void;
  /** One frame of each watched camera; resolves when each page has acknowledged it. */
  sendFrames(): Promise<void>;
  /** Resolves when a page watches at least `count` cameras; with their ids. */
  watched(count: number): Promise<string[]>;
  /** Breaks all connections, and refuses new ones until `admit`. */
  cutOff(): void;
  admit(): void;
  stop(): Promise<void>;
}

export async function startPageGateway(pageFolder: string, scene: Scene): Promise<PageGateway> {
  const app = express();
  const http = createServer(app);
  let refusing = false;
  const io = new Server<ClientToServerEvents, ServerToClientEvents, DefaultEventsMap, { watched: string[] }>(http, {
    serveClient: false,
    allowRequest: (_request, answer) => answer(null, !refusing),
  });
  const live = io.of("/live");
  let watchChanged: () => void = () => {};

  live.on("connection", (socket) => {
    socket.data.watched = [];
    socket.on("watch", (ids, answer) => {
      socket.data.watched = ids;
      answer?.(ids);
      watchChanged();
    });
  });

  app.use((_request, response, next) => {
    response.setHeader("Content-Security-Policy", POLICY);
    next();
  });
  app.get(
    "/api/snapshot",
    (_request, response) => void response.json({ ...gateway.scene.snapshot, nowMs: Date.now() }),
  );
  app.get("/images/:file", async (request, response) => {
    const camera = gateway.scene.cameras.find(({ event }) => `${event.cameraId}.jpg` === request.params.file);
    if (!camera) return void response.status(410).end();
    response.type("jpeg").send(await cropOf(await streetPicture(camera.objects, camera.tint), camera.group));
  });
  app.get("/jobs", (_request, response) => void response.type("html").send("<!doctype html><title>Jobs</title>"));
  app.use(express.static(pageFolder));

  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  const address = http.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");

  const gateway: PageGateway = {
    url: `http://127.0.0.1:${address.port}`,
    scene,
    emitOutcome: (event) => void io.emit("outcome", event),
    emitCamera(cameraId) {
      const camera = gateway.scene.cameras.find(({ event }) => event.cameraId === cameraId);
      if (!camera) throw new Error(`the scene has no camera ${cameraId}`);
      io.emit("camera", camera.event);
    },
    emitHealth: (health) => void io.emit("health", health),
    emitTotals: (totals) => void io.emit("totals", totals),
    emitKeyGroup: (group) => void io.emit("keyGroup", group),
    emitKeyGroupChange: (change) => void io.emit("keyGroupChange", change),
    emitNews(next, newest) {
      gateway.scene = next;
      const { cameras, outcomes, keyGroups, keyGroupChanges, health, totals } = next.snapshot;
      for (const event of cameras) io.emit("camera", event);
      for (const event of outcomes.slice(0, newest)) io.emit("outcome", event);
      for (const event of keyGroups) io.emit("keyGroup", event);
      for (const event of keyGroupChanges) io.emit("keyGroupChange", event);
      if (totals) io.emit("totals", totals);
      io.emit("health", health);
    },
    async sendFrames() {
      const sent = [...live.sockets.values()].flatMap((socket) =>
        gateway.scene.cameras
          .filter(({ event }) => socket.data.watched.includes(event.cameraId))
          .map(async (camera) => {
            const jpeg = await streetPicture(camera.objects, camera.tint);
            await socket.timeout(10_000).emitWithAck("frame", previewOf(camera), jpeg);
          }),
      );
      await Promise.all(sent);
    },
    async watched(count) {
      for (;;) {
        const ids = [...live.sockets.values()].flatMap((socket) => socket.data.watched);
        if (ids.length >= count) return ids;
        await new Promise<void>((resolve, reject) => {
          watchChanged = resolve;
          AbortSignal.timeout(15_000).onabort = () => reject(new Error(`only ${ids.length} cameras are watched`));
        });
      }
    },
    cutOff() {
      refusing = true;
      for (const socket of [...io.sockets.sockets.values(), ...live.sockets.values()]) socket.conn.close();
    },
    admit() {
      refusing = false;
    },
    async stop() {
      await io.close();
      http.closeAllConnections();
    },
  };
  return gateway;
}
