/** `vigilane keys --help`, and for each of its commands. */

interface Topic {
  usage: string;
  /** Most words behind the command that are no flags. */
  operands: number;
  meaning: string;
  more: string[];
}

const WHERE = "The file: --keys FILE, else config/keys.yaml, else its encrypted form beside it (.age).";

export const KEYS_COMMANDS = {
  list: {
    usage: "keys list",
    operands: 0,
    meaning:
      "Every key group and key: its secret as first 3 and last 4 characters, whether it is enabled, the windows.",
    more: [`A reference (\${NAME}, file:/path) is shown as it is written, then what it stands for here.`],
  },
  add: {
    usage: "keys add GROUP [--id KEY] [--secret REFERENCE] [--weight N]",
    operands: 1,
    meaning: "Adds a key to a group, or with --provider, --model, --base-url and windows a new group.",
    more: [
      `The secret is asked for (hidden; or one line of standard input). --secret takes references only: '\${NAME}' or file:/path.`,
      "A new group: --provider NAME --model NAME [--base-url URL] --requests-per-second N and/or --requests-per-minute N,",
      "--requests-per-day N, --tokens-per-minute N [--max-concurrent N] [--account NAME]. --no-key: for ollama and vllm, no key.",
    ],
  },
  enable: {
    usage: "keys enable GROUP [KEY]",
    operands: 2,
    meaning: "The key, or all of the group, is used again.",
    more: ["A running system takes it over within two seconds; what a provider had held against the key is void."],
  },
  disable: {
    usage: "keys disable GROUP [KEY]",
    operands: 2,
    meaning: "The key, or all of the group, is used no more; its calls under way end, its tasks go elsewhere.",
    more: ["At least one key of the file must stay enabled."],
  },
  remove: {
    usage: "keys remove GROUP [KEY]",
    operands: 2,
    meaning: "Takes the key out of the file, or the whole group; the last key takes its group with it.",
    more: [
      "Its tasks go back to the waiting room first. Its quota is remembered by account, so that re-adding is no fresh one.",
    ],
  },
  confirm: {
    usage: "keys confirm GROUP",
    operands: 1,
    meaning:
      "After a changed baseUrl: asks for each secret of the group again, and lets it be sent to the new address.",
    more: [
      "Without it the changed file is refused: whoever can change an address may not be who knows the secret.",
      "It is remembered in the data folder (--data) as a salted fingerprint, on this machine only.",
    ],
  },
  verify: {
    usage: "keys verify [--group GROUP] [--json] [--probe-sharing [--most-calls N] [--yes]]",
    operands: 1,
    meaning: "One small real call with each enabled key: does it work, is the model there, which limits are told?",
    more: [
      "Within the groups' own windows, one after the other; with a running system's calls in its windows.",
      "Exit code: 0 every enabled key is usable, 1 otherwise. --json: the same for programs.",
      "--probe-sharing: do ten keys give ten quotas? Fills the window of one key after the other and asks with the others",
      "meanwhile. It says first what that may cost, and asks, or needs --yes. Nothing else may call with these keys meanwhile.",
      "--most-calls N: never more for the probe; what is not known by then is said to be not known.",
    ],
  },
  encrypt: {
    usage: "keys encrypt [--identity FILE] [--keep]",
    operands: 0,
    meaning: "Makes FILE.age of the file, with age, and removes the plain one (--keep leaves it).",
    more: [
      "With the identity of --identity (made, mode 0600, where there is none), else that of VIGILANE_AGE_IDENTITY or",
      "VIGILANE_AGE_IDENTITY_FILE, else the passphrase of VIGILANE_AGE_PASSPHRASE, else one that is asked for.",
      "The running system opens it with those three variables. Where FILE.age is there already, nothing is done.",
    ],
  },
  decrypt: {
    usage: "keys decrypt [--keep]",
    operands: 0,
    meaning: "Makes the plain file (mode 0600) of FILE.age, and removes that (--keep leaves it).",
    more: ["With VIGILANE_AGE_IDENTITY, VIGILANE_AGE_IDENTITY_FILE or VIGILANE_AGE_PASSPHRASE."],
  },
  edit: {
    usage: "keys edit [--from COPY]",
    operands: 0,
    meaning: "Opens the file in $VISUAL or $EDITOR, encrypted or not; what would not load is not written.",
    more: [
      "At a terminal it asks whether to edit again what would not load. What was not written, also because somebody else has",
      "changed the file meanwhile, is kept in a copy that is named (mode 0600, encrypted where the file is); --from goes on with it.",
      "The plain text of an encrypted file stands, mode 0600, in a temporary folder while the editor is open.",
    ],
  },
} as const satisfies Record<string, Topic>;

export type KeysCommand = keyof typeof KEYS_COMMANDS;
export const isKeysCommand = (text: string | undefined): text is KeysCommand =>
  text !== undefined && Object.hasOwn(KEYS_COMMANDS, text);

export function keysHelp(command: string | undefined): string {
  if (isKeysCommand(command)) {
    const { usage, meaning, more } = KEYS_COMMANDS[command];
    return [`Usage: vigilane ${usage}`, "", meaning, ...more, "", WHERE, ""].join("\n");
  }
  const rows = Object.values(KEYS_COMMANDS).flatMap(({ usage, meaning }) => [`  ${usage}`, `      ${meaning}`]);
  return [
    "Usage: vigilane keys COMMAND",
    "",
    ...rows,
    "",
    WHERE,
    "`vigilane keys COMMAND --help` says more. Comments and layout of the file are kept; a running system takes changes over.",
    "",
  ].join("\n");
}
