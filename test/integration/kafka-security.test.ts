/**
 * Login and encryption towards a real broker: publishing and reading in every way that there are settings for, and what is
 * said within seconds when one of them is wrong, at the start and in the middle.
 */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Kafka, logLevel } from "kafkajs";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { withTopics } from "../../src/commands/topics-call.ts";
import { copy } from "../../src/commands/topics-copy.ts";
import { loadSettings } from "../../src/config.ts";
import { type Context, systemClock } from "../../src/context.ts";
import { explain, VigilaneError } from "../../src/errors.ts";
import { KEYS } from "../../src/names.ts";
import { createBridge } from "../../src/roles/bridge.ts";
import type { Settings } from "../../src/settings.ts";
import { connectStore } from "../../src/store.ts";
import { examine, realMachine } from "../../src/supervisor/checks.ts";
import { askKafka } from "../../src/topics/ask-kafka.ts";
import { kafkaConnectionOf } from "../../src/topics/kafka-connection.ts";
import { openTopicLog, openTopicTools } from "../../src/topics/open-topic-log.ts";
import { TOPICS, type TopicLog } from "../../src/topics/topic-log.ts";
import { javaThere } from "../support/kafka.ts";
import { opensslThere, PASSPHRASE, PASSWORD, type SecureKafka, startSecureKafka } from "../support/kafka-secure.ts";
import { startRedis } from "../support/redis.ts";
import { startTcpSwitch } from "../support/tcp-switch.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
/** What is promised within seconds. */
const SECONDS = 5;

let kafka: SecureKafka;
let folder: string;
/** Every line that anything here logged. */
const lines: string[] = [];
const context: Context = {
  clock: systemClock,
  log: pino({ level: "trace" }, { write: (line: string) => void lines.push(line) }),
};

/** Names of what Node warned of in this process, to which kafkajs belongs. */
const warnings: string[] = [];
process.on("warning", ({ name }) => warnings.push(name));

const settingsOf = (env: Record<string, string>) =>
  loadSettings([], { VIGILANE_DATA: folder, VIGILANE_CONFIG: join(folder, "none.yaml"), ...env }).settings;

type Env = Record<string, string>;
const at = (port: number, host = "127.0.0.1"): Env => ({ KAFKA_BROKERS: `${host}:${port}` });
const tls = (): Env => ({ VIGILANE_KAFKA_TLS: "true", VIGILANE_KAFKA_CA_FILE: kafka.files.ca });
const login = (mechanism: string, more: Env = {}): Env => ({
  VIGILANE_KAFKA_SASL_MECHANISM: mechanism,
  VIGILANE_KAFKA_USER: "alice",
  VIGILANE_KAFKA_PASSWORD: PASSWORD,
  ...more,
});
const certificate = (): Env => ({
  VIGILANE_KAFKA_CERT_FILE: kafka.files.cert,
  VIGILANE_KAFKA_KEY_FILE: kafka.files.key,
  VIGILANE_KAFKA_KEY_PASSPHRASE: PASSPHRASE,
});

