/**
 * A foreign client of the gateway: it knows docs/socket.md and nothing of our code. Only the scene before it (what the
 * other roles write into the store) is set with our own means.
 */
import { readFileSync } from "node:fs";
import { io, type Socket } from "socket.io-client";
import { expect, onTestFinished, test } from "vitest";
import { KEYS } from "../../src/names.ts";
import { appendOutcomes, beat, cameraStatus, eventually, gatewayWorld, TOKEN, taskView } from "../support/gateway.ts";
import { resultOf } from "../support/results.ts";

const PAGE = readFileSync(new URL("../../docs/socket.md", import.meta.url), "utf8");

/** The scene: a camera with a status, a key group, totals, one outcome that is there and one that comes. */
async function scene() {
  const world = await gatewayWorld();
  const group = {
    ...{
      id: "sim-a",
      account: "sim-a",
      provider: "simulator",
      model: "sim-vl",
      simulated: true,
      state: "available",
      cause: null,
    },
    ...{
      reason: null,
      refusals: {},
      cools: null,
      coolingLeftMs: 0,
      disabledLeftMs: null,
      inFlight: 0,
      concurrency: { limit: 8, used: 0 },
      calls: 3,
      ok: 3,
      rejected429: 0,
      failures: {},
      medianLatencyMs: 300,
    },
    ...{ p95LatencyMs: 420, latency: { counts: [3, 0, 0, 0, 0, 0, 0], sumMs: 900 }, guardMs: 25 },
    waitsFor: { window: "requestsPerSecond", leftMs: 20 },
    windows: [{ name: "requestsPerSecond", limit: 5, windowMs: 1_000, unit: "requests", kind: "sliding", used: 1 }],
    keys: [
      {
        id: "key-1",
        state: "available",
        cause: null,
        reason: null,
        cools: null,
        leftMs: 0,
        inFlight: 0,
        calls: 3,
        ok: 3,
        failed: 0,
      },
    ],
  };
  const totals = {
    ...{ groups: 1, waiting: 0, inFlight: 0, outcomes: { assessed: 1 }, endToEndP50Ms: 900, endToEndP95Ms: 1_200 },
    ...{ coverage: 1, verdictsPerSecond: 0.1, quotaUsed: 0.2 },
  };
  const risk = {
    ...{
      cameraId: "north-gate",
      riskLevel: "high",
      outcome: "assessed",
      messageId: "m0_group1_result",
      description: "close",
    },
    ...{ riskTypes: [], capturedAtMs: 1_000, completedAtMs: 1_300, simulated: true, counts: { assessed: 1 } },
  };
  await world.redis.hset(KEYS.cameras, "north-gate", JSON.stringify(cameraStatus("north-gate")));
  await world.redis.hset(KEYS.risks, "north-gate", JSON.stringify(risk));
  await world.redis.hset(KEYS.keyGroups, "sim-a", JSON.stringify(group));
  await world.redis.hset(KEYS.totals, "json", JSON.stringify(totals));
  const jpeg = Buffer.from([0xff, 0xd8, 0xff, 0xd9]);
  const imageUrl = await world.images.put("north-gate", "m0-group1", jpeg);
  await appendOutcomes(world.redis, resultOf({ taskId: "m0_group1", riskLevel: "high", imageUrl }));
  const gateway = await world.start();
  return { world, url: gateway.url(), totals, group };
}

function connect(url: string, options = {}): Socket {
  const socket = io(url, { ...options });
  onTestFinished(() => void socket.disconnect());
  return socket;
}

/** The next event of that name, or the first that `fits`. */
const next = <T>(socket: Socket, name: string, fits: (payload: T) => boolean = () => true) =>
  new Promise<T>((resolve) => {
    const hear = (payload: T) => {
      if (!fits(payload)) return;
      socket.off(name, hear);
      resolve(payload);
    };
    socket.on(name, hear);
  });

