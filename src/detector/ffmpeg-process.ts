/**
 * One ffmpeg child: the one file that imports fluent-ffmpeg (no longer maintained; child_process.spawn would take its
 * place here, see docs/decisions). A child never outlives this process: it is killed at exit, and where the process is
 * killed itself, the child ends at its next write to the broken pipe.
 */
import { execFile } from "node:child_process";
import { Writable } from "node:stream";
import { promisify } from "node:util";
import fluent from "fluent-ffmpeg";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import {
  type BytesInto,
  frameSocketPath,
  listenOptions,
  readFrameSocket,
  type SocketReading,
  socketUrl,
} from "./frame-socket.ts";
import { textToShown } from "./source-to-shown.ts";

export interface FfmpegRun {
  /** Why it ended, in ffmpeg's own last words, without passwords and queries; "" for exit code 0. Never rejects. */
  readonly ended: Promise<string>;
  /** SIGKILL: nothing of it is worth finishing. Resolves when it is gone. */
  kill(): Promise<void>;
}

export interface FfmpegArguments {
  input: string;
  /** Before -i. */
  before: readonly string[];
  /** After it, before the output. */
  after: readonly string[];
}

/** Where the output goes: `text` line by line as it comes, `frames` by a socket in `folder` (by stdout where there are none). */
export type FfmpegOutput =
  | { kind: "text"; onData(chunk: Buffer): void; onLogLine(line: string): void }
  | { kind: "frames"; folder: string; into: BytesInto; onLogLine?(line: string): void };

/** What is alive, for the end of the process. */
const alive = new Set<fluent.FfmpegCommand>();
process.once("exit", () => {
  for (const command of alive) command.kill("SIGKILL");
});

/** What takes the output must not throw: when it does, the child is killed and `ended` says why. */
export function startFfmpeg(
  path: string,
  { input, before, after }: FfmpegArguments,
  output: FfmpegOutput,
  context: Pick<Context, "clock">,
): FfmpegRun {
  const lastWords: string[] = [];
  let started = false;
  let killed = false;
  let fault: string | undefined;
  const kill = () => {
    killed = true;
    reading?.stop();
    if (started) command.kill("SIGKILL");
  };
  const giveUp = (error: unknown) => {
    fault = error instanceof Error ? error.message : String(error);
    kill();
  };
  const command = fluent({ logger: undefined });
  command.setFfmpegPath(path);
  command.input(input).inputOptions(...twoAtLeast(["-hide_banner", "-nostats", ...before]));
  const socket = output.kind === "frames" ? frameSocketPath(output.folder) : undefined;
  let reading: SocketReading | undefined;
  if (output.kind === "frames" && socket !== undefined) {
    command.outputOptions(...twoAtLeast([...after, ...listenOptions])).output(socketUrl(socket));
    reading = readFrameSocket(socket, output.into, context, giveUp);
  } else {
    command.outputOptions(...twoAtLeast([...after])).output(
      stdoutSink(output, () => killed, giveUp),
      { end: true },
    );
  }
  const ended = new Promise<string>((resolve) => {
    const settle = async (why: string) => {
      alive.delete(command);
      await reading?.drained();
      resolve(textToShown(fault ?? why, input));
    };
    command.on("start", () => {
      started = true;
      alive.add(command);
      if (killed) command.kill("SIGKILL");
    });
    command.on("stderr", (line: string) => {
      output.onLogLine?.(line);
      if (
        /\b(error|failed|invalid|refused|unreachable|timed? ?out|not found|no such|denied|unauthorized|4\d\d)\b/i.test(
          line,
        )
      ) {
        lastWords.push(line.replace(/^\[[^\]]*\]\s*/, "").trim());
        if (lastWords.length > 3) lastWords.shift();
      }
    });
    command.on("end", () => void settle(""));
    command.on(
      "error",
      (error: Error) => void settle(lastWords.at(-1) ?? error.message.split("\n")[0] ?? "ffmpeg failed"),
    );
  });
  command.run();
  return {
    ended,
    async kill() {
      kill();
      await ended;
    },
  };
}

function stdoutSink(output: FfmpegOutput, killed: () => boolean, giveUp: (error: unknown) => void): Writable {
  const take = output.kind === "text" ? output.onData : (chunk: Buffer) => copyInto(output.into, chunk);
  return new Writable({
    highWaterMark: 1 << 20,
    write(chunk: Buffer, _encoding, done) {
      try {
        if (!killed()) take(chunk);
      } catch (error) {
        giveUp(error);
      }
      done();
    },
  });
}

function copyInto(into: BytesInto, chunk: Buffer): void {
  for (let at = 0; at < chunk.length; ) {
    const copied = chunk.copy(into.target(), 0, at);
    into.filled(copied);
    at += copied;
  }
}

/** fluent-ffmpeg splits a lone argument at its blanks, several it leaves alone. */
function twoAtLeast(options: string[]): [string, string, ...string[]] {
  const [first, second, ...rest] = options;
  if (first === undefined || second === undefined) throw new Error("at least two options");
  return [first, second, ...rest];
}

/** Options that every source needs came with 5.1 (RTSP's -timeout with 5.0, -fps_mode with 5.1). */
const OLDEST = [5, 1] as const;

/** Rejects with FFMPEG_MISSING when it cannot be run or is too old. Builds without a version number are taken on trust. */
export async function checkFfmpeg(path: string): Promise<string> {
  const run = promisify(execFile);
  const { stdout } = await run(path, ["-hide_banner", "-version"], { timeout: 10_000 }).catch((cause: unknown) => {
    throw new VigilaneError("FFMPEG_MISSING", `${path} cannot be run: ${String(cause)}`, { cause });
  });
  const version = /^ffmpeg version (\S+)/.exec(stdout)?.[1] ?? "unknown";
  const [, major, minor] = /^n?(\d+)\.(\d+)/.exec(version) ?? [];
  if (major !== undefined && (Number(major) - OLDEST[0] || Number(minor) - OLDEST[1]) < 0) {
    throw new VigilaneError("FFMPEG_MISSING", `${path} is version ${version}; 5.1 or later is needed`);
  }
  return version;
}
