/**
 * One vigilane a data folder: a lock that dies with its holder. It is a listening local socket whose name is made from
 * the folder's path: on Linux an abstract one (the kernel forgets it with the process), on Windows a named pipe (the
 * same), elsewhere a socket file, which a killed holder leaves behind and the next one clears away.
 */
import { createHash, randomUUID } from "node:crypto";
import { mkdirSync, realpathSync, rmSync, statSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";

/** What a holder tells whoever comes second. */
export interface LockHolder {
  pid: number;
  /** Where its page is, or a broker's addresses; null: not known yet, or it has none. */
  url: string | null;
}

export interface DataLock {
  /** What is told from now on. */
  tell(holder: LockHolder): void;
  release(): Promise<void>;
}

export type LockKind = "abstract" | "pipe" | "file";

const KIND: LockKind = process.platform === "linux" ? "abstract" : process.platform === "win32" ? "pipe" : "file";

/** How long a second starter could still sweep our new socket away, having seen the stale one before us. */
const SETTLE_MS = 200;

/** Name of the lock's socket for a folder that exists. */
export function lockAddress(folder: string, kind: LockKind = KIND): string {
  const name = `vigilane-${createHash("sha256").update(realpathSync(folder)).digest("hex").slice(0, 24)}`;
  switch (kind) {
    case "abstract":
      return `\0${name}`;
    case "pipe":
      return `\\\\.\\pipe\\${name}`;
    case "file":
      return join(tmpdir(), `${name}.sock`);
  }
}

/** Makes the folder where it is missing. Rejects with ALREADY_RUNNING, saying who holds it. */
export function lockData(folder: string, context: Context, kind: LockKind = KIND): Promise<DataLock> {
  const refusal = ({ pid, url }: LockHolder) => {
    const where = url ? ` Its page: ${url}` : "";
    const what = `vigilane runs already on the data folder ${folder} (process ${pid}).${where}`;
    return new VigilaneError("ALREADY_RUNNING", what);
  };
  return lockFolder(folder, refusal, context, kind);
}

/** As `lockData`, with the caller's own words for who comes second. */
export async function lockFolder(
  folder: string,
  refusal: (holder: LockHolder) => VigilaneError,
  { clock }: Context,
  kind: LockKind = KIND,
): Promise<DataLock> {
  mkdirSync(folder, { recursive: true });
  const address = lockAddress(folder, kind);
  const nonce = randomUUID();
  let holder: LockHolder = { pid: process.pid, url: null };
  const answer = () => JSON.stringify({ ...holder, nonce });

  for (let tries = 1; ; tries += 1) {
    const server = await listen(address, answer);
    if (server) {
      const tell = (next: LockHolder) => {
        holder = next;
      };
      const lock: DataLock = { tell, release: () => close(server) };
      if (kind !== "file") return lock;
      await clock.sleep(SETTLE_MS);
      const now = await ask(address);
      if (now?.nonce === nonce) return lock;
      await close(server, true); // swept away by another starter, whose socket must stay
    }
    const inode = kind === "file" ? inodeOf(address) : undefined;
    const other = await ask(address);
    if (other) throw refusal(other);
    if (tries === 20)
      throw new VigilaneError("ALREADY_RUNNING", `the lock of ${folder} is held by someone who is mute`);
    if (inode !== undefined && inode === inodeOf(address)) rmSync(address, { force: true });
    await clock.sleep(10 * tries);
  }
}

/** Undefined: somebody has the address. */
function listen(address: string, answer: () => string): Promise<Server | undefined> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.end(answer());
  });
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) =>
      error.code === "EADDRINUSE" ? resolve(undefined) : reject(error),
    );
    server.listen(address, () => {
      server.unref();
      resolve(server);
    });
  });
}

/** What the holder says; undefined: nobody is there. */
function ask(address: string): Promise<(LockHolder & { nonce: string }) | undefined> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect(address);
    socket.setTimeout(2_000, () => socket.destroy());
    socket.on("data", (bytes) => {
      text += bytes.toString();
    });
    socket.on("error", () => resolve(undefined));
    socket.on("close", () => {
      try {
        const said: unknown = JSON.parse(text);
        resolve(isHolder(said) ? said : undefined);
      } catch {
        resolve(undefined);
      }
    });
  });
}

const isHolder = (said: unknown): said is LockHolder & { nonce: string } =>
  typeof said === "object" && said !== null && "pid" in said && "nonce" in said && "url" in said;

function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}

/** Node removes a socket's file when its server closes; `keepFile`: the file at that path is another's by now. */
function close(server: Server, keepFile = false): Promise<void> {
  if (keepFile) {
    server.unref(); // it goes with the process: closing it would take the other's file away
    return Promise.resolve();
  }
  return new Promise((resolve) => server.close(() => resolve()));
}
