/** Secrets are asked for, never taken from the command line, where others see them: hidden at a terminal, else lines of standard input. */
import { createInterface } from "node:readline";
import { VigilaneError } from "../errors.ts";

export interface Asking {
  /** Rejects where nothing comes any more. */
  ask(question: string): Promise<string>;
  close(): void;
}

export function askSecrets(): Asking {
  const terminal = process.stdin.isTTY === true;
  // A terminal's echo goes where nobody looks.
  const quiet = {
    write: () => true,
    on: () => quiet,
    once: () => quiet,
    emit: () => true,
    end: () => {},
    removeListener: () => quiet,
  };
  const reading = createInterface({
    input: process.stdin,
    ...(terminal && { output: quiet as unknown as NodeJS.WritableStream, terminal: true }),
  });
  const lines = reading[Symbol.asyncIterator]();
  return {
    async ask(question) {
      if (terminal) process.stderr.write(`${question}: `);
      const { value, done } = await lines.next();
      if (terminal) process.stderr.write("\n");
      const answer = typeof value === "string" ? value.trim() : "";
      if (!done && answer !== "") return answer;
      throw new VigilaneError("SETTINGS_INVALID", `nothing was entered for: ${question}`, {
        remedy: "Type it at the prompt, or pipe it in, one line each.",
      });
    },
    close: () => reading.close(),
  };
}
