/**
 * The simulator's own interface, under /simulator/: for tests and for trying out what happens when a provider fails.
 *
 *   GET    /simulator/stats     what each account has seen
 *   GET    /simulator/faults    what goes wrong at each account at present
 *   POST   /simulator/faults    { account?, …faults }: changes the named faults of one account, or of all
 *   DELETE /simulator/faults    everything as configured
 *
 * Only for this machine, and not for pages in its browsers: loopback, a loopback Host, no Origin, JSON only.
 */
import type { IncomingMessage } from "node:http";
import { z } from "zod";
import type { Answer } from "./answers.ts";
import { FaultChange } from "./simulator-config.ts";
import type { VisionProvider } from "./vision-provider.ts";

const LOOPBACK_ADDRESSES = new Set(["127.0.0.1", "::1", "::ffff:127.0.0.1"]);
const LOOPBACK_HOSTS = /^(127\.0\.0\.1|localhost|\[::1\])(:\d+)?$/;
const MAX_BODY_BYTES = 100_000;

const ChangeAt = FaultChange.extend({ account: z.string().optional() });

export async function answerControl(request: IncomingMessage, path: string, provider: VisionProvider): Promise<Answer> {
  const closed = closedDoor(request);
  if (closed) return { status: 403, body: { error: closed } };
  const asked = `${request.method} ${path}`;
  if (asked === "GET /simulator/stats") return { status: 200, body: provider.stats() };
  if (asked === "GET /simulator/faults") return { status: 200, body: provider.faults() };
  if (asked === "DELETE /simulator/faults") {
    provider.setFaults(null);
    return { status: 200, body: provider.faults() };
  }
  if (asked === "POST /simulator/faults") return changeFaults(request, provider);
  return { status: 404, body: { error: "GET /simulator/stats, GET, POST or DELETE /simulator/faults" } };
}

async function changeFaults(request: IncomingMessage, provider: VisionProvider): Promise<Answer> {
  try {
    const { account, ...change } = ChangeAt.parse(JSON.parse(await readText(request)));
    provider.setFaults(change, account);
    return { status: 200, body: provider.faults() };
  } catch (error) {
    return { status: 400, body: { error: error instanceof z.ZodError ? z.prettifyError(error) : String(error) } };
  }
}

/** Why this caller may not come in; undefined: it may. */
function closedDoor({ socket, headers, method }: IncomingMessage): string | undefined {
  if (!LOOPBACK_ADDRESSES.has(socket.remoteAddress ?? "")) return "only for this machine";
  if (!LOOPBACK_HOSTS.test(headers.host ?? "")) return "not under this name";
  if (headers.origin !== undefined) return "not for pages in a browser";
  if (method === "POST" && !/^application\/json\b/.test(headers["content-type"] ?? "")) return "JSON only";
  return undefined;
}

async function readText(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of request as AsyncIterable<Buffer>) {
    text += chunk.toString("utf8");
    if (text.length > MAX_BODY_BYTES) throw new RangeError("the body is too long");
  }
  return text;
}
