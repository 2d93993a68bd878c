/**
 * A proxy before Redis that can stop at a named script of a named process: before it is forwarded, or after it ran but
 * before its answer is delivered. What is then killed dies between two steps of its life, without any test code in the
 * product. Linux alone: /proc tells whose connection it is.
 */
import { createHash, randomUUID } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { dirname, join } from "node:path";

export interface StopPoint {
  /** "queues/take.lua", or "bullmq/addStandardJob". */
  script: string;
  when: "before" | "after";
  /** Only this process's call counts. */
  pid: number;
}

export interface RedisProxy {
  url: string;
  /** At the next such call: holds it (before) or its answer (after), runs `act`, then breaks that connection. */
  stopAt(point: StopPoint, act: () => void): Promise<void>;
  close(): Promise<void>;
}

export async function startRedisProxy(targetPort: number): Promise<RedisProxy> {
  type Stop = StopPoint & { sha: string; act: () => void; done: () => void };
  let stop: Stop | undefined;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(targetPort, "127.0.0.1");
    const commands = new CommandReader();
    /** The answer to `echo` comes last: then the script before it has run. */
    let held: { by: Stop; echo: string; answers: Buffer } | undefined;
    const strike = (at: Stop) => {
      at.act();
      client.destroy();
      upstream.destroy();
      at.done();
    };
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on("data", (data) => {
      for (const { bytes, name, first } of commands.read(data)) {
        const at = stop;
        const here =
          at && name === "evalsha" && first === at.sha && owns(at.pid, client.remotePort ?? 0, client.localPort ?? 0);
        if (here) {
          stop = undefined;
          if (at.when === "before") return strike(at);
          held = { by: at, echo: randomUUID(), answers: Buffer.alloc(0) };
        }
        upstream.write(bytes);
        if (here && held) upstream.write(`*2\r\n$4\r\nPING\r\n$36\r\n${held.echo}\r\n`);
      }
    });
    upstream.on("data", (data) => {
      if (!held) return void client.write(data);
      held.answers = Buffer.concat([held.answers, data]);
      // Within a transaction it is only QUEUED, and comes back at its EXEC.
      if (held.answers.includes(held.echo)) strike(held.by);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `redis://127.0.0.1:${port}`,
    stopAt(point, act) {
      const { promise, resolve } = Promise.withResolvers<void>();
      stop = { ...point, sha: shaOf(point.script), act, done: resolve };
      return promise;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** Cuts what a client sends into whole commands (arrays of bulk strings, all that ioredis sends). */
class CommandReader {
  #rest: Buffer = Buffer.alloc(0);

  *read(data: Buffer): Generator<{ bytes: Buffer; name: string; first: string }> {
    this.#rest = this.#rest.length > 0 ? Buffer.concat([this.#rest, data]) : data;
    for (let command = this.#next(); command; command = this.#next()) yield command;
  }

  #next() {
    const count = this.#number(0, "*");
    if (!count) return undefined;
    let { at } = count;
    const words: string[] = [];
    for (let i = 0; i < count.value; i++) {
      const length = this.#number(at, "$");
      if (!length || this.#rest.length < length.at + length.value + 2) return undefined;
      at = length.at + length.value + 2;
      if (i < 2) words.push(this.#rest.toString("latin1", length.at, length.at + length.value));
    }
    const bytes = this.#rest.subarray(0, at);
    this.#rest = this.#rest.subarray(at);
    return { bytes, name: (words[0] ?? "").toLowerCase(), first: words[1] ?? "" };
  }

  /** The number in the line at `from`, and where the next line begins; nothing while the line is not whole. */
  #number(from: number, sign: "*" | "$") {
    const end = this.#rest.indexOf("\r\n", from);
    if (end < 0) return undefined;
    const line = this.#rest.toString("latin1", from, end);
    if (!line.startsWith(sign)) throw new Error(`the proxy cannot read ${JSON.stringify(line.slice(0, 40))}`);
    return { value: Number(line.slice(1)), at: end + 2 };
  }
}

/** Has this process the socket from this port of 127.0.0.1 to that one? (The port alone may be another connection's too.) */
function owns(pid: number, port: number, remotePort: number): boolean {
  const ending = (of: number) => `:${of.toString(16).toUpperCase().padStart(4, "0")}`;
  const rows = ["tcp", "tcp6"]
    .flatMap((table) => textOf(`/proc/${pid}/net/${table}`).split("\n"))
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, remote]) => local?.endsWith(ending(port)) && remote?.endsWith(ending(remotePort)));
  const sockets = new Set(rows.map((row) => `socket:[${row[9]}]`));
  return filesOf(pid).some((fd) => sockets.has(linkOf(fd)));
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // the process is gone
  }
}

function filesOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => `/proc/${pid}/fd/${fd}`);
  } catch {
    return []; // the process is gone
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // closed meanwhile
  }
}

const require = createRequire(import.meta.url);

/** As ioredis sends it: EVALSHA with the digest of what runs, which is what the folder's scripts share and the script. */
function shaOf(script: string): string {
  const digest = (text: string) => createHash("sha1").update(text).digest("hex");
  const [folder = "", name = ""] = script.split("/");
  if (folder === "bullmq") {
    const scripts: Record<string, { content: string }> = require(
      join(dirname(require.resolve("bullmq")), "scripts/index.js"),
    );
    return digest(scripts[name]?.content ?? "");
  }
  const shared: Record<string, string[]> = {
    queues: [
      ...["record", "window-sliding", "window-periods", "window-bucket", "clock", "windows", "turns", "room", "ending"],
    ].map((shared) => `queues/${shared}.lua`),
    topics: ["topics/redis-topic.lua"],
  };
  const before: Record<string, string[]> = {
    "queues/register.lua": ["queues/policies.lua"],
    "queues/admit.lua": ["queues/reserve.lua"],
    "queues/take.lua": ["queues/run.lua", "queues/key-state.lua", "queues/choose.lua", "queues/reserve.lua"],
    "queues/spend.lua": ["queues/run.lua"],
    "queues/settle.lua": ["queues/key-state.lua", "queues/guard.lua", "queues/note-change.lua"],
  };
  const parts = [...(shared[folder] ?? []), ...(before[script] ?? []), script];
  return digest(parts.map((path) => readFileSync(`src/${path}`, "utf8")).join("\n"));
}
