/** Definite states of the whole, as a gateway would tell them: what the page's tests and screenshots show. */
import type {
  CameraEvent,
  CameraRisk,
  Health,
  KeyEvent,
  KeyGroupChange,
  KeyGroupEvent,
  OutcomeEvent,
  Snapshot,
  Totals,
} from "../../src/events.ts";
import type { AssessmentResult, Bbox, CameraStatus, Outcome, PreviewHeader, RiskLevel } from "../../src/messages.ts";
import { STREET, type StreetObject } from "./street-picture.ts";

export interface SceneCamera {
  event: CameraEvent;
  objects: StreetObject[];
  /** The one group's box. */
  group: Bbox;
  /** Hue of its picture. */
  tint: number;
}

export interface Scene {
  snapshot: Snapshot;
  cameras: SceneCamera[];
}

const PLACES = [
  { id: "harbour-road", name: "Harbour Road", lat: 53.5461, lon: 9.9669, tint: 208 },
  { id: "north-gate", name: "North Gate", lat: 53.5548, lon: 9.9822, tint: 32 },
  { id: "old-market", name: "Old Market", lat: 53.5502, lon: 10.0002, tint: 150 },
  { id: "station-square", name: "Station Square", lat: 53.5437, lon: 9.9905, tint: 260 },
] as const;

const OBJECTS: StreetObject[][] = [
  [
    { class: "car", bbox: [120, 250, 330, 345] },
    { class: "person", bbox: [352, 232, 396, 342] },
    { class: "car", bbox: [640, 330, 870, 430] },
  ],
  [
    { class: "person", bbox: [668, 240, 712, 350] },
    { class: "person", bbox: [716, 256, 758, 360] },
    { class: "car", bbox: [430, 262, 628, 352] },
  ],
  [
    { class: "bus", bbox: [90, 214, 430, 372] },
    { class: "bicycle", bbox: [470, 280, 540, 398] },
  ],
  [
    { class: "person", bbox: [300, 402, 346, 520] },
    { class: "person", bbox: [362, 396, 406, 512] },
    { class: "truck", bbox: [560, 226, 840, 352] },
  ],
];

const GROUPS: Bbox[] = [
  [120, 232, 396, 345],
  [430, 240, 758, 360],
  [90, 214, 540, 398],
  [300, 396, 406, 520],
];

const SAYINGS: Record<RiskLevel, string[]> = {
  none: [
    "Two pedestrians walk along the pavement; no vehicle is near.",
    "The bus stands at its stop, the cyclist waits well behind it.",
  ],
  low: [
    "A cyclist follows a bus at some distance on the same lane.",
    "A pedestrian waits at the kerb while a car passes slowly.",
  ],
  medium: [
    "A pedestrian stands 1.2 m from a moving car, outside the crossing.",
    "Car and cyclist share a narrow lane.",
  ],
  high: ["Two pedestrians on the crossing, a car closing in at 34 px/s less than half a height away."],
};

let serial = 0;

export function camera(index: number, risk: Partial<CameraRisk> = {}, status: Partial<CameraStatus> = {}): SceneCamera {
  const place = PLACES[index % PLACES.length] ?? PLACES[0];
  const nowMs = Date.now();
  return {
    objects: OBJECTS[index % OBJECTS.length] ?? [],
    group: GROUPS[index % GROUPS.length] ?? [0, 0, 10, 10],
    tint: place.tint,
    event: {
      cameraId: place.id,
      status: {
        cameraId: place.id,
        name: place.name,
        lat: place.lat,
        lon: place.lon,
        state: "online",
        detail: "",
        sinceMs: nowMs - 754_000,
        atMs: nowMs,
        lastFrameAtMs: nowMs - 300,
        imageWidth: STREET.width,
        imageHeight: STREET.height,
        frameIntervalMs: 1000,
        actualIntervalMs: 1010,
        frames: { decoded: 754, detected: 751, dropped: 3 },
        ...status,
      },
      risk: {
        cameraId: place.id,
        riskLevel: "none",
        outcome: "assessed",
        messageId: "m",
        description: "",
        riskTypes: [],
        capturedAtMs: nowMs - 2_500,
        completedAtMs: nowMs - 1_200,
        simulated: true,
        counts: { assessed: 420 },
        ...risk,
      },
    },
  };
}

