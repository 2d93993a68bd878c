/** The gateway's HTTP side: the page, the REST interface of docs/socket.md, crops, health and metrics, behind the doors. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import express, { type Express, type Request, type Router } from "express";
import { z } from "zod";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { KEPT_KEY_GROUP_CHANGES, type Snapshot } from "../events.ts";
import type { ImageStore } from "../images/image-store.ts";
import type { KeyGroupsFile } from "../key-groups-file.ts";
import { errorHandler } from "./answers.ts";
import { askStore } from "./ask-store.ts";
import type { Auth } from "./auth.ts";
import { type Doors, LOOKS, setSecurityHeaders } from "./doors.ts";
import { imagePathOf, referenceOf } from "./image-path.ts";
import { keyGroupsApi } from "./key-groups-api.ts";
import type { Metrics } from "./metrics.ts";
import { type OlderDoorsOptions, olderDoors } from "./older-doors.ts";
import type { RecentOutcomes } from "./recent-outcomes.ts";
import type { Retried } from "./retry.ts";

const SNAPSHOT_OUTCOMES = 200;
const SNAPSHOT_CHANGES = 100;

export interface HttpOptions extends OlderDoorsOptions {
  doors: Doors;
  auth: Auth;
  outcomes: RecentOutcomes;
  images: ImageStore;
  metrics: Metrics;
  /** Everything under /jobs. */
  jobs: Router;
  retry: (taskId: string) => Promise<Retried>;
  /** Undefined: this gateway has nothing to do with the keys' file. */
  keys: KeyGroupsFile | undefined;
  /** The built page (dashboard/dist). */
  pageFolder: string;
}

export function createHttpApp(options: HttpOptions, context: Context): Express {
  const app = express();
  app.disable("x-powered-by");
  app.set("etag", false);
  app.set("query parser", "simple");
  app.use(countAnswers(options.metrics));
  app.use(health(options));
  app.use(enter(options));
  app.use(openSession(options));
  app.use(requireLook(options));
  app.use(olderDoors(options, context));
  app.use("/api", api(options, context));
  app.use("/images", crops(options));
  app.get("/metrics", async (request, response) => {
    const { only } = readQuery(MetricsQuery, request);
    response.type(options.metrics.contentType).send(await options.metrics.text(only));
  });
  app.use("/jobs", options.jobs);
  app.use(page(options.pageFolder));
  app.use((request) => {
    throw new VigilaneError("NOT_FOUND", `there is nothing at ${request.path}`);
  });
  app.use(errorHandler(context.log));
  return app;
}

const countAnswers =
  (metrics: Metrics): express.RequestHandler =>
  (_request, response, next) => {
    response.on("finish", () => metrics.answered(response.statusCode));
    next();
  };

/** Before the doors: whoever probes a container asks by its address. Neither says more than what is missing: no address, no name. */
function health({ system }: HttpOptions): Router {
  const router = express.Router();
  router.get("/healthz", (_request, response) => void response.json({ ok: true }));
  router.get("/readyz", (_request, response) => {
    const { ok, problems, topics, detectionsToPublish, resultsToPublish } = system.state().health;
    response
      .status(ok ? 200 : 503)
      .set("Cache-Control", "no-store")
      .json({
        ok,
        problems,
        topics: topics && { ...topics, message: undefined },
        detectionsToPublish,
        resultsToPublish,
      });
  });
  return router;
}

/** The doors of every request; one that may change something needs permission besides. */
const enter =
  ({ doors, auth }: HttpOptions): express.RequestHandler =>
  (request, response, next) => {
    setSecurityHeaders(response);
    doors.checkHost(request);
    if (!LOOKS.has(request.method)) {
      doors.checkChange(request);
      auth.requireChange(request);
    }
    next();
  };

/** `/?token=…` makes a session and goes on to the page, so that the token stays in no address bar. */
const openSession =
  ({ auth }: HttpOptions): express.RequestHandler =>
  (request, response, next) => {
    const token = request.method === "GET" && request.path === "/" ? request.query.token : undefined;
    if (typeof token !== "string") return next();
    if (!auth.openSession(token, response)) throw new VigilaneError("NO_PERMISSION", "the token is wrong");
    response.set("Cache-Control", "no-store").redirect(303, "/");
  };

/** Where looking needs permission, a browser that lacks it is asked for the token; everyone else gets the error as JSON. */
const requireLook =
  ({ auth }: HttpOptions): express.RequestHandler =>
  (request, response, next) => {
    try {
      auth.requireLook(request);
    } catch (error) {
      const wantsPage = request.method === "GET" && request.get("accept")?.includes("text/html");
      if (!wantsPage) throw error;
      response.status(403).set("Cache-Control", "no-store").type("html").send(TOKEN_NEEDED);
      return;
    }
    next();
  };

const OutcomesQuery = z.object({
  camera: z.string().max(200).optional(),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
});
const ChangesQuery = z.object({
  group: z.string().max(200).optional(),
  limit: z.coerce.number().int().min(1).max(KEPT_KEY_GROUP_CHANGES).default(100),
});
const MetricsQuery = z.object({ only: z.enum(["gateway", "system"]).optional() });
const WaitingQuery = z.object({ limit: z.coerce.number().int().min(1).max(200).default(20) });

