/**
 * One role as a child process that is kept alive: started again with back-off and jitter when it dies, given up when it
 * dies at once again and again. Each child leads a process group of its own (not on Windows), so that a Ctrl-C at the
 * terminal reaches the supervisor alone, and what a child started itself (ffmpeg) goes with it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { prettyLine } from "./terminal.ts";

export interface Launch {
  program: string;
  args: readonly string[];
  env: NodeJS.ProcessEnv;
  /** Written to its standard input, which is then closed. Default: none. */
  stdin?: string;
  /** A line of its output that says it is ready. Default: it sends {ready: true} over IPC. */
  readyLine?: RegExp;
}

export interface Death {
  role: string;
  instance: string;
  pid: number;
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface RoleProcessEvents {
  /** A line of its output, without the line end. */
  onLine(line: string): void;
  onBorn(pid: number): void;
  /** Every end of a child, wanted or not. */
  onDeath(death: Death, wanted: boolean): void;
  /** It will not be started again. */
  onGivenUp(error: VigilaneError): void;
}

/** A child that lives for less has died "at once"; so many such deaths in a row, and it is given up. */
const EARLY_DEATH_MS = 5_000;
const MOST_EARLY_DEATHS = 5;
const FIRST_BACKOFF_MS = 100;
const LONGEST_BACKOFF_MS = 5_000;
const LAST_LINES = 20;

export class RoleProcess {
  readonly role: string;
  readonly instance: string;
  restarts = 0;
  #child: ChildProcess | undefined;
  #ready = false;
  #lastLines: string[] = [];
  #stop = new AbortController();
  #ended: Promise<void> | undefined;
  readonly #launch: Launch;
  readonly #events: RoleProcessEvents;
  readonly #context: Context;
  readonly #firstReady = Promise.withResolvers<void>();

  constructor(role: string, instance: string, launch: Launch, events: RoleProcessEvents, context: Context) {
    this.role = role;
    this.instance = instance;
    this.#launch = launch;
    this.#events = events;
    this.#context = context;
    this.#firstReady.promise.catch(() => {});
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get ready(): boolean {
    return this.#ready;
  }

  /** Resolves when ready for the first time; rejects with ROLE_KEEPS_DYING, or STOPPED. */
  start(): Promise<void> {
    this.#ended ??= this.#keepAlive();
    return this.#firstReady.promise;
  }

  /** SIGTERM, and SIGKILL to the whole group after `deadlineMs`. Resolves when it is gone. Idempotent. */
  async stop(deadlineMs: number): Promise<void> {
    this.#stop.abort();
    this.#firstReady.reject(new VigilaneError("STOPPED", `${this.instance} was stopped`));
    const { clock } = this.#context;
    this.#signal("SIGTERM");
    const timer = new AbortController();
    const ended = this.#ended ?? Promise.resolve();
    const late = clock.sleep(deadlineMs, timer.signal).then(
      () => this.#signalGroup("SIGKILL"),
      () => {},
    );
    await ended;
    timer.abort();
    await late;
  }

  /** Ends it at once, to be started again like one that died. */
  restart(): void {
    this.#signalGroup("SIGKILL");
  }

  /** Ends it at once. `stop` still waits for its end. */
  kill(): void {
    this.#stop.abort();
    this.#signalGroup("SIGKILL");
  }

  async #keepAlive(): Promise<void> {
    const { clock, log } = this.#context;
    let early = 0;
    while (!this.#stop.signal.aborted) {
      const bornAtMs = clock.monotonicMs();
      const death = await this.#runOnce();
      const wanted = this.#stop.signal.aborted;
      this.#events.onDeath(death, wanted);
      if (wanted) return;
      early = clock.monotonicMs() - bornAtMs < EARLY_DEATH_MS ? early + 1 : 0;
      if (early >= MOST_EARLY_DEATHS) return this.#giveUp(death, early);
      this.restarts += 1;
      const backoffMs =
        Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.max(0, early - 1)) * (0.5 + Math.random() / 2);
      log.warn(
        { instance: this.instance, why: why(death), restarts: this.restarts, backoffMs: Math.round(backoffMs) },
        `${this.instance} died and is started again`,
      );
      await clock.sleep(backoffMs, this.#stop.signal).catch(() => {});
    }
  }

  #giveUp(death: Death, times: number): void {
    const lines = this.#lastLines.map((line) => `    ${prettyLine(line, this.role)}`).join("\n");
    const error = new VigilaneError(
      "ROLE_KEEPS_DYING",
      `${this.role} died ${times} times within its first seconds, last with ${why(death)}. Its last lines:\n${lines || "    (none)"}\n`,
    );
    this.#firstReady.reject(error);
    this.#events.onGivenUp(error);
  }

  /** One life of the child: resolves at its end. */
  async #runOnce(): Promise<Death> {
    const { program, args, env, stdin, readyLine } = this.#launch;
    this.#lastLines = [];
    const child = spawn(program, [...args], {
      env,
      detached: process.platform !== "win32",
      windowsHide: true,
      stdio: [stdin === undefined ? "ignore" : "pipe", "pipe", "pipe", ...(readyLine ? [] : (["ipc"] as const))],
    });
    this.#child = child;
    const ended = new Promise<Pick<Death, "code" | "signal">>((resolve) => {
      child.on("exit", (code, signal) => resolve({ code, signal }));
      child.on("error", (error) => {
        this.#take(error.message);
        if (child.pid === undefined) resolve({ code: null, signal: null }); // there is no such program
      });
    });
    const streams = [child.stdout, child.stderr].filter((stream) => stream !== null);
    const drained = Promise.all(
      streams.map(async (stream) => {
        for await (const line of createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })) {
          this.#take(line);
          if (readyLine?.test(line)) this.#isReady();
        }
      }),
    ).catch(() => {});
    child.on("message", (message) => {
      if (typeof message === "object" && message !== null && "ready" in message) this.#isReady();
    });
    if (stdin !== undefined && child.stdin) {
      child.stdin.on("error", () => {}); // it died before it read; its exit tells
      child.stdin.end(stdin);
    }
    if (child.pid !== undefined) this.#events.onBorn(child.pid);
    const { code, signal } = await ended;
    this.#ready = false;
    this.#signalGroup("SIGKILL"); // what it left behind
    // Its last lines may still be on their way; a grandchild that holds the pipe must not keep us.
    await Promise.race([drained, this.#context.clock.sleep(300)]);
    return { role: this.role, instance: this.instance, pid: child.pid ?? -1, code, signal };
  }

  #isReady() {
    this.#ready = true;
    this.#firstReady.resolve();
  }

  #take(line: string) {
    this.#lastLines.push(line);
    if (this.#lastLines.length > LAST_LINES) this.#lastLines.shift();
    this.#events.onLine(line);
  }

  #signal(signal: NodeJS.Signals) {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    // Windows knows no gentle signal: there a role is asked by the closing of its channel.
    if (process.platform === "win32" && signal === "SIGTERM" && child.connected) child.disconnect();
    else child.kill(signal);
  }

  #signalGroup(signal: NodeJS.Signals) {
    const pid = this.#child?.pid;
    if (pid === undefined) return;
    if (process.platform === "win32") return this.#signal(signal);
    try {
      process.kill(-pid, signal);
    } catch {
      // Nobody is left in the group.
    }
  }
}

function why({ code, signal }: Death): string {
  return signal ? `signal ${signal}` : code === null ? "no start at all" : `exit code ${code}`;
}