export interface Told {
  cameraId?: string;
  outcome?: Outcome;
  level?: RiskLevel;
  description?: string;
  agoMs?: number;
  revision?: number;
  simulated?: boolean;
  imagePath?: string | null;
  taskId?: string;
  error?: AssessmentResult["error"];
  classes?: string[];
}

/** An outcome as the gateway emits it. Default: a low risk at Harbour Road, simulated, just now. */
export function outcome(told: Told = {}): OutcomeEvent {
  serial += 1;
  const kind = told.outcome ?? "assessed";
  const judged = kind === "assessed" || kind === "reused";
  const level = told.level ?? "low";
  const shownAtMs = Date.now() - (told.agoMs ?? 0);
  const capturedAt = shownAtMs - 1_180 - ((serial * 137) % 600);
  const cameraId = told.cameraId ?? PLACES[0].id;
  const requestId = `detection-${serial}`;
  const taskId = told.taskId ?? `${requestId}_group1`;
  const simulated = told.simulated ?? true;
  const sayings = SAYINGS[level];
  return {
    shownAtMs,
    imagePath: told.imagePath === undefined ? `/images/${cameraId}.jpg` : told.imagePath,
    result: {
      messageId: `${taskId}_result`,
      taskId,
      requestId,
      cameraId,
      timestamp: new Date(capturedAt).toISOString(),
      groupIndex: 1,
      outcome: kind,
      revision: told.revision ?? 1,
      results: judged
        ? [
            {
              groupIndex: 1,
              riskLevel: level,
              confidence: 0.86,
              riskTypes: level === "none" ? [] : ["pedestrian–vehicle conflict"],
              description: told.description ?? sayings[serial % sayings.length] ?? "",
              dangerObjectCount: 2,
              triggerObjectIds: [0, 1],
            },
          ]
        : [],
      ...(told.error ? { error: told.error } : {}),
      classes: told.classes ?? ["car", "person"],
      metadata: {
        llmLatency: judged ? 0.94 : 0,
        llmModel: simulated ? "simulated-vl" : "qwen-vl-plus",
        keyGroup: judged ? "sim-3" : null,
        apiKeyId: judged ? "key-003" : null,
        attempts: 1,
        retryCount: 0,
        tokens: judged ? { prompt: 412, completion: 96 } : null,
        simulated,
        timings: { capturedAt, completedAt: shownAtMs - 40 },
      },
    },
  };
}

/** A change of a group's state, so long ago. */
export function change(agoMs: number, over: Partial<KeyGroupChange> = {}): KeyGroupChange {
  serial += 1;
  const atMs = Date.now() - agoMs;
  return {
    id: `${Math.round(atMs)}-${serial}`,
    keyGroup: "sim-5",
    keyId: null,
    from: "available",
    to: "cooling",
    cause: "RATE_LIMITED",
    reason: null,
    untilMs: atMs + 10_000,
    atMs,
    ...over,
  };
}

function keyOf(n: number, over: Partial<KeyEvent> = {}): KeyEvent {
  return {
    id: `key-${String(n).padStart(3, "0")}`,
    ...{
      state: "in_use",
      cause: null,
      reason: null,
      cools: null,
      leftMs: 0,
      inFlight: 1,
      calls: 1_200 + n * 31,
      ok: 1_196 + n * 31,
      failed: 0,
    },
    ...over,
  };
}

const CALLS = { unit: "requests", kind: "sliding" } as const;

