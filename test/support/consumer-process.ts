/** Starts topic-consumer.ts as a child and keeps what it tells; ends it with the test. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { onTestFinished } from "vitest";
import type { ConsumerOrder, Told } from "./topic-consumer.ts";

export class ConsumerProcess {
  readonly told: Told[] = [];
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  #news: (() => void)[] = [];

  constructor(order: ConsumerOrder) {
    this.#child = fork(new URL("./topic-consumer.ts", import.meta.url), [JSON.stringify(order)], { execArgv: [] });
    this.#exited = once(this.#child, "exit");
    this.#child.on("message", (told: Told) => {
      this.told.push(told);
      for (const each of this.#news.splice(0)) each();
    });
    onTestFinished(() => void this.#child.kill("SIGKILL"));
  }

  /** The first thing told that `is` wants, now or later. */
  async until<T extends Told>(is: (told: Told) => told is T): Promise<T> {
    for (;;) {
      const found = this.told.find(is);
      if (found) return found;
      await new Promise<void>((resolve) => this.#news.push(resolve));
    }
  }

  acknowledge(): void {
    this.#child.send("acknowledge");
  }

  async kill(signal: "SIGKILL" | "SIGSTOP" | "SIGCONT"): Promise<void> {
    this.#child.kill(signal);
    if (signal === "SIGKILL") await this.#exited;
  }

  /** Resolves when it has ended by itself. */
  async exited(): Promise<void> {
    await this.#exited;
  }
}

export const isBatch = (told: Told) => told.kind === "batch";
export const isAcknowledged = (told: Told) => told.kind === "acknowledged";
export const isRefused = (told: Told) => told.kind === "refused";
