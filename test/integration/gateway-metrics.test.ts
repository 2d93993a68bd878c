/** The gateway's metrics as Prometheus reads them: what a call did, in our names and in the older system's, told alike by every gateway. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { expect, test } from "vitest";
import type { Totals } from "../../src/events.ts";
import { KEYS } from "../../src/names.ts";
import { type Family, readExposition } from "../support/exposition.ts";
import { appendOutcomes, connectClient, type GatewayWorld, gatewayWorld, until } from "../support/gateway.ts";
import { keyGroup, totals } from "../support/page-scenes.ts";
import { resultOf } from "../support/results.ts";

const scrape = async (url: string, query = "") => {
  const response = await fetch(`${url}/metrics${query}`);
  expect(response.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/);
  return await response.text();
};

/** name{label="value",…} → value, for the names asked for. */
function values(families: Map<string, Family>, ...names: string[]): Record<string, number> {
  const samples = names.flatMap((name) => {
    const family = families.get(name);
    if (!family) throw new Error(`there is no metric ${name}`);
    return family.samples;
  });
  const labelled = (labels: Record<string, string>) =>
    Object.entries(labels)
      .map(([label, value]) => `${label}=${value}`)
      .join(",");
  return Object.fromEntries(samples.map(({ name, labels, value }) => [`${name}{${labelled(labels)}}`, value]));
}

const key = { cause: null, reason: null, cools: null, leftMs: 0, inFlight: 0 };
const good = keyGroup(1, {
  ...{ id: "qwen-a", model: "qwen-vl-plus", simulated: false, state: "in_use", inFlight: 2, guardMs: 15 },
  ...{ calls: 17, ok: 9, rejected429: 1, failures: { RATE_LIMITED: 1, PROVIDER_FAILED: 1, QUOTA_EXHAUSTED: 4 } },
  refusals: { RATE_LIMITED: { tokens: 1 }, QUOTA_EXHAUSTED: { day: 1, balance: 2 } },
  latency: { counts: [4, 3, 1, 0, 0, 0, 1], sumMs: 40_500 },
  tokens: { prompt: 9_000, completion: 810 },
  concurrency: { limit: 4, used: 2 },
  windows: [{ name: "requestsPerSecond", limit: 5, windowMs: 1_000, unit: "requests", kind: "sliding", used: 3 }],
  keys: [
    { ...key, id: "key-1", state: "in_use", calls: 8, ok: 6, failed: 1 },
    { ...key, id: "key-2", state: "available", calls: 5, ok: 3, failed: 1 },
  ],
});
/** Its key has the id of another group's, and they share a model: the older names tell them apart by neither. */
const cooling = keyGroup(2, {
  ...{ id: "qwen-b", model: "qwen-vl-plus", simulated: false, state: "cooling", coolingLeftMs: 4_000, inFlight: 0 },
  ...{ cause: 'ODD "CAUSE"\\', calls: 1, ok: 0, rejected429: 0, failures: { 'ODD "CAUSE"\\': 1 } },
  latency: { counts: [], sumMs: 0 },
  tokens: { prompt: 1_000, completion: 90 },
  windows: [],
  keys: [{ ...key, id: "key-1", state: "cooling", leftMs: 4_000, calls: 1, ok: 0, failed: 1 }],
});

async function seed({ redis }: GatewayWorld, over: Partial<Totals> = {}) {
  await redis.hset(KEYS.keyGroups, good.id, JSON.stringify(good), cooling.id, JSON.stringify(cooling));
  await redis.hset(KEYS.keyGroupChangeCounts, "qwen-b:cooling", 3, "qwen-a/key-2:disabled", 1);
  await redis.hset(KEYS.totals, "json", JSON.stringify(totals(over)));
}

