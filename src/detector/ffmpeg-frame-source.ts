/**
 * A camera's frames by ffmpeg, one child a camera: probe the stream once, then watch it; whatever ends the watching, try
 * again after a back-off. Every end of a live source is a failure, also with exit code 0 (that is how ffmpeg ends when a
 * camera falls silent).
 */
import { access, constants, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { extname, join, resolve } from "node:path";
import type { Context } from "../context.ts";
import { type Service, service } from "../lifecycle.ts";
import {
  decodingOptions,
  inputOptions,
  kindOf,
  LIVE_HLS_OPTIONS,
  lookOptions,
  PROBE_OUTPUT,
  playbackOptions,
  type SourceKind,
} from "./ffmpeg-options.ts";
import { type FfmpegRun, startFfmpeg } from "./ffmpeg-process.ts";
import type { FrameSourceFactory } from "./frame-source.ts";
import { HlsProgress } from "./hls-progress.ts";
import { letterbox } from "./letterbox.ts";
import { type PictureLayout, pictureLayout } from "./picture.ts";
import { textToShown } from "./source-to-shown.ts";
import { type DecodingPlan, FactsReader, planDecoding, type StreamFacts } from "./stream-facts.ts";
import { BufferPool, Y4mReader } from "./y4m.ts";

/** ffmpeg looks at least this often, so that a stall is noticed and an orphan ends; longer intervals pass over frames. */
const LONGEST_LOOK_MS = 5_000;
/** Until the first frame: connecting, and waiting for a keyframe. */
const FIRST_FRAME_MS = 20_000;
/** From "stalled" to giving the connection up. */
const PATIENCE_MS = 5_000;
const NO_NEW_SEGMENT = "the playlist brings no new segment";
const BACK_OFF_MS = { first: 500, most: 30_000 };
/** A source that ran this long is taken for sound again. */
const SOUND_MS = 10_000;

/** Entries of a looped folder's list. */
const LONG_LIST = 1_000;

type Options = Parameters<FrameSourceFactory>[0];

export function createFfmpegSources(ffmpegPath: string, context: Context): FrameSourceFactory {
  const buffers = new BufferPool(); // one for all cameras: frames of one size are alike
  return (options) => createSource(ffmpegPath, buffers, options, context);
}

function createSource(ffmpegPath: string, buffers: BufferPool, options: Options, context: Context): Service {
  return service(`frames of ${options.cameraId}`, context, async (acquired, signal) => {
    const scratch = await mkdtemp(join(tmpdir(), "vigilane-"));
    acquired.add(scratch, "scratch folder", (folder) => rm(folder, { recursive: true, force: true }));
    const watching = new Watching(ffmpegPath, buffers, options, context, signal, scratch);
    acquired.add(watching.run(), "watching", (ended) => ended); // `signal` is aborted before this is awaited
  });
}

/** What became of one connection. */
type End = { kind: "broken"; why: string; frames: number } | { kind: "finished" } | { kind: "played" };

class Watching {
  readonly #ffmpegPath: string;
  readonly #buffers: BufferPool;
  readonly #options: Options;
  readonly #context: Context;
  readonly #signal: AbortSignal;
  readonly #scratch: string;
  #facts: StreamFacts | undefined;
  #probedInVain = false;
  #wasLiveHls = false;
  #startAtSeconds: number;
  #said = "";

  constructor(
    ffmpegPath: string,
    buffers: BufferPool,
    options: Options,
    context: Context,
    signal: AbortSignal,
    scratch: string,
  ) {
    this.#ffmpegPath = ffmpegPath;
    this.#buffers = buffers;
    this.#options = options;
    this.#startAtSeconds = options.startAtSeconds;
    this.#context = context;
    this.#signal = signal;
    this.#scratch = scratch;
  }

  /** Until the signal aborts, or a recording that does not loop has ended. Never rejects. */
  async run(): Promise<void> {
    const { clock, log } = this.#context;
    const { cameraId } = this.#options;
    this.#say("connecting", "");
    for (let failures = 0; !this.#signal.aborted; ) {
      const startedMs = clock.monotonicMs();
      const end = await this.#connection().catch(
        (error: unknown): End => ({
          kind: "broken",
          why: error instanceof Error ? error.message : String(error),
          frames: 0,
        }),
      );
      if (this.#signal.aborted) return;
      if (end.kind === "finished") {
        this.#say("offline", "the recording has ended");
        return;
      }
      if (end.kind === "played") {
        this.#startAtSeconds = 0; // once more, from the beginning
        continue;
      }
      // It may have become another stream; a live HLS playlist, a finished one.
      if (end.frames === 0 || this.#wasLiveHls) this.#facts = undefined;
      failures = end.frames > 0 && clock.monotonicMs() - startedMs > SOUND_MS ? 1 : failures + 1;
      const backOffMs =
        Math.min(BACK_OFF_MS.most, BACK_OFF_MS.first * 2 ** (failures - 1)) * (0.75 + Math.random() / 2);
      const why = textToShown(end.why || "the stream ended", this.#options.source);
      this.#say(end.frames > 0 && failures === 1 ? "stalled" : "offline", why);
      log.warn({ cameraId, why, failures, againInMs: Math.round(backOffMs) }, "the camera's stream broke off");
      await clock.sleep(backOffMs, this.#signal).catch(() => {});
    }
  }

  async #connection(): Promise<End> {
    const { source, intervalMs, loop, inputSize } = this.#options;
    const kind = kindOf(source);
    const lookMs = Math.min(intervalMs, LONGEST_LOOK_MS);
    if (kind === "device") await deviceIsThere(source);
    const listFile = await this.#listOfImages(kind, lookMs);
    const opened = inputOptions(source, kind, lookMs, { listFile, patient: this.#probedInVain });
    this.#probedInVain = this.#facts === undefined;
    this.#facts ??= await this.#probe(opened, lookMs, kind);
    this.#probedInVain = false;
    const facts = this.#facts;
    // (RTSP servers name a length too, but set the pace themselves.)
    const recorded = isOwnPace(kind) || (kind === "http" && facts.durationSeconds !== null);
    const liveHls = facts.format === "hls" && !recorded;
    if (this.#wasLiveHls && recorded) throw new Error("the live stream has ended: its playlist is finished");
    this.#wasLiveHls = liveHls;
    const plan = kind === "folder" || kind === "image" ? everyPicture(lookMs) : planDecoding(facts, lookMs);
    const layout = pictureLayout(letterbox(inputSize, facts.width, facts.height), facts.colour);
    const before = [
      ...decodingOptions(plan),
      ...(recorded
        ? playbackOptions(kind, this.#startAtSeconds % (facts.durationSeconds ?? Number.POSITIVE_INFINITY), loop)
        : []),
      ...opened.options,
      ...(liveHls ? LIVE_HLS_OPTIONS : []),
    ];
    return this.#watch(
      { input: opened.input, before, after: lookOptions(plan, facts, layout) },
      plan,
      layout,
      recorded,
      liveHls ? new HlsProgress() : undefined,
    );
  }

  /** A few packets: enough to know whether keyframes come often enough, and no longer than that needs. */
  async #probe(opened: { input: string; options: string[] }, lookMs: number, kind: SourceKind): Promise<StreamFacts> {
    const { clock } = this.#context;
    const reader = new FactsReader();
    let rest = "";
    const enough = () => reader.keyframes >= 3 || reader.sinceKeyframeMs > 1.3 * lookMs + 200 || kind === "device";
    const run = startFfmpeg(
      this.#ffmpegPath,
      { input: opened.input, before: [...opened.options], after: PROBE_OUTPUT },
      {
        kind: "text",
        onData(chunk) {
          const lines = (rest + chunk.toString("latin1")).split("\n");
          rest = lines.pop() ?? "";
          for (const line of lines) reader.packetLine(line);
          if (enough() && reader.facts()) run.kill();
        },
        onLogLine: (line) => reader.logLine(line),
      },
      this.#context,
    );
    const deadline = new AbortController();
    const slow = clock.sleep(FIRST_FRAME_MS, AbortSignal.any([deadline.signal, this.#signal])).catch(() => {});
    try {
      const why = await Promise.race([run.ended, slow.then(() => `no answer within ${FIRST_FRAME_MS / 1000} s`)]);
      const facts = reader.facts();
      if (!facts) throw new Error(why || "there is no video in it");
      return facts;
    } finally {
      deadline.abort();
      await run.kill();
    }
  }

  async #watch(
    args: Parameters<typeof startFfmpeg>[1],
    plan: DecodingPlan,
    expected: PictureLayout,
    recorded: boolean,
    playlist: HlsProgress | undefined,
  ): Promise<End> {
    const { clock } = this.#context;
    const { intervalMs, sink, loop } = this.#options;
    let layout = expected;
    let frames = 0;
    let passed = 0;
    let lastMs = clock.monotonicMs();
    let fresh = false;
    let deliveredAtMs = Number.NEGATIVE_INFINITY;
    const reader = new Y4mReader(
      {
        header: (header) => {
          layout = checkedLayout(layout, header);
        },
        frame: (data, capturedAtMs) => {
          const sinceMs = clock.monotonicMs() - lastMs;
          lastMs += sinceMs;
          if (playlist && !playlist.moved) {
            passed += 1; // nothing proves yet that it is live
            return this.#buffers.giveBack(data);
          }
          frames += 1;
          this.#say("online", recorded ? "" : plan.detail);
          // A live source begins with a burst of what came while ffmpeg took the stream in: older than it seems.
          fresh ||= recorded || playlist !== undefined || (frames > 1 && sinceMs > plan.expectedMs / 4);
          if (!fresh) return this.#buffers.giveBack(data);
          const due = intervalMs <= LONGEST_LOOK_MS || lastMs - deliveredAtMs >= intervalMs - plan.expectedMs / 2;
          if (!due) return this.#buffers.giveBack(data);
          deliveredAtMs = lastMs;
          sink.frame({ capturedAtMs, picture: { layout, data }, release: once(() => this.#buffers.giveBack(data)) });
        },
      },
      this.#buffers,
      clock.nowMs,
    );
    const run = startFfmpeg(
      this.#ffmpegPath,
      args,
      { kind: "frames", folder: this.#scratch, into: reader, onLogLine: (line) => playlist?.logLine(line) },
      this.#context,
    );
    const over = new AbortController();
    const guard = this.#guard(run, plan, over.signal, () => ({ frames, passed, lastMs }));
    const why = await run.ended;
    over.abort();
    reader.end();
    const guarded = await guard;
    if (recorded && why === "" && guarded === "" && frames > 0) return { kind: loop ? "played" : "finished" };
    if (guarded !== "" && passed > 0 && frames === 0) return { kind: "broken", why: NO_NEW_SEGMENT, frames };
    return { kind: "broken", why: guarded || why, frames };
  }

  /** Kills a child that brings no frame. Resolves with the reason, "" when there was none. */
  async #guard(
    run: FfmpegRun,
    plan: DecodingPlan,
    over: AbortSignal,
    seen: () => { frames: number; passed: number; lastMs: number },
  ): Promise<string> {
    const { clock } = this.#context;
    const ends = AbortSignal.any([over, this.#signal]);
    const stalledAfterMs = 2 * plan.expectedMs + 1_000;
    while (!ends.aborted) {
      await clock.sleep(500, ends).catch(() => {});
      if (ends.aborted) break;
      const { frames, passed, lastMs } = seen();
      const silentMs = clock.monotonicMs() - lastMs;
      const why = `no frame for ${(silentMs / 1000).toFixed(0)} s`;
      if (silentMs > (frames + passed === 0 ? FIRST_FRAME_MS : stalledAfterMs + PATIENCE_MS)) {
        await run.kill();
        return why;
      }
      if (frames > 0 && silentMs > stalledAfterMs) this.#say("stalled", "no frame comes");
    }
    if (this.#signal.aborted) await run.kill();
    return "";
  }

  /** ffmpeg's concat list of the folder's pictures, one a look; all of the first one's kind. */
  async #listOfImages(kind: SourceKind, lookMs: number): Promise<string | undefined> {
    if (kind !== "folder") return undefined;
    const source = resolve(this.#options.source);
    const names = (await readdir(source)).sort().map((name) => join(source, name));
    const pictures = names.filter((name) => /\.(jpe?g|png)$/i.test(name));
    const [first] = pictures;
    if (!first) throw new Error(`there is no .jpg or .png in ${source}`);
    const alike = pictures.filter((name) => isPng(name) === isPng(first));
    const quoted = (name: string) => `'${name.replaceAll("'", "'\\''")}'`;
    const round = alike.map((name) => `file ${quoted(name)}\nduration ${lookMs / 1000}`);
    // ffmpeg cannot loop a list: a long one, so that a new child every few looks is not needed.
    const rounds = this.#options.loop ? Math.ceil(LONG_LIST / round.length) : 1;
    const lines = Array.from({ length: rounds }, () => round).flat();
    const path = join(this.#scratch, "pictures.ffconcat");
    await writeFile(path, `ffconcat version 1.0\n${lines.join("\n")}\n`);
    return path;
  }

  #say(state: Parameters<Options["sink"]["state"]>[0], detail: string): void {
    if (this.#said === `${state} ${detail}`) return;
    this.#said = `${state} ${detail}`;
    this.#options.sink.state(state, detail);
  }
}

/** One picture a look already. */
const everyPicture = (lookMs: number): DecodingPlan => ({
  keyframesOnly: false,
  selectMs: lookMs / 2,
  expectedMs: lookMs,
  detail: "",
});

/** Read as fast as we like. */
const isOwnPace = (kind: SourceKind) => kind === "folder" || kind === "image" || kind === "file";

/** Rejects with what to do; of ffmpeg's own words only "No such file or directory" would be left. */
async function deviceIsThere(device: string): Promise<void> {
  const fault = await access(device, constants.R_OK).catch((error: NodeJS.ErrnoException) => error);
  if (!fault) return;
  const remedy =
    fault.code === "ENOENT"
      ? `plug the camera in, or correct the source (ls /dev/video*; a container needs --device ${device})`
      : 'the user that runs the detector must be in the group "video"';
  throw new Error(`${device} cannot be opened (${fault.code}): ${remedy}`);
}

const isPng = (name: string) => extname(name).toLowerCase() === ".png";

/** The header must be of the size that was asked for: another one means that the stream has changed since the probe. */
function checkedLayout(
  layout: PictureLayout,
  header: { width: number; height: number; range: "limited" | "full" | null },
): PictureLayout {
  if (header.width !== layout.stride || header.height !== layout.rows) {
    throw new Error(`the picture's size has changed (${header.width}×${header.height})`);
  }
  return header.range ? { ...layout, colour: { ...layout.colour, range: header.range } } : layout;
}

function once(action: () => void): () => void {
  let done = false;
  return () => {
    if (!done) action();
    done = true;
  };
}
