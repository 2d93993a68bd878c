/**
 * The socket of the gateway (docs/socket.md is its contract). Outcomes and cameras' verdicts go to every client of every
 * gateway through socket.io's Redis streams adapter, and are replayed to a client that comes back within two minutes;
 * what is renewed each second (key groups and their history, totals, health, cameras' states) goes to this gateway's own clients only.
 */
import type { Server as HttpServer, IncomingMessage } from "node:http";
import { createAdapter } from "@socket.io/redis-streams-adapter";
import type { Redis } from "ioredis";
import { type Namespace, Server, type Socket } from "socket.io";
import type { Context } from "../context.ts";
import type { CameraEvent, ClientToServerEvents, OutcomeEvent, ServerToClientEvents } from "../events.ts";
import { within } from "../lifecycle.ts";
import type { FeedEvent } from "./event-feed.ts";
import { newChanges } from "./key-group-changes.ts";
import { fieldsOf, outcomeEvent } from "./recent-outcomes.ts";
import { cameraLooksDifferent, type SystemState } from "./system-watch.ts";

export type VigilaneServer = Server<ClientToServerEvents, ServerToClientEvents>;
export type VigilaneNamespace = Namespace<ClientToServerEvents, ServerToClientEvents>;

/** Stream of the adapter, and sessions of clients that may come back. */
const ADAPTER_STREAM = "vl:socket";
const SESSION_PREFIX = "vl:socket-session:";
const COME_BACK_WITHIN_MS = 120_000;
const RESTORE_MS = 1_000;
const LISTENING_MS = 10_000;
/** Type of a broadcast in the adapter's stream. */
const BROADCAST = "3";
/** Entries of the adapter's stream that are kept, about: what a client that comes back can be given. */
const STREAM_LENGTH = 10_000;
/** A client that leaves so many bytes untaken is disconnected; it may come back and gets what it missed. */
const UNTAKEN_BYTES_MAX = 4 * 1024 ** 2;
/** A camera that has not changed is told again after so long, for its newest frame's time. */
const CAMERA_AGAIN_MS = 5_000;

/** What a gateway tells at once of a history that it did not know; the rest is to be asked for. */
const MOST_CHANGES_TOLD = 100;

export interface Sockets {
  io: VigilaneServer;
  /** Resolves when this gateway hears what other gateways emit. */
  listening(): Promise<void>;
  /** Emits to every client of every gateway; returns when, ms since the epoch. */
  show(event: FeedEvent): number;
  /** Tells this gateway's own clients what has changed. */
  tell(now: SystemState, before: SystemState): void;
  close(): Promise<void>;
}

export interface SocketOptions {
  http: HttpServer;
  redis: Redis;
  /** Throws when the handshake is not to be answered. */
  checkHandshake: (request: IncomingMessage) => void;
  /** Tests make it small. Default 4 MiB. */
  untakenBytesMax?: number;
  onSlowClient?: () => void;
}

