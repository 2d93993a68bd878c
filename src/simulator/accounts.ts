/** All accounts of the simulated provider together: whose key it is, what was drawn, what is remembered, who waits for what. */
import type { Context } from "../context.ts";
import type { Acquired } from "../lifecycle.ts";
import { Account, type AccountStats, type Fate } from "./account.ts";
import { type Answer, type Asked, brokenAnswer, completion, forced } from "./answers.ts";
import { CallLog } from "./call-log.ts";
import type { SpokenDialect } from "./dialects/dialect.ts";
import { SPOKEN } from "./dialects/spoken.ts";
import { judge } from "./judge.ts";
import { latencySampler, type Random, seededRandom } from "./latency.ts";
import type { FaultChange, SimulatorConfig } from "./simulator-config.ts";

export interface ProviderStats {
  mode: SimulatorConfig["mode"];
  /** Calls whose key belongs to no account. */
  unknownKey: number;
  accounts: AccountStats[];
}

/** Everything that lives between a start and a stop. */
export class Accounts {
  readonly context: Context;
  readonly all: readonly Account[];
  /** For whom belongs to no account. */
  readonly dialect: SpokenDialect;
  /** Draws what becomes of calls, in the order of their arrival: the same for the same seed, however answers overtake. */
  readonly fates: Random;
  readonly drawLatencyMs: () => number;
  /** How long the next request is on its way. A series of its own: whether there is a way changes nothing else. */
  readonly drawUplinkMs: () => number;
  log: CallLog | undefined;
  readonly #mode: SimulatorConfig["mode"];
  readonly #byKey: ReadonlyMap<string, Account>;
  readonly #variation: Random;
  #unknownKey = 0;
  #answers = 0;
  #waiting: { check: (stats: ProviderStats) => boolean; resolve: () => void }[] = [];

  constructor(config: SimulatorConfig, context: Context) {
    this.context = context;
    this.#mode = config.mode;
    this.dialect = SPOKEN[config.dialect];
    this.fates = seededRandom(config.seed);
    this.drawLatencyMs = latencySampler(config.latency, seededRandom(config.seed + 1));
    this.#variation = seededRandom(config.seed + 2);
    this.drawUplinkMs = latencySampler(config.uplink, seededRandom(config.seed + 3));
    this.all = config.accounts.map((account) => new Account(account, config));
    this.#byKey = new Map(
      config.accounts.flatMap(({ keys }, i) => keys.map((key) => [key, this.all[i]] as [string, Account])),
    );
  }

  /** Takes up the windows of an earlier life, and keeps a log for the next. */
  remember(folder: string, acquired: Acquired): void {
    const longestMs = Math.max(...this.all.map((account) => account.longestWindowMs));
    this.log = acquired.add(new CallLog(folder, longestMs, this.context), "log of calls", (log) => log.close());
    const nowMs = this.context.clock.monotonicMs();
    const byId = new Map(this.all.map((account) => [account.id, account]));
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
      return fate === "server"
        ? account.dialect.serverError(this.#variation() >= 0.5)
        : account.dialect.contentRefused();
    }
    account.answered(fate === "broken" ? "broken" : "ok");
    this.#answers += 1;
    const judgement = judge(asked.text, this.#variation);
    const content = fate === "broken" ? brokenAnswer(judgement, this.#variation) : JSON.stringify(judgement);
    return completion(`chatcmpl-simulated-${this.#answers}`, this.context.clock.nowMs(), asked, content);
  }

  stats(): ProviderStats {
    const atMs = this.context.clock.monotonicMs();
    return {
      mode: this.#mode,
      unknownKey: this.#unknownKey,
      accounts: this.all.map((account) => account.stats(atMs)),
    };
  }

  setFaults(change: FaultChange | null, id?: string): void {
    const meant = this.all.filter((account) => id === undefined || account.id === id);
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