const json = async (url: string, options: RequestInit = {}) => {
  const response = await fetch(url, options);
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
};

/** Each name must stand on the page, and in the object. */
function expectDocumented(value: unknown, names: string) {
  const documented = names.split(/[,\s]+/).filter(Boolean);
  expect(Object.keys(value as object).toSorted()).toEqual(documented.toSorted());
  for (const name of documented) expect(PAGE).toMatch(new RegExp(`\\b${name}\\b`));
}

test("connect, then snapshot, then events", async () => {
  const { world, url } = await scene();
  const socket = connect(url);
  const known = new Map<string, { result: Record<string, unknown>; imagePath: string | null }>();
  type Outcome = { result: { taskId: string; revision: number }; imagePath: string | null };
  const apply = (event: Outcome) => known.set(`${event.result.taskId}#${event.result.revision}`, event);
  const early: Outcome[] = [];
  socket.on("outcome", (event: Outcome) => early.push(event));
  await next(socket, "connect");

  const { status, body } = await json(`${url}/api/snapshot`);
  expect(status).toBe(200);
  expectDocumented(body, "nowMs cameras keyGroups keyGroupChanges totals health outcomes simulated permitted");
  for (const event of body.outcomes as Outcome[]) apply(event);
  for (const event of early) apply(event);
  socket.on("outcome", apply);
  const coming = next<Outcome>(socket, "outcome", ({ result }) => result.taskId === "m1_group2");
  await appendOutcomes(world.redis, resultOf({ taskId: "m1_group2", outcome: "failed" }));
  await coming;

  expect([...known.keys()]).toEqual(["m0_group1#1", "m1_group2#1"]);
  const [judged, failed] = [...known.values()];
  expectDocumented(judged, "result imagePath shownAtMs");
  expect(judged?.result).toMatchObject({
    ...{ messageId: "m0_group1_result", taskId: "m0_group1", requestId: "m0", cameraId: "north-gate", groupIndex: 1 },
    ...{ outcome: "assessed", revision: 1 },
    results: [{ groupIndex: 1, riskLevel: "high", confidence: 0.9, description: expect.any(String) }],
    metadata: { simulated: true, timings: { capturedAt: expect.any(Number) } },
  });
  expect(failed?.result).toMatchObject({ outcome: "failed", results: [], error: { code: expect.any(String) } });

  const crop = await fetch(`${url}${judged?.imagePath}`);
  expect([crop.status, crop.headers.get("content-type")]).toEqual([200, "image/jpeg"]);
});

test("cameras, key groups, totals and health are told when they change, with the fields that the page names", async () => {
  const { world, url, totals, group } = await scene();
  const socket = connect(url);
  await next(socket, "connect");
  type Camera = { status: { state: string } | null; risk: object | null };
  const heard = Promise.all([
    next<Camera>(socket, "camera", ({ status }) => status?.state === "stalled"),
    next<{ calls: number; windows: object[]; keys: object[]; latency: object; concurrency: object }>(
      socket,
      "keyGroup",
      ({ calls }) => calls === 4,
    ),
    next<{ groups: number }>(socket, "totals", ({ groups }) => groups === 2),
    next<{ ok: boolean }>(socket, "health", ({ ok }) => ok),
  ]);
  await world.redis.hset(KEYS.cameras, "north-gate", JSON.stringify(cameraStatus("north-gate", { state: "stalled" })));
  await world.redis.hset(KEYS.keyGroups, "sim-a", JSON.stringify({ ...group, calls: 4 }));
  await world.redis.hset(KEYS.totals, "json", JSON.stringify({ ...totals, groups: 2 }));
  await beat(world.redis, "worker");
  const [camera, keyGroup, total, health] = await heard;

  expectDocumented(camera, "cameraId status risk");
  expectDocumented(
    camera.status,
    "cameraId name lat lon state detail sinceMs atMs lastFrameAtMs imageWidth imageHeight frameIntervalMs actualIntervalMs frames",
  );
  expectDocumented(
    camera.risk,
    "cameraId riskLevel outcome messageId description riskTypes capturedAtMs completedAtMs simulated counts",
  );
  expectDocumented(
    keyGroup,
    `id account provider model simulated strategy routing weight region quality pricePerCall state cause reason cools coolingLeftMs disabledLeftMs inFlight concurrency windows waitsFor calls ok rejected429 failures refusals
      medianLatencyMs p95LatencyMs latency tokens guardMs keys`.trim(),
  );
  expectDocumented(keyGroup.windows[0], "name limit windowMs unit kind used");
  expectDocumented(keyGroup.concurrency, "limit used");
  expectDocumented(keyGroup.latency, "counts sumMs");
  expectDocumented(keyGroup.keys[0], "id state cause reason cools leftMs inFlight calls ok failed");
  expectDocumented(
    total,
    "groups waiting inFlight outcomes endToEndP50Ms endToEndP95Ms coverage verdictsPerSecond quotaUsed",
  );
  expectDocumented(health, "ok problems store storeInMemory topics detectionsToPublish resultsToPublish roles");
});

