/**
 * A secret is in no command to the store, no log line, metric, answer, error, result or file of the data folder, whatever
 * providers do with it: the whole of vigilane as processes, keys refused, one provider that says the key in its errors.
 */
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type { Redis } from "ioredis";
import { expect, onTestFinished, test } from "vitest";
import { readRunFile } from "../../src/supervisor/run-file.ts";
import { startWorld } from "../support/world.ts";

/** Nothing of the middle may be seen; the ends may, and are the same for all. */
const PLANTED = "pLaNtEd7Q2zX9";
const secret = (n: number) => `sk-${n}${PLANTED}${n}-end`;
const [GOOD, DEAD, SAID, ROTATED, BROKEN] = [1, 2, 3, 4, 5].map(secret);

const keysText = (saidSecret: string, sayer: string, more = "") => `keyGroups:
  - { id: good, provider: simulated, windows: { requestsPerSecond: 8 }, keys: [{ id: k, secret: ${GOOD} }] }
  - { id: dead, provider: simulated, windows: { requestsPerSecond: 8 }, keys: [{ id: k, secret: "\${DEAD_KEY}" }] }
  - { id: says, provider: custom, baseUrl: ${sayer}, model: m, windows: { requestsPerSecond: 5 }, keys: [{ id: k, secret: ${saidSecret} }] }
${more}`;

