/** What `--help` shows: every command and, from the schema itself, every setting with its meaning and default. */
import { describeSettings } from "../config.ts";
import { KAFKA_LOCAL_HELP } from "./kafka-local.ts";
import { keysHelp } from "./keys-help.ts";
import { PIPELINE_TEST_HELP } from "./pipeline-test.ts";
import { dlqHelp, topicsHelp } from "./topics-help.ts";

const COMMANDS: readonly [usage: string, meaning: string][] = [
  ["up", "Everything that is needed on this machine, each role a process of its own. `npm start` is this."],
  [
    "up --for 60 --report report.json",
    "The same for so many seconds, then drain, report and leave; exit 1 when anything was lost.",
  ],
  [
    "load --cameras 50 --rate 0.5 --for 60",
    "Offers made-up detections to the running system and reports. Also: --constant, --groups N, --report FILE.",
  ],
  [
    "pipeline-test --mode e2e --count 10",
    "Sends some made-up detections through the running system and says whether each came back judged. `pipeline-test --help`.",
  ],
  ["try IMAGE", "Judges one picture with the configured key, step by step."],
  [
    "keys list | add | enable | disable | remove | confirm | verify | encrypt | decrypt | edit",
    "Looks at, tries and changes the keys' file, which a running system takes over. `keys --help` says more.",
  ],
  [
    "topics create | list | lag | tail | rewind | copy",
    "Creates the topics, shows how they and their readers stand, and moves those. `topics --help` says more.",
  ],
  ["dlq list | show | retry | purge", "Messages that could not be processed, and why. `dlq --help` says more."],
  ["kafka-local", "A real Kafka broker on this machine, without Docker (needs Java). `kafka-local --help` says more."],
  ["doctor", "Looks at everything that a start needs and says the remedy for what is wrong."],
  ["store | provider | detector | bridge", "One role by itself, for set-ups on several machines."],
  ["worker | results | gateway", "The same. REDIS_URL says where the store is."],
  ["--help, --version", "This, or the version."],
];

const WIDTH = 118;
const INDENT = 6;

/** The whole help, or that of a command that has one of its own. */
export function help(command?: string, rest: readonly string[] = []): string {
  if (command === "keys") return keysHelp(rest[0]);
  if (command === "topics") return topicsHelp(rest[0]);
  if (command === "dlq") return dlqHelp(rest[0]);
  if (command === "kafka-local") return KAFKA_LOCAL_HELP;
  if (command === "pipeline-test") return PIPELINE_TEST_HELP;
  const lines = [
    "vigilane watches many traffic and safety cameras with a vision LLM, in real time, within the quotas that providers give.",
    "",
    "Usage: vigilane COMMAND [--setting value …]      (in a clone: npm run vigilane -- COMMAND …; npm start -- …)",
    "",
    "Commands",
    ...COMMANDS.flatMap(([usage, meaning]) => [`  ${usage}`, ...wrap(meaning, INDENT)]),
    "",
    "Settings: a flag, else the environment variable, else a line `name: value` in config/vigilane.yaml",
    ...describeSettings().flatMap(({ flag, variable, name, meaning }) => [
      `  ${flag}  (${variable}; ${name})`,
      ...wrap(meaning, INDENT),
    ]),
    "",
    "An encrypted keys' file is opened with VIGILANE_AGE_IDENTITY, VIGILANE_AGE_IDENTITY_FILE or VIGILANE_AGE_PASSPHRASE.",
    "",
    "Exit codes: 0 well; 1 failed, or something was lost, or no group was seen; 2 a setting is wrong.",
  ];
  return `${lines.join("\n")}\n`;
}

/** Breaks text at spaces so that no line is longer than WIDTH. */
function wrap(text: string, indent: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && indent + line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines.map((l) => " ".repeat(indent) + l);
}