export function keyGroup(n: number, over: Partial<KeyGroupEvent> = {}): KeyGroupEvent {
  return {
    id: `sim-${n}`,
    account: `sim-${n}`,
    provider: "simulated",
    model: "simulated-vl",
    simulated: true,
    strategy: "round_robin",
    routing: "round_robin",
    weight: 1,
    region: null,
    quality: 3,
    pricePerCall: null,
    state: "in_use",
    ...{ cause: null, reason: null },
    ...{ cools: null, coolingLeftMs: 0, disabledLeftMs: null },
    inFlight: 1 + (n % 3),
    concurrency: null,
    windows: [
      { name: "requestsPerSecond", limit: 5, windowMs: 1000, unit: "requests", kind: "sliding", used: 1 + (n % 4) },
      {
        name: "requestsPerMinute",
        limit: 300,
        windowMs: 60_000,
        unit: "requests",
        kind: "sliding",
        used: 96 + ((n * 23) % 90),
      },
    ],
    waitsFor: null,
    calls: 1200 + n * 31,
    ok: 1196 + n * 31,
    rejected429: 0,
    failures: {},
    refusals: {},
    medianLatencyMs: 960,
    p95LatencyMs: 1_480,
    tokens: { prompt: (1_196 + n * 31) * 1_000, completion: (1_196 + n * 31) * 90 },
    latency: { counts: [0, 700 + n * 20, 480 + n * 11, 16, 0, 0, 0], sumMs: (1_196 + n * 31) * 990 },
    guardMs: 14.6,
    keys: [keyOf(n)],
    ...over,
  };
}

export function totals(over: Partial<Totals> = {}): Totals {
  return {
    groups: 14_238,
    waiting: 3,
    inFlight: 11,
    outcomes: { assessed: 11_904, reused: 1_876, failed: 14, expired: 62, superseded: 368 },
    endToEndP50Ms: 1_240,
    endToEndP95Ms: 1_730,
    coverage: 0.982,
    verdictsPerSecond: 8.4,
    quotaUsed: 0.61,
    ...over,
  };
}

export function health(over: Partial<Health> = {}): Health {
  const atMs = Date.now();
  const roles = ["store", "provider", "detector", "bridge", "worker", "results", "gateway"];
  return {
    ok: true,
    problems: [],
    store: "up",
    storeInMemory: false,
    topics: null,
    detectionsToPublish: { waiting: 0, most: 90, dropped: 0, paused: false },
    resultsToPublish: { waiting: 2, most: 50_000, dropped: 0, paused: false },
    roles: roles.map((role, i) => ({
      role,
      instance: "1",
      pid: 4000 + i,
      ready: true,
      detail: role === "detector" ? "4 cameras, 4.0 looks a second" : "",
      // Far ahead, so that a test that takes its time does not see roles fall silent; the page treats it as fresh.
      atMs: atMs + 600_000,
      startedAtMs: atMs - 754_000,
      rssMb: 92 + i * 17,
      topics: null,
      toPublish: null,
    })),
    ...over,
  };
}

function scene(cameras: SceneCamera[], over: Partial<Snapshot> = {}): Scene {
  return {
    cameras,
    snapshot: {
      nowMs: Date.now(),
      cameras: cameras.map(({ event }) => event),
      keyGroups: Array.from({ length: 10 }, (_, i) => keyGroup(i + 1)),
      keyGroupChanges: [],
      totals: totals(),
      health: health(),
      outcomes: busyOutcomes(),
      simulated: true,
      permitted: true,
      ...over,
    },
  };
}

function busyOutcomes(): OutcomeEvent[] {
  const levels: RiskLevel[] = ["low", "none", "medium", "none", "low", "none", "low", "none"];
  const verdicts = levels.map((level, i) =>
    outcome({
      level,
      cameraId: PLACES[i % 4]?.id ?? "harbour-road",
      agoMs: 900 + i * 1_700,
      outcome: i === 4 ? "reused" : "assessed",
    }),
  );
  const others = [
    outcome({ outcome: "superseded", cameraId: "north-gate", agoMs: 3_300 }),
    outcome({
      outcome: "expired",
      cameraId: "old-market",
      agoMs: 8_600,
      error: { code: "DEADLINE_PASSED", message: "Its deadline passed before a call was free." },
    }),
    outcome({
      outcome: "failed",
      cameraId: "station-square",
      agoMs: 10_100,
      error: { code: "VERDICT_UNREADABLE", message: "The model's answer was no readable verdict, twice." },
    }),
  ];
  return [...verdicts, ...others].sort((a, b) => b.shownAtMs - a.shownAtMs);
}

const busyCameras = () => [
  camera(0, { riskLevel: "low", description: SAYINGS.low[1] ?? "" }),
  camera(1, { riskLevel: "medium", description: SAYINGS.medium[0] ?? "", completedAtMs: Date.now() - 2_000 }),
  camera(2, { riskLevel: "none", description: SAYINGS.none[1] ?? "" }),
  camera(3, { riskLevel: null, outcome: null, completedAtMs: null, capturedAtMs: null }),
];

