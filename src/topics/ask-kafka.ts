/** Whether the brokers answer, and what they say when they do not let us in, in our own words. */
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { within } from "../lifecycle.ts";
import { createKafka, isLoginFailure, isRefusal, wordsOf } from "./kafka-client.ts";
import type { KafkaConnection } from "./kafka-connection.ts";
import { probeKafka } from "./kafka-probe.ts";

const ANSWER_MS = 5_000;
const DISCONNECT_MS = 500;

/** How many brokers the cluster has. Rejects within seconds with what is wrong: a BROKER_… row of errors.ts. */
export async function askKafka(connection: KafkaConnection, context: Context): Promise<number> {
  await probeKafka(connection, context.clock);
  const { kafka, hangUp } = createKafka(connection, "vigilane-doctor", context);
  const admin = kafka.admin({ retry: { retries: 0 } });
  try {
    return await within(context.clock, ANSWER_MS, "the broker's answer", async () => {
      await admin.connect();
      return (await admin.describeCluster()).brokers.length;
    });
  } catch (error) {
    throw refusalOf(error, connection) ?? away(error, connection);
  } finally {
    await within(context.clock, DISCONNECT_MS, "disconnecting", () => admin.disconnect()).catch(() => {});
    hangUp();
  }
}

/** The broker said no, in our words; undefined: it is something else. */
export function refusalOf(error: unknown, connection: KafkaConnection): VigilaneError | undefined {
  const names = connection.brokers.join(",");
  if (isLoginFailure(error)) {
    const user = connection.sasl?.username ?? "";
    return new VigilaneError("BROKER_LOGIN_FAILED", `${names}: user ${user} is not let in: ${wordsOf(error)}`, {
      cause: error,
    });
  }
  if (!isRefusal(error)) return undefined;
  return new VigilaneError("BROKER_REFUSED", `${names}: ${wordsOf(error)}`, { cause: error });
}

const away = (error: unknown, { brokers }: KafkaConnection) =>
  new VigilaneError("BROKER_AWAY", `no broker answers at ${brokers.join(",")}: ${wordsOf(error)}`, { cause: error });
