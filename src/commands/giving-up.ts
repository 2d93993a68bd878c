/**
 * The topics' log for a command. A role waits for brokers and store for as long as it takes; somebody sits before a command:
 * it gives up, with what was found out meanwhile, and Ctrl-C ends its waiting.
 */
import type { Context } from "../context.ts";
import { ERRORS, type ErrorCode, VigilaneError } from "../errors.ts";
import type { TopicLog } from "../topics/topic-log.ts";

/** What has failed for so long is given up. */
const FAILING_MS = 10_000;
/** Nothing failed and nothing came: a large batch on a slow line takes its time, but not as long as this. */
const SILENT_MS = 30_000;
/** What is under way at Ctrl-C mostly ends in this time, and is then not done once more by the next run. */
const GRACE_MS = 1_000;
const LOOK_MS = 100;

/**
 * `log` with a start, an ensureTopic, a publish and an ends that reject: with what keeps them from their end (a BROKER_… row;
 * of topics in the store STORE_AWAY, `inStore`), or with STOPPED soon after `signal` aborts. What was to be published may be
 * there all the same.
 */
export function givingUp(
  log: TopicLog,
  { inStore, signal }: { inStore: boolean; signal: AbortSignal },
  { clock }: Pick<Context, "clock">,
): TopicLog {
  async function tried<T>(what: string, work: (failed: (why: VigilaneError) => void) => Promise<T>): Promise<T> {
    const done = new AbortController();
    let last: VigilaneError | undefined;
    const waited = (async (): Promise<never> => {
      const begunMs = clock.monotonicMs();
      let stoppedMs: number | undefined;
      for (;;) {
        await clock.sleep(LOOK_MS, done.signal);
        const nowMs = clock.monotonicMs();
        if (signal.aborted) stoppedMs ??= nowMs;
        if (stoppedMs !== undefined && nowMs - stoppedMs >= GRACE_MS) {
          throw new VigilaneError("STOPPED", `${what}: it was stopped before there was an answer`, { cause: last });
        }
        const why = inStore ? storeAway(what) : (troubleOf(log, what) ?? last);
        if (why !== undefined && nowMs - begunMs >= FAILING_MS) throw why;
        if (nowMs - begunMs >= SILENT_MS) {
          throw new VigilaneError(
            "TIMED_OUT",
            `${what}: the brokers answer, but this took longer than ${SILENT_MS} ms`,
          );
        }
      }
    })();
    waited.catch(() => {});
    try {
      return await Promise.race([
        work((why) => {
          last = why;
        }),
        waited,
      ]);
    } finally {
      done.abort();
    }
  }

  return {
    ...log,
    start: () => tried("connecting", () => log.start()),
    ensureTopic: (topic) => tried(`looking for ${topic}`, (failed) => log.ensureTopic(topic, failed)),
    publish: (topic, messages) => tried(`publishing to ${topic}`, () => log.publish(topic, messages)),
    ends: (topic) => tried(`the ends of ${topic}`, () => log.ends(topic)),
  };
}

const storeAway = (what: string) =>
  new VigilaneError("STORE_AWAY", `${what}: the store has not answered for ${FAILING_MS / 1_000} s`);

const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(ERRORS, code);

/** What the log itself has found out. */
function troubleOf(log: TopicLog, what: string): VigilaneError | undefined {
  const trouble = log.trouble();
  if (trouble === null) return undefined;
  const { code, message, remedy } = trouble;
  return new VigilaneError(isErrorCode(code) ? code : "BROKER_AWAY", `${what}: ${message}`, { remedy });
}
