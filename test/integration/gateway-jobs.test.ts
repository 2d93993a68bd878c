import { Queue } from "bullmq";
import { expect, onTestFinished, test } from "vitest";
import { assessmentQueueName, BULLMQ_PREFIX, jobId, KEYS } from "../../src/names.ts";
import { eventually, type GatewayWorld, gatewayWorld, TOKEN, taskView } from "../support/gateway.ts";
import { runJobs } from "../support/jobs.ts";
import { keyGroup as aKeyGroupEvent } from "../support/page-scenes.ts";

const keyGroup = (id: string) => JSON.stringify(aKeyGroupEvent(1, { id }));

interface BoardAnswer {
  status: number;
  body: {
    error?: unknown;
    message?: string;
    retried?: number;
    skipped?: number;
    queues?: { name: string; readOnlyMode: boolean; allowRetries: boolean; counts: Record<string, number> }[];
    job?: { data: unknown; externalUrl: unknown; returnValue: unknown };
  };
}

async function startBoard(world: GatewayWorld, groups: readonly string[]) {
  for (const group of groups) await world.redis.hset(KEYS.keyGroups, group, keyGroup(group));
  const gateway = await world.start();
  const ask = async (path: string, method = "GET", headers: Record<string, string> = {}): Promise<BoardAnswer> => {
    const response = await fetch(`${gateway.url()}/jobs/board${path}`, { method, headers });
    const text = await response.text();
    return { status: response.status, body: text === "" ? {} : JSON.parse(text) };
  };
  const change = (path: string, method = "PUT") => ask(path, method, { Authorization: `Bearer ${TOKEN}` });
  const names = async () => (await ask("/api/queues")).body.queues?.map(({ name }) => name);
  await eventually(names).toEqual(groups.map(assessmentQueueName));
  return { gateway, ask, change, names };
}

test("a failed job is tried again through the waiting room, and its failed job is gone", async () => {
  const world = await gatewayWorld();
  const queue = await runJobs(world, "sim-a", ["m1_group1"]);
  const { change } = await startBoard(world, ["sim-a"]);
  const path = `/api/queues/assess-sim-a/${jobId("m1_group1", 1)}/retry`;
  expect((await change(path)).status).toBe(204);
  expect(world.waiting.reopened).toEqual(["m1_group1"]);
  expect(world.waiting.tasks.get("m1_group1")).toMatchObject({ state: "waiting", revision: 2, epoch: 2 });
  expect(await queue.getJobCounts("failed", "waiting", "active", "delayed")).toEqual({
    failed: 0,
    waiting: 0, // never BullMQ's own retry
    active: 0,
    delayed: 0,
  });
});

test("a crop that is gone, and a task that has not failed: clear errors, and nothing changes", async () => {
  const world = await gatewayWorld();
  const queue = await runJobs(world, "sim-a", ["gone_group1", "again_group1"]);
  world.waiting.imagesGone.add("gone_group1");
  world.waiting.tasks.set("again_group1", taskView("again_group1", { state: "waiting", revision: 2, epoch: 2 }));
  const { change } = await startBoard(world, ["sim-a"]);
  const gone = await change(`/api/queues/assess-sim-a/${jobId("gone_group1", 1)}/retry`);
  expect(gone).toMatchObject({ status: 410, body: { error: expect.stringContaining("IMAGE_GONE") } });
  expect(gone.body.message).toContain("VIGILANE_IMAGES_MAX_BYTES"); // the remedy
  const twice = await change(`/api/queues/assess-sim-a/${jobId("again_group1", 1)}/retry`);
  expect(twice).toMatchObject({ status: 409, body: { error: expect.stringContaining("NOT_FAILED") } });
  expect(await queue.getFailedCount()).toBe(2);
});

test("retry all: one whose crop is gone keeps none of the others back", async () => {
  const world = await gatewayWorld();
  const tasks = Array.from({ length: 12 }, (_, i) => `m${i}_group1`);
  const queue = await runJobs(world, "sim-a", tasks);
  world.waiting.imagesGone.add("m3_group1");
  const { change } = await startBoard(world, ["sim-a"]);
  const some = await change("/api/queues/assess-sim-a/retry/failed");
  expect(some).toMatchObject({ status: 409, body: { retried: 11, skipped: 1 } });
  expect(some.body).toMatchObject({ error: "11 tried again, 1 not", message: "1 × IMAGE_GONE" });
  expect(world.waiting.reopened.toSorted()).toEqual(tasks.filter((id) => id !== "m3_group1").toSorted());
  expect(await queue.getFailedCount()).toBe(1);

  world.waiting.imagesGone.clear();
  expect(await change("/api/queues/assess-sim-a/retry/failed")).toMatchObject({
    status: 200,
    body: { retried: 1, skipped: 0 },
  });
  expect((await change("/api/queues/no-such-queue/retry/failed")).status).toBe(405);
});