describe.skipIf(!javaThere || !opensslThere)("a broker with logins and TLS", () => {
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "vigilane-security-"));
    writeFileSync(join(folder, "none.yaml"), "");
    writeFileSync(join(folder, "password"), `${PASSWORD}\n`);
    kafka = await startSecureKafka();
  }, 120_000);
  afterAll(async () => {
    await kafka.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const WAYS: Record<string, () => Env> = {
    "plain text": () => at(kafka.ports.plain),
    "SCRAM-SHA-512 over TLS": () => ({ ...at(kafka.ports.login), ...tls(), ...login("SCRAM-SHA-512") }),
    "SCRAM-SHA-256 over TLS, in small letters, the password in a file": () => ({
      ...{ ...at(kafka.ports.login), ...tls(), ...login("scram-sha-256", { VIGILANE_KAFKA_PASSWORD: "" }) },
      VIGILANE_KAFKA_PASSWORD_FILE: join(folder, "password"),
    }),
    "PLAIN over TLS, under a name that the certificate lacks": () => ({
      ...{ ...at(kafka.ports.login, "localhost"), ...tls(), ...login("PLAIN") },
      VIGILANE_KAFKA_SERVER_NAME_CHECK: "false",
    }),
    "a certificate of our own, its key encrypted": () => ({ ...at(kafka.ports.mutual), ...tls(), ...certificate() }),
    "PLAIN without TLS": () => ({ ...at(kafka.ports.openLogin), ...login("PLAIN") }),
  };

  test.for(Object.entries(WAYS))("publishes and reads: %s", async ([name, way]) => {
    const log = openTopicLog(settingsOf(way()), "", context);
    onTestFinished(() => log.stop());
    await log.start();
    await expectThrough(log, `way-${Object.keys(WAYS).indexOf(name)}`);
  });

  const WRONG: Record<string, [code: string, way: () => Env, words: RegExp]> = {
    "a closed port": ["BROKER_AWAY", () => at(1), /127\.0\.0\.1:1.*ECONNREFUSED/],
    "no such host": ["BROKER_UNKNOWN", () => at(9092, "no-such-host.invalid"), /no such host/],
    "plain text to a TLS port": ["BROKER_WANTS_TLS", () => at(kafka.ports.login), /TLS port.*kafkaTls/],
    "TLS to a plain port": [
      "BROKER_WITHOUT_TLS",
      () => ({ ...at(kafka.ports.plain), ...tls() }),
      /plain text.*kafkaTls/,
    ],
    "an authority that nobody named": [
      "BROKER_UNTRUSTED",
      () => ({ ...at(kafka.ports.login), VIGILANE_KAFKA_TLS: "true", ...login("PLAIN") }),
      /not trusted.*kafkaCaFile/,
    ],
    "another authority": [
      "BROKER_UNTRUSTED",
      () => ({ ...at(kafka.ports.mutual), ...tls(), ...certificate(), VIGILANE_KAFKA_CA_FILE: kafka.files.otherCa }),
      /not trusted.*kafkaCaFile/,
    ],
    "a name that the certificate lacks": [
      "BROKER_MISNAMED",
      () => ({ ...at(kafka.ports.login, "localhost"), ...tls(), ...login("PLAIN") }),
      /another name.*localhost.*kafkaServerNameCheck/,
    ],
    "no certificate where one is asked for": [
      "BROKER_WANTS_CERTIFICATE",
      () => ({ ...at(kafka.ports.mutual), ...tls() }),
      /asks for a certificate.*kafkaCertFile/,
    ],
    "a certificate of another authority": [
      "BROKER_WANTS_CERTIFICATE",
      () => ({
        ...{ ...at(kafka.ports.mutual), ...tls() },
        ...{ VIGILANE_KAFKA_CERT_FILE: kafka.files.otherCert, VIGILANE_KAFKA_KEY_FILE: kafka.files.otherKey },
      }),
      /does not accept our certificate/,
    ],
    "no login where one is asked for": [
      "BROKER_WANTS_LOGIN",
      () => ({ ...at(kafka.ports.login), ...tls() }),
      /nobody who has not logged in.*kafkaUser/,
    ],
    "a login where there is none": [
      "BROKER_OTHER_LOGIN",
      () => ({ ...at(kafka.ports.plain), ...login("PLAIN") }),
      /nobody logs in at this port/,
    ],
    "a mechanism that is not offered": [
      "BROKER_OTHER_LOGIN",
      () => ({ ...at(kafka.ports.openLogin), ...login("SCRAM-SHA-512") }),
      /offers PLAIN, not SCRAM-SHA-512/,
    ],
    ...Object.fromEntries(
      ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].map((mechanism) => [
        `a wrong password, ${mechanism}`,
        [
          "BROKER_LOGIN_FAILED",
          () => ({
            ...{ ...at(kafka.ports.login), ...tls() },
            ...login(mechanism, { VIGILANE_KAFKA_PASSWORD: `${PASSWORD}-wrong` }),
          }),
          /user alice is not let in.*kafkaPassword/,
        ],
      ]),
    ),
  };

  const ASKS: Record<string, (settings: Settings) => Promise<unknown>> = {
    "asking the brokers": (settings) => askKafka(kafkaConnectionOf(settings), context),
    "the tools behind topics and dlq": async (settings) => {
      const tools = openTopicTools(settings, "", context);
      await tools.start().finally(() => tools.stop());
    },
  };

  describe.each(Object.entries(ASKS))("%s", (_, ask) => {
    test.for(Object.entries(WRONG))("a clear error within seconds: %s", async ([, [code, way, words]]) => {
      const settings = settingsOf(way());
      const since = performance.now();
      const error = await ask(settings).catch((fault: unknown) => fault);
      expect(performance.now() - since).toBeLessThan(3 * SECONDS * 1000);
      expect(error).toBeInstanceOf(VigilaneError);
      expect(error).toMatchObject({ code });
      expect(explain(error)).toMatch(words);
    });
  });

  test("one broker that answers is enough", async () => {
    const brokers = { KAFKA_BROKERS: `127.0.0.1:1,127.0.0.1:${kafka.ports.plain}` };
    expect(await askKafka(kafkaConnectionOf(settingsOf(brokers)), context)).toBe(1);
  });

  test("topics and groups have the names that the settings give them", async () => {
    const names = { VIGILANE_DETECTIONS_TOPIC: "detection-results-topic", VIGILANE_BRIDGE_GROUP: "south.bridges" };
    const settings = settingsOf({ ...at(kafka.ports.plain), ...names });
    const log = openTopicLog(settings, "", context);
    onTestFinished(() => log.stop());
    await log.start();
    await expectThrough(log, TOPICS.detections, settings.bridgeGroup);
    const brokers = [`127.0.0.1:${kafka.ports.plain}`];
    const admin = new Kafka({ brokers, logLevel: logLevel.NOTHING }).admin();
    await admin.connect();
    expect(await admin.listTopics()).toContain("detection-results-topic");
    expect(await admin.listTopics()).not.toContain("detection-results");
    const groups = (await admin.listGroups()).groups.map(({ groupId }) => groupId);
    expect(groups).toContain("south.bridges.detection-results-topic");
    await admin.disconnect();
  });

  test("doctor tells them apart, and says when all is well", async () => {
    const look = async (env: Env) =>
      (await examine(settingsOf(env), realMachine(context))).find(({ what }) => what === "broker");
    expect(await look(WRONG["a wrong password, PLAIN"]?.[1]() ?? {})).toMatchObject({
      ok: false,
      text: expect.stringMatching(/alice is not let in.*Correct kafkaUser/),
    });
    expect(await look(WAYS["PLAIN without TLS"]?.() ?? {})).toMatchObject({
      ok: true,
      text: expect.stringMatching(/1 broker, no TLS, as alice by PLAIN \(the password is readable/),
    });
  });

  test("up and a role alone end at their start, and say why", async () => {
    const env = WRONG["a wrong password, SCRAM-SHA-512"]?.[1]() ?? {};
    const log = openTopicLog(settingsOf(env), "", context);
    await expect(log.start()).rejects.toMatchObject({ code: "BROKER_LOGIN_FAILED" });
    await log.stop();
    const { code, said } = await new Promise<{ code: unknown; said: string }>((resolve) => {
      const options = { cwd: folder, env: { PATH: process.env.PATH, HOME: folder, ...env }, timeout: 30_000 };
      execFile(process.execPath, [MAIN, "up", "--data", join(folder, "data")], options, (error, stdout, stderr) =>
        resolve({ code: error?.code ?? 0, said: stdout + stderr }),
      );
    });
    expect(code).toBe(1);
    expect(said).toMatch(/alice is not let in.*BROKER_LOGIN_FAILED.*Correct kafkaUser/s);
    expect(said).not.toContain("pLaNtEd");
    expect(said).not.toContain("TimeoutNegativeWarning");
  });

  test("while it runs each trouble is said once, nothing is lost, and it goes on when it is over", {
    timeout: 240_000,
  }, async () => {
    const { moved, otherPassword, login: wantsTls, behind } = kafka.ports;
    const way = await startTcpSwitch(behind);
    await way.to(moved);
    const said: { code?: string; msg: string }[] = [];
    const heard: Context = {
      clock: systemClock,
      log: pino({ level: "info" }, { write: (line: string) => void said.push(JSON.parse(line)) }),
    };
    const log = openTopicLog(settingsOf({ ...at(behind), ...login("PLAIN") }), "", heard);
    onTestFinished(() => log.stop());
    await log.start();
    await log.ensureTopic("moved");
    const subscription = log.subscribe("moved", { group: "g", consumer: "c" });
    const read: string[] = [];
    void (async () => {
      for await (const batch of subscription.batches()) {
        await batch.acknowledge();
        read.push(...batch.messages.map(({ key }) => key)); // what is read is done with before the way is changed
      }
    })();
    const troubles = () => said.flatMap(({ code }) => code ?? []);
    const wait = { timeout: 3 * 8_000, interval: 50 };

    await log.publish("moved", [{ key: "before", value: Buffer.from("1") }]);
    await expect.poll(() => read, wait).toEqual(["before"]);
    await way.to(otherPassword);
    const published = log.publish("moved", [{ key: "meanwhile", value: Buffer.from("2") }]);
    await expect.poll(troubles, wait).toEqual(["BROKER_LOGIN_FAILED"]);
    await way.to(wantsTls);
    await expect.poll(troubles, wait).toEqual(["BROKER_LOGIN_FAILED", "BROKER_WANTS_TLS"]);
    await way.to(undefined);
    await expect.poll(troubles, wait).toEqual(["BROKER_LOGIN_FAILED", "BROKER_WANTS_TLS", "BROKER_AWAY"]);
    await way.to(moved);
    await published;
    await expect.poll(() => read, wait).toEqual(["before", "meanwhile"]);
    await expect.poll(() => said.map(({ msg }) => msg), wait).toContain("Kafka answers again");
    expect(troubles()).toEqual(["BROKER_LOGIN_FAILED", "BROKER_WANTS_TLS", "BROKER_AWAY"]);

    await way.to(undefined);
    const waiting = log.publish("moved", [{ key: "never", value: Buffer.from("3") }]);
    waiting.catch(() => {});
    await expect.poll(() => troubles().length, wait).toBe(4);
    const since = performance.now();
    await log.stop();
    expect(performance.now() - since).toBeLessThan(3 * 2_000);
    await expect(waiting).rejects.toMatchObject({ code: "STOPPED" });
  });

  test("topics copy, and what publishes for dlq, give up within seconds when the brokers are silent; Ctrl-C ends the wait", {
    timeout: 120_000,
  }, async () => {
    const way = await startTcpSwitch(kafka.ports.behind);
    await way.to(kafka.ports.moved);
    const loaded = (...operands: string[]) => {
      const env = { VIGILANE_DATA: folder, VIGILANE_LOG_LEVEL: "silent", ...at(kafka.ports.behind), ...login("PLAIN") };
      return loadSettings(operands, { VIGILANE_CONFIG: join(folder, "none.yaml"), ...env });
    };
    /** Resolves when so many have come here; from then on the brokers are silent. */
    const silence = (commands: number) => {
      let opened = 0;
      const all = Promise.withResolvers<void>();
      return async () => {
        opened += 1;
        if (opened === commands) {
          way.hold();
          all.resolve();
        }
        await all.promise;
      };
    };
    /** From the brokers' silence on, ms. */
    const timed = async (run: (beganNow: () => void) => Promise<unknown>) => {
      let since = Number.NaN;
      const ended = await run(() => {
        since = performance.now();
      }).catch((error: unknown) => error);
      return { ended, ms: performance.now() - since };
    };
    await withTopics(loaded(), async (call) => {
      const log = await call.log();
      await log.ensureTopic("copy-from");
      await log.publish("copy-from", [{ key: "k", value: Buffer.from("1") }]);
    });

    const copying = (silent: () => Promise<void>, then = () => {}) =>
      timed((beganNow) =>
        withTopics(loaded("copy-from", "copy-to"), (call) => {
          const log = async () => {
            const opened = await call.log();
            await silent();
            beganNow();
            then();
            return opened;
          };
          return copy({ ...call, log });
        }),
      );
    const publishing = (silent: () => Promise<void>) =>
      timed((beganNow) =>
        withTopics(loaded(), async (call) => {
          const log = await call.log();
          await log.ensureTopic("copy-from");
          await silent();
          beganNow();
          await log.publish("copy-from", [{ key: "k", value: Buffer.from("2") }]);
        }),
      );
    const both = silence(2);
    const gaveUp = await Promise.all([copying(both), publishing(both)]);
    for (const [i, what] of ["looking for copy-to", "publishing to copy-from"].entries()) {
      expect(gaveUp[i]?.ended).toMatchObject({ code: "BROKER_AWAY" });
      expect(explain(gaveUp[i]?.ended)).toMatch(new RegExp(`${what}: .*127\\.0\\.0\\.1.*then run this again`));
      expect(gaveUp[i]?.ms).toBeGreaterThan(9_000);
      expect(gaveUp[i]?.ms).toBeLessThan(3 * 10_000);
    }

    await way.to(kafka.ports.moved);
    const stopped = await copying(silence(1), () => process.emit("SIGHUP", "SIGHUP"));
    expect(stopped.ended).toMatchObject({ code: "STOPPED" });
    expect(stopped.ms).toBeLessThan(3 * 2_000);
  });

  test("a bridge with results to publish stops within seconds, also when the broker is away", async () => {
    const way = await startTcpSwitch(kafka.ports.behind);
    await way.to(kafka.ports.moved);
    const store = await startRedis();
    const env = { ...at(kafka.ports.behind), ...login("PLAIN"), REDIS_URL: store.url };
    const settings = settingsOf({ ...env, VIGILANE_SIMULATOR_URL: "http://127.0.0.1:1" });
    const redis = await connectStore(store.url, context);
    onTestFinished(() => void redis.disconnect());
    const topics = openTopicLog(settings, store.url, context);
    onTestFinished(() => topics.stop());
    await topics.start();
    const ended = [
      "id",
      "t",
      "outcome",
      "failed",
      "revision",
      "1",
      "task",
      "{}",
      "verdict",
      "",
      "error",
      "",
      "meta",
      "{}",
    ];
    const times = ["keyGroup", "", "key", "", "admittedAt", "", "takenAt", "", "startedAt", "", "completedAt", "1"];
    const addOutcome = () => redis.xadd(KEYS.outbox, "*", ...ended, ...times);

    for (const away of ["just now", "for a while", "silent"] as const) {
      const bridge = createBridge(settings, context);
      await bridge.start();
      await addOutcome();
      await expect.poll(() => redis.xlen(KEYS.outbox), { timeout: 3 * 8_000 }).toBe(0);
      const before = lines.length;
      if (away === "silent") way.hold();
      else await way.to(undefined);
      await addOutcome();
      const said = () => lines.slice(before).some((line) => line.includes('"BROKER_AWAY"'));
      if (away === "for a while") await expect.poll(said, { timeout: 3 * 8_000 }).toBe(true);
      const since = performance.now();
      await bridge.stop();
      expect(performance.now() - since).toBeLessThan(3 * 2_000);
      expect(await redis.xlen(KEYS.outbox)).toBe(1);
      await way.to(kafka.ports.moved);
    }
  });

  test("no log line of all this holds a password, and kafkajs' timers are in no past", () => {
    expect(warnings).not.toContain("TimeoutNegativeWarning");
    expect(lines.length).toBeGreaterThan(20);
    expect(lines.filter((line) => line.includes("pLaNtEd"))).toEqual([]);
  });
});

async function expectThrough(log: TopicLog, topic: string, group = "g"): Promise<void> {
  await log.ensureTopic(topic);
  await log.publish(topic, [{ key: "k", value: Buffer.from("through") }]);
  const subscription = log.subscribe(topic, { group, consumer: "c" });
  for await (const batch of subscription.batches()) {
    expect(batch.messages.map(({ value }) => String(value))).toEqual(["through"]);
    await batch.acknowledge();
    break;
  }
  await expect.poll(() => log.lag(topic, group)).toEqual({ messages: 0, oldestAgeMs: 0, lost: 0 });
}
