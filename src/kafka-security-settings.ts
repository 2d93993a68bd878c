/** How the brokers are spoken to: encryption, certificates, user and password. settings.ts has the addresses. */
import { z } from "zod";
import { flag } from "./setting-values.ts";

export const SASL_MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] as const;

const upperCase = (value: unknown) => (typeof value === "string" ? value.toUpperCase() : value);

export const kafkaSecuritySettings = {
  kafkaTls: flag().default(false).describe("Speaks to the Kafka brokers over TLS. Default false."),
  kafkaCaFile: z
    .string()
    .min(1)
    .optional()
    .describe(
      "File (PEM) of the authority, or several, that signed the brokers' certificates. Default: the public ones that Node knows.",
    ),
  kafkaCertFile: z
    .string()
    .min(1)
    .optional()
    .describe(
      "File (PEM) of our own certificate, for brokers that ask for one; its key is kafkaKeyFile. Default: none.",
    ),
  kafkaKeyFile: z.string().min(1).optional().describe("File (PEM) of the key of kafkaCertFile. Default: none."),
  kafkaKeyPassphrase: z
    .string()
    .min(1)
    .optional()
    .describe("Opens an encrypted kafkaKeyFile. A flag is seen by everybody on the machine: rather the next one."),
  kafkaKeyPassphraseFile: z.string().min(1).optional().describe("File that holds kafkaKeyPassphrase."),
  kafkaServerNameCheck: flag()
    .default(true)
    .describe(
      "A broker's certificate has to hold the host's name as kafkaBrokers (and the brokers themselves) give it. Default true; false: any name, from the right authority.",
    ),
  kafkaSaslMechanism: z
    .preprocess(upperCase, z.enum(SASL_MECHANISMS))
    .optional()
    .describe(
      "How we log in to Kafka: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, with kafkaUser and a password. Default: not at all.",
    ),
  kafkaUser: z.string().min(1).optional().describe("User for kafkaSaslMechanism."),
  kafkaPassword: z
    .string()
    .min(1)
    .optional()
    .describe("Its password. A flag is seen by everybody on the machine: rather the next one."),
  kafkaPasswordFile: z
    .string()
    .min(1)
    .optional()
    .describe("File that holds kafkaPassword, such as /run/secrets/kafka; a newline at its end does not count."),
};

type Security = z.infer<z.ZodObject<typeof kafkaSecuritySettings>>;

export interface Fault {
  setting: keyof Security;
  /** What is wrong with it beside the others, and what to do. */
  why: string;
}

/** Settings that are well by themselves and make no sense together. */
export function kafkaSecurityFaults(of: Security & { kafkaBrokers: readonly string[] }): Fault[] {
  const faults: Fault[] = [];
  const refuse = (setting: keyof Security, why: string) => faults.push({ setting, why });
  const set = (name: keyof Security) => of[name] !== undefined && of[name] !== false;
  const used = (["kafkaTls", "kafkaSaslMechanism", ...OF_TLS, ...OF_LOGIN] as const).filter(set);
  if (of.kafkaBrokers.length === 0) {
    for (const name of used) refuse(name, "there are no brokers: set kafkaBrokers (KAFKA_BROKERS), or leave it out");
    return faults;
  }
  if (!of.kafkaTls) {
    for (const name of OF_TLS.filter(set))
      refuse(name, "is of use with TLS alone: set kafkaTls: true, or leave it out");
    if (!of.kafkaServerNameCheck) {
      refuse("kafkaServerNameCheck", "is of use with TLS alone: set kafkaTls: true, or leave it out");
    }
  }
  if (of.kafkaCertFile !== undefined && of.kafkaKeyFile === undefined) {
    refuse("kafkaCertFile", "needs its key: set kafkaKeyFile");
  }
  if (of.kafkaKeyFile !== undefined && of.kafkaCertFile === undefined) {
    refuse("kafkaKeyFile", "needs its certificate: set kafkaCertFile");
  }
  if (set("kafkaKeyPassphrase") && set("kafkaKeyPassphraseFile")) {
    refuse("kafkaKeyPassphraseFile", "kafkaKeyPassphrase is set, too: leave one of the two out");
  }
  for (const name of (["kafkaKeyPassphrase", "kafkaKeyPassphraseFile"] as const).filter(set)) {
    if (of.kafkaKeyFile === undefined) refuse(name, "there is no kafkaKeyFile to open: set it, or leave this out");
  }
  if (of.kafkaSaslMechanism === undefined) {
    for (const name of OF_LOGIN.filter(set)) {
      refuse(name, `needs kafkaSaslMechanism: set it to ${SASL_MECHANISMS.join(", ")}, as the brokers have it`);
    }
    return faults;
  }
  if (of.kafkaUser === undefined) refuse("kafkaSaslMechanism", "needs a user: set kafkaUser");
  if (!set("kafkaPassword") && !set("kafkaPasswordFile")) {
    refuse("kafkaSaslMechanism", "needs a password: set kafkaPasswordFile or kafkaPassword");
  }
  if (set("kafkaPassword") && set("kafkaPasswordFile")) {
    refuse("kafkaPasswordFile", "kafkaPassword is set, too: leave one of the two out");
  }
  return faults;
}

const OF_TLS = [
  "kafkaCaFile",
  "kafkaCertFile",
  "kafkaKeyFile",
  "kafkaKeyPassphrase",
  "kafkaKeyPassphraseFile",
] as const;
const OF_LOGIN = ["kafkaUser", "kafkaPassword", "kafkaPasswordFile"] as const;
