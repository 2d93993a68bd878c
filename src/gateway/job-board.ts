/**
 * bull-board over every key group's queue. Two boards share the queues: one for those who may change things, one
 * read-only. Tasks change only through the waiting room, so that of the board's operations only the retry of failed jobs is
 * on, and it goes through `reopen`: bull-board's own `job.retry()` never reaches BullMQ.
 */
import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import { ExpressAdapter } from "@bull-board/express";
import { type Job, Queue } from "bullmq";
import express, { type Request, type Response, type Router } from "express";
import type { Redis } from "ioredis";
import type { Context } from "../context.ts";
import { explain, VigilaneError } from "../errors.ts";
import { assessmentQueueName, BULLMQ_PREFIX } from "../names.ts";
import { statusOf } from "./answers.ts";
import type { Retried } from "./retry.ts";

export interface JobBoard {
  /** To be mounted at `basePath`, behind the doors. */
  router: Router;
  /** The queues by name. */
  queues: ReadonlyMap<string, Queue>;
  /** Shows a queue for each of these key groups; one that is gone stays until nothing waits or runs in it. To be called again and again. */
  show(keyGroupIds: Iterable<string>): Promise<void>;
  close(): Promise<void>;
}

export interface JobBoardOptions {
  redis: Redis;
  basePath: string;
  storeIsUp: () => boolean;
  mayChange: (request: Request) => boolean;
  retry: (taskId: string) => Promise<Retried>;
}

export function createJobBoard(options: JobBoardOptions, context: Context): JobBoard {
  const queues = new Map<string, Queue>();
  const boards = [boardFor(options, false), boardFor(options, true)] as const;
  const [forLooking, forChanging] = boards;

  function add(name: string) {
    const queue = new Queue(name, { connection: options.redis, prefix: BULLMQ_PREFIX });
    queue.on("error", () => {}); // the connection itself says that the store is away
    queues.set(name, queue);
    for (const { board, readOnly } of boards) board.addQueue(new FailedJobsOnly(queue, readOnly, options.retry));
  }

  async function drop(name: string, queue: Queue) {
    const left = await queue.getJobCountByTypes("waiting", "prioritized", "active", "delayed");
    if (left > 0) return;
    for (const { board } of boards) board.removeQueue(name);
    queues.delete(name);
    await queue.close();
  }

  const router = express.Router();
  router.use((_request, response, next) => {
    if (options.storeIsUp()) next();
    else answerBoard(response, new VigilaneError("STORE_AWAY", "the store is away"));
  });
  router.put("/api/queues/:queueName/retry/failed", (request, response, next) => {
    const queue = queues.get(request.params.queueName);
    if (!queue) next();
    else retryAll(queue, options.retry, context).then((answer) => answerRetryAll(response, answer), next);
  });
  router.put("/api/queues/:queueName/:jobId/retry", async (request, response, next) => {
    const job = await queues.get(request.params.queueName)?.getJob(request.params.jobId);
    if (!job) return next();
    try {
      await options.retry(taskIdOf(job));
      response.status(204).end();
    } catch (error) {
      if (!(error instanceof VigilaneError)) throw error;
      answerBoard(response, error);
    }
  });
  router.use((request, response, next) => {
    withoutForeignFonts(response);
    const board = options.mayChange(request) ? forChanging : forLooking;
    board.handler(request, response, next);
  });

  async function show(wanted: ReadonlySet<string>) {
    for (const name of wanted) if (!queues.has(name)) add(name);
    for (const [name, queue] of queues) if (!wanted.has(name)) await drop(name, queue);
  }

  let showing: Promise<void> | undefined;
  return {
    router,
    queues,
    show(keyGroupIds) {
      showing ??= show(new Set([...keyGroupIds].map(assessmentQueueName).sort())).finally(() => {
        showing = undefined;
      });
      return showing;
    },
    async close() {
      await Promise.all([...queues.values()].map((queue) => queue.close()));
    },
  };
}