export const SCENES = {
  /** Just started: no camera, nothing judged, nothing counted. */
  empty: () =>
    scene([], {
      outcomes: [],
      keyGroups: [],
      totals: totals({
        groups: 0,
        waiting: 0,
        inFlight: 0,
        outcomes: {},
        endToEndP50Ms: null,
        endToEndP95Ms: null,
        coverage: null,
        verdictsPerSecond: 0,
        quotaUsed: 0,
      }),
    }),
  busy: () => scene(busyCameras()),
  /** One camera offline, one stalled, one looked at less often than asked. */
  offline: () => {
    const nowMs = Date.now();
    return scene([
      camera(0, { riskLevel: "low" }, { actualIntervalMs: 2_430 }),
      camera(
        1,
        { riskLevel: "medium" },
        {
          state: "offline",
          detail: "RTSP: connection refused; next try in 8 s",
          sinceMs: nowMs - 252_000,
          lastFrameAtMs: nowMs - 253_000,
        },
      ),
      camera(2, { riskLevel: "none" }),
      camera(
        3,
        { riskLevel: "none" },
        { state: "stalled", detail: "no frame for 14 s", sinceMs: nowMs - 14_000, lastFrameAtMs: nowMs - 15_000 },
      ),
    ]);
  },
  /** The store does not answer: the gateway shows what it knew. */
  storeAway: () =>
    scene(busyCameras(), { health: health({ ok: false, store: "away", problems: ["the store is away"] }) }),
  /** No broker answers, and every role with topics has noticed. */
  kafkaAway: () => {
    const trouble = {
      code: "BROKER_AWAY",
      message: "no broker answers at kafka-1.plant.example:9092: connect ECONNREFUSED 10.20.0.11:9092",
      remedy: "Start the Kafka broker again, or correct KAFKA_BROKERS; everything goes on by itself when it is back.",
      sinceMs: Date.now() - 192_000,
    };
    const who = ["bridge", "detector", "results"];
    const { roles, ...well } = health();
    const problem = "Kafka cannot be reached, as bridge, detector and results report";
    return scene(busyCameras(), {
      health: {
        ...{ ...well, ok: false, problems: [problem] },
        topics: {
          ...{ ...trouble, title: "Kafka cannot be reached", problem },
          noticed: who.map((role) => ({ role, processes: 1, of: 1 })),
        },
        detectionsToPublish: { waiting: 62, most: 90, dropped: 1_204, paused: false },
        resultsToPublish: { waiting: 312, most: 50_000, dropped: 0, paused: false },
        roles: roles.map((role) => (who.includes(role.role) ? { ...role, topics: trouble } : role)),
      },
    });
  },
  /** One camera has just turned high. */
  highRisk: () => {
    const raised = scene([
      ...busyCameras().slice(0, 1),
      camera(1, { riskLevel: "high", description: SAYINGS.high[0] ?? "", completedAtMs: Date.now() - 300 }),
      ...busyCameras().slice(2),
    ]);
    raised.snapshot.outcomes.unshift(outcome({ level: "high", cameraId: "north-gate", agoMs: 250 }));
    raised.snapshot.keyGroups[4] = keyGroup(5, {
      state: "cooling",
      cause: "RATE_LIMITED",
      coolingLeftMs: 4_200,
      rejected429: 2,
      failures: { RATE_LIMITED: 2 },
    });
    raised.snapshot.keyGroups[7] = keyGroup(8, {
      state: "disabled",
      cause: "KEY_REJECTED",
      failures: { KEY_REJECTED: 1 },
    });
    return raised;
  },
  /** Key groups in every kind of trouble among those that are well. */
  keyTrouble: () => {
    const day = { name: "@callsPerDay", limit: 5_000, windowMs: 86_400_000, used: 1_840, ...CALLS };
    const groups = Array.from({ length: 10 }, (_, i) => keyGroup(i + 1));
    groups[1] = keyGroup(2, {
      state: "available",
      inFlight: 0,
      calls: 0,
      ok: 0,
      medianLatencyMs: null,
      p95LatencyMs: null,
    });
    groups[4] = keyGroup(5, {
      ...{
        state: "cooling",
        cause: "RATE_LIMITED",
        reason: "rate_minute",
        cools: "requestsPerMinute",
        coolingLeftMs: 41_000,
        rejected429: 14,
        guardMs: 64,
      },
      ...{
        failures: { RATE_LIMITED: 14, CALL_TIMED_OUT: 2 },
        refusals: { RATE_LIMITED: { rate_minute: 11, tokens: 3 }, CALL_TIMED_OUT: { timeout: 2 } },
        waitsFor: { window: "requestsPerMinute", leftMs: 8_200 },
      },
      windows: [
        { name: "requestsPerSecond", limit: 5, windowMs: 1_000, unit: "requests", kind: "sliding", used: 5 },
        { name: "requestsPerMinute", limit: 300, windowMs: 60_000, unit: "requests", kind: "sliding", used: 300 },
      ],
    });
    groups[3] = keyGroup(4, { inFlight: 8, concurrency: { limit: 8, used: 8 } });
    groups[6] = keyGroup(7, {
      ...{
        id: "qwen-account-with-a-long-name-shanghai",
        provider: "dashscope",
        model: "qwen-vl-plus",
        simulated: false,
      },
      concurrency: { limit: 12, used: 3 },
      windows: [...keyGroup(7).windows, day],
      keys: [keyOf(1), keyOf(2, { state: "disabled", cause: "KEY_REJECTED", cools: "key", leftMs: 47_000 }), keyOf(3)],
    });
    groups[7] = keyGroup(8, {
      ...{ state: "disabled", cause: "QUOTA_EXHAUSTED", reason: "balance", cools: "group", disabledLeftMs: 47_000 },
      ...{ failures: { QUOTA_EXHAUSTED: 3 }, refusals: { QUOTA_EXHAUSTED: { balance: 2, day: 1 } } },
    });
    groups[8] = keyGroup(9, { state: "unmanned", inFlight: 0 });
    return scene(busyCameras(), {
      keyGroups: groups,
      keyGroupChanges: [
        change(4_000, { untilMs: Date.now() + 41_000 }),
        change(13_000, {
          ...{ keyGroup: "qwen-account-with-a-long-name-shanghai", keyId: "key-002", to: "disabled" },
          ...{ cause: "KEY_REJECTED", untilMs: Date.now() + 47_000 },
        }),
        change(31_000, {
          ...{ keyGroup: "sim-8", to: "disabled", cause: "QUOTA_EXHAUSTED", reason: "balance", untilMs: null },
        }),
        change(95_000, { keyGroup: "sim-9", to: "unmanned", cause: null, untilMs: null }),
        change(130_000, { from: "cooling", to: "available", cause: null, untilMs: null }),
        change(141_000, { cause: "PROVIDER_FAILED" }),
        change(150_000, { keyGroup: "sim-3" }),
      ],
    });
  },
  /** A hundred of them, two in trouble. */
  hundredKeyGroups: () => {
    const groups = Array.from({ length: 100 }, (_, i) => keyGroup(i + 1));
    groups[63] = keyGroup(64, { state: "cooling", cause: "PROVIDER_FAILED", coolingLeftMs: 9_000 });
    groups[87] = keyGroup(88, { state: "disabled", cause: "QUOTA_EXHAUSTED", failures: { QUOTA_EXHAUSTED: 1 } });
    return scene(busyCameras(), { keyGroups: groups });
  },
} satisfies Record<string, () => Scene>;

export type SceneName = keyof typeof SCENES;

export function previewOf({ event, objects, group }: SceneCamera): PreviewHeader {
  serial += 1;
  const nowMs = Date.now();
  return {
    cameraId: event.cameraId,
    messageId: `frame-${serial}`,
    // What an offline camera last sent is as old as its last frame.
    capturedAtMs: event.status?.state === "online" ? nowMs - 140 : (event.status?.lastFrameAtMs ?? nowMs),
    detectedAtMs: nowMs - 60,
    imageWidth: STREET.width,
    imageHeight: STREET.height,
    objects: objects.map((object, i) => ({ ...object, confidence: 0.9 - i * 0.07, trackId: i + 1 })),
    groups: [{ groupIndex: 1, bbox: group, score: 0.6 }],
  };
}
