/**
 * A vision LLM's provider that is none: an OpenAI-compatible HTTP server with several accounts, whose windows are
 * enforced exactly at each call's arrival. It knows nothing but the HTTP requests it gets, and marks every answer as
 * simulated. docs/simulator.md says how to configure it and how to make it fail.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { type Acquired, type Service, service } from "../lifecycle.ts";
import { Account, type AccountStats, type Fate } from "./account.ts";
import {
  type Answer,
  type Asked,
  badRequest,
  brokenAnswer,
  completion,
  contentRefused,
  forced,
  MODEL,
  noSuchPath,
  serverError,
  unknownKey,
} from "./answers.ts";
import { CallLog } from "./call-log.ts";
import { RequestFault, readChatRequest } from "./chat-request.ts";
import { answerControl } from "./control.ts";
import { judge } from "./judge.ts";
import { latencySampler, type Random, seededRandom } from "./latency.ts";
import type { FaultChange, Faults, SimulatorConfig } from "./simulator-config.ts";

export interface VisionProviderOptions {
  config: SimulatorConfig;
  /** Default 127.0.0.1. */
  host?: string;
  /** Default 0: any free one, kept over a stop and a start of the same object. */
  port?: number;
  /** Where the calls that count are kept, so that windows outlive a restart. Default: nowhere. */
  folder?: string;
}

export interface ProviderStats {
  mode: SimulatorConfig["mode"];
  /** Calls whose key belongs to no account. */
  unknownKey: number;
  accounts: AccountStats[];
}

export interface VisionProvider extends Service {
  /** What clients call baseUrl: "http://127.0.0.1:1234/v1". Once started. */
  readonly url: string;
  readonly port: number;
  stats(): ProviderStats;
  /** Sets what goes wrong at one account or, without `account`, at all. Null: as configured. Throws at an unknown account. */
  setFaults(change: FaultChange | null, account?: string): void;
  faults(): Record<string, Faults>;
  /** Resolves as soon as the stats fulfil `check`; they are looked at after every call's arrival and end. */
  until(check: (stats: ProviderStats) => boolean): Promise<void>;
}

export async function startVisionProvider(options: VisionProviderOptions, context: Context): Promise<VisionProvider> {
  const provider = createVisionProvider(options, context);
  await provider.start();
  return provider;
}

export function createVisionProvider(options: VisionProviderOptions, context: Context): VisionProvider {
  const host = options.host ?? "127.0.0.1";
  let port = options.port ?? 0;
  let desk = new Desk(options.config, context);
  const lifecycle = service("simulated provider", context, async (acquired) => {
    desk = new Desk(options.config, context);
    if (options.folder !== undefined) desk.remember(options.folder, acquired);
    const server = createServer((request, response) => void route(request, response, desk, provider, context));
    server.keepAliveTimeout = 65_000;
    server.requestTimeout = 0;
    port = await listen(server, host, port, acquired);
    context.log.info(
      { url: provider.url, accounts: options.config.accounts.length, mode: options.config.mode },
      "the simulated vision LLM answers",
    );
  });
  const provider: VisionProvider = {
    ...lifecycle,
    get url() {
      return `http://${host}:${port}/v1`;
    },
    get port() {
      return port;
    },
    stats: () => desk.stats(),
    setFaults: (change, account) => desk.setFaults(change, account),
    faults: () => Object.fromEntries(desk.accounts.map((account) => [account.id, account.faults])),
    until: (check) => desk.until(check),
  };
  return provider;
}

async function listen(server: Server, host: string, port: number, acquired: Acquired): Promise<number> {
  acquired.add(server, "simulated provider's server", async () => {
    server.closeAllConnections();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const inUse = `port ${port} on ${host} is in use (setting simulatorUrl)`;
      reject(error.code === "EADDRINUSE" ? new VigilaneError("PORT_IN_USE", inUse) : error);
    });
    server.listen(port, host, () => resolve());
  });
  return (server.address() as AddressInfo).port;
}