test("a key group's history is told as it grows, and can be asked for", async () => {
  const { world, url } = await scene();
  const socket = connect(url);
  await next(socket, "connect");
  const change = {
    ...{ keyGroup: "sim-a", keyId: null, from: "available", to: "cooling", cause: "RATE_LIMITED", reason: "tokens" },
  };
  const note = (over: object) =>
    world.redis.xadd(KEYS.keyGroupChanges, "*", "json", JSON.stringify({ ...change, untilMs: 9, atMs: 8, ...over }));
  const heard = next<{ id: string }>(socket, "keyGroupChange");
  const id = await note({});
  expect(await heard).toEqual({ ...change, id, untilMs: 9, atMs: 8 });
  expectDocumented(await heard, "id keyGroup keyId from to cause reason untilMs atMs");
  const second = next<{ id: string }>(socket, "keyGroupChange");
  const other = await note({ keyGroup: "sim-b", keyId: "key-1", to: "disabled" });
  expect(await second).toMatchObject({ id: other }); // and the first one is not told again
  const ids = async (query: string) => {
    const { body } = await json(`${url}/api/key-groups/events${query}`);
    return (body.events as { id: string }[]).map((event) => event.id);
  };
  expect([await ids(""), await ids("?limit=1"), await ids("?group=sim-a")]).toEqual([[other, id], [other], [id]]);
  expect((await json(`${url}/api/snapshot`)).body.keyGroupChanges).toMatchObject([{ id: other }, { id }]);
  expect((await json(`${url}/api/key-groups/events?limit=1001`)).status).toBe(400);
});

test("pictures, on a connection of their own", async () => {
  const { world, url } = await scene();
  const live = connect(`${url}/live`, { forceNew: true });
  await next(live, "connect");
  expect(await live.emitWithAck("watch", ["north-gate"])).toEqual(["north-gate"]);
  const frames: string[] = [];
  const two = new Promise<void>((resolve) => {
    live.on("frame", (header: { cameraId: string; messageId: string }, jpeg: Buffer, drawn: () => void) => {
      frames.push(`${header.cameraId} ${header.messageId} ${jpeg.length}`);
      drawn();
      if (frames.length === 2) resolve();
    });
  });
  const header = (messageId: string) => ({
    ...{ cameraId: "north-gate", messageId, capturedAtMs: 1, detectedAtMs: 2, imageWidth: 768, imageHeight: 576 },
    ...{ objects: [], groups: [] },
  });
  for (const messageId of ["m1", "m2"]) {
    const text = Buffer.from(JSON.stringify(header(messageId)));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(text.length);
    const message = Buffer.concat([length, text, Buffer.alloc(1_000)]);
    await eventually(() => world.redis.publish(KEYS.preview("north-gate"), message)).toBe(1);
  }
  await two;
  expect(frames).toEqual(["north-gate m1 1000", "north-gate m2 1000"]);
});

