/**
 * A real broker that is spoken to in every way that there are settings for, one port each. Its certificates are made when
 * it starts, by openssl, for as long as the test runs.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findOnPath, freePort } from "../../src/supervisor/programs.ts";
import { startKafka } from "./kafka.ts";

export const opensslThere = findOnPath(["openssl"], process.env) !== undefined;

/** Recognizable wherever it must not be. */
export const PASSWORD = "pw-pLaNtEd-4711";
export const PASSPHRASE = "pass-pLaNtEd-0815";
/** That of the port `otherPassword`. */
const OTHER_PASSWORD = "another";

export interface SecureKafka {
  /** Ports of 127.0.0.1. */
  ports: {
    plain: number;
    /** TLS, and a login by any of the three mechanisms. */
    login: number;
    /** TLS, for those with a certificate of ours. */
    mutual: number;
    /** Login by PLAIN, without TLS. */
    openLogin: number;
    /** The same with another password; its clients are told that the broker is at `behind`. */
    otherPassword: number;
    /** As `openLogin`; its clients are told that the broker is at `behind`. */
    moved: number;
    behind: number;
  };
  /** Paths of PEM files. */
  files: { ca: string; otherCa: string; cert: string; key: string; otherCert: string; otherKey: string };
  stop(): Promise<void>;
}

export async function startSecureKafka(): Promise<SecureKafka> {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-secure-"));
  const files = makeCertificates(folder);
  const names = ["plain", "login", "mutual", "openLogin", "otherPassword", "moved", "behind", "controller"] as const;
  const numbers = await Promise.all(names.map(() => freePort()));
  const ports = Object.fromEntries(names.map((name, i) => [name, numbers[i]])) as Record<
    (typeof names)[number],
    number
  >;
  const at = (listener: string, port: number) => `${listener}://127.0.0.1:${port}`;
  const listeners = [
    ...[at("PLAINTEXT", ports.plain), at("LOGIN", ports.login), at("MUTUAL", ports.mutual)],
    ...[at("OPEN", ports.openLogin), at("OTHER", ports.otherPassword), at("MOVED", ports.moved)],
  ];
  const advertised = [...listeners.slice(0, 4), at("OTHER", ports.behind), at("MOVED", ports.behind)];
  const plainLogin = (listener: string, password: string) =>
    `listener.name.${listener}.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="${password}";`;
  const scram = (mechanism: string) =>
    `listener.name.login.${mechanism}.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;`;
  const extra = [
    `controller.quorum.voters=1@127.0.0.1:${ports.controller}`,
    `listeners=${[...listeners, at("CONTROLLER", ports.controller)].join(",")}`,
    `advertised.listeners=${advertised.join(",")}`,
    "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_SSL,MUTUAL:SSL,OPEN:SASL_PLAINTEXT,OTHER:SASL_PLAINTEXT,MOVED:SASL_PLAINTEXT",
    "listener.name.login.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
    ...["open", "other", "moved"].map((listener) => `listener.name.${listener}.sasl.enabled.mechanisms=PLAIN`),
    ...[scram("scram-sha-256"), scram("scram-sha-512")],
    ...[plainLogin("login", PASSWORD), plainLogin("open", PASSWORD), plainLogin("moved", PASSWORD)],
    plainLogin("other", OTHER_PASSWORD),
    ...["ssl.keystore.type=PEM", `ssl.keystore.location=${join(folder, "broker-store.pem")}`],
    ...["ssl.truststore.type=PEM", `ssl.truststore.location=${files.ca}`],
    "listener.name.mutual.ssl.client.auth=required",
  ];
  const format = ["SCRAM-SHA-256", "SCRAM-SHA-512"].flatMap((mechanism) => [
    "--add-scram",
    `${mechanism}=[name=alice,password=${PASSWORD}]`,
  ]);
  const kafka = await startKafka({ port: ports.plain, extra, format });
  return {
    ports,
    files,
    async stop() {
      await kafka.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Two authorities; of the first one the broker's certificate (127.0.0.1 alone) and a client's, of the other one a client's. */
function makeCertificates(folder: string): SecureKafka["files"] {
  const path = (name: string) => join(folder, `${name}.pem`);
  const openssl = (...args: string[]) =>
    execFileSync("openssl", args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] }).toString();
  const newKey = (name: string) =>
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path(`${name}-key`));
  const authority = (name: string) => {
    newKey(name);
    openssl(
      ...["req", "-x509", "-new", "-key", path(`${name}-key`), "-days", "2", "-subj", `/CN=${name}`],
      ...["-addext", "basicConstraints=critical,CA:TRUE", "-out", path(name)],
    );
  };
  const signed = (name: string, by: string, extensions: string) => {
    newKey(name);
    openssl("req", "-new", "-key", path(`${name}-key`), "-subj", `/CN=${name}`, "-out", path(`${name}-request`));
    writeFileSync(path(`${name}-extensions`), extensions);
    openssl(
      ...["x509", "-req", "-in", path(`${name}-request`), "-CA", path(by), "-CAkey", path(`${by}-key`)],
      ...["-CAcreateserial", "-days", "2", "-extfile", path(`${name}-extensions`), "-out", path(name)],
    );
    return openssl("x509", "-in", path(name));
  };
  authority("authority");
  authority("other-authority");
  const broker = signed("broker", "authority", "subjectAltName=IP:127.0.0.1\n");
  signed("client", "authority", "extendedKeyUsage=clientAuth\n");
  signed("other-client", "other-authority", "extendedKeyUsage=clientAuth\n");
  const key = openssl("pkcs8", "-topk8", "-nocrypt", "-in", path("broker-key"));
  writeFileSync(path("broker-store"), key + broker + openssl("x509", "-in", path("authority")));
  openssl(
    ...["pkcs8", "-topk8", "-in", path("client-key"), "-out", path("client-locked")],
    ...["-v2", "aes-256-cbc", "-passout", `pass:${PASSPHRASE}`],
  );
  return {
    ...{ ca: path("authority"), otherCa: path("other-authority"), cert: path("client"), key: path("client-locked") },
    ...{ otherCert: path("other-client"), otherKey: path("other-client-key") },
  };
}