function api(options: HttpOptions, { clock }: Context): Router {
  const { system, outcomes, auth, waiting } = options;
  const router = express.Router();
  router.use((_request, response, next) => {
    response.set("Cache-Control", "no-store");
    next();
  });
  const inTime = <T>(what: string, work: () => Promise<T>) => askStore(system, clock, what, work);

  router.get("/snapshot", async (request, response) => {
    await outcomes.catchUp();
    const { cameras, keyGroups, keyGroupChanges, totals, health } = system.state();
    const snapshot: Snapshot = {
      nowMs: clock.nowMs(),
      cameras: [...cameras.values()],
      keyGroups: [...keyGroups.values()],
      keyGroupChanges: keyGroupChanges.slice(-SNAPSHOT_CHANGES).reverse(),
      totals,
      health,
      outcomes: outcomes.newest(SNAPSHOT_OUTCOMES),
      simulated: [...keyGroups.values()].some((group) => group.simulated),
      permitted: auth.permissionOf(request).by !== "nothing",
    };
    response.json(snapshot);
  });
  router.get("/cameras", (_request, response) => {
    response.json({ cameras: [...system.state().cameras.values()] });
  });
  router.get("/key-groups/events", (request, response) => {
    const { group, limit } = readQuery(ChangesQuery, request);
    const all = system.state().keyGroupChanges;
    const asked = group === undefined ? all : all.filter(({ keyGroup }) => keyGroup === group);
    response.json({ events: asked.slice(-limit).reverse() });
  });
  router.get("/outcomes", async (request, response) => {
    const { camera, limit } = readQuery(OutcomesQuery, request);
    await outcomes.catchUp();
    response.json({ outcomes: outcomes.newest(limit, camera) });
  });
  router.get("/waiting", async (request, response) => {
    const { limit } = readQuery(WaitingQuery, request);
    const [counts, next] = await inTime("the waiting room", () => Promise.all([waiting.counts(), waiting.next(limit)]));
    const nowMs = clock.nowMs();
    const tasks = next.map(({ task, timings, taskId, state, attempts, revision, remainingMs }) => ({
      taskId,
      state,
      attempts,
      revision,
      remainingMs,
      ageMs: nowMs - timings.capturedAt,
      cameraId: task === null ? null : String(task.cameraId),
      groupIndex: task?.groupIndex ?? null,
      score: task?.score ?? null,
      imagePath: imagePathOf(task?.imageUrl),
    }));
    response.json({ counts, tasks });
  });
  router.use("/key-groups", keyGroupsApi(options, { clock }));
  router.post("/tasks/:taskId/retry", async (request, response) => {
    const { taskId } = request.params;
    response.json(await inTime("the retry", () => options.retry(taskId)));
  });
  return router;
}

function readQuery<T>(schema: z.ZodType<T>, request: Request): T {
  const parsed = schema.safeParse(request.query);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
  throw new VigilaneError("REQUEST_UNREADABLE", `the query is wrong: ${faults.join("; ")}`);
}

/** A crop never changes under its name. */
function crops({ images }: HttpOptions): Router {
  const router = express.Router();
  router.get("/:camera/:hour/:name", async (request, response) => {
    const { camera, hour, name } = request.params;
    const jpeg = await images.get(referenceOf(camera, hour, name));
    response.set("Cache-Control", "private, max-age=31536000, immutable").type("image/jpeg").send(jpeg);
  });
  return router;
}

/** The built page; its routes of its own are drawn by index.html. */
function page(folder: string): Router {
  const router = express.Router();
  const index = join(folder, "index.html");
  const asset = { immutable: true, maxAge: "365d", index: false, fallthrough: true };
  router.use("/assets", express.static(join(folder, "assets"), asset));
  router.use(express.static(folder, { index: false, cacheControl: false }));
  router.get(/^\/(?!api\/|images\/|assets\/|jobs\/|socket\.io\/)[^.]*$/, (request, response, next) => {
    if (!request.accepts("html")) return next();
    response.set("Cache-Control", "no-cache");
    if (existsSync(index)) response.sendFile(index, { cacheControl: false });
    else response.status(200).type("html").send(NOT_BUILT);
  });
  return router;
}

const NOT_BUILT = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>vigilane</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<body style="font: 16px/1.5 system-ui; max-width: 40rem; margin: 4rem auto; padding: 0 1rem"><main>
<h1>vigilane is running</h1>
<p>Its page has not been built here. Build it with <code>npm run build:dashboard</code> and load this page again.</p>
<p>Meanwhile: <a href="/jobs">jobs and waiting room</a>, <a href="/api/snapshot">state as JSON</a>,
<a href="/readyz">readiness</a>, <a href="/metrics">metrics</a>.</p>
</main></body></html>
`;

const TOKEN_NEEDED = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>vigilane: token needed</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<body style="font: 16px/1.5 system-ui; max-width: 40rem; margin: 4rem auto; padding: 0 1rem"><main>
<h1>This page needs the token</h1>
<p>Other machines reach this vigilane, so it shows nothing without its token: the VIGILANE_TOKEN that it was started with.</p>
<form action="/" method="get"><label>Token <input name="token" type="password" autocomplete="current-password" required autofocus></label>
<button>Open</button></form>
</main></body></html>
`;