test("every path of the page's table answers as it says", async () => {
  const { world, url } = await scene();
  world.waiting.tasks.set("m9_group1", taskView("m9_group1"));
  world.waiting.tasks.set("m8_group1", taskView("m8_group1", { state: "done", outcome: "failed" }));
  const paths = [...PAGE.matchAll(/^\| `(GET|POST) ([^`?]+)/gm)].map(([, method, path]) =>
    method === "GET" ? path : `POST ${path}`,
  );
  expect(paths).toEqual([
    ...["/api/snapshot", "/api/cameras", "/api/key-groups/events", "/api/outcomes", "/api/waiting"],
    ...["/api/key-groups", "POST /api/key-groups"],
    ...["POST /api/tasks/<taskId>/retry", "/images/<camera>/<hour>/<name>", "/healthz", "/readyz", "/metrics"],
    ...["/health/health_check", "/api/health/health_check", "/api-key-pool/health"],
    ...["/scheduler/stats", "/api/scheduler/stats"],
  ]);
  expect(await json(`${url}/api/cameras`)).toMatchObject({
    status: 200,
    body: { cameras: [{ cameraId: "north-gate" }] },
  });
  expect(await json(`${url}/api/key-groups`)).toMatchObject({ status: 200, body: { keyGroups: [{ id: "sim-a" }] } });
  expect(await json(`${url}/api/outcomes?camera=north-gate&limit=1`)).toMatchObject({
    status: 200,
    body: { outcomes: [{ result: { taskId: "m0_group1" } }] },
  });
  const { body } = await json(`${url}/api/waiting?limit=5`);
  expectDocumented(
    (body.tasks as unknown[])[0],
    "taskId state attempts revision remainingMs ageMs cameraId groupIndex score imagePath",
  );
  expect(await json(`${url}/healthz`)).toMatchObject({ status: 200 });
  expect(await json(`${url}/readyz`)).toMatchObject({
    status: 503,
    body: { ok: false, problems: [expect.any(String)] },
  });
  const gone = await json(`${url}/images/north-gate/2026112314/none.jpg`);
  expect(gone).toMatchObject({ status: 410, body: { error: { code: "IMAGE_GONE" } } });
  expectDocumented(gone.body.error, "code message remedy");

  const retry = (taskId: string, headers: Record<string, string>) =>
    json(`${url}/api/tasks/${taskId}/retry`, { method: "POST", headers });
  const token = { Authorization: `Bearer ${TOKEN}` };
  expect(await retry("m8_group1", {})).toMatchObject({ status: 403, body: { error: { code: "NO_PERMISSION" } } });
  expect(await retry("m8_group1", token)).toMatchObject({ status: 200, body: { taskId: "m8_group1", revision: 2 } });
  expect(await retry("m9_group1", token)).toMatchObject({ status: 409, body: { error: { code: "NOT_FAILED" } } });
  expect(await retry("unknown", token)).toMatchObject({ status: 404, body: { error: { code: "NO_SUCH_TASK" } } });
});

test("every metric that the page names is there, and no other of ours", async () => {
  const { url } = await scene();
  const text = await (await fetch(`${url}/metrics`)).text();
  const served = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name = ""]) => name);
  const section = PAGE.slice(PAGE.indexOf("## Metrics"));
  const named = [...section.matchAll(/`([a-z]+(?:_[a-z0-9]+)+)(?:\{[^`]*)?`/g)]
    .map(([, name = ""]) => name)
    .filter((name) => !/^(rate_limited|pool_id|in_flight)$/.test(name));
  expect(named.length).toBeGreaterThan(30);
  expect(named.filter((name) => !served.includes(name))).toEqual([]);
  const nodes = /^vigilane_gateway_(process|nodejs)_/;
  expect(served.filter((name) => !named.includes(name) && !nodes.test(name))).toEqual([]);
});