async function route(
  request: IncomingMessage,
  response: ServerResponse,
  desk: Desk,
  provider: VisionProvider,
  { log }: Context,
) {
  const path = (request.url ?? "/").replace(/[?#].*$/, "");
  try {
    if (request.method === "POST" && path === "/v1/chat/completions") await answerChat(request, response, desk);
    else if (request.method === "GET" && path === "/v1/models") send(response, models());
    else if (path.startsWith("/simulator/")) send(response, await answerControl(request, path, provider));
    else send(response, noSuchPath());
  } catch (error) {
    // The caller went away in mid-call, or a bug: the server lives on.
    if (!response.destroyed) {
      log.error({ err: error, path }, "the simulated provider failed");
      send(response, {
        status: 500,
        body: { error: { message: "internal", type: "internal_error", param: null, code: "internal_error" } },
      });
    }
  }
  // What was not read (a refused call's body) must not block the connection's next request.
  request.resume();
}

/** One call from its arrival to its answer. */
async function answerChat(request: IncomingMessage, response: ServerResponse, desk: Desk): Promise<void> {
  const atMs = desk.context.clock.monotonicMs();
  const secret = /^Bearer\s+(\S+)$/i.exec(request.headers.authorization ?? "")?.[1] ?? "";
  const account = desk.accountOf(secret);
  if (!account) return send(response, unknownKey());
  const admission = account.admit(secret, atMs, desk.random);
  if (admission.counts) desk.log?.append(account.id);
  if (admission.kind === "refused") {
    desk.changed();
    return send(response, admission.answer);
  }

  const leave = account.enter();
  const gone = new AbortController();
  response.once("close", () => {
    leave();
    if (!response.writableFinished) account.answered("gaveUp");
    gone.abort();
    desk.changed();
  });
  desk.changed();
  if (admission.fate === "hang") return;
  try {
    const asked = await readChatRequest(request);
    const dueMs = atMs + (admission.latencyMs ?? desk.drawLatencyMs());
    await desk.context.clock.sleep(dueMs - desk.context.clock.monotonicMs(), gone.signal);
    send(response, desk.answerOf(admission.fate, asked, account));
  } catch (error) {
    if (gone.signal.aborted) return;
    if (!(error instanceof RequestFault)) throw error;
    account.refused("request");
    send(response, badRequest(error.message, error.status));
  }
}

function send(response: ServerResponse, { status, headers, body }: Answer): void {
  const payload = JSON.stringify(body);
  response.writeHead(status, {
    "content-type": "application/json; charset=utf-8",
    "content-length": Buffer.byteLength(payload),
    "x-vigilane-simulated": "true",
    ...headers,
  });
  response.end(payload);
}

const models = (): Answer => ({
  status: 200,
  body: { object: "list", data: [{ id: MODEL, object: "model", created: 0, owned_by: "vigilane (simulated)" }] },
});

/** Everything that lives between a start and a stop: accounts, random numbers, the log of calls. */
class Desk {
  readonly context: Context;
  readonly accounts: readonly Account[];
  readonly random: Random;
  readonly drawLatencyMs: () => number;
  log: CallLog | undefined;
  readonly #mode: SimulatorConfig["mode"];
  readonly #byKey: ReadonlyMap<string, Account>;
  #unknownKey = 0;
  #answers = 0;
  #waiting: { check: (stats: ProviderStats) => boolean; resolve: () => void }[] = [];

  constructor(config: SimulatorConfig, context: Context) {
    this.context = context;
    this.#mode = config.mode;
    this.random = seededRandom(config.seed);
    this.drawLatencyMs = latencySampler(config.latency, seededRandom(config.seed + 1));
    this.accounts = config.accounts.map((account) => new Account(account, config));
    this.#byKey = new Map(
      config.accounts.flatMap(({ keys }, i) => keys.map((key) => [key, this.accounts[i]] as [string, Account])),
    );
  }

  /** Takes up the windows of an earlier life, and keeps a log for the next. */
  remember(folder: string, acquired: Acquired): void {
    const longestMs = Math.max(...this.accounts.map((account) => account.longestWindowMs));
    this.log = acquired.add(new CallLog(folder, longestMs, this.context), "log of calls", (log) => log.close());
    const nowMs = this.context.clock.monotonicMs();
    const byId = new Map(this.accounts.map((account) => [account.id, account]));
    for (const { account, ageMs } of this.log.open()) byId.get(account)?.restore(nowMs - ageMs);
  }

  accountOf(secret: string): Account | undefined {
    const account = this.#byKey.get(secret);
    if (!account) {
      this.#unknownKey += 1;
      this.changed();
    }
    return account;
  }

  answerOf(fate: Exclude<Fate, "hang">, asked: Asked, account: Account): Answer {
    if (typeof fate === "object") {
      account.refused("status");
      return forced(fate.status);
    }
    if (fate === "server" || fate === "content") {
      account.refused(fate);
      return fate === "server" ? serverError(this.random) : contentRefused();
    }
    account.answered(fate === "broken" ? "broken" : "ok");
    this.#answers += 1;
    const judgement = judge(asked.text, this.random);
    const content = fate === "broken" ? brokenAnswer(judgement, this.random) : JSON.stringify(judgement);
    return completion(`chatcmpl-simulated-${this.#answers}`, this.context.clock.nowMs(), asked, content);
  }

  stats(): ProviderStats {
    const atMs = this.context.clock.monotonicMs();
    return {
      mode: this.#mode,
      unknownKey: this.#unknownKey,
      accounts: this.accounts.map((account) => account.stats(atMs)),
    };
  }

  setFaults(change: FaultChange | null, id?: string): void {
    const meant = this.accounts.filter((account) => id === undefined || account.id === id);
    if (meant.length === 0) throw new RangeError(`there is no account ${id}`);
    for (const account of meant) account.setFaults(change);
  }

  until(check: (stats: ProviderStats) => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ check, resolve });
      this.changed();
    });
  }

  changed(): void {
    if (this.#waiting.length === 0) return;
    const stats = this.stats();
    this.#waiting = this.#waiting.filter(({ check, resolve }) => {
      const fulfilled = check(stats);
      if (fulfilled) resolve();
      return !fulfilled;
    });
  }
}
