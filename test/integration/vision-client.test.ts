/** The vision client against the simulated provider, and against servers that misbehave in ways of their own. */
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { pino } from "pino";
import { afterEach, describe, expect, test } from "vitest";
import { type Context, systemClock } from "../../src/context.ts";
import { VigilaneError } from "../../src/errors.ts";
import { createVisionClient, type VisionClientOptions } from "../../src/processors/vision-client.ts";
import { createVisionClients } from "../../src/processors/vision-clients.ts";
import { SimulatorConfig } from "../../src/simulator/simulator-config.ts";
import { startVisionProvider } from "../../src/simulator/vision-provider.ts";
import { aKeyGroup } from "../support/tasks.ts";

const context: Context = { clock: systemClock, log: pino({ level: "silent" }) };
const SECRET = "very-hidden-key-42";
const messages = [{ role: "user" as const, content: "Answer in JSON." }];

let releases: (() => unknown)[] = [];
const stopServers = async () => {
  for (const release of releases.reverse()) await release();
  releases = [];
};
afterEach(stopServers);

function clientAt(baseUrl: string, more: Partial<VisionClientOptions> = {}) {
  const client = createVisionClient({ baseUrl, secret: SECRET, model: "m", timeoutMs: 10_000, ...more }, context);
  releases.push(() => client.close());
  return client;
}

async function serverThat(answers: RequestListener): Promise<string> {
  const server = createServer(answers);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  releases.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
}

async function simulator(faults: object = {}, more: object = {}) {
  const account = { id: "a", keys: [SECRET], faults, windows: { requestsPerMinute: 2 } };
  const config = SimulatorConfig.parse({ latency: { meanMs: 0, p95Ms: 0 }, accounts: [account], ...more });
  const provider = await startVisionProvider({ config }, context);
  releases.push(() => provider.stop());
  return provider;
}

const failure = (work: Promise<unknown>) =>
  work.then(
    () => {
      throw new Error("it should have failed");
    },
    (error: unknown) => error as VigilaneError,
  );

test("an answer with everything that is known about it", async () => {
  const provider = await simulator();
  const answer = await clientAt(provider.url).assess({ messages });
  expect(answer).toMatchObject({
    text: expect.stringContaining("riskLevel"),
    model: "simulated-vision",
    simulated: true,
    tokens: { prompt: 4, completion: expect.any(Number) },
    headers: { "x-vigilane-simulated": "true" },
  });
  expect(answer.latencyMs).toBeGreaterThan(0);
});

test("connections stay warm: a key's calls, one after the other, share one of their own, also when the keys' file was read anew", async () => {
  const calls: { key: string | undefined; port: number | undefined }[] = [];
  const baseUrl = await serverThat((request, response) => {
    calls.push({ key: request.headers.authorization, port: request.socket.remotePort });
    const message = { role: "assistant", content: "{}" };
    request.resume().on("end", () => {
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ choices: [{ message }] }));
    });
  });
  const clients = createVisionClients(10_000, context);
  releases.push(() => clients.close());
  const group = (...secrets: string[]) =>
    aKeyGroup({
      id: "a",
      provider: "custom",
      baseUrl,
      keys: secrets.map((secret) => ({ id: secret, secret, weight: 1 })),
    });
  for (const secrets of [
    ["one", "two"],
    ["one", "two"],
    ["one", "two", "three"],
  ]) {
    clients.use([group(...secrets)]);
    for (const key of ["one", "two", "one", "two"]) await clients.clientOf("a", key)?.assess({ messages });
  }
  const portsOf = (key: string) => calls.filter((call) => call.key === `Bearer ${key}`).map(({ port }) => port);
  expect([portsOf("one").length, portsOf("two").length]).toEqual([6, 6]);
  expect([new Set(portsOf("one")).size, new Set(portsOf("two")).size]).toEqual([1, 1]);
  expect(portsOf("one")[0]).not.toBe(portsOf("two")[0]);
});

test.each(["dashscope", "openai", "gemini"] as const)(
  "%s says how long it worked: the rest was on the way",
  async (dialect) => {
    const provider = await simulator(
      {},
      {
        dialect,
        latency: { meanMs: 40, p95Ms: 60 },
        uplink: { meanMs: 150, p95Ms: 150 },
      },
    );
    const answer = await clientAt(provider.url).assess({ messages });
    expect(answer.networkMs).toBeGreaterThan(140);
    expect(answer.latencyMs).toBeGreaterThan(answer.networkMs ?? 0);
  },
);

