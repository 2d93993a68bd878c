/**
 * What is wrong with the way to the brokers, found out in seconds and by ourselves: kafkajs tries for up to 14 s, and its
 * errors do not tell a port without TLS from a host that is gone. The connection is opened as kafkajs will open it, and
 * asked what every broker answers; where that fails, it is tried the other way round, to see what would have worked.
 *
 * Requests by https://kafka.apache.org/protocol: ApiVersions 0 (18), SaslHandshake 1 (17), Metadata 1 (3).
 */
import { connect, isIP, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import type { Clock } from "../context.ts";
import { type ErrorCode, VigilaneError } from "../errors.ts";
import type { KafkaConnection } from "./kafka-connection.ts";

/** Each of: reaching the host, the TLS handshake, an answer. */
const STEP_MS = 3_000;
const MOST_BYTES = 1024 * 1024;

/** Resolves when one of the brokers answers as it should. Else rejects with what is wrong with the first of them that is there. */
export async function probeKafka({ brokers, tls, sasl }: KafkaConnection, clock: Clock): Promise<void> {
  const asked = brokers.map((broker) => probeBroker(broker, tls, sasl?.mechanism, clock));
  const faults = (await Promise.allSettled(asked)).map((each) =>
    each.status === "rejected" ? (each.reason as VigilaneError) : undefined,
  );
  if (faults.includes(undefined)) return;
  throw faults.find((fault) => fault?.retry === "never") ?? faults[0];
}

async function probeBroker(
  broker: string,
  tls: ConnectionOptions | undefined,
  mechanism: string | undefined,
  clock: Clock,
): Promise<void> {
  const [, host = "", port] = /^\[?(.*?)\]?:(\d+)$/.exec(broker) ?? [];
  const address = { host, port: Number(port) };
  const line = new Line(address, tls, clock);
  try {
    await line.open();
    await line.ask(API_VERSIONS);
  } catch (error) {
    line.close();
    throw await whyNoAnswer(broker, address, tls, error, clock);
  }
  try {
    await (mechanism === undefined ? knockWithoutLogin(broker, line) : knock(broker, line, mechanism));
  } finally {
    line.close();
  }
}

interface Address {
  host: string;
  port: number;
}

const ALERTS_OF_CERTIFICATES =
  /ALERT_(CERTIFICATE|BAD_CERTIFICATE|HANDSHAKE_FAILURE|UNKNOWN_CA|ACCESS_DENIED|UNSUPPORTED_CERTIFICATE)/;
const UNTRUSTED =
  /SELF_SIGNED_CERT|UNABLE_TO_(VERIFY|GET_ISSUER|GET_CRL)|CERT_(UNTRUSTED|SIGNATURE_FAILURE|REJECTED|CHAIN_TOO_LONG)|INVALID_(CA|PURPOSE)/;
const OUT_OF_DATE = /CERT_(HAS_EXPIRED|NOT_YET_VALID)/;

async function whyNoAnswer(
  broker: string,
  address: Address,
  tls: ConnectionOptions | undefined,
  error: unknown,
  clock: Clock,
): Promise<VigilaneError> {
  const { code = "", message } = error as NodeJS.ErrnoException;
  const because = (errorCode: ErrorCode, text: string, remedy?: string) =>
    new VigilaneError(errorCode, `${broker}: ${text}`, { cause: error, ...(remedy && { remedy }) });
  const away = () => new VigilaneError("BROKER_AWAY", `no broker answers at ${broker}: ${message}`, { cause: error });
  if (/^(ENOTFOUND|EAI_AGAIN|EAI_NONAME)$/.test(code)) {
    return because("BROKER_UNKNOWN", `no such host is known (${code})`);
  }
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return because("BROKER_MISNAMED", `its certificate is for another name: ${message}`);
  }
  if (OUT_OF_DATE.test(code)) {
    return because(
      "BROKER_UNTRUSTED",
      `its certificate is out of date (${code})`,
      "Renew the broker's certificate, or set this machine's clock.",
    );
  }
  if (UNTRUSTED.test(code)) return because("BROKER_UNTRUSTED", `its certificate is not trusted: ${message} (${code})`);
  if (tls && ALERTS_OF_CERTIFICATES.test(code)) {
    return tls.cert === undefined
      ? because("BROKER_WANTS_CERTIFICATE", `it asks for a certificate of ours (${code})`)
      : because(
          "BROKER_WANTS_CERTIFICATE",
          `it does not accept our certificate (${code})`,
          "Set kafkaCertFile to a certificate that the broker's authority has signed, and that is in date.",
        );
  }
  if (NOT_REACHED.has(code)) return away();
  if (!tls && (await answers(address, LENIENT_TLS, clock))) {
    return because("BROKER_WANTS_TLS", "this is a TLS port, and plain text was spoken to it");
  }
  if (tls && (await answers(address, undefined, clock))) {
    return because("BROKER_WITHOUT_TLS", "this port speaks plain text, and TLS was spoken to it");
  }
  return away();
}

/** How it is spoken to makes no difference: TCP itself failed, or nothing came, where a wrong tongue ends the connection. */
const NOT_REACHED = new Set(["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EADDRNOTAVAIL", "ETIMEDOUT"]);
/** To see only whether TLS is spoken there: nothing is told to it. */
const LENIENT_TLS: ConnectionOptions = { rejectUnauthorized: false };

/** Spoken to in this way, there is somebody: a handshake is done, or plain text is answered. */
async function answers(address: Address, tls: ConnectionOptions | undefined, clock: Clock): Promise<boolean> {
  const line = new Line(address, tls, clock);
  try {
    await line.open();
    if (!tls) await line.ask(API_VERSIONS);
    return true;
  } catch {
    return false;
  } finally {
    line.close();
  }
}

