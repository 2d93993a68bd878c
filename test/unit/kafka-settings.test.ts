/** Settings of login, encryption and names: what makes no sense together is refused at once, with the remedy and no secret. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { loadSettings } from "../../src/config.ts";
import { topicNameOf } from "../../src/topic-names.ts";
import { kafkaConnectionOf } from "../../src/topics/kafka-connection.ts";
import { deadLetterTopic, TOPICS } from "../../src/topics/topic-log.ts";
import { opensslThere } from "../support/kafka-secure.ts";

const BROKERS = ["--kafka-brokers", "b:9092"];
const LOGIN = ["--kafka-sasl-mechanism", "plain", "--kafka-user", "u"];
const load = (...args: string[]) => loadSettings(args, { VIGILANE_KAFKA_PASSWORD: "" }).settings;

const NONSENSE: [args: string[], words: RegExp][] = [
  [["--kafka-brokers", "b:9092,localhost:99999"], /kafkaBrokers = "b:9092,localhost:99999".*a port of 1 to 65535/],
  [["--kafka-brokers", "b:0"], /kafkaBrokers.*a port of 1 to 65535/],
  [["--kafka-tls", "true"], /kafkaTls = true \(from flag --kafka-tls\): there are no brokers: set kafkaBrokers/],
  [[...BROKERS, "--kafka-ca-file", "ca.pem"], /kafkaCaFile = "ca\.pem".*set kafkaTls: true/],
  [[...BROKERS, "--kafka-server-name-check", "no"], /kafkaServerNameCheck.*set kafkaTls: true/],
  [[...BROKERS, "--kafka-tls", "1", "--kafka-cert-file", "c"], /kafkaCertFile.*set kafkaKeyFile/],
  [[...BROKERS, "--kafka-tls", "1", "--kafka-key-file", "k"], /kafkaKeyFile.*set kafkaCertFile/],
  [[...BROKERS, "--kafka-tls", "1", "--kafka-key-passphrase", "x"], /there is no kafkaKeyFile to open/],
  [[...BROKERS, "--kafka-user", "u"], /kafkaUser.*set it to PLAIN, SCRAM-SHA-256, SCRAM-SHA-512/],
  [[...BROKERS, "--kafka-sasl-mechanism", "plain", "--kafka-password", "p"], /needs a user: set kafkaUser/],
  [[...BROKERS, ...LOGIN], /needs a password: set kafkaPasswordFile or kafkaPassword/],
  [[...BROKERS, ...LOGIN, "--kafka-password", "p", "--kafka-password-file", "f"], /leave one of the two out/],
  [[...BROKERS, "--kafka-sasl-mechanism", "GSSAPI"], /kafkaSaslMechanism = "GSSAPI".*SCRAM-SHA-512/],
  [["--results-topic", "detection-results"], /resultsTopic.*is the name of detectionsTopic, too/],
  [["--tasks-topic", "tasks.dlq"], /tasksTopic.*dead letters/],
  [["--bridge-group", "a group"], /bridgeGroup.*letters, digits/],
];

test.for(NONSENSE)("%o is refused", ([args, words]) => {
  expect(() => load(...args)).toThrow(words);
});

test("a password is shown in no fault", () => {
  const secrets = ["--kafka-password", "pLaNtEd", "--kafka-key-passphrase", "pLaNtEd"];
  const refusal = (() => {
    try {
      return load(...BROKERS, ...secrets);
    } catch (error) {
      return String(error);
    }
  })();
  expect(refusal).toMatch(/kafkaPassword = \[redacted\].*needs kafkaSaslMechanism/);
  expect(refusal).not.toContain("pLaNtEd");
});

test.skipIf(!opensslThere)("files that are missing, empty or hold something else are named with their setting", () => {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-kafka-settings-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = (name: string, text = "") => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const connect = (...args: string[]) => kafkaConnectionOf(load(...BROKERS, ...args));
  const make = (name: string) =>
    execFileSync(
      "openssl",
      [
        ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"],
        ...["-subj", "/CN=x", "-keyout", join(folder, `${name}.key`), "-out", join(folder, `${name}.crt`)],
      ],
      { stdio: "ignore" },
    );
  make("one");
  make("other");
  const [cert, key, otherKey] = ["one.crt", "one.key", "other.key"].map((name) => join(folder, name));
  const tls = ["--kafka-tls", "true"];
  const pair = (c: string | undefined, k: string | undefined) => [
    ...tls,
    ...["--kafka-cert-file", c ?? "", "--kafka-key-file", k ?? ""],
  ];

  expect(() => connect(...LOGIN, "--kafka-password-file", "/no/such")).toThrow(
    /kafkaPasswordFile = \/no\/such.*ENOENT/,
  );
  expect(() => connect(...LOGIN, "--kafka-password-file", file("empty", "\n"))).toThrow(/kafkaPasswordFile.*is empty/);
  expect(() => connect(...tls, "--kafka-ca-file", file("ca", "nothing"))).toThrow(/kafkaCaFile.*holds no certificate/);
  expect(() => connect(...pair(cert, otherKey))).toThrow(/kafkaKeyFile.*is not the key of the certificate/);
  expect(() => connect(...pair(cert, cert))).toThrow(/kafkaKeyFile.*holds no key/);
  expect(connect(...pair(cert, key)).tls).toMatchObject({ cert: expect.stringContaining("BEGIN CERTIFICATE") });
  expect(connect(...LOGIN, "--kafka-password-file", file("password", "p w\r\n")).sasl).toEqual({
    ...{ mechanism: "PLAIN", username: "u", password: "p w" },
  });
  expect(connect()).toEqual({ brokers: ["b:9092"] });
});

test("topics are called what the settings say, and so are their dead letters", () => {
  const wire = topicNameOf(load("--detections-topic", "detection-results-topic"));
  expect(wire(TOPICS.detections)).toBe("detection-results-topic");
  expect(wire(deadLetterTopic(TOPICS.detections))).toBe("detection-results-topic.dlq");
  expect([TOPICS.results, "another"].map(wire)).toEqual(["risk-assessment-results", "another"]);
});