test("calls by key group and outcome, refusals by cause, latencies, windows, states, guard: in our names", async () => {
  const world = await gatewayWorld();
  await seed(world);
  const families = readExposition(await scrape((await world.start()).url()));
  const of = (...names: string[]) => values(families, ...names.map((name) => `vigilane_${name}`));
  const group = (name: string, a: number, b: number) => ({
    [`vigilane_key_group_${name}{key_group=qwen-a}`]: a,
    [`vigilane_key_group_${name}{key_group=qwen-b}`]: b,
  });
  expect(of("key_calls_begun_total")).toEqual({
    "vigilane_key_calls_begun_total{key_group=qwen-a,key=key-1}": 8,
    "vigilane_key_calls_begun_total{key_group=qwen-a,key=key-2}": 5,
    "vigilane_key_calls_begun_total{key_group=qwen-b,key=key-1}": 1,
  });
  expect(of("key_group_calls_total", "key_group_calls_begun_total", "key_group_refusals_total")).toEqual({
    ...group("calls_begun_total", 17, 1),
    "vigilane_key_group_calls_total{key_group=qwen-a,outcome=answered}": 9,
    "vigilane_key_group_calls_total{key_group=qwen-a,outcome=rate_limited}": 1,
    "vigilane_key_group_calls_total{key_group=qwen-a,outcome=failed}": 5,
    "vigilane_key_group_calls_total{key_group=qwen-b,outcome=answered}": 0,
    "vigilane_key_group_calls_total{key_group=qwen-b,outcome=rate_limited}": 0,
    "vigilane_key_group_calls_total{key_group=qwen-b,outcome=failed}": 1,
    "vigilane_key_group_refusals_total{key_group=qwen-a,cause=RATE_LIMITED,reason=tokens}": 1,
    "vigilane_key_group_refusals_total{key_group=qwen-a,cause=QUOTA_EXHAUSTED}": 1, // counted before reasons were
    "vigilane_key_group_refusals_total{key_group=qwen-a,cause=QUOTA_EXHAUSTED,reason=day}": 1,
    "vigilane_key_group_refusals_total{key_group=qwen-a,cause=QUOTA_EXHAUSTED,reason=balance}": 2,
    "vigilane_key_group_refusals_total{key_group=qwen-a,cause=PROVIDER_FAILED}": 1,
    'vigilane_key_group_refusals_total{key_group=qwen-b,cause=ODD "CAUSE"\\}': 1,
  });
  expect(of("key_group_tokens_total")).toEqual({
    "vigilane_key_group_tokens_total{key_group=qwen-a,type=prompt}": 9_000,
    "vigilane_key_group_tokens_total{key_group=qwen-a,type=completion}": 810,
    "vigilane_key_group_tokens_total{key_group=qwen-b,type=prompt}": 1_000,
    "vigilane_key_group_tokens_total{key_group=qwen-b,type=completion}": 90,
  });
  const latency = families.get("vigilane_key_group_latency_seconds");
  const buckets = latency?.samples.filter(({ labels }) => labels.key_group === "qwen-a") ?? [];
  expect(buckets.map(({ labels, value }) => [labels.le, value])).toEqual([
    ...[["0.5", 4] as const, ["1", 7] as const, ["2", 8] as const, ["5", 8] as const, ["10", 8] as const],
    ...[["30", 8] as const, ["+Inf", 9] as const, [undefined, 40.5] as const, [undefined, 9] as const],
  ]);
  expect(of("key_group_window_used", "key_group_window_limit")).toEqual({
    "vigilane_key_group_window_used{key_group=qwen-a,window=requestsPerSecond}": 3,
    "vigilane_key_group_window_used{key_group=qwen-a,window=maxConcurrent}": 2,
    "vigilane_key_group_window_limit{key_group=qwen-a,window=requestsPerSecond}": 5,
    "vigilane_key_group_window_limit{key_group=qwen-a,window=maxConcurrent}": 4,
  });
  expect(of("key_group_guard_seconds", "key_group_cooling_seconds", "key_group_in_flight")).toEqual({
    ...group("guard_seconds", 0.015, 0.0146),
    ...group("cooling_seconds", 0, 4),
    ...group("in_flight", 2, 0),
  });
  const states = Object.entries(of("key_group_state"));
  expect(states).toHaveLength(12);
  expect(states.filter(([, value]) => value === 1).map(([series]) => series)).toEqual([
    "vigilane_key_group_state{key_group=qwen-a,state=in_use}",
    "vigilane_key_group_state{key_group=qwen-b,state=cooling}",
  ]);
  expect(of("key_group_changes_total")).toEqual({
    "vigilane_key_group_changes_total{key_group=qwen-b,key=,state=cooling}": 3,
    "vigilane_key_group_changes_total{key_group=qwen-a,key=key-2,state=disabled}": 1,
  });
  expect(of("outcomes_total", "waiting", "coverage_ratio")).toEqual({
    "vigilane_outcomes_total{outcome=assessed}": 11_904,
    "vigilane_outcomes_total{outcome=reused}": 1_876,
    "vigilane_outcomes_total{outcome=failed}": 14,
    "vigilane_outcomes_total{outcome=expired}": 62,
    "vigilane_outcomes_total{outcome=superseded}": 368,
    "vigilane_waiting{}": 3,
    "vigilane_coverage_ratio{}": 0.982,
  });
});

