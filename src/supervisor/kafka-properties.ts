/** server.properties of a node of the local Kafka: everything small and quick, since one machine bears all of it. */

/** `nodes`: the ports of all of them, node 1 first. A later line wins over an earlier one: so `extra` comes last. */
export function serverProperties(
  id: number,
  nodes: readonly { client: number; controller: number }[],
  folder: string,
  extra: readonly string[],
): string {
  const own = nodes[id - 1] ?? { client: 0, controller: 0 };
  const three = nodes.length > 1;
  const [copies, inStep] = three ? [3, 2] : [1, 1];
  const voters = nodes.map(({ controller }, i) => `${i + 1}@127.0.0.1:${controller}`).join(",");
  const lines = [
    "process.roles=broker,controller",
    `node.id=${id}`,
    `controller.quorum.voters=${voters}`,
    "controller.listener.names=CONTROLLER",
    `listeners=PLAINTEXT://127.0.0.1:${own.client},CONTROLLER://127.0.0.1:${own.controller}`,
    `advertised.listeners=PLAINTEXT://127.0.0.1:${own.client}`,
    "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name=PLAINTEXT",
    `log.dirs=${folder.replaceAll("\\", "/")}/log`,
    "auto.create.topics.enable=false",
    `default.replication.factor=${copies}`,
    `min.insync.replicas=${inStep}`,
    ...["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"].flatMap((topic) => [
      `${topic}.replication.factor=${copies}`,
      `${topic}.num.partitions=1`,
    ]),
    ...["transaction.state.log", "share.coordinator.state.topic"].map((topic) => `${topic}.min.isr=${inStep}`),
    "group.initial.rebalance.delay.ms=0",
    "group.min.session.timeout.ms=1000",
    "log.cleaner.dedupe.buffer.size=4194304",
    // A killed node is missed, and one that comes back is taken again, within seconds.
    ...(three
      ? [
          "broker.session.timeout.ms=3000",
          "broker.heartbeat.interval.ms=500",
          "controller.quorum.fetch.timeout.ms=1500",
          "controller.quorum.election.timeout.ms=500",
        ]
      : ["broker.session.timeout.ms=2000", "broker.heartbeat.interval.ms=300"]),
    ...extra,
  ];
  return `${lines.join("\n")}\n`;
}
