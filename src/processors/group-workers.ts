/**
 * The BullMQ workers of the key groups that this process serves: a group's worker starts with its first job and rests
 * after a minute without, so that a thousand idle groups cost next to nothing.
 */
import { type Job, UnrecoverableError, Worker, type WorkerOptions } from "bullmq";
import type { Redis } from "ioredis";
import type { Context } from "../context.ts";
import { explain, VigilaneError } from "../errors.ts";
import { type Acquired, loop, type Service, service } from "../lifecycle.ts";
import { assessmentQueueName, BULLMQ_PREFIX } from "../names.ts";
import { AssessmentJob, type JobReturn } from "../queues/assessment-queue.ts";
import type { KeyGroup } from "../queues/key-groups.ts";
import type { JobView } from "./assess-group.ts";

export interface GroupWorkersParts {
  groups: readonly KeyGroup[];
  /** For commands; the workers' blocking reads get connections of their own. */
  redis: Redis;
  /** Resolves with each group id announced on `wakeWorker`. */
  onWake: (listener: (keyGroup: string) => void) => () => void;
  /** Groups that need a worker, for when no announcement was heard; `everyQueue`: also those that were given a job long ago, or by hand. */
  stirring: (withinMs: number, everyQueue: boolean) => Promise<string[]>;
  /** Removed groups with jobs in their queue: none is called any more, but each job's task finds its way to the waiting room. */
  leaving: () => Promise<string[]>;
  assess: (job: JobView) => Promise<JobReturn>;
  /** Calls under way may go on so long after a stop was asked for; then they are given up and their tasks go back. */
  graceMs: number;
}

const REST_AFTER_MS = 60_000;
/** Of a group that was removed: its tasks are back already, and what is left in its queue says so and ends. */
const LEAVE_AFTER_MS = 5_000;
/** A lost signal costs no more than this. */
const TICK_MS = 1_000;
/** A job that was put by hand into the queue of a group that rests waits no longer than so many ticks. */
const EVERY_QUEUE_TICKS = 5;

export interface GroupWorkers extends Service {
  /** From now on these groups. Calls under way go on; a removed group's worker rests when nothing comes any more. */
  use(groups: readonly KeyGroup[]): void;
  running(): number;
  inFlight(): number;
}

interface Running {
  worker: Worker;
  lastJobMs: number;
  atWork: number;
}

