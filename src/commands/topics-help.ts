/** `vigilane topics --help` and `vigilane dlq --help`, and for each of their commands. */

interface Topic {
  usage: string;
  meaning: string;
  more: readonly string[];
}

const WHERE = [
  "The topics are on the brokers of KAFKA_BROKERS, else in the store of REDIS_URL, else in that of the vigilane that runs on",
  "--data. TOPIC is one of ours (detection-results, …) or a name on the wire. TIME: earliest, latest, 2026-01-31T12:00:00Z, or",
  "how long ago (90s, 10m, 2h, 1d). Exit codes: 0 well, 1 failed, 2 a flag or file is wrong.",
];

const TOPICS_COMMANDS = {
  create: {
    usage: "topics create [--file FILE] [--dry-run] [--apply] [--json]",
    meaning:
      "Creates the topics of redpanda/topics.yaml that are missing, adds partitions, and shows what else differs.",
    more: [
      "It can be run again at any time, also while everything runs. Partitions never become fewer, copies are left alone.",
      "--apply: settings that differ (retention, bytes, …) are changed too; other settings of the topic stay.",
      "--dry-run: says what it would do. In the store only partitions are made: it keeps topics as the settings say.",
    ],
  },
  list: {
    usage: "topics list [--json]",
    meaning: "Every topic: partitions, copies, messages, size, retention, its groups and how far they are behind.",
    more: ["On Kafka the ends of transactions count as messages."],
  },
  lag: {
    usage: "topics lag [TOPIC] [--group GROUP] [--watch] [--json]",
    meaning: "How far each group is behind: unread messages, and the age of the oldest of them in seconds.",
    more: [
      "--watch: again every two seconds, until Ctrl-C. LOST: messages that were deleted before the group read them.",
    ],
  },
  tail: {
    usage: "topics tail TOPIC [--from TIME] [--count N] [--key KEY] [--no-follow] [--whole] [--json]",
    meaning: "Shows messages as they come, or from a time on, without disturbing any group.",
    more: [
      "JSON is laid out, longer texts in it are shown by their beginning (--whole: all of them); bytes that are no text as hex.",
      "--no-follow: only what is there now (from the earliest, unless --from says otherwise), then it ends.",
      "--json: one line a message, with value (JSON), text, or base64.",
    ],
  },
  rewind: {
    usage: "topics rewind --group GROUP --to TIME [--topic TOPIC] [--dry-run] [--force] [--again]",
    meaning: "Lets a group read again from a time on (or skip up to one).",
    more: [
      "It says first what will come again. A group that is consuming is refused, unless --force: what it has out is taken from",
      "it, and it goes on from there. vigilane-bridge judges nothing again that has an outcome. Outcomes are remembered for",
      "the bridges' topicRetentionHours (from their store: REDIS_URL or --data, else this command's own); further back it refuses, unless --again: those groups then get a second outcome.",
    ],
  },
  copy: {
    usage: "topics copy FROM TO [--from TIME] [--progress FILE]",
    meaning: "What a topic has now goes to another one: keys, headers and values as they are, in order.",
    more: [
      "TO is created where it is missing. It ends at what was there at its start.",
      "--progress FILE: notes there how far it is; after a break the same command goes on from there (at most one batch twice).",
    ],
  },
} as const satisfies Record<string, Topic>;

const DLQ_COMMANDS = {
  list: {
    usage: "dlq list [TOPIC] [--code CODE] [--key KEY] [--json]",
    meaning: "Messages that could not be read or processed: where each stood and why it is here, the oldest first.",
    more: ["TOPIC: the topic whose dead letters these are (detection-results), or <topic>.dlq. Default: all."],
  },
  show: {
    usage: "dlq show TOPIC ID… [--whole] [--json]",
    meaning: "Dead letters whole: key, headers, reason and bytes.",
    more: ["ID: as `dlq list` shows it."],
  },
  retry: {
    usage: "dlq retry TOPIC (ID… | --all | --code CODE | --key KEY)",
    meaning: "Publishes these dead letters to the topic where they stood, and takes them off the dead letters.",
    more: [
      "With their own key, value and headers. Killed in between, it may have published some without taking them off.",
      "Groups that have got an outcome already (those of POISON have: failed) keep it.",
    ],
  },
  purge: {
    usage: "dlq purge TOPIC (ID… | --all | --code CODE | --key KEY) --yes",
    meaning: "Takes these dead letters off without a retry, for good.",
    more: [
      "Without --yes it says what it would do. Bytes behind an older letter that stays are deleted together with that one, or",
      "by the topic's retention.",
    ],
  },
} as const satisfies Record<string, Topic>;

export type TopicsCommand = keyof typeof TOPICS_COMMANDS;
export type DlqCommand = keyof typeof DLQ_COMMANDS;

export const isTopicsCommand = (text: string | undefined): text is TopicsCommand =>
  text !== undefined && Object.hasOwn(TOPICS_COMMANDS, text);
export const isDlqCommand = (text: string | undefined): text is DlqCommand =>
  text !== undefined && Object.hasOwn(DLQ_COMMANDS, text);

export const topicsUsage = (command: TopicsCommand) => TOPICS_COMMANDS[command].usage;

export const topicsHelp = (command: string | undefined) =>
  helpOf("topics", TOPICS_COMMANDS, isTopicsCommand(command) ? TOPICS_COMMANDS[command] : undefined);
export const dlqHelp = (command: string | undefined) =>
  helpOf("dlq", DLQ_COMMANDS, isDlqCommand(command) ? DLQ_COMMANDS[command] : undefined);

function helpOf(name: string, all: Record<string, Topic>, one: Topic | undefined): string {
  if (one) return [`Usage: vigilane ${one.usage}`, "", one.meaning, ...one.more, "", ...WHERE, ""].join("\n");
  const rows = Object.values(all).flatMap(({ usage, meaning }) => [`  ${usage}`, `      ${meaning}`]);
  return [
    `Usage: vigilane ${name} COMMAND`,
    "",
    ...rows,
    "",
    ...WHERE,
    `\`vigilane ${name} COMMAND --help\` says more.`,
    "",
  ].join("\n");
}
