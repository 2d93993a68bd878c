/** `vigilane topics copy`: what a topic has now goes to another one. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { z } from "zod";
import { errorCode, VigilaneError } from "../errors.ts";
import { wireName } from "../topic-names.ts";
import { copyTopic } from "../topics/copy-topic.ts";
import type { Places } from "../topics/topic-log.ts";
import { readWhen, showBytes, showCount } from "./quantities.ts";
import { needOperands, remark, say, type TopicsCall, topicThere, wrongUse } from "./topics-call.ts";
import { topicsUsage } from "./topics-help.ts";

const USAGE = topicsUsage("copy");
const TOLD_MS = 1_000;

const Progress = z.object({ from: z.string(), to: z.string(), places: z.array(z.string()) });

export async function copy(call: TopicsCall): Promise<number> {
  const { tools, names, flag, context, signal } = call;
  const [source = "", target = ""] = needOperands(call, 2, USAGE);
  const from = await topicThere(call, source);
  const to = wireName(names, target);
  if (from === to) throw wrongUse("a topic cannot be copied to itself", USAGE);
  const file = flag("progress");
  const before = file === undefined ? undefined : readProgress(file, { from, to });
  const start =
    before ?? (await tools.placesAt(from, readWhen("from", flag("from") ?? "earliest", context.clock.nowMs())));
  const log = await call.log();
  await log.ensureTopic(to);
  const ends = await log.ends(from);
  let toldMs = context.clock.monotonicMs();
  let copied = { messages: 0, bytes: 0 };
  const copying = copyTopic({ log, tools }, { from, to, start, ends }, context, signal, (so) => {
    copied = so;
    if (file !== undefined) writeFileSync(file, `${JSON.stringify({ from, to, places: so.places })}\n`);
    if (context.clock.monotonicMs() - toldMs < TOLD_MS) return;
    toldMs = context.clock.monotonicMs();
    remark(`${showCount(so.messages)} messages, ${showBytes(so.bytes)} …`);
  });
  await copying.catch((error: unknown) => {
    if (errorCode(error) !== "STOPPED" || !signal.aborted) throw error;
  });
  say(`${showCount(copied.messages)} messages (${showBytes(copied.bytes)}) of ${from} were copied to ${to}.`);
  if (!signal.aborted) return 0;
  say(
    file === undefined
      ? "It was stopped before the end."
      : `It was stopped; the same command goes on from there (${file}).`,
  );
  return 1;
}

/** Where an earlier copy has come to; undefined: there was none. */
function readProgress(file: string, { from, to }: { from: string; to: string }): Places | undefined {
  if (!existsSync(file)) return undefined;
  let read: z.infer<typeof Progress> | undefined;
  try {
    read = Progress.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch {}
  if (read?.from === from && read.to === to) return read.places;
  throw new VigilaneError("SETTINGS_INVALID", `${file} tells of no copy of ${from} to ${to}`, {
    remedy: "Name another file, or remove it to begin anew.",
  });
}
