/** The command line: `vigilane up | load | pipeline-test | try | doctor | keys | topics | dlq | kafka-local | <role> | --help | --version`. */
import { errorCode, explain } from "./errors.ts";
import { ROLES, type Role } from "./settings.ts";
import { version } from "./version.ts";

/** Resolves with the exit code. */
async function main(argv: readonly string[]): Promise<number> {
  const [command, ...rest] = argv;
  if (command === undefined || rest.includes("--help") || ["--help", "-h", "help"].includes(command)) {
    const { help } = await import("./commands/help.ts");
    process.stdout.write(help(command, rest));
    return 0;
  }
  if (command === "--version" || command === "-v") {
    process.stdout.write(`${version()}\n`);
    return 0;
  }
  switch (command) {
    case "up":
      return (await import("./commands/up.ts")).up(rest);
    case "load":
      return (await import("./commands/load.ts")).load(rest);
    case "pipeline-test":
      return (await import("./commands/pipeline-test.ts")).pipelineTest(rest);
    case "try":
      return (await import("./commands/try.ts")).tryImage(rest);
    case "doctor":
      return (await import("./commands/doctor.ts")).doctor(rest);
    case "keys":
      return (await import("./commands/keys.ts")).keys(rest);
    case "topics":
      return (await import("./commands/topics.ts")).topics(rest);
    case "dlq":
      return (await import("./commands/dlq.ts")).dlq(rest);
    case "kafka-local":
      return (await import("./commands/kafka-local.ts")).kafkaLocal(rest);
    default:
      if (isRole(command)) return (await import("./commands/role.ts")).runRole(command, rest);
      process.stderr.write(`vigilane: there is no command "${command}". \`vigilane --help\` shows them all.\n`);
      return 2;
  }
}

const isRole = (text: string): text is Role => (ROLES as readonly string[]).includes(text);

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`vigilane: ${explain(error)}\n`);
  process.exitCode = errorCode(error) === "SETTINGS_INVALID" ? 2 : 1;
}
// Not at once: what was written to a pipe must get out first. Nothing that was forgotten may keep the process alive.
setTimeout(() => process.exit(), 2_000).unref();