export function createGroupWorkers(parts: GroupWorkersParts, context: Context): GroupWorkers {
  const { clock, log } = context;
  let groups = new Map(parts.groups.map((group) => [group.id, group]));
  /** Removed, but with a worker for the jobs that were on their way. */
  const leaving = new Map<string, KeyGroup>();
  const running = new Map<string, Running>();
  /** Of the present start: aborts when calls under way are given up. */
  let giveUp = new AbortController();

  /** Groups of other workers are left to them; whoever comes first sees to the leaving ones. */
  function wake(id: string, removed = false) {
    const group = groups.get(id) ?? leaving.get(id);
    const known = running.get(id);
    if (known) known.lastJobMs = clock.monotonicMs();
    if ((!group && !removed) || known) return;
    const entry: Running = { worker: startWorker(id, group?.windows ?? []), lastJobMs: clock.monotonicMs(), atWork: 0 };
    running.set(id, entry);
    log.debug({ keyGroup: id }, "worker started");
  }

  function startWorker(id: string, windows: KeyGroup["windows"]): Worker {
    const worker = new Worker(
      assessmentQueueName(id),
      (job: Job) => process(id, job),
      workerOptions(windows, parts.redis),
    );
    worker.on("error", (error) => log.debug({ err: error, keyGroup: id }, "worker"));
    return worker;
  }

  async function process(id: string, job: Job): Promise<JobReturn> {
    const entry = running.get(id);
    if (entry) {
      entry.lastJobMs = clock.monotonicMs();
      entry.atWork += 1;
    }
    try {
      const data = AssessmentJob.safeParse(job.data);
      if (!data.success)
        throw new UnrecoverableError(`the job's data are no assessment job: ${data.error.issues[0]?.message}`);
      const lines: string[] = [];
      try {
        return await parts.assess({
          data: data.data,
          stalled: job.stalledCounter > 0,
          log: (line) => lines.push(line),
          signal: giveUp.signal,
        });
      } finally {
        // One command for all lines; the job's end does not wait for it.
        if (lines.length > 0) job.log(lines.join("\n")).catch(() => {});
      }
    } catch (error) {
      // Failed for good: the outcome is fixed already, BullMQ only keeps the job for people.
      if (error instanceof VigilaneError) throw new UnrecoverableError(explain(error));
      throw error;
    } finally {
      if (entry) entry.atWork -= 1;
    }
  }

  async function restIdle() {
    const nowMs = clock.monotonicMs();
    for (const { worker } of running.values()) Object.assign(worker.opts, pace(running.size));
    for (const [id, entry] of running) {
      const restAfterMs = leaving.has(id) ? LEAVE_AFTER_MS : REST_AFTER_MS;
      if (entry.atWork > 0 || entry.lastJobMs > nowMs - restAfterMs) continue;
      running.delete(id);
      leaving.delete(id);
      await entry.worker.close();
      log.debug({ keyGroup: id }, "worker rests");
    }
  }

  const base = service("group workers", context, async (acquired: Acquired, signal) => {
    giveUp = new AbortController();
    acquired.add(
      parts.onWake((id) => wake(id)),
      "wake signal",
      (off) => off(),
    );
    acquired.add(running, "workers", closeAll);
    for (const id of await parts.stirring(REST_AFTER_MS, true)) wake(id);
    let ticks = 0;
    const ticking = loop(context, signal, "worker tick", async () => {
      await clock.sleep(TICK_MS, signal);
      ticks += 1;
      for (const id of await parts.stirring(2 * TICK_MS, ticks % EVERY_QUEUE_TICKS === 0)) wake(id);
      for (const id of await parts.leaving()) wake(id, true);
      await restIdle();
    });
    acquired.add(ticking, "tick", (done) => done);
  });

  function use(next: readonly KeyGroup[]) {
    const before = groups;
    groups = new Map(next.map((group) => [group.id, group]));
    for (const group of next) {
      leaving.delete(group.id);
      const entry = running.get(group.id);
      if (entry) adjust(entry.worker, group);
    }
    for (const [id, group] of before) if (!groups.has(id) && running.has(id)) leaving.set(id, group);
  }

  async function closeAll() {
    const grace = new AbortController();
    const given = giveUp;
    clock.sleep(parts.graceMs, grace.signal).then(
      () => given.abort(new VigilaneError("STOPPED", "the worker stops")),
      () => {},
    );
    await Promise.all([...running.values()].map(({ worker }) => worker.close()));
    grace.abort();
    running.clear();
  }

  return Object.assign(base, {
    use,
    running: () => running.size,
    inFlight: () => [...running.values()].reduce((sum, { atWork }) => sum + atWork, 0),
  });
}

/**
 * Settings of a key group's worker. Locks of 5 s looked at each 2 s bring a killed worker's jobs back in about 5 s (the
 * supervisor's announcement is quicker; this is the fallback). The limiter is a second fence, made from the group's
 * windows, that never binds (jobs that only go back pass it too): it is what BullMQ's own tools show, and what makes
 * `queue.rateLimit` of a cooling group heard.
 */
function workerOptions(windows: KeyGroup["windows"], connection: Redis): WorkerOptions {
  return {
    connection,
    prefix: BULLMQ_PREFIX,
    ...rates(windows),
    ...pace(1),
    lockDuration: 5_000,
    maxStalledCount: 50,
    maximumRateLimitDelay: 500,
  };
}

/**
 * How often workers look after stalled jobs, ms, and ask again for a job that they were not told of, seconds: both are
 * fallbacks, and with a hundred and more workers in this process together no more often than with a hundred. BullMQ reads
 * both from its options each time.
 */
function pace(workers: number): { stalledInterval: number; drainDelay: number } {
  return { stalledInterval: Math.max(2_000, workers * 20), drainDelay: Math.max(5, workers / 20) };
}

function rates(windows: KeyGroup["windows"]): Required<Pick<WorkerOptions, "concurrency" | "limiter">> {
  const requests = windows.filter(({ unit }) => unit !== "tokens");
  const perSecond = Math.min(...requests.map((w) => Math.max(1, (w.limit * 1000) / w.windowMs)));
  // More than the windows can have in flight when every call takes 30 s, so that this never is the limit.
  const concurrency = Math.max(50, Math.min(1_000, Math.ceil(perSecond * 30)));
  return { concurrency, limiter: { max: concurrency * 10, duration: 1_000 } };
}

/** BullMQ asks its options for the limiter at each job that it fetches. */
function adjust(worker: Worker, group: KeyGroup): void {
  const { concurrency, limiter } = rates(group.windows);
  if (worker.concurrency !== concurrency) worker.concurrency = concurrency;
  worker.opts.limiter = limiter;
}