test("beside them the older system's names, each series once", async () => {
  const world = await gatewayWorld();
  await seed(world);
  const families = readExposition(await scrape((await world.start()).url()));
  const keys = (name: string, ...told: [number, number, number]) => ({
    [`${name}{pool_id=qwen-a,key_id=key-1}`]: told[0],
    [`${name}{pool_id=qwen-a,key_id=key-2}`]: told[1],
    [`${name}{pool_id=qwen-b,key_id=key-1}`]: told[2],
  });
  expect(
    values(
      families,
      ...["llm_requests_total", "llm_concurrent_tasks", "api_key_pool_size", "api_key_status", "api_key_success_rate"],
      ...["api_key_total_calls_total", "api_key_cooldown_seconds", "tasks_processed_total", "task_queue_size"],
    ),
  ).toEqual({
    "llm_requests_total{model=qwen-vl-plus,api_key_id=key-1,status=success}": 6,
    "llm_requests_total{model=qwen-vl-plus,api_key_id=key-1,status=error}": 2,
    "llm_requests_total{model=qwen-vl-plus,api_key_id=key-2,status=success}": 3,
    "llm_requests_total{model=qwen-vl-plus,api_key_id=key-2,status=error}": 1,
    "llm_concurrent_tasks{scheduler_id=vigilane}": 2,
    "api_key_pool_size{pool_id=qwen-a}": 2,
    "api_key_pool_size{pool_id=qwen-b}": 1,
    ...keys("api_key_status", 2, 1, 3),
    ...keys("api_key_success_rate", 6 / 7, 3 / 4, 0),
    ...keys("api_key_total_calls_total", 8, 5, 1),
    ...keys("api_key_cooldown_seconds", 0, 0, 4),
    "tasks_processed_total{status=success}": 11_904 + 1_876,
    "tasks_processed_total{status=failed}": 14,
    "tasks_processed_total{status=expired}": 62,
    "tasks_processed_total{status=superseded}": 368,
    "task_queue_size{queue_type=waiting}": 3,
    "task_queue_size{queue_type=in_flight}": 11,
  });
  expect(values(families, "llm_token_usage_total")).toEqual({
    "llm_token_usage_total{model=qwen-vl-plus,token_type=prompt}": 10_000,
    "llm_token_usage_total{model=qwen-vl-plus,token_type=completion}": 900,
  });
  const latency = values(families, "llm_latency_seconds");
  expect(Object.keys(latency).slice(0, 7)).toEqual(
    ["0.5", "1", "2", "5", "10", "30", "+Inf"].map((le) => `llm_latency_seconds_bucket{le=${le}}`),
  );
  expect(latency).toMatchObject({ "llm_latency_seconds_sum{}": 40.5, "llm_latency_seconds_count{}": 9 });
});