/** A listener that wants a login ends the connection of whoever asks for anything else. */
async function knockWithoutLogin(broker: string, line: Line): Promise<void> {
  try {
    await line.ask(METADATA);
  } catch (error) {
    throw new VigilaneError("BROKER_WANTS_LOGIN", `${broker}: it answers nobody who has not logged in`, {
      cause: error,
    });
  }
}

/** A broker that offers no such mechanism says so. What else it answers is left to kafkajs, which logs in. */
async function knock(broker: string, line: Line, mechanism: string): Promise<void> {
  const answer = await line.ask(saslHandshake(mechanism)).catch(() => undefined);
  const error = answer?.readInt16BE(0);
  if (error === UNSUPPORTED_SASL_MECHANISM) {
    const offered = textsOf(answer?.subarray(2) ?? Buffer.alloc(0)).join(", ") || "none";
    throw new VigilaneError("BROKER_OTHER_LOGIN", `${broker}: it offers ${offered}, not ${mechanism}`);
  }
  if (error === ILLEGAL_SASL_STATE) {
    throw new VigilaneError("BROKER_OTHER_LOGIN", `${broker}: nobody logs in at this port`, {
      remedy: "Name the port for logged-in clients in KAFKA_BROKERS, or leave kafkaSaslMechanism and the user out.",
    });
  }
}

const UNSUPPORTED_SASL_MECHANISM = 33;
const ILLEGAL_SASL_STATE = 34;

/** One connection, as a reader and writer of Kafka's frames. */
class Line {
  readonly #address: Address;
  readonly #tls: ConnectionOptions | undefined;
  readonly #clock: Clock;
  #socket: Socket | undefined;
  #asked = 0;

  constructor(address: Address, tls: ConnectionOptions | undefined, clock: Clock) {
    this.#address = address;
    this.#tls = tls;
    this.#clock = clock;
  }

  /** Rejects with Node's error; ETIMEDOUT when a step takes too long. */
  async open(): Promise<void> {
    const { host, port } = this.#address;
    const raw = connect({ host, port });
    raw.setNoDelay(true);
    this.#socket = raw;
    await this.#step("connect", raw);
    if (!this.#tls) return;
    const servername = isIP(host) ? {} : { servername: host };
    const secured = connectTls({ socket: raw, host, ...servername, ...this.#tls });
    this.#socket = secured;
    await this.#step("secureConnect", secured);
  }

  /** Resolves with the answer behind its correlation id. */
  async ask({ key, version, body }: Request): Promise<Buffer> {
    const socket = this.#socket;
    if (!socket) throw new Error("not connected");
    this.#asked += 1;
    const id = this.#asked;
    const client = textBytes("vigilane-probe");
    const head = Buffer.alloc(8);
    head.writeInt16BE(key, 0);
    head.writeInt16BE(version, 2);
    head.writeInt32BE(id, 4);
    const size = Buffer.alloc(4);
    size.writeInt32BE(head.length + client.length + body.length);
    let read = Buffer.alloc(0);
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const onData = (bytes: Buffer) => {
      read = Buffer.concat([read, bytes]);
      if (read.length < 8) return;
      const length = read.readInt32BE(0);
      if (length < 4 || length > MOST_BYTES || read.readInt32BE(4) !== id)
        reject(new Error("what answers is no Kafka"));
      else if (read.length >= length + 4) resolve(read.subarray(8, length + 4));
    };
    socket.on("data", onData);
    socket.write(Buffer.concat([size, head, client, body]));
    try {
      return await this.#during(socket, promise);
    } finally {
      socket.off("data", onData);
    }
  }

  close(): void {
    this.#socket?.on("error", () => {}); // what comes now concerns nobody
    this.#socket?.destroy();
  }

  #step(event: string, socket: Socket): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    socket.once(event, () => resolve());
    return this.#during(socket, promise);
  }

  /** `work`, unless the connection ends or the time is over before. */
  async #during<T>(socket: Socket, work: Promise<T>): Promise<T> {
    const over = new AbortController();
    const { promise: broken, reject } = Promise.withResolvers<never>();
    const ended = () => reject(new Error("the connection was ended without an answer"));
    socket.on("error", reject).on("close", ended);
    const late = this.#clock.sleep(STEP_MS, over.signal).then(() => {
      throw Object.assign(new Error(`no answer within ${STEP_MS / 1000} s`), { code: "ETIMEDOUT" });
    });
    try {
      return await Promise.race([work, broken, late]);
    } finally {
      over.abort();
      late.catch(() => {});
      broken.catch(() => {});
      work.catch(() => {});
      socket.off("close", ended).off("error", reject);
      socket.on("error", () => {});
    }
  }
}

interface Request {
  key: number;
  version: number;
  body: Buffer;
}

const API_VERSIONS: Request = { key: 18, version: 0, body: Buffer.alloc(0) };
/** Of no topics. */
const METADATA: Request = { key: 3, version: 1, body: Buffer.alloc(4) };
const saslHandshake = (mechanism: string): Request => ({ key: 17, version: 1, body: textBytes(mechanism) });

function textBytes(text: string): Buffer {
  const bytes = Buffer.from(text);
  const size = Buffer.alloc(2);
  size.writeInt16BE(bytes.length);
  return Buffer.concat([size, bytes]);
}

/** An array of texts. */
function textsOf(bytes: Buffer): string[] {
  const texts: string[] = [];
  let at = 4;
  for (let left = bytes.length >= 4 ? bytes.readInt32BE(0) : 0; left > 0 && at + 2 <= bytes.length; left -= 1) {
    const length = bytes.readInt16BE(at);
    texts.push(bytes.toString("utf8", at + 2, at + 2 + length));
    at += 2 + length;
  }
  return texts;
}