/** bull-board's page links fonts of another site, which our policy refuses: the link is taken out. */
function withoutForeignFonts(response: Response): void {
  const send = response.send.bind(response);
  response.send = (body) => {
    const isPage = typeof body === "string" && /^<!doctype html>/i.test(body);
    return send(isPage ? body.replace(/<link href="https:\/\/fonts\.[^>]*>/, "") : body);
  };
}

const BOARD: NonNullable<Parameters<typeof createBullBoard>[0]["options"]> = {
  uiConfig: {
    boardTitle: "vigilane jobs",
    hideRedisDetails: true,
    hideDocsLink: true,
    sortQueues: true,
    miscLinks: [{ text: "Live map", url: "/" }],
    pollingInterval: { showSetting: true },
  },
  handlerHooks: {
    before({ method, route }) {
      if (method === "get" || route === "/api/queues/:queueName/:jobId/retry") return;
      const message = explain(new VigilaneError("OPERATION_OFF", "this operation is off"));
      return { allow: false, status: 405, message };
    },
  },
};

function boardFor({ basePath }: JobBoardOptions, mayChange: boolean) {
  const server = new ExpressAdapter();
  server.setBasePath(basePath);
  const board = createBullBoard({ queues: [], serverAdapter: server, options: BOARD });
  const app = server.getRouter() as express.Express;
  app.disable("x-powered-by");
  return { board, readOnly: !mayChange, handler: app };
}

/** BullMQ's `rateLimit` sets the limiter's count to the largest number; no job count comes near this one. */
const COOLING_COUNT = 1_000_000_000;

/** The adapter through which bull-board sees a queue: nothing can be changed but a failed job's retry. */
class FailedJobsOnly extends BullMQAdapter {
  override readonly allowCompletedRetries = false;
  readonly #retry: JobBoardOptions["retry"];
  readonly #queue: Queue;

  constructor(queue: Queue, readOnly: boolean, retry: JobBoardOptions["retry"]) {
    super(queue, {
      readOnlyMode: readOnly,
      allowRetries: !readOnly,
      description: "Jobs come here with their lease and run at once; tasks wait in the waiting room.",
      externalJobUrl: ({ data }) => cropLink(data),
    });
    this.#retry = retry;
    this.#queue = queue;
    this.setFormatter("data", withoutSecrets);
    this.setFormatter("returnValue", withoutSecrets);
  }

  /** Only a cool-down counts as rate limited, not that the limiter's window has begun to count. */
  override async getActiveRateLimitTtl(): Promise<number> {
    return Math.max(0, await this.#queue.getRateLimitTtl(COOLING_COUNT));
  }

  override async getJob(id: string) {
    const job = await super.getJob(id);
    if (job) this.#rewire(job as unknown as Job);
    return job;
  }

  override async getJobs(...args: Parameters<BullMQAdapter["getJobs"]>) {
    const jobs = await super.getJobs(...args);
    for (const job of jobs) this.#rewire(job as unknown as Job);
    return jobs;
  }

  #rewire(job: Job): void {
    job.retry = async () => {
      await this.#retry(taskIdOf(job)).catch((error: unknown) => {
        throw forBoard(error);
      });
    };
    job.promote = off;
    job.updateData = off;
    job.changeDelay = off;
    job.changePriority = off;
  }

  override addJob = off;
  override clean = off;
  override empty = off;
  override obliterate = off;
  override pause = off;
  override resume = off;
  override promoteAll = off;
  override removeJobScheduler = off;
  override runJobSchedulerNow = off;
  override updateJobScheduler = off;
  override setGlobalConcurrency = off;
  override setConfiguredRateLimit = off;
  override removeConfiguredRateLimit = off;
  override releaseActiveRateLimit = off;
}

/** bull-board has a link for every job or for none. */
function cropLink(data: unknown): { displayText: string; href: string } {
  const { crop } = (data ?? {}) as { crop?: unknown };
  return typeof crop === "string" ? { displayText: "crop", href: crop } : { displayText: "no crop", href: "/jobs" };
}

async function off(): Promise<never> {
  throw forBoard(new VigilaneError("OPERATION_OFF", "this operation is off"));
}

function taskIdOf(job: Job): string {
  const taskId = (job.data as { task?: { taskId?: unknown } } | null)?.task?.taskId;
  if (typeof taskId !== "string") throw new VigilaneError("NO_SUCH_TASK", "the job holds no task");
  return taskId;
}

/** bull-board shows an error's message in its toast and answers with its `statusCode`. */
function forBoard(error: unknown): Error {
  const statusCode = error instanceof VigilaneError ? statusOf(error) : 500;
  return Object.assign(new Error(explain(error), { cause: error }), { statusCode });
}

/** bull-board's page shows `error` as a toast's headline and `message` below it. */
function answerBoard(response: Response, error: VigilaneError): void {
  const { code, message, remedy } = error;
  response.status(statusOf(error)).json({ error: `${message} (${code})`, message: remedy, code });
}

interface RetryAllAnswer {
  retried: number;
  refused: Map<string, number>;
}

/** Each failed job by itself: one whose crop is gone does not keep the others from being tried again. */
async function retryAll(queue: Queue, retry: JobBoardOptions["retry"], { log }: Context): Promise<RetryAllAnswer> {
  const answer: RetryAllAnswer = { retried: 0, refused: new Map() };
  for (const job of await queue.getFailed(0, -1)) {
    try {
      await retry(taskIdOf(job));
      answer.retried += 1;
    } catch (error) {
      if (!(error instanceof VigilaneError)) throw error;
      log.info({ job: job.id, code: error.code }, "not tried again");
      answer.refused.set(error.code, (answer.refused.get(error.code) ?? 0) + 1);
    }
  }
  return answer;
}

function answerRetryAll(response: Response, { retried, refused }: RetryAllAnswer): void {
  const skipped = [...refused.values()].reduce((sum, count) => sum + count, 0);
  if (skipped === 0) {
    response.json({ retried, skipped });
    return;
  }
  const causes = [...refused].map(([code, count]) => `${count} × ${code}`).join(", ");
  const error = `${retried} tried again, ${skipped} not`;
  response.status(409).json({ error, message: causes, retried, skipped });
}

const SECRET = /^(secret|api_?key|authorization|token|password|key)$/i;

/** Jobs hold no secret; should one ever get in, it is not shown. */
export function withoutSecrets(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutSecrets);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([name, inner]) => [
    name,
    SECRET.test(name) ? "[redacted]" : withoutSecrets(inner),
  ]);
  return Object.fromEntries(entries);
}
