/** ffmpeg's arguments, and why each is there. Pure: ffmpeg-frame-source.ts runs them. */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import type { PictureLayout } from "./picture.ts";
import type { DecodingPlan, StreamFacts } from "./stream-facts.ts";

export type SourceKind = "rtsp" | "http" | "device" | "folder" | "image" | "file";

/** A source that stays silent for this long is given up, and tried anew. */
const SOCKET_TIMEOUT_US = "5000000";

export function kindOf(source: string): SourceKind {
  if (/^rtsps?:\/\//i.test(source)) return "rtsp";
  if (/^https?:\/\//i.test(source)) return "http";
  if (/^\/dev\/video/.test(source)) return "device";
  if (statSync(source, { throwIfNoEntry: false })?.isDirectory()) return "folder";
  return /\.(jpe?g|png)$/i.test(source) ? "image" : "file";
}

/**
 * What ffmpeg opens, and the options before it. `lookMs`: one picture each, for pictures. `listFile`: the concat list of a
 * folder's pictures. `patient`: take longer to understand the stream, after a first try in vain.
 */
export function inputOptions(
  source: string,
  kind: SourceKind,
  lookMs: number,
  { listFile, patient }: { listFile: string | undefined; patient: boolean },
): { input: string; options: string[] } {
  switch (kind) {
    case "rtsp":
      // TCP: lost UDP packets smear the picture. -timeout: else a mute camera hangs for ever. Not -fflags nobuffer: it throws
      // the first keyframe away, and the next may be ten seconds off.
      return {
        input: source,
        options: [
          ...["-rtsp_transport", "tcp", "-timeout", SOCKET_TIMEOUT_US],
          ...["-analyzeduration", patient ? "10000000" : "1000000"],
        ],
      };
    case "http":
      return { input: source, options: ["-rw_timeout", SOCKET_TIMEOUT_US] };
    case "device":
      return { input: source, options: ["-f", "v4l2"] };
    case "folder":
      return { input: listFile ?? source, options: ["-f", "concat", "-safe", "0"] };
    case "image": {
      const looksASecond = String(1000 / lookMs);
      const options = ["-f", "image2", "-pattern_type", "none", "-loop", "1", "-framerate", looksASecond];
      return { input: resolve(source), options };
    }
    case "file":
      return { input: resolve(source), options: [] };
    default:
      return kind satisfies never;
  }
}

/** Packets only, nothing decoded: for the stream's facts. */
export const PROBE_OUTPUT = ["-map", "0:v:0", "-c", "copy", "-flush_packets", "1", "-f", "framecrc"];

/**
 * A recording is played in real time, from its place to its end, or from its beginning again and again. (Both at once do
 * not go together: ffmpeg then rushes through the part before the place at every turn.)
 */
export function playbackOptions(kind: SourceKind, startAtSeconds: number, loop: boolean): string[] {
  if (kind === "image" || kind === "folder") return ["-re"]; // looped by their own means
  if (startAtSeconds > 0) return ["-re", "-ss", String(startAtSeconds)];
  return loop ? ["-re", "-stream_loop", "-1"] : ["-re"];
}

/**
 * A live HLS playlist, whose frames come in heaps, a segment at a time: -re spreads each heap over the time in which it was
 * filmed, the newest segment first (ffmpeg's own choice is the third from the end), and begun after half a second of looking
 * at it (else ffmpeg reads several segments before the first frame, and all that follow are that much late). What it asks
 * for is told at "verbose" alone (hls-progress.ts).
 */
export const LIVE_HLS_OPTIONS: readonly string[] = [
  ...["-loglevel", "verbose", "-re"],
  ...["-live_start_index", "-1", "-analyzeduration", "500000"],
];

/** Before -i. One thread: frame threads hold back a frame each, which at one look a second is a second each. */
export function decodingOptions({ keyframesOnly }: DecodingPlan): string[] {
  return ["-threads", "1", ...(keyframesOnly ? ["-skip_frame", "nokey"] : [])];
}

/**
 * One frame a look, native above and scaled below (picture.ts), uncompressed on stdout.
 *
 * select and not fps: fps waits for the next frame before it lets one go. 4:2:0 with the source's own matrix and range: what
 * decoders put out, so that nothing of the native frame is converted. -threads:v 1 again: the output's filter and encoder
 * threads would hold back a frame too. passthrough: neither doubled nor dropped.
 */
export function lookOptions(plan: DecodingPlan, facts: StreamFacts, layout: PictureLayout): string[] {
  const interval = (plan.selectMs / 1000).toFixed(3);
  const { stride, height, box } = layout;
  const graph = [
    `select='isnan(prev_selected_t)+gte(t-prev_selected_t,${interval})+lt(t,prev_selected_t)'`,
    `crop=${facts.width}:${facts.height}:0:0`,
    "format=yuv420p|yuvj420p",
    "split[native][copy];" +
      `[copy]scale=${box.contentWidth}:${box.contentHeight}:flags=bilinear,${sideBySide(layout)}[scaled];` +
      `[native]pad=${stride}:${height}:0:0[wide];[wide][scaled]vstack`,
  ].join(",");
  return ["-map", "0:v:0", "-an", "-vf", graph, "-fps_mode", "passthrough", "-threads:v", "1", "-f", "yuv4mpegpipe"];
}

/** Cuts the scaled frame into its bands and lays them side by side. */
function sideBySide({ stride, bands, bandRows, box: { contentWidth } }: PictureLayout): string {
  const whole = `pad=${contentWidth}:${bands * bandRows}:0:0`;
  const wide = `pad=${stride}:${bandRows}:0:0`;
  if (bands === 1) return `${whole},${wide}`;
  const each = Array.from({ length: bands }, (_, band) => band);
  const names = (letter: string) => each.map((band) => `[${letter}${band}]`).join("");
  const cuts = each.map((band) => `[s${band}]crop=${contentWidth}:${bandRows}:0:${band * bandRows}[b${band}]`);
  return `${whole},split=${bands}${names("s")};${cuts.join(";")};${names("b")}hstack=${bands},${wide}`;
}