test("a gateway that starts again goes on counting, and each of several tells the same; one may be asked for its own alone", async () => {
  const world = await gatewayWorld();
  await seed(world, { coverage: null });
  const first = await world.start();
  const second = await world.start();
  const client = await connectClient(first.url());
  let seen = 0;
  client.on("outcome", () => {
    seen += 1;
  });
  await appendOutcomes(world.redis, resultOf({ taskId: "m1_group1" }), resultOf({ taskId: "m2_group1" }));
  await until(client, "outcome", () => seen === 2);

  const ofSystem = (url: string) => scrape(url, "?only=system");
  const before = await ofSystem(first.url());
  expect(readExposition(before).get("vigilane_coverage_ratio")?.samples).toEqual([]); // not known is not nought
  expect(await ofSystem(second.url())).toBe(before);
  await first.stop();
  const again = await world.start();
  expect(await ofSystem(again.url())).toBe(before);

  const own = [second, again].map(async (gateway) => readExposition(await scrape(gateway.url(), "?only=gateway")));
  for (const families of await Promise.all(own)) {
    const ours = [...families.keys()].filter((name) => !name.startsWith("vigilane_gateway_"));
    expect(ours.toSorted()).toEqual(["vigilane_end_to_end_seconds", "vigilane_healthy", "vigilane_store_up"]);
  }
  const whole = readExposition(await scrape(again.url()));
  for (const name of readExposition(before).keys()) expect([...whole.keys()]).toContain(name);
  expect((await fetch(`${again.url()}/metrics?only=all`)).status).toBe(400);
});

const promtool = (process.env.PATH ?? "")
  .split(delimiter)
  .map((folder) => join(folder, "promtool"))
  .find((path) => existsSync(path));

test("nothing at all is known: still a text that can be read, by promtool too where there is one", async () => {
  const world = await gatewayWorld();
  const url = (await world.start()).url();
  expect([...readExposition(await scrape(url)).keys()]).toContain("api_key_pool_size");
  await seed(world);
  await expect.poll(() => scrape(url), { timeout: 15_000 }).toContain('api_key_pool_size{pool_id="qwen-a"} 2');
  const text = await scrape(url);
  readExposition(text);
  if (!promtool) return;
  const { stdout, stderr } = spawnSync(promtool, ["check", "metrics"], { input: text, encoding: "utf8" });
  // Its complaints are about names. Node's own are what they are; all else has none.
  const complaints = `${stdout}${stderr}`.split("\n").filter((line) => line && !/^vigilane_gateway_nodejs_/.test(line));
  expect(complaints).toEqual([]);
});

test("how far consumer groups are behind, as a bridge told it; what is old is not told", async () => {
  const world = await gatewayWorld();
  const atMs = Date.now();
  const lag = { topic: "detection-results", group: "vigilane-bridge", messages: 12, oldestAgeMs: 1_500, lost: 2, atMs };
  await world.redis.hset(KEYS.lags, {
    now: JSON.stringify(lag),
    old: JSON.stringify({ ...lag, group: "old", atMs: atMs - 60_000 }),
  });
  const families = readExposition(await scrape((await world.start()).url()));
  const labels = "{topic=detection-results,consumer_group=vigilane-bridge}";
  const names = ["messages", "seconds"].map((unit) => `vigilane_topic_lag_${unit}`);
  expect(values(families, ...names, "vigilane_topic_lost_messages", "kafka_consumer_lag")).toEqual({
    [`vigilane_topic_lag_messages${labels}`]: 12,
    [`vigilane_topic_lag_seconds${labels}`]: 1.5,
    [`vigilane_topic_lost_messages${labels}`]: 2,
    "kafka_consumer_lag{topic=detection-results,partition=all,consumer_group=vigilane-bridge}": 12,
  });
});