export function createSockets(options: SocketOptions, context: Context): Sockets {
  const { clock, log } = context;
  const adapter = tamedAdapter(options.redis, context);
  const io: VigilaneServer = new Server(options.http, {
    adapter: adapter.create,
    serveClient: false,
    perMessageDeflate: false,
    httpCompression: false,
    maxHttpBufferSize: 64_000,
    pingInterval: 10_000,
    pingTimeout: 10_000,
    // The doors are asked again at every return: a session that lasts must not outlive a closed door.
    connectionStateRecovery: { maxDisconnectionDuration: COME_BACK_WITHIN_MS, skipMiddlewares: false },
    allowRequest: (request, answer) => {
      try {
        options.checkHandshake(request);
        answer(null, true);
      } catch (error) {
        answer(error instanceof Error ? error.message : "refused", false);
      }
    },
  });
  disconnectSlowClients(io, options.untakenBytesMax ?? UNTAKEN_BYTES_MAX, (untaken) => {
    log.warn({ untaken }, "a client that does not keep up is disconnected");
    options.onSlowClient?.();
  });

  io.on("connection", (socket) => {
    adapter.fillIn(socket).catch((error: unknown) => {
      log.info({ err: error }, "what a client missed is not known for certain; it begins anew");
      socket.conn.close();
    });
  });

  let camerasToldMs = Number.NEGATIVE_INFINITY;
  return {
    io,
    listening: () => adapter.listening(),
    show(event) {
      const shownAtMs = clock.nowMs();
      if (event.type === "camera") io.emit("camera", event.event);
      else io.emit("outcome", outcomeEvent(event.result, shownAtMs));
      return shownAtMs;
    },
    tell(now, before) {
      const again = clock.monotonicMs() - camerasToldMs >= CAMERA_AGAIN_MS;
      if (again) camerasToldMs = clock.monotonicMs();
      for (const [id, camera] of now.cameras) {
        if (again || cameraLooksDifferent(camera, before.cameras.get(id))) io.local.emit("camera", camera);
      }
      for (const [id, group] of now.keyGroups) {
        if (!same(group, before.keyGroups.get(id))) io.local.emit("keyGroup", group);
      }
      const changes = newChanges(now.keyGroupChanges, before.keyGroupChanges).slice(-MOST_CHANGES_TOLD);
      for (const change of changes) io.local.emit("keyGroupChange", change);
      if (now.totals && !same(now.totals, before.totals)) io.local.emit("totals", now.totals);
      if (!same(now.health, before.health)) io.local.emit("health", now.health);
    },
    async close() {
      await io.close();
    },
  };
}

const same = (a: unknown, b: unknown) => a === b || JSON.stringify(a) === JSON.stringify(b);

