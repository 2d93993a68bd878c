import { describe } from "vitest";
import { brokerThere, someKafka } from "../support/kafka.ts";
import { kafkaFixture } from "../support/kafka-fixture.ts";
import { topicLogConformance } from "./topic-log.suite.ts";
import { topicPeopleConformance } from "./topic-people.suite.ts";
import { topicToolsConformance } from "./topic-tools.suite.ts";

describe.skipIf(!brokerThere)("the topics on a real Kafka broker", () => {
  const fixture = kafkaFixture(someKafka);
  topicLogConformance("Kafka", fixture);
  topicToolsConformance("Kafka", fixture);
  topicPeopleConformance("Kafka", fixture);
});
