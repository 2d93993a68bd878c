/** The bridge's role: admits detections to the waiting room, fans out to the key groups' queues, writes outcomes back. */
import type { Redis } from "ioredis";
import { z } from "zod";
import { admitDetections, failGroups } from "../bridge/admit.ts";
import { isInShare } from "../bridge/camera-share.ts";
import { fanOut } from "../bridge/fan-out.ts";
import { handOver, nameOfTask } from "../bridge/hand-over.ts";
import { nameOfResult } from "../bridge/outcome-to-result.ts";
import { readDetection } from "../bridge/read-detection.ts";
import { readTask } from "../bridge/read-task.ts";
import { writeBack } from "../bridge/write-back.ts";
import { policyOf, readCameras, routingPolicies } from "../cameras.ts";
import type { Context } from "../context.ts";
import type { KeyChanges } from "../keys/key-changes.ts";
import { createKeySetWatch } from "../keys/key-set-watch.ts";
import { type Acquired, during, loop, service } from "../lifecycle.ts";
import { KEYS } from "../names.ts";
import { FAILED_JOB_AGE_MS } from "../queues/assessment-queue.ts";
import { createAssessmentQueues } from "../queues/bullmq-assessment-queue.ts";
import { RECORD_SPARE_MS } from "../queues/outcomes-known.ts";
import { createQuota } from "../queues/redis-quota.ts";
import { createWaitingRoom } from "../queues/redis-waiting-room.ts";
import { bindToRun } from "../queues/store-forgot.ts";
import type { WaitingRoom } from "../queues/waiting-room.ts";
import { policyId } from "../routing-policy.ts";
import type { Settings } from "../settings.ts";
import { checkStore, connectBeside, connectStore } from "../store.ts";
import { followRun } from "../store-run.ts";
import { offeredByCameras, quotaWarning } from "../supervisor/capacity.ts";
import { openOutboxTransfer, openTopicLog } from "../topics/open-topic-log.ts";
import type { OpenOutboxTransfer } from "../topics/outbox-transfer.ts";
import { TOPICS, type TopicLog } from "../topics/topic-log.ts";
import { snapshotPublisher } from "./key-group-snapshots.ts";
import { openImageStore } from "./open-image-store.ts";
import { instanceName, isStartedByUp, storeUrl } from "./places.ts";
import type { RoleService } from "./role-service.ts";
import { tellLags } from "./topic-lags.ts";

const HOUR_MS = 3_600_000;
/** As long as nothing could become due, the sweep comes more rarely: its look is a command of its own. */
const SWEEP_MS = { busy: 250, idle: 1_000 };
const SNAPSHOT_MS = 1_000;
/** The store knows of eight days; asking this often also mends it soon after its clock stepped. Of policies see policies.lua. */
const RENEW_MS = 60_000;
const POISON = { code: "POISON", message: "processing this message ended the process five times" };
/** What a transfer under way may take at the stop. */
const WRITE_BACK_MS = 500;
/** How often it is counted what waits in the outbox. */
const OUTBOX_MS = 1_000;

