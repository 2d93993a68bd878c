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
import { Accounts, type ProviderStats } from "./accounts.ts";
import { type Answer, MODEL } from "./answers.ts";
import { RequestFault, readChatRequest } from "./chat-request.ts";
import { answerControl } from "./control.ts";
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
  let accounts = new Accounts(options.config, context);
  const lifecycle = service("simulated provider", context, async (acquired) => {
    accounts = new Accounts(options.config, context);
    if (options.folder !== undefined) accounts.remember(options.folder, acquired);
    const server = createServer((request, response) => void route(request, response, accounts, provider, context));
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
    stats: () => accounts.stats(),
    setFaults: (change, account) => accounts.setFaults(change, account),
    faults: () => Object.fromEntries(accounts.all.map((account) => [account.id, account.faults])),
    until: (check) => accounts.until(check),
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
  accounts: Accounts,
  provider: VisionProvider,
  { log }: Context,
) {
  const path = (request.url ?? "/").replace(/[?#].*$/, "");
  try {
    if (request.method === "POST" && path === "/v1/chat/completions") await answerChat(request, response, accounts);
    else if (request.method === "GET" && path === "/v1/models") send(response, models());
    else if (path.startsWith("/simulator/")) send(response, await answerControl(request, path, provider));
    else send(response, accounts.dialect.noSuchPath());
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
async function answerChat(request: IncomingMessage, response: ServerResponse, accounts: Accounts): Promise<void> {
  const uplinkMs = accounts.drawUplinkMs();
  // What was sent arrives, also when its sender has gone away meanwhile.
  if (uplinkMs > 0) await accounts.context.clock.sleep(uplinkMs);
  const atMs = accounts.context.clock.monotonicMs();
  const secret = /^Bearer\s+(\S+)$/i.exec(request.headers.authorization ?? "")?.[1] ?? "";
  const account = accounts.accountOf(secret);
  if (!account) return send(response, accounts.dialect.unknownKey());
  const admission = account.admit(secret, atMs, accounts.context.clock.nowMs(), accounts.fates);
  if (admission.counts) accounts.log?.append(account.id);
  if (admission.kind === "refused") {
    accounts.changed();
    return send(response, admission.answer);
  }

  const leave = account.enter();
  const gone = new AbortController();
  const closed = () => {
    leave();
    if (!response.writableFinished) account.answered("gaveUp");
    gone.abort();
    accounts.changed();
  };
  if (response.closed) return closed();
  response.once("close", closed);
  accounts.changed();
  if (admission.fate === "hang") return;
  const dueMs = atMs + (admission.latencyMs ?? accounts.drawLatencyMs());
  try {
    const asked = await readChatRequest(request, account.dialect);
    await accounts.context.clock.sleep(dueMs - accounts.context.clock.monotonicMs(), gone.signal);
    const { headers, ...answer } = accounts.answerOf(admission.fate, asked, account);
    const worked = account.dialect.worked?.(accounts.context.clock.monotonicMs() - atMs);
    send(response, { ...answer, headers: { ...worked, ...admission.standing, ...headers } });
  } catch (error) {
    if (gone.signal.aborted) return;
    if (!(error instanceof RequestFault)) throw error;
    account.refused("request");
    send(response, account.dialect.badRequest(error.message, error.status));
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