/** Answers every call with an error that repeats the key, as some providers do, in turn as 401, 429, 500 and no JSON. */
async function keySayer() {
  let calls = 0;
  const server = createServer((request, response) => {
    const key = request.headers.authorization;
    request.resume().on("end", () => {
      const status = [401, 500, 429, 200][calls++ % 4] ?? 500;
      response.writeHead(status, { "content-type": "application/json", "x-request-id": String(key) });
      const error = {
        message: `Incorrect API key provided: ${key}`,
        type: "invalid_request_error",
        code: `code ${key}`,
      };
      response.end(status === 200 ? `no JSON but ${key}` : JSON.stringify({ error }));
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`, calls: () => calls };
}

test("a planted secret is found nowhere outside the processes that call", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-planted-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const sayer = await keySayer();
  mkdirSync(join(folder, "config"));
  const keys = join(folder, "config", "keys.yaml");
  writeFileSync(keys, keysText(SAID ?? "", sayer.url));
  const world = await startWorld({
    env: {
      VIGILANE_KEYS: keys,
      VIGILANE_CALLS_PER_DAY: "0",
      VIGILANE_LOG_LEVEL: "trace",
      VIGILANE_LOG_FORMAT: "json",
      DEAD_KEY: DEAD ?? "",
    },
    simulator: {
      latency: { meanMs: 30, p95Ms: 50 },
      accounts: [
        { id: "good", keys: [GOOD] },
        { id: "dead", keys: [DEAD], faults: { deadKeys: [DEAD] } },
      ],
    },
  });
  onTestFinished(() => world.stop());
  // By a socket of our own: ioredis' monitor() fails where commands come in the same moment as its first answer.
  const commands: string[] = [];
  const monitor = connect(world.store.port, "127.0.0.1");
  onTestFinished(() => void monitor.destroy());
  monitor.setEncoding("utf8").on("data", (text: string) => commands.push(text));
  monitor.write("MONITOR\r\n");
  await once(monitor, "data");

  const offering = world.offer({ groupsPerSecond: 8 });
  await world.provider.until(({ accounts }) => accounts.every(({ calls, id }) => calls > 3 || id === "dead"));
  // The key that was refused for good is entered anew, then the file is broken with a secret in the wrong place.
  writeFileSync(keys, keysText(ROTATED ?? "", sayer.url));
  await until("four kinds of errors", () => sayer.calls() >= 4);
  const gateway = readRunFile(world.data)?.gatewayUrl ?? "";
  const token = readFileSync(join(world.data, "token"), "utf8").trim();
  const { "/api/key-groups, permitted": whole = "" } = await answersOf(gateway, token);
  expect(whole).toMatch(/"onFile":\[\{"id":"good"/);
  writeFileSync(keys, keysText(ROTATED ?? "", sayer.url, `  - { id: broken, ${BROKEN}: *${BROKEN} }\n`));
  await until("the broken file is refused", () => /keys' file is refused whole/.test(world.output()));
  const ids = await offering.end();
  const { lost, doubled } = await world.settled(ids, 60_000);
  expect([lost, doubled]).toEqual([[], []]);
  expect(commands.join("")).toContain("evalsha");

  const answers = await answersOf(gateway, token);
  const places: Record<string, string> = {
    "commands to the store": commands.join(""),
    "what the store holds": await contentsOf(world.redis),
    "log lines": world.output(),
    results: JSON.stringify(world.results()),
    "data folder": filesBelow(world.data),
    "the keys' file over REST": whole,
    ...answers,
  };
  for (const [place, text] of Object.entries(places)) {
    expect(text.length, place).toBeGreaterThan(20);
    expect(text.includes(PLANTED), `${place}: ${around(text)}`).toBe(false);
  }
  // It was looked for where it could have been.
  expect(places["log lines"]).toMatch(/keys\.yaml:5:\d+: an alias/);
  expect(places["what the store holds"]).toMatch(/fail:KEY_REJECTED/);
  expect(Object.keys(answers)).toHaveLength(2 * PATHS.length);
  expect(answers["/api/key-groups/events?limit=1000, permitted"]).toMatch(/KEY_REJECTED/);
  expect(answers["/api/key-groups, permitted"]).toMatch(/"onFileProblem":".*keys\.yaml:5:/);
});

const PATHS = [
  "/api/snapshot",
  "/api/cameras",
  "/api/outcomes?limit=1000",
  "/api/waiting",
  "/api/key-groups",
  "/api/key-groups/events?limit=1000",
  "/api-key-pool/health",
  "/scheduler/stats",
  "/api/scheduler/stats",
  "/metrics",
  "/readyz",
  "/jobs/board/api/queues?activeQueue=assess-says&status=latest&page=1&jobsPerPage=50",
  "/jobs/board/api/queues?activeQueue=assess-dead&status=latest&page=1&jobsPerPage=50",
];

/** Each as a stranger sees it and as whoever may change things does. */
async function answersOf(gateway: string, token: string): Promise<Record<string, string>> {
  const answers = PATHS.flatMap((path) =>
    (["", ", permitted"] as const).map(async (as): Promise<[string, string]> => {
      const headers = as === "" ? undefined : { authorization: `Bearer ${token}` };
      const answer = await fetch(`${gateway}${path}`, { ...(headers && { headers }) });
      expect(answer.ok, `${path}${as}`).toBe(true);
      return [`${path}${as}`, await answer.text()];
    }),
  );
  return Object.fromEntries(await Promise.all(answers));
}

async function contentsOf(redis: Redis): Promise<string> {
  const found: string[] = [];
  for await (const keys of redis.scanStream({ count: 1_000 })) {
    for (const key of keys as string[]) {
      const value = await contentOf(redis, key);
      found.push(`${key} ${JSON.stringify(value)}`);
    }
  }
  return found.join("\n");
}

/** The store is at work meanwhile: a key may go and come again as something else. */
async function contentOf(redis: Redis, key: string): Promise<unknown> {
  for (;;) {
    try {
      const type = await redis.type(key);
      if (type === "string") return await redis.get(key);
      if (type === "hash") return await redis.hgetall(key);
      if (type === "list") return await redis.lrange(key, 0, -1);
      if (type === "set") return await redis.smembers(key);
      if (type === "zset") return await redis.zrange(key, "0", "-1", "WITHSCORES");
      return await redis.xrange(key, "-", "+");
    } catch (error) {
      if (!/^WRONGTYPE/.test(String((error as Error).message))) throw error;
    }
  }
}

function filesBelow(folder: string): string {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
    .map((path) => `${path} ${readFileSync(path, "latin1")}`)
    .join("\n");
}

async function until(what: string, check: () => boolean): Promise<void> {
  for (const end = performance.now() + 60_000; !check(); await wait(50)) {
    if (performance.now() > end) throw new Error(`not within 60 s: ${what}`);
  }
}

function around(text: string): string {
  const at = text.indexOf(PLANTED);
  return at < 0 ? "" : text.slice(Math.max(0, at - 300), at + 60);
}
