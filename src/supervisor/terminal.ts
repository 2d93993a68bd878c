/** What a person sees: steps, roles' log lines made readable, and plain lines; or all of it as JSON for machines. */
import { createLogger, type Logger } from "../context.ts";

export interface Terminal {
  log: Logger;
  /** A step of the start. */
  step(role: string, text: string): void;
  /** A line for people: the page's address, the status. */
  say(text: string): void;
  /** A line that a role wrote on its standard output or error. */
  roleLine(role: string, line: string): void;
}

export interface TerminalOptions {
  format: "pretty" | "json";
  level: string;
  /** Colours, where the output is a terminal that wants them. */
  colour: boolean;
  write(text: string): void;
}

/** The real one. NO_COLOR is honoured. */
export function processTerminal(settings: { logFormat: "pretty" | "json"; logLevel: string }): Terminal {
  const colour = process.stdout.isTTY === true && !process.env.NO_COLOR;
  process.stdout.on("error", () => {}); // whoever read us has left (`| head`): not a reason to die
  return createTerminal({
    format: settings.logFormat,
    level: settings.logLevel,
    colour,
    write: (text) => void process.stdout.write(text),
  });
}

export function createTerminal({ format, level, colour, write }: TerminalOptions): Terminal {
  if (format === "json") {
    const log = createLogger("supervisor", level, { write });
    return {
      log,
      step: (role, text) => log.info({ step: role }, text),
      say: (text) => log.info(text),
      roleLine: (role, line) => {
        if (isJson(line)) write(`${line}\n`);
        else if (role !== "store") log.info({ from: role }, line);
        else log.debug({ from: role }, line);
      },
    };
  }
  const show = (line: string) => write(`${prettyLine(line, "supervisor", colour)}\n`);
  const chatty = level === "debug" || level === "trace";
  return {
    log: createLogger("supervisor", level, { write: (line) => show(line.trimEnd()) }),
    step: (role, text) => write(`  ${colour ? GREEN : ""}✓${colour ? PLAIN : ""} ${role.padEnd(10)} ${text}\n`),
    say: (text) => write(`${text}\n`),
    roleLine: (role, line) => {
      // redis-server's own chatter; where it dies, its last lines are shown with its end.
      if (role === "store" && !isJson(line) && !chatty) return;
      write(`${prettyLine(line, role, colour)}\n`);
    },
  };
}

const PLAIN = "\u001b[0m";
const DIM = "\u001b[2m";
const GREEN = "\u001b[32m";
const COLOURS: Record<string, string> = { WARN: "\u001b[33m", ERROR: "\u001b[31m", FATAL: "\u001b[31m" };
const LEVELS: Record<number, string> = { 10: "TRACE", 20: "DEBUG", 30: "INFO", 40: "WARN", 50: "ERROR", 60: "FATAL" };
const SAID_ELSEWHERE = new Set(["level", "time", "role", "pid", "msg", "instance", "err", "name", "hostname", "v"]);
const LONGEST_VALUE = 120;

/** A pino line as `12:00:01 WARN  bridge     message  key=value`; any other line with its role before it. */
export function prettyLine(line: string, role: string, colour = false): string {
  const entry = isJson(line);
  const paint = (code: string, text: string) => (colour && code ? code + text + PLAIN : text);
  if (!entry) return `${" ".repeat(15)}${paint(DIM, role.padEnd(10))} ${line}`;
  const level = LEVELS[Number(entry.level)] ?? "INFO";
  const fields = Object.entries(entry)
    .filter(([name]) => !SAID_ELSEWHERE.has(name))
    .map(([name, value]) => `${name}=${short(value)}`);
  const error = entry.err;
  if (typeof error === "object" && error !== null && "message" in error && error.message !== entry.msg) {
    fields.push(`error=${short(error.message)}`);
  }
  const time = new Date(String(entry.time));
  const clock = Number.isNaN(time.getTime()) ? "        " : time.toTimeString().slice(0, 8);
  const head = `${clock} ${paint(COLOURS[level] ?? "", level.padEnd(5))} ${String(entry.role ?? role).padEnd(10)}`;
  const tail = fields.length > 0 ? `  ${paint(DIM, fields.join(" "))}` : "";
  // An end that nobody foresaw: where it came from.
  const stack = level === "FATAL" && entry.code === undefined ? stackOf(error) : "";
  return `${head} ${String(entry.msg ?? "")}${tail}${stack}`;
}

function stackOf(error: unknown): string {
  if (typeof error !== "object" || error === null || !("stack" in error)) return "";
  const frames = String(error.stack)
    .split("\n")
    .filter((line) => line.trimStart().startsWith("at "));
  return frames
    .slice(0, 4)
    .map((line) => `\n${" ".repeat(15)}${line.trim()}`)
    .join("");
}

function short(value: unknown): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
  const oneLine = text.replaceAll(/\s+/g, " ");
  return oneLine.length > LONGEST_VALUE ? `${oneLine.slice(0, LONGEST_VALUE)}…` : oneLine;
}

/** The line's object when it is one of pino's. */
function isJson(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null && "level" in value ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}