export function createBridge(settings: Settings, context: Context): RoleService & { detail(): string } {
  const counts = { messages: 0, groups: 0, again: 0, handed: 0, deadLetters: 0, captureUntrusted: 0, resting: 0 };
  /** Results and tasks in the outboxes; null: not counted yet. */
  let inOutbox: number | null = null;
  /** What is read; exactly one of the two topics, or there would be two results of a group. */
  const source =
    settings.assessmentTasks === "read"
      ? { topic: TOPICS.tasks, read: readTask, leftToUs: true }
      : { topic: TOPICS.detections, read: readDetection, leftToUs: false };
  const writesTasks = settings.assessmentTasks === "write";
  // What changes later it says for the others too.
  const keys = createKeySetWatch(settings, context, { atStart: isStartedByUp() });
  const cameras = settings.cameras ? readCameras(settings.cameras) : [];
  /** What the cameras of the file that are judged here offer. */
  const offered = offeredByCameras(
    cameras
      .filter(({ id }) => !(writesTasks && isInShare(id, settings.assessmentTasksShare)))
      .map(({ frameIntervalMs }) => frameIntervalMs ?? settings.frameIntervalMs),
  );
  /** That the quota is too small for it, as it was last said. */
  let tooSmall: string | undefined;
  /** Policies that no key group may serve, in words. */
  let nowhere: string[] = [];
  const url = storeUrl(settings);
  const topics = openTopicLog(settings, url, context);
  const transfers = new Set<OpenOutboxTransfer>();
  const base = service("bridge", context, async (acquired, signal) => {
    let { groups, routing } = await keys.load();
    const lookAtQuota = (aloud: boolean) => {
      const now = quotaWarning(groups, offered);
      if (now !== undefined && now !== tooSmall && aloud) context.log.warn(now);
      tooSmall = now;
    };
    lookAtQuota(!isStartedByUp());
    const connection = async (what: string) =>
      acquired.add(await connectStore(url, context, {}, signal), what, (r) => r.disconnect());
    const redis = await connection("store connection");
    await checkStore(redis);
    const signals = await connection("signals");
    await signals.subscribe(KEYS.wake, KEYS.roleDied);

    const images = await acquired.start(openImageStore(settings, context));
    await acquired.start(topics);
    // What was to be handed over before the setting was changed still goes.
    const handsOver = writesTasks || (await redis.xlen(KEYS.tasksOutbox)) > 0;
    const results = settings.olderConsumers ? [TOPICS.results, TOPICS.revisions] : [TOPICS.results];
    for (const topic of [source.topic, ...results, ...(handsOver ? [TOPICS.tasks] : [])])
      await topics.ensureTopic(topic);

    const quota = createQuota(redis, context.clock);
    const room = createWaitingRoom(redis, { maxWaiting: settings.maxWaiting });
    const queues = acquired.add(createAssessmentQueues(redis), "queues", (q) => q.close());
    const lives = {
      recordMs: settings.topicRetentionHours * HOUR_MS + RECORD_SPARE_MS,
      failedRecordMs: FAILED_JOB_AGE_MS,
      imageMs: HOUR_MS,
    };
    const makeKnown = async (renewed: KeyChanges["renewed"] = []) => {
      const policies = routingPolicies(cameras, routing.policy);
      const told = { ...lives, routing, policies: policies.map(({ policy }) => policy) };
      const { unserved } = await quota.register(groups, told, renewed);
      const now = policies.filter(({ policy }) => unserved.includes(policyId(policy))).map(unservedInWords);
      for (const why of now) if (!nowhere.includes(why)) context.log.warn(why);
      nowhere = now;
    };
    const register = async (run: string, changed: boolean) => {
      await bindToRun(redis, run !== "", changed);
      await makeKnown();
    };
    const storeRun = await followRun(redis, context, signal, (run) => register(run, true));
    await register(storeRun.id(), false);

    const run = (what: string, work: Promise<void>) => acquired.add(work, what, (done) => done);
    run(
      "renewing",
      loop(context, signal, "renewing calendar and policies", async () => {
        await context.clock.sleep(RENEW_MS, signal);
        await quota.renewCalendar(groups);
        const policies = routingPolicies(cameras, routing.policy).map(({ policy }) => policy);
        if (!(await quota.renewPolicies(policies))) await makeKnown();
      }),
    );

    const deaths = acquired.add(collectDeaths(signals), "announced deaths", (d) => d.off());
    const older = {
      olderRedis: settings.olderConsumers
        ? acquired.add(connectBeside(settings.olderRedisUrl ?? url, context), "older Redis", (r) => r.disconnect())
        : undefined,
      resultsTopic: TOPICS.results,
      revisionsTopic: settings.olderConsumers ? TOPICS.revisions : TOPICS.results,
    };
    const outcomes = {
      ...(await outboxParts({ outboxKey: KEYS.outbox, nameOf: nameOfResult }, redis, topics, acquired, signal)),
      ...older,
    };
    const storeNow = () => storeNowMs(redis);
    // A transfer to brokers that are away ends when its connections, acquired before it, are released.
    const writingBack = (until: AbortSignal) => writeBack({ ...outcomes, storeNowMs: storeNow }, context, until);
    during(acquired, context, signal, "write back", writingBack, WRITE_BACK_MS);
    if (handsOver) {
      const tasks = await outboxParts(
        { outboxKey: KEYS.tasksOutbox, nameOf: nameOfTask },
        redis,
        topics,
        acquired,
        signal,
      );
      const handingOver = (until: AbortSignal) =>
        handOver({ ...tasks, tasksTopic: TOPICS.tasks, images }, context, until);
      during(acquired, context, signal, "handing over", handingOver, WRITE_BACK_MS);
    }
    during(acquired, context, signal, "outbox's length", (until) =>
      loop(context, until, "counting the outbox", async () => {
        const lengths = await Promise.all([KEYS.outbox, KEYS.tasksOutbox].map((outbox) => redis.xlen(outbox)));
        inOutbox = lengths.reduce((sum, length) => sum + length, 0);
        await context.clock.sleep(OUTBOX_MS, until);
      }),
    );
    run("fan out", fanOut({ quota, queues, woken: (until) => signalled(signals, KEYS.wake, until) }, context, signal));
    run("sweep", loop(context, signal, "sweep", sweeper(room, deaths, signal, context)));
    await redis.del(KEYS.keyGroups); // what an earlier set of groups left
    const publish = snapshotPublisher(quota, redis);
    await publish();
    run(
      "snapshot",
      loop(context, signal, "key groups' snapshot", async () => {
        await context.clock.sleep(SNAPSHOT_MS, signal);
        await publish();
      }),
    );

    const readers = [
      { topic: source.topic, group: settings.bridgeGroup },
      ...results.map((topic) => ({ topic, group: settings.resultsGroup })),
    ];
    during(acquired, context, signal, "lags", (until) => tellLags({ topics, redis, readers }, context, until));

    // A removed group's tasks go back in the same step; new groups are known from then on.
    during(acquired, context, signal, "keys' file", (until) =>
      keys.follow(async (next, { renewed }) => {
        ({ groups, routing } = next);
        await makeKnown(renewed);
        lookAtQuota(true);
      }, until),
    );

    const detections = topics.subscribe(source.topic, {
      group: settings.bridgeGroup,
      consumer: instanceName("bridge"),
      onPoison: (message) => failGroups(message, POISON, { ...source, room }),
    });
    run(
      "admission",
      admitDetections(
        {
          detections,
          ...source,
          isJudgedElsewhere: (id) => writesTasks && isInShare(id, settings.assessmentTasksShare),
          inlineImages: settings.inlineImages,
          room,
          images,
          policyOf: (id) => policyOf(id, cameras, { ...settings, routing: routing.policy ?? {} }),
          maxOutbox: settings.maxOutbox,
        },
        context,
        signal,
        counts,
      ),
    );
  });
  return Object.assign(base, {
    topicTrouble: () => [topics, ...transfers].map((each) => each.trouble()).find((trouble) => trouble) ?? null,
    toPublish: () =>
      inOutbox === null
        ? null
        : { waiting: inOutbox, most: settings.maxOutbox, dropped: 0, paused: counts.resting > 0 },
    detail: () =>
      [
        `${counts.groups} groups admitted from ${counts.messages} messages, ${counts.again} of them came again, ${counts.deadLetters} dead letters, ${counts.captureUntrusted} capture times not believed`,
        writesTasks ? `${counts.handed} groups left to those who read ${TOPICS.tasks}` : undefined,
        keys.problem(),
        ...nowhere,
      ]
        .filter(Boolean)
        .join("; "),
  });

  async function outboxParts(
    outbox: Parameters<typeof openOutboxTransfer>[3],
    commands: Redis,
    topics: TopicLog,
    acquired: Acquired,
    signal: AbortSignal,
  ) {
    const blocking = await connectStore(storeUrl(settings), context, {}, signal);
    const transfer = openOutboxTransfer(settings, commands, topics, outbox, context);
    transfers.add(transfer);
    const { outboxKey } = outbox;
    return {
      redis: acquired.add(blocking, `reader of ${outboxKey}`, (r) => r.disconnect()),
      commands,
      outboxKey,
      transfer: acquired.add(transfer, `transfer of ${outboxKey}`, (t) => {
        transfers.delete(t);
        return t.close();
      }),
      instance: `${instanceName("bridge")}:${process.pid}`,
    };
  }
}