/** The same connection, but a SET that fails is no error. */
function forgivingSet(redis: Redis): Redis {
  return new Proxy(redis, {
    get(target, name) {
      if (name === "set") return (...args: Parameters<Redis["set"]>) => target.set(...args).catch(() => null);
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/**
 * socket.io's adapter, tamed in six places. It shows its own events at once and those of other gateways as it reads them, so
 * that a client's last place may lie behind one that it never got: here all are shown as they are read, in the stream's order. It reads its stream from "$", and asks anew for "$" until something came: what
 * is appended between two such questions is lost. So entries of our own are appended until it has read one; from then on
 * it goes from place to place. It waits for the store when a client comes back: here it does for a second only, but looks again for a session that is
 * not noted yet. And what
 * is emitted between its reading of what a client missed and that client's joining is lost: here it is filled in. And it does not look at what becomes of a session that it puts aside: without the store that
 * would end this process; here the session is forgotten, and its client begins anew.
 */
function tamedAdapter(redis: Redis, { clock, log }: Context) {
  const make = createAdapter(forgivingSet(redis), {
    streamName: ADAPTER_STREAM,
    channelPrefix: ADAPTER_STREAM,
    sessionKeyPrefix: SESSION_PREFIX,
    blockTimeInMs: 1_000,
    onlyPlaintext: true,
  });
  /** By socket id: the place up to which a client that comes back has been given what it missed. */
  const givenUpTo = new Map<string, string>();
  let heard: () => void = () => {};
  const hears = new Promise<void>((resolve) => {
    heard = resolve;
  });
  return {
    // A function, not an arrow: socket.io calls it with `new`.
    create: function create(nsp: unknown) {
      const adapter = make(nsp);
      const { broadcast, onRawMessage, restoreSession } = adapter;
      adapter.broadcast = async (packet, opts) => {
        // What goes to one socket comes here too.
        if (opts.flags?.local || opts.rooms.size > 0) return await broadcast.call(adapter, packet, opts);
        const asWritten = { rooms: [], except: [...(opts.except ?? [])], flags: opts.flags };
        const data = JSON.stringify({ packet: { ...packet, nsp: adapter.nsp.name }, opts: asWritten });
        const entry = ["uid", FROM_OUTSIDE, "nsp", adapter.nsp.name, "type", BROADCAST, "data", data];
        await redis
          .xadd(ADAPTER_STREAM, "MAXLEN", "~", STREAM_LENGTH, "*", ...entry)
          .catch((error: unknown) => log.debug({ err: error }, "an event did not reach the gateways"));
      };
      adapter.onRawMessage = (message, place) => {
        if (message.type === "prime") heard();
        else onRawMessage.call(adapter, message, place);
      };
      adapter.restoreSession = async (pid, place) => {
        const restore = async () => {
          // Whoever is back at once may be quicker than the note that its old gateway makes of it.
          for (let waitedMs = 0; ; waitedMs += NOTE_EVERY_MS) {
            try {
              return await restoreSession.call(adapter, pid, place);
            } catch (error) {
              if (waitedMs >= NOTE_LATE_MS) throw error;
              await clock.sleep(NOTE_EVERY_MS);
            }
          }
        };
        const session = await within(clock, RESTORE_MS, "restoring a session", restore);
        givenUpTo.set(session.sid, String(session.missedPackets.at(-1)?.at(-1) ?? place));
        return session;
      };
      return adapter;
    },
    /** To be called as soon as a socket has joined. */
    async fillIn(socket: Socket<ClientToServerEvents, ServerToClientEvents>) {
      const place = givenUpTo.get(socket.id);
      givenUpTo.delete(socket.id);
      if (!socket.recovered || place === undefined) return;
      const given = new Set<unknown>();
      const note = (...args: unknown[]) => given.add(args.at(-1)); // an event's last argument is its place
      socket.onAnyOutgoing(note);
      const entries = (await redis.xrange(ADAPTER_STREAM, `(${place}`, "+")) as [string, string[]][];
      socket.offAnyOutgoing(note);
      const emit: (...event: unknown[]) => boolean = socket.emit.bind(socket) as typeof emit;
      for (const [id, fields] of entries) {
        const event = broadcastOf(fields, socket.nsp.name);
        if (event && !given.has(id)) emit(...event, id);
      }
    },
    async listening() {
      const done = new AbortController();
      const prime = async () => {
        while (!done.signal.aborted) {
          await redis.xadd(
            ADAPTER_STREAM,
            "MAXLEN",
            "~",
            STREAM_LENGTH,
            "*",
            "uid",
            "prime",
            "nsp",
            "/",
            "type",
            "prime",
          );
          await clock.sleep(20, done.signal).catch(() => {});
        }
      };
      const priming = prime();
      await within(clock, LISTENING_MS, "hearing the other gateways", () => hears).finally(() => done.abort());
      await priming;
    },
  };
}

/** A session that is put aside may be found so much later by another gateway. */
const NOTE_LATE_MS = 300;
const NOTE_EVERY_MS = 25;

/** As whose the adapter takes events from anywhere but itself and the other gateways (socket.io-adapter's EMITTER_UID). */
const FROM_OUTSIDE = "emitter";

type OutcomeOrCamera = ["outcome", OutcomeEvent] | ["camera", CameraEvent];

/** The event that an entry of the adapter's stream broadcasts in this namespace; null: it is another kind of entry. */
function broadcastOf(fields: readonly string[], namespace: string): OutcomeOrCamera | null {
  const { nsp, type, data } = fieldsOf(fields);
  if (nsp !== namespace || type !== BROADCAST || data === undefined) return null;
  return (JSON.parse(data) as { packet: { data: OutcomeOrCamera } }).packet.data; // our own gateways' only
}

/** Counts what each connection has been given since its transport last took all of it. */
function disconnectSlowClients(io: VigilaneServer, maxBytes: number, onSlow: (bytes: number) => void): void {
  io.engine.on("connection", (connection: EngineConnection) => {
    let untaken = 0;
    let closed = false;
    connection.on("packetCreate", (packet) => {
      untaken += sizeOf(packet?.data);
      if (closed || untaken <= maxBytes) return;
      closed = true;
      onSlow(untaken);
      connection.close(true);
    });
    connection.on("drain", () => {
      untaken = 0;
    });
  });
}

interface EngineConnection {
  on(event: "packetCreate", heard: (packet?: { data?: unknown }) => void): void;
  on(event: "drain", heard: () => void): void;
  close(discard: boolean): void;
}

const sizeOf = (data: unknown) =>
  typeof data === "string" ? Buffer.byteLength(data) : ArrayBuffer.isView(data) ? data.byteLength : 0;
