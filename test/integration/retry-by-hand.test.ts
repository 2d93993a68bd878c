/** From a failed job on the board to a new verdict on the page: bridge, worker, results and gateway roles over a real provider. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { io } from "socket.io-client";
import { expect, onTestFinished, test } from "vitest";
import type { OutcomeEvent, Snapshot } from "../../src/events.ts";
import { createGateway } from "../../src/roles/gateway.ts";
import { createResults } from "../../src/roles/results.ts";
import { eventually } from "../support/gateway.ts";
import { startPipeline } from "../support/pipeline.ts";

const TOKEN = "a-token-for-tests-only";

async function startAll() {
  const world = await startPipeline({ settings: { token: TOKEN, port: 0, freshnessSeconds: 0 } });
  onTestFinished(() => world.stop());
  const results = createResults(world.settings, world.context);
  const gateway = createGateway(world.settings, world.context);
  for (const role of [results, gateway]) {
    onTestFinished(() => role.stop());
    await role.start();
  }
  const client = io(gateway.url(), { transports: ["websocket"] });
  onTestFinished(() => void client.disconnect());
  const seen: OutcomeEvent[] = [];
  client.on("outcome", (event: OutcomeEvent) => seen.push(event));
  const shown = (taskId: string, revision: number) =>
    seen.find(({ result }) => result.taskId === taskId && result.revision === revision);
  const board = `${gateway.url()}/jobs/board/api/queues`;
  /** The failed job of that task as the board lists it. */
  const failedJob = async ({ result }: OutcomeEvent) => {
    const queue = `assess-${result.metadata.keyGroup}`;
    const listed = await (await fetch(`${board}?activeQueue=${queue}&status=failed`)).json();
    type Listed = { queues: { name: string; jobs: { id: string; data: { task: { taskId: string } } }[] }[] };
    const jobs = (listed as Listed).queues.find(({ name }) => name === queue)?.jobs ?? [];
    const job = jobs.find(({ data }) => data.task.taskId === result.taskId);
    return job ? `${board}/${queue}/${job.id}` : undefined;
  };
  const retry = async (job: string) => {
    const response = await fetch(`${job}/retry`, { method: "PUT", headers: { Authorization: `Bearer ${TOKEN}` } });
    return { status: response.status, text: await response.text() };
  };
  const snapshot = async () => (await (await fetch(`${gateway.url()}/api/snapshot`)).json()) as Snapshot;
  return { world, gateway, shown, failedJob, retry, snapshot };
}

test("a failed group is judged anew: its verdict comes as revision 2, and moves from failed to assessed", async () => {
  const { world, shown, failedJob, retry, snapshot } = await startAll();
  world.provider.setFaults({ brokenJsonRate: 1 }); // unreadable, and again when asked once more
  const [taskId = ""] = await world.offer(1, { cameraId: "north" });
  await eventually(() => shown(taskId, 1)?.result.outcome).toBe("failed");
  const failed = shown(taskId, 1);
  if (!failed) throw new Error("it was there a moment ago");

  world.provider.setFaults(null);
  await eventually(() => failedJob(failed)).toBeDefined(); // the job fails a moment after the task
  const job = (await failedJob(failed)) ?? "";
  expect((await retry(job)).status).toBe(204);
  await eventually(() => shown(taskId, 2)?.result.outcome).toBe("assessed");
  expect(shown(taskId, 2)?.result.results).toHaveLength(1);
  expect(await retry(job)).toMatchObject({ status: 404 }); // the failed job is gone

  await eventually(async () => (await snapshot()).totals?.outcomes).toMatchObject({ assessed: 1, failed: 0 });
  const camera = (await snapshot()).cameras.find(({ cameraId }) => cameraId === "north");
  expect(camera?.risk).toMatchObject({ outcome: "assessed", simulated: true, counts: { assessed: 1, failed: 0 } });
});

test("a failed group whose crop is gone: a clear error, and it stays failed", async () => {
  const { world, gateway, shown, failedJob, retry } = await startAll();
  world.provider.setFaults({ brokenJsonRate: 1 }); // unreadable, and again when asked once more
  const [taskId = ""] = await world.offer(1, { cameraId: "north" });
  await eventually(() => shown(taskId, 1)?.result.outcome).toBe("failed");
  const failed = shown(taskId, 1);
  if (!failed?.imagePath) throw new Error("the outcome names no crop");
  expect((await fetch(`${gateway.url()}${failed.imagePath}`)).status).toBe(200);

  await rm(join(world.settings.data, "images"), { recursive: true });
  await eventually(() => failedJob(failed)).toBeDefined();
  const answer = await retry((await failedJob(failed)) ?? "");
  expect(answer).toMatchObject({ status: 410, text: expect.stringContaining("IMAGE_GONE") });
  expect((await fetch(`${gateway.url()}${failed.imagePath}`)).status).toBe(410);
  expect(shown(taskId, 2)).toBeUndefined();
});
