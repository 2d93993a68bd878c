/** What people see of key groups, end to end: bridge, worker and gateway over a provider that refuses one of two accounts' keys. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { io } from "socket.io-client";
import { expect, onTestFinished, test } from "vitest";
import type { KeyGroupChange, KeyGroupEvent } from "../../src/events.ts";
import { createGateway } from "../../src/roles/gateway.ts";
import { readExposition } from "../support/exposition.ts";
import { eventually } from "../support/gateway.ts";
import { startPipeline } from "../support/pipeline.ts";

const SECRET = "a-secret-that-no-account-has";
/** The good one asks for less than its account grants (5 a second), so that a busy machine's delays draw no refusal. */
const KEYS_FILE = `
keyGroups:
  - id: good
    provider: simulated
    windows: { requestsPerSecond: 3, requestsPerMinute: 180 }
    keys: [{ id: key-1, secret: sim-key-01 }]
  - id: refused
    provider: simulated
    windows: { requestsPerSecond: 5 }
    keys: [{ id: key-2, secret: ${SECRET} }]
`;

test("a refused key is seen in REST, history, socket, metrics and the older pool, and its secret nowhere", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-keys-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const keys = join(folder, "keys.yaml");
  writeFileSync(keys, KEYS_FILE);
  const world = await startPipeline({ settings: { keys, port: 0, freshnessSeconds: 0 } });
  onTestFinished(() => world.stop());
  const gateway = createGateway(world.settings, world.context);
  onTestFinished(() => gateway.stop());
  await gateway.start();
  const client = io(gateway.url(), { transports: ["websocket"] });
  onTestFinished(() => void client.disconnect());
  const heard: KeyGroupChange[] = [];
  client.on("keyGroupChange", (event: KeyGroupChange) => heard.push(event));
  await new Promise<void>((resolve) => client.once("connect", resolve));
  const text = async (path: string) => await (await fetch(`${gateway.url()}${path}`)).text();

  const ids = await world.offer(6);
  const outcomes = await world.outcomes(ids);
  expect([...outcomes.values()].map(([result]) => result?.outcome)).toEqual(ids.map(() => "assessed"));

  const group = async (id: string) => {
    const { keyGroups } = JSON.parse(await text("/api/key-groups")) as { keyGroups: KeyGroupEvent[] };
    return keyGroups.find((one) => one.id === id);
  };
  await eventually(() => group("refused")).toMatchObject({
    ...{ state: "disabled", cause: "KEY_REJECTED", ok: 0, keys: [{ id: "key-2", state: "disabled", ok: 0 }] },
  });
  const told = [...outcomes.values()].map(([result]) => result?.metadata?.tokens);
  const sum = (kind: "prompt" | "completion") => told.reduce((all, tokens) => all + (tokens?.[kind] ?? 0), 0);
  expect(Math.min(sum("prompt"), sum("completion"))).toBeGreaterThan(6);
  const tokens = { prompt: sum("prompt"), completion: sum("completion") };
  await eventually(() => group("good")).toMatchObject({ ok: 6, inFlight: 0, failures: {}, tokens });
  const good = await group("good");
  expect(good?.latency.counts.reduce((sum, n) => sum + n, 0)).toBe(6);
  // On a busy machine a lease may be spent that then comes too late for its place: begun, and no call.
  expect(good?.calls).toBeGreaterThanOrEqual(6);
  const failed = (await group("refused"))?.failures.KEY_REJECTED ?? 0;
  expect(failed).toBeGreaterThan(0);

  await eventually(() => heard.filter(({ keyGroup, to }) => keyGroup === "refused" && to === "disabled").length).toBe(
    2,
  );
  const { events } = JSON.parse(await text("/api/key-groups/events?group=refused")) as { events: KeyGroupChange[] };
  // The key's own with the call, its group's when next it is looked at; newest first.
  expect(events.filter(({ to }) => to === "disabled").map(({ keyId, cause }) => [keyId, cause])).toEqual([
    [null, "KEY_REJECTED"],
    ["key-2", "KEY_REJECTED"],
  ]);
  expect(JSON.parse(await text("/api-key-pool/health"))).toMatchObject({
    ...{ total_keys: 2, available_keys: 1, disabled_keys: 1, total_capacity_qps: 8, available_capacity_qps: 3 },
    ...{ total_calls: (good?.calls ?? 0) + failed, total_success: 6 },
  });
  const metrics = readExposition(await text("/metrics?only=system"));
  const refusals = metrics.get("vigilane_key_group_refusals_total")?.samples ?? [];
  expect(refusals.map(({ labels, value }) => [labels.key_group, labels.cause, value])).toEqual([
    ["refused", "KEY_REJECTED", failed],
  ]);
  const paths = ["/api/key-groups", "/api/key-groups/events", "/api/snapshot", "/api-key-pool/health", "/metrics"];
  for (const path of [...paths, "/scheduler/stats"]) {
    const answer = await text(path);
    expect([path, answer.includes(SECRET) || answer.includes("sim-key-01")]).toEqual([path, false]);
  }
  expect(JSON.stringify(heard)).not.toContain(SECRET);
});
