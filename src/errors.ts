/**
 * Every error that vigilane itself raises: one row each, with what the caller does about it. docs/errors.md is the same
 * table for people; a test keeps the two alike.
 *
 * retry: "never" - the same call fails again; "elsewhere" - another key group may succeed; "later" - the same call may
 * succeed after a while. blames: who is at fault, and so whose record suffers.
 */
export type Retry = "never" | "elsewhere" | "later";
export type Blames = "task" | "key" | "group" | "setting" | "machine" | "nobody";

export interface ErrorRow {
  retry: Retry;
  blames: Blames;
  /** What a person does about it. */
  remedy: string;
}

export const ERRORS = {
  // settings and start
  SETTINGS_INVALID: {
    retry: "never",
    blames: "setting",
    remedy: "Correct each setting that is listed; --help shows them all.",
  },
  ALREADY_RUNNING: {
    retry: "later",
    blames: "setting",
    remedy: "Stop the other vigilane, or give this one another --data folder.",
  },
  PORT_IN_USE: {
    retry: "later",
    blames: "setting",
    remedy: "Choose another port with --port or VIGILANE_PORT, or stop what listens there.",
  },
  STORE_UNFIT: {
    retry: "never",
    blames: "setting",
    remedy: "Use Redis 6.2 or later with maxmemory-policy noeviction, or leave REDIS_URL empty.",
  },
  STORE_AWAY: {
    retry: "later",
    blames: "machine",
    remedy: "Start Redis again; everything goes on by itself when it is back.",
  },
  STORE_FULL: {
    retry: "later",
    blames: "machine",
    remedy:
      "Give the store more memory (maxmemory), or keep less: VIGILANE_TOPIC_MAX_BYTES, VIGILANE_TOPIC_RETENTION_HOURS.",
  },
  DOWNLOAD_FAILED: {
    retry: "later",
    blames: "machine",
    remedy: "Check the network, or put the file at the path that is named.",
  },
  JAVA_MISSING: {
    retry: "never",
    blames: "machine",
    remedy: "Install Java 17 or later (Debian: default-jre-headless), or set JAVA_HOME.",
  },
  BROKER_FAILED: {
    retry: "later",
    blames: "machine",
    remedy: "Read the broker's last lines above, mend the cause, then start again.",
  },
  BROKER_AWAY: {
    retry: "later",
    blames: "machine",
    remedy: "Start the Kafka broker again, or correct KAFKA_BROKERS; everything goes on by itself when it is back.",
  },
  BROKER_UNKNOWN: {
    retry: "later",
    blames: "setting",
    remedy: "Correct the host's name in KAFKA_BROKERS, or make it known to this machine.",
  },
  BROKER_WANTS_TLS: {
    retry: "never",
    blames: "setting",
    remedy:
      "Set kafkaTls: true, and kafkaCaFile where the authority is your own; or name the broker's port without TLS in KAFKA_BROKERS.",
  },
  BROKER_WITHOUT_TLS: {
    retry: "never",
    blames: "setting",
    remedy: "Name the broker's TLS port in KAFKA_BROKERS, or leave kafkaTls and the certificates out.",
  },
  BROKER_UNTRUSTED: {
    retry: "never",
    blames: "setting",
    remedy: "Set kafkaCaFile to the certificate of the authority that signed the broker's.",
  },
  BROKER_MISNAMED: {
    retry: "never",
    blames: "setting",
    remedy:
      "Name the broker in KAFKA_BROKERS as its certificate does, have that name added to it, or set kafkaServerNameCheck: false.",
  },
  BROKER_WANTS_CERTIFICATE: {
    retry: "never",
    blames: "setting",
    remedy: "Set kafkaCertFile and kafkaKeyFile to a certificate that the broker's authority has signed, and its key.",
  },
  BROKER_WANTS_LOGIN: {
    retry: "never",
    blames: "setting",
    remedy: "Set kafkaSaslMechanism, kafkaUser and kafkaPasswordFile.",
  },
  BROKER_OTHER_LOGIN: {
    retry: "never",
    blames: "setting",
    remedy: "Set kafkaSaslMechanism to one that the broker offers.",
  },
  BROKER_LOGIN_FAILED: {
    retry: "never",
    blames: "setting",
    remedy: "Correct kafkaUser and kafkaPassword (or what is in kafkaPasswordFile), or add the user at the broker.",
  },
  BROKER_REFUSED: {
    retry: "never",
    blames: "setting",
    remedy: "Give this user the rights on the topics and groups that are named, or correct the broker's settings.",
  },
  TOPIC_UNKNOWN: {
    retry: "never",
    blames: "setting",
    remedy: "`vigilane topics list` shows topics and groups; `vigilane topics create` makes what is missing.",
  },
  GROUP_CONSUMING: {
    retry: "later",
    blames: "nobody",
    remedy: "Stop the group's consumers first; --force takes what they have out from them.",
  },
  IMAGES_AWAY: {
    retry: "later",
    blames: "machine",
    remedy: "Start the S3 server again, or correct VIGILANE_S3_ENDPOINT; everything goes on by itself when it is back.",
  },
  IMAGES_REFUSED: {
    retry: "never",
    blames: "setting",
    remedy:
      "Make the bucket, or correct VIGILANE_S3_BUCKET, _REGION, _ACCESS_KEY_ID and _SECRET_ACCESS_KEY; the key has to list, read, write and delete there.",
  },
  FFMPEG_MISSING: { retry: "never", blames: "machine", remedy: "Install ffmpeg, or set FFMPEG_PATH." },
  MODEL_UNREADABLE: {
    retry: "never",
    blames: "setting",
    remedy: "Use a YOLO model in ONNX format with one of the four known output layouts; see docs/pipeline.md.",
  },
  ROLE_KEEPS_DYING: {
    retry: "later",
    blames: "machine",
    remedy: "Read the role's last lines above, mend the cause, then start again.",
  },
  NO_PERMISSION: {
    retry: "never",
    blames: "setting",
    remedy: "Open the page with the address printed at start, or send the token from the data folder's file `token`.",
  },
  // messages
  ENVELOPE_UNREADABLE: {
    retry: "never",
    blames: "task",
    remedy: "Look at the dead letter: the producer sent no readable detection message.",
  },
  GROUP_UNREADABLE: {
    retry: "never",
    blames: "task",
    remedy: "The producer sent this group in a form that cannot be read; its neighbours are not affected.",
  },
  POISON: {
    retry: "never",
    blames: "task",
    remedy: "Processing this message ended the process again and again; look at the dead letter.",
  },
  // images
  JUDGED_ELSEWHERE: {
    retry: "never",
    blames: "task",
    remedy: "The older scheduler, to which this group was handed over, gave no verdict; its own log says more.",
  },
  IMAGE_MISSING: { retry: "never", blames: "task", remedy: "The producer sent no usable image for this group." },
  IMAGE_GONE: {
    retry: "never",
    blames: "task",
    remedy: "The crop has been deleted (age or byte budget); raise VIGILANE_IMAGES_MAX_BYTES to keep crops longer.",
  },
  IMAGE_UNREADABLE: { retry: "never", blames: "task", remedy: "The image is no JPEG or PNG that can be decoded." },
  IMAGE_FOREIGN: {
    retry: "never",
    blames: "task",
    remedy: "Only references into vigilane's own image store are read; send the image inline.",
  },
  // calls
  RATE_LIMITED: {
    retry: "elsewhere",
    blames: "nobody",
    remedy: "The provider's limits are tighter than the key group's windows say: correct config/keys.yaml.",
  },
  QUOTA_EXHAUSTED: {
    retry: "elsewhere",
    blames: "group",
    remedy: "The account's quota is used up or unpaid; check it at the provider.",
  },
  KEY_REJECTED: { retry: "elsewhere", blames: "key", remedy: "Check the key at its provider and in config/keys.yaml." },
  MODEL_REFUSED: {
    retry: "elsewhere",
    blames: "group",
    remedy:
      "The account may not use this model, or there is none of that name: check model and baseUrl in config/keys.yaml.",
  },
  CONTENT_REFUSED: {
    retry: "never",
    blames: "task",
    remedy: "The provider refused this image; nothing is wrong with the key.",
  },
  REQUEST_REFUSED: {
    retry: "never",
    blames: "task",
    remedy: "The provider called the request bad; check model and baseUrl in config/keys.yaml.",
  },
  PROVIDER_FAILED: {
    retry: "elsewhere",
    blames: "group",
    remedy: "The provider answered with a server error; it is tried elsewhere.",
  },
  PROVIDER_UNREACHABLE: {
    retry: "elsewhere",
    blames: "group",
    remedy: "Check the network and the key group's baseUrl.",
  },
  CALL_TIMED_OUT: {
    retry: "elsewhere",
    blames: "group",
    remedy: "The provider took longer than the call's time-out; raise callTimeoutSeconds or choose a quicker model.",
  },
  VERDICT_UNREADABLE: {
    retry: "never",
    blames: "task",
    remedy: "The model's answer was no readable verdict, twice; choose a model that keeps to JSON.",
  },
  ATTEMPTS_EXHAUSTED: {
    retry: "never",
    blames: "task",
    remedy: "Every attempt failed; the log lines of the job say how.",
  },
  // life of a task
  DEADLINE_PASSED: { retry: "never", blames: "nobody", remedy: "More quota, fewer cameras, or a longer freshness." },
  NO_GROUP_ALLOWED: {
    retry: "never",
    blames: "setting",
    remedy:
      "Widen the camera's routing (config/cameras.yaml, or routing.policy in config/keys.yaml), or add a key group.",
  },
  ROOM_FULL: { retry: "never", blames: "nobody", remedy: "More quota or fewer cameras: the waiting room is full." },
  NOT_FAILED: { retry: "never", blames: "nobody", remedy: "Only failed tasks can be retried by hand." },
  NO_SUCH_TASK: {
    retry: "never",
    blames: "nobody",
    remedy: "The task is unknown or was forgotten; records live as long as the topic's retention.",
  },
  // asking the gateway
  NOT_FOUND: { retry: "never", blames: "nobody", remedy: "docs/socket.md names every path there is." },
  REQUEST_UNREADABLE: { retry: "never", blames: "nobody", remedy: "docs/socket.md says what each request must hold." },
  REQUEST_TOO_LARGE: {
    retry: "never",
    blames: "nobody",
    remedy: "Send less at once; the message says how much may be sent.",
  },
  OPERATION_OFF: {
    retry: "never",
    blames: "nobody",
    remedy:
      "Tasks change only through the waiting room; of the board's operations only the retry of a failed job is on.",
  },
  // plumbing
  STOPPED: { retry: "later", blames: "nobody", remedy: "Start it again." },
  TIMED_OUT: { retry: "later", blames: "machine", remedy: "See the log for what was slow." },
  OWNERSHIP_LOST: { retry: "later", blames: "nobody", remedy: "Another process has taken over; nothing to do." },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

export class VigilaneError extends Error {
  readonly code: ErrorCode;
  readonly retry: Retry;
  readonly blames: Blames;
  readonly remedy: string;

  /** `message` names the fault with its particulars and never holds a secret. */
  constructor(code: ErrorCode, message: string, options?: { cause?: unknown; remedy?: string }) {
    super(message, options);
    this.name = "VigilaneError";
    this.code = code;
    const row = ERRORS[code];
    this.retry = row.retry;
    this.blames = row.blames;
    this.remedy = options?.remedy ?? row.remedy;
  }
}

/** The code of one of our own errors, or undefined. */
export function errorCode(error: unknown): ErrorCode | undefined {
  return error instanceof VigilaneError ? error.code : undefined;
}

/** One line for people: what is wrong and what to do. */
export function explain(error: unknown): string {
  if (error instanceof VigilaneError) return `${error.message} (${error.code}). ${error.remedy}`;
  return error instanceof Error ? error.message : String(error);
}
