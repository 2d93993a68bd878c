/** The supervisor's end of the leash (leash.ts): tells it of every process, and starts it again where it is killed. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { Context } from "../context.ts";
import { ourScript } from "./programs.ts";

export class Leash {
  #child: ChildProcess | undefined;
  #closed = false;
  readonly #held = new Map<number, "role" | "store">();
  readonly #context: Context;

  constructor(context: Context) {
    this.#context = context;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Resolves when it runs. */
  async start(): Promise<void> {
    const child = spawn(process.execPath, [ourScript(import.meta.url, "./leash")], {
      detached: true,
      windowsHide: true,
      stdio: ["pipe", "ignore", "ignore"],
    });
    this.#child = child;
    child.stdin?.on("error", () => {}); // it was killed; its exit tells
    child.on("exit", () => {
      if (this.#closed || this.#child !== child) return;
      this.#context.log.warn("the leash died and is started again");
      this.#context.clock
        .sleep(200)
        .then(() => (this.#closed ? undefined : this.start()))
        .catch((error: unknown) => this.#context.log.error({ err: error }, "the leash cannot be started"));
    });
    await once(child, "spawn");
    for (const [pid, kind] of this.#held) this.#tell(`+${pid} ${kind}`);
  }

  hold(pid: number, kind: "role" | "store"): void {
    this.#held.set(pid, kind);
    this.#tell(`+${pid} ${kind}`);
  }

  release(pid: number): void {
    if (this.#held.delete(pid)) this.#tell(`-${pid}`);
  }

  /** With nothing held any more it leaves at once; what is still held it ends. */
  async close(): Promise<void> {
    this.#closed = true;
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.stdin?.end();
    await gone;
  }

  #tell(line: string): void {
    if (this.#child?.stdin?.writable) this.#child.stdin.write(`${line}\n`);
  }
}