test("whoever may only look gets the board read-only", async () => {
  const world = await gatewayWorld();
  const queue = await runJobs(world, "sim-a", ["m1_group1"]);
  const { ask, gateway } = await startBoard(world, ["sim-a"]);
  const id = jobId("m1_group1", 1);
  expect((await ask("/api/queues")).body.queues).toMatchObject([{ readOnlyMode: true, allowRetries: false }]);
  expect((await ask(`/api/queues/assess-sim-a/${id}/retry`, "PUT")).status).toBe(403);
  expect((await ask("/api/queues/assess-sim-a/retry/failed", "PUT")).status).toBe(403);
  const bearer = { Authorization: `Bearer ${TOKEN}` };
  expect((await ask("/api/queues", "GET", bearer)).body.queues).toMatchObject([
    { readOnlyMode: false, allowRetries: true },
  ]);

  // As the board's own page does it: by session, with the cookie XSRF-TOKEN in a header.
  const opened = await fetch(`${gateway.url()}/?token=${TOKEN}`, { redirect: "manual" });
  const pairs = opened.headers.getSetCookie().map((cookie) => cookie.split(";")[0] ?? "");
  const session = { Cookie: pairs.join("; ") };
  const xsrf = pairs.find((pair) => pair.startsWith("XSRF-TOKEN="))?.slice("XSRF-TOKEN=".length) ?? "";
  expect((await ask(`/api/queues/assess-sim-a/${id}/retry`, "PUT", session)).status).toBe(403);
  expect(await queue.getFailedCount()).toBe(1);
  expect((await ask(`/api/queues/assess-sim-a/${id}/retry`, "PUT", { ...session, "X-XSRF-TOKEN": xsrf })).status).toBe(
    204,
  );
});

test("every other operation is off, also with the token", async () => {
  const world = await gatewayWorld();
  const queue = await runJobs(world, "sim-a", ["bad_group1", "good_group1"], ["good_group1"]);
  const { change } = await startBoard(world, ["sim-a"]);
  const before = await queue.getJobCounts();
  const job = `/api/queues/assess-sim-a/${jobId("bad_group1", 1)}`;
  const all = "/api/queues/assess-sim-a";
  const off: [string, string][] = [
    ["POST", `${all}/add`],
    ["PATCH", `${job}/update-data`],
    ["PATCH", `${job}/delay`],
    ["PATCH", `${job}/priority`],
    ["PUT", `${job}/promote`],
    ["PUT", `${job}/clean`],
    ["PUT", `${job}/remove-unprocessed-children`],
    ["PUT", `${all}/empty`],
    ["PUT", `${all}/obliterate`],
    ["PUT", `${all}/clean/failed`],
    ["PUT", `${all}/clean/completed`],
    ["PUT", `${all}/pause`],
    ["PUT", `${all}/resume`],
    ["PUT", `${all}/promote`],
    ["PUT", `${all}/concurrency`],
    ["PUT", `${all}/rate-limit`],
    ["PUT", `${all}/rate-limit/release`],
    ["PUT", `${all}/retry/completed`],
    ["PUT", `${all}/job-schedulers/x/remove`],
    ["PUT", `${all}/job-schedulers/x/run`],
    ["PATCH", `${all}/job-schedulers/x`],
    ["PUT", "/api/queues/pause"],
    ["PUT", "/api/queues/resume"],
  ];
  for (const [method, path] of off) {
    const { status, body } = await change(path, method);
    expect([method, path, status, body.message]).toEqual([method, path, 405, expect.stringContaining("OPERATION_OFF")]);
  }
  const completed = await change(`/api/queues/assess-sim-a/${jobId("good_group1", 1)}/retry`);
  expect(completed).toMatchObject({ status: 409, body: { error: expect.stringContaining("NOT_FAILED") } });
  expect((await change("/api/redis/stats", "GET")).status).toBe(403);
  expect(await queue.getJobCounts()).toEqual(before);
  expect(await queue.isPaused()).toBe(false);
});

test("a job shows its crop and no secret", async () => {
  const world = await gatewayWorld();
  await runJobs(world, "sim-a", ["m1_group1"], ["m1_group1"]);
  const { ask } = await startBoard(world, ["sim-a"]);
  const { body } = await ask(`/api/queues/assess-sim-a/${jobId("m1_group1", 1)}`);
  expect(body.job).toMatchObject({
    data: { task: { taskId: "m1_group1", apiKey: "[redacted]" } },
    returnValue: { outcome: "assessed", riskLevel: "low" },
    externalUrl: { displayText: "crop", href: "/images/north/2026112314/m1_group1.jpg" },
  });
});

test("key groups come and go while it runs; one that still has jobs to do stays", async () => {
  const world = await gatewayWorld();
  const { names } = await startBoard(world, ["sim-a", "sim-b"]);
  const busy = new Queue(assessmentQueueName("sim-b"), { connection: world.redis, prefix: BULLMQ_PREFIX });
  onTestFinished(() => busy.close());
  const job = await busy.add("north · group 1", {});
  await world.redis.hset(KEYS.keyGroups, "sim-c", keyGroup("sim-c"));
  await world.redis.hdel(KEYS.keyGroups, "sim-a", "sim-b");
  await expect.poll(names, { timeout: 5_000 }).toEqual(["assess-sim-b", "assess-sim-c"]);
  await job.remove();
  await expect.poll(names, { timeout: 5_000 }).toEqual(["assess-sim-c"]);
});

test("the frame shows the board and, beside it, waiting room and outcomes; the board's own page works", async () => {
  const world = await gatewayWorld();
  const { gateway } = await startBoard(world, ["sim-a"]);
  const frame = await (await fetch(`${gateway.url()}/jobs`)).text();
  expect(frame).toContain('<iframe src="/jobs/board/"');
  expect(frame).toContain("Waiting room");
  for (const [, path = ""] of frame.matchAll(/(?:href|src)="(\/jobs[^"]+)"/g)) {
    expect([path, (await fetch(`${gateway.url()}${path}`)).status]).toEqual([path, 200]);
  }
  const board = await (await fetch(`${gateway.url()}/jobs/board/`)).text();
  expect(board).toContain('<base href="/jobs/board/" />');
  for (const [, path = ""] of board.matchAll(/(?:href|src)="(static[^"]+)"/g)) {
    expect([path, (await fetch(`${gateway.url()}/jobs/board/${path}`)).status]).toEqual([path, 200]);
  }
});
