import { describe } from "vitest";
import { javaThere } from "../support/kafka.ts";
import { kafkaFixture } from "../support/kafka-fixture.ts";
import { topicLogConformance } from "./topic-log.suite.ts";

describe.skipIf(!javaThere)("the topics on a real Kafka broker", () => topicLogConformance("Kafka", kafkaFixture()));
