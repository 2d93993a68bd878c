/** Where the brokers are and how they are spoken to, with what lies in files read and checked. */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { ConnectionOptions } from "node:tls";
import { VigilaneError } from "../errors.ts";
import type { Settings } from "../settings.ts";

export interface KafkaConnection {
  /** host:port of some of the brokers. */
  brokers: readonly string[];
  /** Undefined: plain text. */
  tls?: ConnectionOptions;
  /** Undefined: brokers are not logged in to. */
  sasl?: { mechanism: "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512"; username: string; password: string };
}

export type KafkaConnectionSettings = Pick<
  Settings,
  | "kafkaBrokers"
  | "kafkaTls"
  | "kafkaCaFile"
  | "kafkaCertFile"
  | "kafkaKeyFile"
  | "kafkaKeyPassphrase"
  | "kafkaKeyPassphraseFile"
  | "kafkaServerNameCheck"
  | "kafkaSaslMechanism"
  | "kafkaUser"
  | "kafkaPassword"
  | "kafkaPasswordFile"
>;

/** Throws SETTINGS_INVALID, which names the setting whose file is missing or does not hold what it should. */
export function kafkaConnectionOf(settings: KafkaConnectionSettings): KafkaConnection {
  const brokers = settings.kafkaBrokers;
  const { kafkaSaslMechanism: mechanism, kafkaUser: username = "" } = settings;
  return {
    brokers,
    ...(settings.kafkaTls && { tls: tlsOf(settings) }),
    ...(mechanism && { sasl: { mechanism, username, password: secretOf(settings, "kafkaPassword") ?? "" } }),
  };
}

function tlsOf(settings: KafkaConnectionSettings): ConnectionOptions {
  const { kafkaCaFile, kafkaCertFile, kafkaKeyFile } = settings;
  const tls: ConnectionOptions = {};
  if (kafkaCaFile !== undefined) {
    tls.ca = read("kafkaCaFile", kafkaCaFile);
    certificateIn("kafkaCaFile", kafkaCaFile, tls.ca);
  }
  if (kafkaCertFile !== undefined && kafkaKeyFile !== undefined) {
    const passphrase = secretOf(settings, "kafkaKeyPassphrase");
    tls.cert = read("kafkaCertFile", kafkaCertFile);
    tls.key = read("kafkaKeyFile", kafkaKeyFile);
    if (passphrase !== undefined) tls.passphrase = passphrase;
    const key = keyIn(kafkaKeyFile, tls.key, passphrase);
    if (!certificateIn("kafkaCertFile", kafkaCertFile, tls.cert).checkPrivateKey(key)) {
      throw wrong(
        `kafkaKeyFile = ${kafkaKeyFile} is not the key of the certificate in ${kafkaCertFile}`,
        "Set kafkaCertFile and kafkaKeyFile to files that belong together.",
      );
    }
  }
  if (!settings.kafkaServerNameCheck) tls.checkServerIdentity = () => undefined;
  return tls;
}

function certificateIn(setting: string, file: string, pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (error) {
    throw wrong(`${setting} = ${file} holds no certificate`, "It has to be PEM: -----BEGIN CERTIFICATE-----.", error);
  }
}

function keyIn(file: string, pem: string, passphrase: string | undefined): KeyObject {
  try {
    return createPrivateKey({ key: pem, ...(passphrase !== undefined && { passphrase }) });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const encrypted = code === "ERR_MISSING_PASSPHRASE" || pem.includes("ENCRYPTED");
    throw encrypted
      ? wrong(
          `kafkaKeyFile = ${file} is encrypted, and ${passphrase === undefined ? "there is no passphrase" : "the passphrase does not open it"}`,
          "Set kafkaKeyPassphraseFile or kafkaKeyPassphrase to its passphrase.",
          error,
        )
      : wrong(`kafkaKeyFile = ${file} holds no key`, "It has to be PEM: -----BEGIN PRIVATE KEY-----.", error);
  }
}

/** From the setting, or from the file that its neighbour names. */
function secretOf(settings: KafkaConnectionSettings, name: "kafkaPassword" | "kafkaKeyPassphrase"): string | undefined {
  const file = settings[`${name}File`];
  if (file === undefined) return settings[name];
  const secret = read(`${name}File`, file).replace(/\r?\n$/, "");
  if (secret === "") throw wrong(`${name}File = ${file} is empty`, "It has to hold the secret, and nothing else.");
  return secret;
}

function read(setting: string, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unreadable";
    throw wrong(`${setting} = ${file} cannot be read (${code})`, `Correct ${setting}, or put the file there.`, error);
  }
}

const wrong = (message: string, remedy: string, cause?: unknown) =>
  new VigilaneError("SETTINGS_INVALID", message, { remedy, cause });
