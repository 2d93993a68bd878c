/** `vigilane try IMAGE`: one picture, one call with the configured key, each step shown: so that the first real call is a small one. */
import { readFileSync } from "node:fs";
import sharp from "sharp";
import { loadSettings } from "../config.ts";
import { type Context, createLogger, systemClock } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { keysFile, loadKeySet, rememberKeys } from "../keys/load-key-set.ts";
import { showSecret } from "../keys/secrets.ts";
import { Acquired } from "../lifecycle.ts";
import type { AssessmentTask } from "../messages.ts";
import { askAgain, buildPrompt, type ChatMessage } from "../processors/prompt.ts";
import { parseVerdict } from "../processors/verdict.ts";
import { createVisionClient, type VisionAnswer, type VisionClient } from "../processors/vision-client.ts";
import type { KeyGroup } from "../queues/key-groups.ts";
import { createProvider } from "../roles/provider.ts";
import type { Settings } from "../settings.ts";
import { lockData } from "../supervisor/data-lock.ts";
import { freePort } from "../supervisor/programs.ts";

/** Longer sides cost tokens and show no more. */
const LONGEST_SIDE_PX = 1024;
/** Before the second question: no provider's limit for one second is met by two calls so far apart. */
const BETWEEN_CALLS_MS = 1_100;

/** Exit code 1 when the call was refused or its answer could not be read. */
export async function tryImage(argv: readonly string[]): Promise<number> {
  const { settings, operands, own } = loadSettings(argv, process.env, { group: "string" });
  const [path] = operands;
  if (path === undefined) {
    throw new VigilaneError("SETTINGS_INVALID", "vigilane try needs a picture", {
      remedy: "vigilane try IMAGE [--group ID]",
    });
  }
  const context: Context = { clock: systemClock, log: createLogger("try", "silent") };
  const acquired = new Acquired();
  try {
    // A system that runs spends the same quota by leases, of which this call would know nothing.
    acquired.add(await lockData(settings.data, context), "lock", (lock) => lock.release());
    const picture = await readPicture(path);
    step(
      "picture",
      `${path}: ${picture.width}×${picture.height}, ${(picture.jpeg.length / 1024).toFixed(0)} KiB as JPEG`,
    );
    const group = await chooseGroup(settings, typeof own.group === "string" ? own.group : undefined, acquired, context);
    const [key] = group.keys;
    if (!key) throw new VigilaneError("SETTINGS_INVALID", `every key of key group ${group.id} is disabled`);
    step("key", `${key.id} (${showSecret(key.secret)}) of key group ${group.id}: ${group.model} at ${group.baseUrl}`);
    const task = taskOf(picture, context.clock.nowMs());
    const messages = buildPrompt(task, { imageDataUrl: `data:image/jpeg;base64,${picture.jpeg.toString("base64")}` });
    step("prompt", `${messages.length} messages, the whole picture as one group`);
    const timeoutMs = settings.callTimeoutSeconds * 1000;
    const client = createVisionClient(
      {
        ...{ baseUrl: group.baseUrl, secret: key.secret, model: group.model, provider: group.provider, timeoutMs },
        ...group.capabilities,
      },
      context,
    );
    acquired.add(client, "vision client", (c) => c.close());
    return await judge(client, messages, task, context);
  } finally {
    await acquired.unwind(context);
  }
}

/** The call and, where its answer is no verdict, the one re-ask. Refusals are thrown: their line says cause and remedy. */
async function judge(
  client: VisionClient,
  first: ChatMessage[],
  task: AssessmentTask,
  { clock }: Context,
): Promise<number> {
  let messages = first;
  for (let nth = 1; nth <= 2; nth += 1) {
    step("call", `number ${nth} …`);
    const answer = await client.assess({ messages });
    showAnswer(answer);
    const read = parseVerdict(answer.text, task);
    if (read.kind === "verdict") {
      const { riskLevel, confidence, riskTypes, description } = read.assessment;
      step(
        "verdict",
        `${riskLevel} (${(100 * confidence).toFixed(0)} %)${riskTypes.length > 0 ? `: ${riskTypes.join(", ")}` : ""}`,
      );
      step("", description);
      if (answer.simulated) step("", "SIMULATED: no real model has looked at the picture.");
      return 0;
    }
    step("verdict", `cannot be read: ${read.why}`);
    messages = askAgain(first, answer.text, read.why);
    if (nth === 1) await clock.sleep(BETWEEN_CALLS_MS);
  }
  process.stdout.write(
    "The model does not keep to JSON; vigilane would call such a task failed (VERDICT_UNREADABLE).\n",
  );
  return 1;
}

function showAnswer({ model, latencyMs, tokens, headers }: VisionAnswer): void {
  const cost = tokens ? `, ${tokens.prompt} + ${tokens.completion} tokens` : "";
  step("answer", `${(latencyMs / 1000).toFixed(2)} s by ${model}${cost}`);
  for (const [name, value] of Object.entries(headers)) if (/ratelimit/i.test(name)) step("", `${name}: ${value}`);
}

async function chooseGroup(
  settings: Settings,
  wanted: string | undefined,
  acquired: Acquired,
  context: Context,
): Promise<KeyGroup> {
  if (keysFile(settings) === undefined && settings.simulatorUrl === undefined) {
    step("provider", "no key is configured: a simulated provider is started for this call");
    settings.simulatorUrl = `http://127.0.0.1:${await freePort()}/v1`;
    await acquired.start(createProvider(settings, context));
  }
  const set = await loadKeySet(settings);
  rememberKeys(set, settings);
  const { groups } = set;
  const group = groups.find(({ id, keys }) => (wanted === undefined ? keys.length > 0 : id === wanted));
  if (group) return group;
  throw new VigilaneError("SETTINGS_INVALID", `there is no key group ${wanted}`, {
    remedy: `There are: ${groups.map(({ id }) => id).join(", ")}.`,
  });
}

async function readPicture(path: string): Promise<{ jpeg: Buffer; width: number; height: number }> {
  try {
    const { data, info } = await sharp(readFileSync(path))
      .rotate()
      .resize({ width: LONGEST_SIDE_PX, height: LONGEST_SIDE_PX, fit: "inside", withoutEnlargement: true })
      .jpeg({ quality: 90 })
      .toBuffer({ resolveWithObject: true });
    return { jpeg: data, width: info.width, height: info.height };
  } catch (error) {
    throw new VigilaneError("IMAGE_UNREADABLE", `${path}: ${error instanceof Error ? error.message : String(error)}`, {
      remedy: "Give the path of a JPEG, PNG, WebP or AVIF picture.",
    });
  }
}

/** The whole picture as one group of which no boxes are known. */
function taskOf({ width, height }: { width: number; height: number }, nowMs: number): AssessmentTask {
  return {
    taskId: "try_group1",
    requestId: "try",
    cameraId: "try",
    timestamp: new Date(nowMs).toISOString(),
    groupIndex: 1,
    imageUrl: null,
    imageHash: null,
    objects: [],
    memberIndices: [],
    bbox: [0, 0, width, height],
    imageWidth: width,
    imageHeight: height,
    features: null,
    score: 0,
    capturedAtMs: nowMs,
    detectedAtMs: nowMs,
    freshnessSeconds: 0,
    reuseSeconds: 0,
  };
}

const step = (what: string, text: string) => void process.stdout.write(`  ${what.padEnd(10)} ${text}\n`);