test("a provider that does not say how long it worked is not guessed at", async () => {
  const provider = await simulator({}, { dialect: "vllm" });
  expect((await clientAt(provider.url).assess({ messages })).networkMs).toBeNull();
});

test("what is sent: model, messages, json_object only where the provider knows it, no other headers of ours", async () => {
  const bodies: Record<string, unknown>[] = [];
  let headers: Record<string, unknown> = {};
  const url = await serverThat(async (request, response) => {
    headers = request.headers;
    let text = "";
    for await (const chunk of request) text += chunk;
    bodies.push(JSON.parse(text));
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ model: "m-2026", choices: [{ message: { content: "{}" }, finish_reason: "stop" }] }));
  });
  const answer = await clientAt(url).assess({ messages });
  await clientAt(url, { jsonObject: true, maxTokens: 99 }).assess({ messages });
  expect(bodies[0]).toEqual({ model: "m", messages, temperature: 0, max_tokens: 500 });
  expect(bodies[1]).toMatchObject({ response_format: { type: "json_object" }, max_tokens: 99 });
  expect(headers.authorization).toBe(`Bearer ${SECRET}`);
  expect(headers).not.toHaveProperty("openai-organization");
  expect(answer).toMatchObject({ model: "m-2026", tokens: null, simulated: false });
});

test("one call is one request: nothing is repeated by itself", async () => {
  for (const status of [429, 500, 408]) {
    let requests = 0;
    const url = await serverThat((_, response) => {
      requests += 1;
      response.writeHead(status).end("{}");
    });
    await failure(clientAt(url).assess({ messages }));
    expect(requests).toBe(1);
  }
});

test("calls one after the other share connections", async () => {
  const sockets = new Set<unknown>();
  const url = await serverThat((request, response) => {
    sockets.add(request.socket);
    request.resume();
    response.writeHead(200, { "content-type": "application/json" }).end('{"choices":[]}');
  });
  const client = clientAt(url);
  for (let i = 0; i < 20; i += 1) await client.assess({ messages });
  // Two, because an answer is there a moment before its connection is free again.
  expect(sockets.size).toBeLessThanOrEqual(2);
});

