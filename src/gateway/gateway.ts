/**
 * The gateway: what happens reaches people. Read top to bottom: it connects, listens, then follows the system's state (told
 * to its own clients) and its share of the events (emitted to everyone's).
 */
import { once } from "node:events";
import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Redis } from "ioredis";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import type { ImageStore } from "../images/image-store.ts";
import type { KeyGroupsFile } from "../key-groups-file.ts";
import { type Acquired, during, loop, type Service, service } from "../lifecycle.ts";
import { connectStore, type StoreOptions } from "../store.ts";
import type { WaitingView } from "../waiting-view.ts";
import { createAuth, isLoopback } from "./auth.ts";
import { createDoors } from "./doors.ts";
import { feedEvents } from "./event-feed.ts";
import { createHttpApp } from "./http.ts";
import { createJobBoard } from "./job-board.ts";
import { createJobsPage } from "./jobs-page.ts";
import { servePictures } from "./live-pictures.ts";
import { createMetrics } from "./metrics.ts";
import { createRecentOutcomes, outcomeEvent } from "./recent-outcomes.ts";
import { retryTask } from "./retry.ts";
import { createSockets, type Sockets } from "./sockets.ts";
import { createSystemWatch } from "./system-watch.ts";

const TAIL_EVERY_MS = 1_000;

export interface GatewayOptions {
  redisUrl: string;
  /** 0: any free one. */
  port: number;
  host: string;
  allowedHosts: readonly string[];
  /** Opens state-changing calls. */
  token: string;
  /** Roles without which the system is not ready. */
  askedRoles: readonly string[];
  /** Unique among living gateways. */
  instance: string;
  /** Made on the gateway's own connection to the store. */
  waiting: (redis: Redis) => WaitingView;
  images: ImageStore;
  /** Default: this gateway has nothing to do with the keys' file. */
  keys?: KeyGroupsFile;
  /** The built page (dashboard/dist). */
  pageFolder: string;
  /** The package's, and the setting: told where the older system told them. */
  version: string;
  frameIntervalMs: number;
  /** See SocketOptions and LivePicturesOptions. */
  untakenBytesMax?: number;
  drawnWithinMs?: number;
}

export interface GatewayService extends Service {
  /** Where it listens, once started. */
  url(): string;
  detail(): string;
}

/** Rejects at start with PORT_IN_USE when the port is taken. */
export function createGatewayService(options: GatewayOptions, context: Context): GatewayService {
  let url = "";
  let sockets: Sockets | undefined;
  const gateway = service("gateway", context, async (acquired, signal) => {
    const connect = async (what: string, how: StoreOptions = {}) =>
      acquired.add(await connectStore(options.redisUrl, context, how), what, (redis) => redis.disconnect());
    const [redis, reader, subscriber] = await Promise.all([
      // Its duplicates (socket.io's adapter makes them) connect by themselves, and so wait for a store that is away.
      connect("connection", { lazyConnect: false }),
      connect("connection for events"),
      connect("connection for pictures"),
    ]);
    await acquired.start(options.images);

    const waiting = options.waiting(redis);
    const system = createSystemWatch(redis, options.askedRoles, context);
    const outcomes = createRecentOutcomes(redis, context);
    const metrics = createMetrics(system.state, () => sockets?.io);
    const auth = createAuth(options.token, context.clock, isLoopback(options.host) ? "open" : "permitted");
    const doors = createDoors(options);
    const retry = (taskId: string) => retryTask(taskId, waiting, board.queues, context);
    const board = createJobBoard(
      {
        redis,
        basePath: "/jobs/board",
        storeIsUp: () => system.state().health.store === "up",
        mayChange: (request) => auth.permissionOf(request).by !== "nothing",
        retry,
      },
      context,
    );
    acquired.add(board, "job board", (b) => b.close());

    const jobs = createJobsPage(board.router);
    const { pageFolder, images, keys, version, frameIntervalMs } = options;
    const app = createHttpApp(
      {
        doors,
        auth,
        system,
        outcomes,
        waiting,
        images,
        metrics,
        jobs,
        retry,
        keys,
        pageFolder,
        version,
        frameIntervalMs,
      },
      context,
    );
    const http = createServer(app);
    const shown = createSockets(
      {
        http,
        redis,
        checkHandshake: (request) => {
          doors.checkHost(request);
          doors.checkOrigin(request);
          auth.requireLook(request);
        },
        ...(options.untakenBytesMax === undefined ? {} : { untakenBytesMax: options.untakenBytesMax }),
        onSlowClient: metrics.slowClient,
      },
      context,
    );
    sockets = acquired.add(shown, "sockets", (s) => s.close());
    servePictures(
      {
        io: shown.io,
        subscriber,
        ...(options.drawnWithinMs === undefined ? {} : { drawnWithinMs: options.drawnWithinMs }),
      },
      context,
    );
    await Promise.all([shown.listening(), system.refresh(), outcomes.catchUp()]);

    during(acquired, context, signal, "state", (until) =>
      system.follow(until, (now, before) => {
        shown.tell(now, before);
        if (now.health.store === "up") board.show(now.keyGroups.keys()).catch(() => {});
      }),
    );
    during(acquired, context, signal, "outcomes", (until) =>
      loop(context, until, "reading the newest outcomes", async () => {
        await outcomes.catchUp();
        await context.clock.sleep(TAIL_EVERY_MS, until).catch(() => {});
      }),
    );
    during(acquired, context, signal, "events", (until) => {
      until.addEventListener("abort", () => reader.disconnect());
      const show: Parameters<typeof feedEvents>[0]["show"] = (event) => {
        const shownAtMs = shown.show(event);
        if (event.type === "outcome") outcomes.add(outcomeEvent(event.result, shownAtMs));
        metrics.shown(event, shownAtMs);
        return shownAtMs;
      };
      return feedEvents({ reader, commands: redis, consumer: options.instance, show }, context, until);
    });
    url = await listen(http, options, acquired);
    context.log.info({ url }, "listening");
  });
  return {
    ...gateway,
    url: () => url,
    detail: () => `${url}, ${sockets?.io.engine.clientsCount ?? 0} clients`,
  };
}

async function listen(http: HttpServer, { host, port }: GatewayOptions, acquired: Acquired): Promise<string> {
  acquired.add(http, "HTTP server", (server) => {
    server.close();
    server.closeAllConnections();
  });
  http.listen(port, host);
  try {
    await once(http, "listening");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    throw new VigilaneError("PORT_IN_USE", `port ${port} of ${host} is in use (setting port)`, { cause: error });
  }
  const { port: given } = http.address() as AddressInfo;
  const name = ["0.0.0.0", "::"].includes(host) ? "localhost" : host.includes(":") ? `[${host}]` : host;
  return `http://${name}:${given}`;
}