function unservedInWords({ cameras }: { cameras: readonly (string | null)[] }): string {
  const named = cameras.map((camera) => camera ?? "cameras without a routing of their own");
  const some = named.length > 4 ? `${named.slice(0, 3).join(", ")} and ${named.length - 3} more` : named.join(", ");
  return `no key group with a key may judge what comes from ${some}: its routing policy allows none, so it will expire unjudged`;
}

async function storeNowMs(redis: Redis): Promise<number> {
  const [seconds, micros] = await redis.time();
  return Number(seconds) * 1000 + Number(micros) / 1000;
}

/** Resolves with the next message on the channel, or with nothing when `until` aborts. */
function signalled(signals: Redis, channel: string, until: AbortSignal): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  const handler = (from: string, message: string) => {
    if (from === channel) resolve(message);
  };
  signals.on("message", handler);
  until.addEventListener("abort", () => resolve(undefined), { once: true });
  if (until.aborted) resolve(undefined);
  return promise.finally(() => signals.off("message", handler));
}

/** Collects the deaths that the supervisor announces; a sweep takes them and brings their calls back. */
function collectDeaths(signals: Redis) {
  const dead: string[] = [];
  let announce = () => {};
  const handler = (channel: string, message: string) => {
    const worker = channel === KEYS.roleDied ? deadWorker(message) : undefined;
    if (!worker) return;
    dead.push(worker);
    announce();
  };
  signals.on("message", handler);
  return {
    known: () => [...dead],
    /** Their tasks are back. */
    forget: (handled: readonly string[]) => {
      for (const worker of handled) dead.splice(dead.indexOf(worker), 1);
    },
    /** Resolves at the next announcement. */
    next: () => new Promise<void>((resolve) => (announce = resolve)),
    off: () => signals.off("message", handler),
  };
}