describe("refusals", () => {
  test.each([
    ["dashscope", false, { cause: "rate_second", told: false }],
    ["dashscope", true, { cause: "rate_minute", told: true }],
    ["openai", false, { cause: "rate_minute", told: false }],
    ["openai", true, { cause: "rate_minute", told: true }],
  ])("a full window at %s, Retry-After %s", async (dialect, retryAfter, sorted) => {
    const provider = await simulator({}, { dialect, retryAfter });
    const client = clientAt(provider.url);
    await client.assess({ messages });
    await client.assess({ messages });
    const error = await failure(client.assess({ messages }));
    expect(error).toMatchObject({ code: "RATE_LIMITED", status: 429, sorted });
    if (retryAfter)
      expect(error).toMatchObject({
        sorted: { coolMs: expect.toSatisfy((ms: number) => ms > 50_000 && ms <= 60_000) },
      });
  });

  test("an unknown key, without the key in the message", async () => {
    const url = await serverThat((request, response) => {
      const key = request.headers.authorization;
      response.writeHead(401, { "content-type": "application/json" });
      response.end(
        JSON.stringify({ error: { message: `Incorrect API key provided: ${key}`, code: "invalid_api_key" } }),
      );
    });
    const error = await failure(clientAt(url).assess({ messages }));
    expect(error).toMatchObject({ code: "KEY_REJECTED", blames: "key" });
    expect(error.message).not.toContain("hidden");
    expect(JSON.stringify(error) + error.stack + String(error.cause)).not.toContain("hidden");
  });

  test("the provider's time-out is the group's fault, the task's deadline nobody's", async () => {
    const provider = await simulator({ hang: true });
    const slow = await failure(clientAt(provider.url, { timeoutMs: 80 }).assess({ messages }));
    expect(slow).toMatchObject({ code: "CALL_TIMED_OUT", blames: "group", sorted: { coolMs: 1_000 } });
    const late = await failure(clientAt(provider.url).assess({ messages }, { timeoutMs: 80 }));
    expect(late).toMatchObject({ code: "CALL_TIMED_OUT", blames: "nobody", sorted: { coolMs: 0 } });
  });

  test("an answer that begins and never ends times out too", async () => {
    const url = await serverThat((_, response) => {
      response.writeHead(200, { "content-type": "application/json" });
      response.write('{"choices":');
    });
    const error = await failure(clientAt(url, { timeoutMs: 150 }).assess({ messages }));
    expect(error).toMatchObject({ code: "CALL_TIMED_OUT" });
  });

  test("a caller's stop is no refusal", async () => {
    const provider = await simulator({ hang: true });
    const stop = new AbortController();
    const ended = failure(clientAt(provider.url).assess({ messages }, { signal: stop.signal }));
    await provider.until((stats) => stats.accounts[0]?.inFlight === 1);
    stop.abort(new VigilaneError("STOPPED", "worker stops"));
    expect(await ended).toMatchObject({ code: "STOPPED", message: "worker stops" });
    const before = await failure(clientAt(provider.url).assess({ messages }, { signal: AbortSignal.abort() }));
    expect(before).toMatchObject({ code: "STOPPED" });
  });

  test("nobody listens: unreachable, and the message says how", async () => {
    const url = await serverThat(() => {});
    await stopServers();
    const error = await failure(clientAt(url).assess({ messages }));
    expect(error).toMatchObject({ code: "PROVIDER_UNREACHABLE", message: expect.stringContaining("ECONNREFUSED") });
  });

  test("the connection breaks in mid-answer: unreachable", async () => {
    const url = await serverThat((_, response) => {
      response.writeHead(200, { "content-type": "application/json", "content-length": "100" });
      response.write("{", () => response.destroy());
    });
    expect(await failure(clientAt(url).assess({ messages }))).toMatchObject({ code: "PROVIDER_UNREACHABLE" });
  });

  test("200 with broken JSON is the server's fault", async () => {
    const url = await serverThat((_, response) => {
      response.writeHead(200, { "content-type": "application/json" }).end('{"choices": [');
    });
    expect(await failure(clientAt(url).assess({ messages }))).toMatchObject({ code: "PROVIDER_FAILED" });
  });

  test.each([
    [{ error: { code: 429, message: "Provider returned error" } }, "server", 429],
    [{ error: { code: 402, message: "more credits" }, choices: [] }, "balance", 402],
    [{ error: { code: "odd", message: "something broke" } }, "server", 502],
  ])("200 with an error in its body is that error: %j", async (body, cause, status) => {
    const url = await serverThat((_, response) => {
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
    });
    const error = await failure(clientAt(url, { provider: "openrouter" }).assess({ messages }));
    expect(error).toMatchObject({ status, sorted: { cause } });
  });

  test("what a list of one error says is read, details and all", async () => {
    const details = [{ violations: [{ quotaId: "GenerateRequestsPerMinutePerProject" }] }, { retryDelay: "11s" }];
    const url = await serverThat((_, response) => {
      response.writeHead(429, { "content-type": "application/json" });
      response.end(JSON.stringify([{ error: { code: 429, message: "no", status: "RESOURCE_EXHAUSTED", details } }]));
    });
    const error = await failure(clientAt(url, { provider: "gemini" }).assess({ messages }));
    expect(error).toMatchObject({
      message: "the provider answered 429 no",
      sorted: { cause: "rate_minute", coolMs: 11_000, told: true },
    });
  });

  test.each(["content_filter", "content_filter: SAFETY"])(
    "an answer cut by a %s is a refusal of the content",
    async (reason) => {
      const url = await serverThat((_, response) => {
        response.writeHead(200, { "content-type": "application/json" });
        response.end(JSON.stringify({ choices: [{ message: { content: "" }, finish_reason: reason }] }));
      });
      expect(await failure(clientAt(url).assess({ messages }))).toMatchObject({ code: "CONTENT_REFUSED" });
    },
  );
});

test.each([
  ["<html>proxy</html>", "text/html"],
  ["{}", "application/json"],
  ['{"choices":[{"message":{"content":null}}]}', "application/json"],
])("200 that says nothing (%s) is an empty text, for the verdict's reader to refuse", async (body, type) => {
  const url = await serverThat((_, response) => {
    response.writeHead(200, { "content-type": type }).end(body);
  });
  expect(await clientAt(url).assess({ messages })).toMatchObject({ text: "" });
});
