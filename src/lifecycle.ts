/**
 * The one contract of everything that starts and stops, and the two ways to put such things together.
 *
 * Taken from River's startstop: `stop()` is safe before `start()`, during it, twice and concurrently; a failed start
 * leaves nothing running.
 */
import type { Context } from "./context.ts";
import { VigilaneError } from "./errors.ts";

export interface Service {
  readonly name: string;
  /** Resolves when ready to work. Called twice: the same promise. After a stop: starts anew. */
  start(): Promise<void>;
  /** Resolves when everything is released. Never rejects for what is already gone. */
  stop(): Promise<void>;
}

/** What a start acquires: each release is registered together with its acquisition, and unwound in reverse. */
export class Acquired {
  readonly #releases: { what: string; release: () => unknown }[] = [];

  /** `release` runs at unwinding, whatever became of the others. Returns its first argument for use in place. */
  add<T>(resource: T, what: string, release: (resource: T) => unknown): T {
    this.#releases.push({ what, release: () => release(resource) });
    return resource;
  }

  /** Starts a service and registers its stop, also when its start fails. */
  async start<S extends Service>(service: S): Promise<S> {
    this.add(service, service.name, (s) => s.stop());
    await service.start();
    return service;
  }

  /** Releases in reverse order, each under `deadlineMs`, going on past errors, which are logged and returned. */
  async unwind({ clock, log }: Context, deadlineMs = 5_000): Promise<unknown[]> {
    const faults: unknown[] = [];
    for (let next = this.#releases.pop(); next; next = this.#releases.pop()) {
      const { what, release } = next;
      try {
        await within(clock, deadlineMs, `stop of ${what}`, async () => release());
      } catch (error) {
        faults.push(error);
        log.warn({ err: error, what }, "could not be stopped cleanly");
      }
    }
    return faults;
  }
}

/**
 * Makes a Service of one function: `run` acquires through `acquired` and returns when ready. What it acquired is
 * released in reverse at stop, or at once when it throws. `signal` aborts when a stop is asked for, also during start.
 */
export function service(
  name: string,
  context: Context,
  run: (acquired: Acquired, signal: AbortSignal) => Promise<void>,
): Service {
  type Phase = { acquired: Acquired; abort: AbortController; started: Promise<void>; stopped?: Promise<void> };
  let phase: Phase | undefined;
  return {
    name,
    start() {
      if (phase && !phase.stopped) return phase.started;
      const before = phase?.stopped ?? Promise.resolve();
      const acquired = new Acquired();
      const abort = new AbortController();
      const started = before.then(async () => {
        try {
          abort.signal.throwIfAborted();
          await run(acquired, abort.signal);
          abort.signal.throwIfAborted();
        } catch (error) {
          await acquired.unwind(context);
          throw error;
        }
      });
      started.catch(() => {});
      phase = { acquired, abort, started };
      return started;
    },
    stop() {
      const current = phase;
      if (!current) return Promise.resolve();
      current.stopped ??= (async () => {
        current.abort.abort(new VigilaneError("STOPPED", `${name} was stopped`));
        await current.started.catch(() => {});
        await current.acquired.unwind(context);
      })();
      return current.stopped;
    },
  };
}

/**
 * Begins `work` and ends it at the stop: its signal aborts then, and its end is waited for `graceMs` at most. What still
 * hangs on an absent store ends when the connection, acquired before it, is released.
 */
export function during(
  acquired: Acquired,
  { clock }: Context,
  signal: AbortSignal,
  what: string,
  work: (until: AbortSignal) => Promise<void>,
  graceMs = 1_000,
): void {
  const ended = new AbortController();
  const working = work(AbortSignal.any([signal, ended.signal]));
  working.catch(() => {});
  acquired.add(working, what, async () => {
    ended.abort();
    const grace = new AbortController();
    const enough = clock.sleep(graceMs, grace.signal).catch(() => {});
    await Promise.race([working, enough]).finally(() => grace.abort());
  });
}

/**
 * Runs `step` again and again until `signal` aborts; `step` itself waits for its work. A step that throws is logged
 * and tried again after a back-off (100 ms doubling to 5 s, with jitter). Returns the promise of the loop's end.
 */
export async function loop(
  { clock, log }: Context,
  signal: AbortSignal,
  what: string,
  step: () => Promise<void>,
): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    try {
      await step();
      failures = 0;
    } catch (error) {
      if (signal.aborted) return;
      failures += 1;
      const backoffMs = Math.min(5_000, 100 * 2 ** Math.min(failures, 10)) * (0.5 + Math.random() / 2);
      log.warn({ err: error, what, failures, backoffMs: Math.round(backoffMs) }, "failed, will be tried again");
      await clock.sleep(backoffMs, signal).catch(() => {});
    }
  }
}

/** Rejects with TIMED_OUT when `work` takes longer than `deadlineMs`; the work itself goes on. */
export async function within<T>(
  clock: Context["clock"],
  deadlineMs: number,
  what: string,
  work: () => Promise<T>,
): Promise<T> {
  const timer = new AbortController();
  try {
    return await Promise.race([
      work(),
      clock.sleep(deadlineMs, timer.signal).then(() => {
        throw new VigilaneError("TIMED_OUT", `${what} took longer than ${deadlineMs} ms`);
      }),
    ]);
  } finally {
    timer.abort();
  }
}

/**
 * What `work` comes to, or undefined as soon as `signal` aborts: what was asked of a store that has gone since is never
 * answered, not even when its connection is let go.
 */
export async function untilAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T | undefined> {
  const aborted = Promise.withResolvers<undefined>();
  const end = () => aborted.resolve(undefined);
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", end);
  }
}

/** Resolves when `signal` aborts. */
export function abortOf(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