/** Each call awaits a tick, or a role's death that is announced, whose calls come back at once, and sweeps. */
function sweeper(
  room: WaitingRoom,
  deaths: ReturnType<typeof collectDeaths>,
  signal: AbortSignal,
  { clock, log }: Context,
) {
  let pauseMs = SWEEP_MS.busy;
  return async () => {
    const ticked = new AbortController();
    await Promise.race([deaths.next(), clock.sleep(pauseMs, AbortSignal.any([signal, ticked.signal]))]);
    ticked.abort();
    const dead = deaths.known();
    const { idle, ...swept } = await room.sweep(dead);
    pauseMs = idle ? SWEEP_MS.idle : SWEEP_MS.busy;
    deaths.forget(dead);
    if (dead.length > 0 || swept.overdue > 0) log.info({ dead, ...swept }, "tasks of a dead worker are back");
    else if (swept.lapsed > 0) log.debug(swept, "leases lapsed unspent");
  };
}

const RoleDied = z.object({ role: z.string(), instance: z.string(), pid: z.number() });

/** The worker's name as in `spend`, when it was a worker that died. */
function deadWorker(message: string): string | undefined {
  try {
    const { role, instance, pid } = RoleDied.parse(JSON.parse(message));
    return role === "worker" ? `${instance}:${pid}` : undefined;
  } catch {
    return undefined;
  }
}
