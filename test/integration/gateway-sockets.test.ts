import { expect, test } from "vitest";
import type { OutcomeEvent } from "../../src/events.ts";
import { KEYS } from "../../src/names.ts";
import { appendOutcomes, type Client, connectClient, eventually, gatewayWorld, until } from "../support/gateway.ts";
import { resultOf } from "../support/results.ts";

/** Collects outcomes by task id and revision. */
function collect(client: Client) {
  const seen: OutcomeEvent[] = [];
  client.on("outcome", (event) => seen.push(event));
  const keys = () => seen.map(({ result }) => `${result.taskId}#${result.revision}`);
  return { seen, keys, until: (count: number) => until(client, "outcome", () => seen.length >= count) };
}

const tasks = (count: number, name = "m") => Array.from({ length: count }, (_, i) => `${name}${i}_group1`);

test("every client of every gateway gets every outcome exactly once", async () => {
  const world = await gatewayWorld();
  const gateways = await Promise.all([world.start(), world.start()]);
  const clients = await Promise.all([...gateways, ...gateways].map((gateway) => connectClient(gateway.url())));
  const collected = clients.map(collect);

  const ids = tasks(300);
  await Promise.all(ids.map((taskId) => appendOutcomes(world.redis, resultOf({ taskId }))));
  await Promise.all(collected.map((one) => one.until(ids.length)));

  for (const { keys } of collected) expect(keys().toSorted()).toEqual(ids.map((id) => `${id}#1`).toSorted());
  const shares = (await world.redis.xinfo("CONSUMERS", KEYS.events, "vigilane-gateway")) as unknown[];
  expect(shares).toHaveLength(2); // both took part
});

test("what was shown is noted once, with its moment", async () => {
  const world = await gatewayWorld();
  const gateway = await world.start();
  const client = collect(await connectClient(gateway.url()));
  await appendOutcomes(
    world.redis,
    resultOf({ taskId: "a_group1" }),
    resultOf({ taskId: "b_group2", outcome: "failed" }),
  );
  await client.until(2);

  await eventually(() => world.redis.xlen(KEYS.shown)).toBe(2);
  const entries = (await world.redis.xrange(KEYS.shown, "-", "+")) as [string, string[]][];
  expect(entries.map(([, fields]) => fields.slice(0, 6))).toEqual([
    ["taskId", "a_group1", "revision", "1", "outcome", "assessed"],
    ["taskId", "b_group2", "revision", "1", "outcome", "failed"],
  ]);
  const noted = JSON.parse(entries[0]?.[1][7] ?? "") as { shownAt: number; capturedAt: number };
  expect(noted.shownAt).toBe(client.seen[0]?.shownAtMs);
  expect(noted.shownAt).toBeGreaterThan(noted.capturedAt);
});

test("a gateway that dies leaves nothing unshown: another takes its events over", async () => {
  const world = await gatewayWorld();
  await world.redis.xgroup("CREATE", KEYS.events, "vigilane-gateway", "0", "MKSTREAM");
  const ids = tasks(3);
  await appendOutcomes(world.redis, ...ids.map((taskId) => resultOf({ taskId })));
  // A gateway that read them and was killed before it showed them.
  await world.redis.xreadgroup("GROUP", "vigilane-gateway", "dead", "COUNT", 10, "STREAMS", KEYS.events, ">");
  const gateway = await world.start();
  const client = collect(await connectClient(gateway.url()));
  await client.until(3);
  expect(client.keys()).toEqual(ids.map((id) => `${id}#1`));
  await eventually(() => world.redis.xlen(KEYS.shown)).toBe(3);
});

test("a client that comes back, now to one gateway, now to the other, while events come, misses none", async () => {
  const world = await gatewayWorld();
  const gateways = await Promise.all([world.start(), world.start()]);
  const urls = gateways.map((gateway) => gateway.url());
  const client = await connectClient(urls[0] ?? "", "/", { reconnectionDelay: 10 });
  const collected = collect(client);
  await appendOutcomes(world.redis, resultOf({ taskId: "before_group1" }));
  await collected.until(1);

  const missed = tasks(300, "missed");
  const appending = (async () => {
    for (const taskId of missed) await appendOutcomes(world.redis, resultOf({ taskId }));
  })();
  for (let round = 1; round <= 4; round += 1) {
    const back = new Promise<void>((resolve) => client.once("connect", resolve));
    (client.io as unknown as { uri: string }).uri = urls[round % 2] ?? ""; // where its manager connects to next
    client.io.engine.close(); // as a lost network does
    await back;
    expect(client.recovered).toBe(true);
    await collected.until(Math.min(round * 50, missed.length));
  }
  await appending;
  await eventually(() => new Set(collected.keys()).size).toBe(1 + missed.length);
  // Replayed to it, and then read by its new gateway as news: a few may come twice, as docs/socket.md says.
  expect(collected.keys().length - missed.length - 1).toBeLessThan(40);
});

test("an event that cannot be read is left out and the next one is shown", async () => {
  const world = await gatewayWorld();
  const gateway = await world.start();
  const client = collect(await connectClient(gateway.url()));
  await world.redis.xadd(KEYS.events, "*", "type", "outcome", "json", "{not json");
  await world.redis.xadd(KEYS.events, "*", "type", "from the future", "json", "{}");
  await appendOutcomes(world.redis, resultOf({ taskId: "c_group1" }));
  await client.until(1);
  expect(client.keys()).toEqual(["c_group1#1"]);
  const pending = () => world.redis.xpending(KEYS.events, "vigilane-gateway");
  await eventually(async () => ((await pending()) as [number])[0]).toBe(0);
});

test("a client that does not take what it is sent is disconnected, others are not", async () => {
  const world = await gatewayWorld();
  const gateway = await world.start({ untakenBytesMax: 200_000 });
  const quick = collect(await connectClient(gateway.url()));
  const slow = await connectClient(gateway.url(), "/", { reconnection: false });
  const gone = new Promise<string>((resolve) => slow.once("disconnect", resolve));
  // What a stalled client looks like from here: its TCP window is full.
  const transport = slow.io.engine.transport as unknown as { ws: { _socket: { pause(): void; resume(): void } } };
  transport.ws._socket.pause();
  let sent = 0;
  const metrics = async () => await (await fetch(`${gateway.url()}/metrics`)).text();
  const long = "x".repeat(30_000);
  const disconnected = async () => /slow_clients_total 1/.test(await metrics());
  while (!(await disconnected())) {
    const results = tasks(20, `s${sent}-`).map((taskId) => ({ ...resultOf({ taskId }), note: long }));
    await appendOutcomes(world.redis, ...results);
    sent += results.length;
    await quick.until(sent);
    if (sent > 2_000) throw new Error("60 MB were kept for a client that takes nothing");
  }
  transport.ws._socket.resume();
  await gone;
  expect(quick.seen).toHaveLength(sent);
});
