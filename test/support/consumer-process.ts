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
      await this.#more();
    }
  }

  #more(): Promise<void> {
    return new Promise((resolve) => this.#news.push(resolve));
  }

  /** Resolves when so many batches have been acknowledged. */
  async acknowledgements(count: number): Promise<void> {
    while (this.told.filter(isAcknowledged).length < count) await this.#more();
  }

  /** Resolves with the numbers of a key's acknowledged messages ("<key> <n>") when there are `count`. */
  async valuesAcknowledged(key: string, count: number): Promise<number[]> {
    for (;;) {
      const values = this.told
        .filter(isAcknowledged)
        .flatMap(({ messages }) => messages.filter((message) => message.key === key))
        .map((message) => Buffer.from(message.valueBase64, "base64").toString());
      if (values.length >= count) return values.map((each) => Number(each.slice(key.length + 1)));
      await this.#more();
    }
  }

  /** Asks `empty` after each thing that is told, until it says yes. What is told while it is being asked counts too. */
  async drained(empty: () => Promise<boolean>): Promise<void> {
    for (;;) {
      const heard = this.told.length;
      if (await empty()) return;
      if (this.told.length === heard) await this.#more();
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

type Of<K extends Told["kind"]> = Extract<Told, { kind: K }>;
export const isBatch = (told: Told): told is Of<"batch"> => told.kind === "batch";
export const isAcknowledged = (told: Told): told is Of<"acknowledged"> => told.kind === "acknowledged";
export const isRefused = (told: Told): told is Of<"refused"> => told.kind === "refused";
export const isPoison = (told: Told): told is Of<"poison"> => told.kind === "poison";
