/** How a download is shown: a bar with size and speed on a terminal, a line now and then elsewhere. */
import { Presets, SingleBar } from "cli-progress";
import type { Context } from "../context.ts";

export interface Progress {
  /** A transfer begins (again); `total` null: unknown; `start`: bytes that were there already. */
  begin(label: string, total: number | null, start: number): void;
  at(bytes: number): void;
  stop(): void;
}

const LINE_EVERY_MS = 3_000;

/** `terminal`: where a bar may be drawn. Default: stderr when it is one. */
export function showProgress(name: string, context: Context, terminal = process.stderr.isTTY === true): Progress {
  return terminal ? bar(name, context) : lines(name, context);
}

function bar(name: string, { clock }: Context): Progress {
  let shown: SingleBar | undefined;
  let meter = speedometer(clock.monotonicMs(), 0);
  return {
    begin(_label, total, start) {
      shown?.stop();
      meter = speedometer(clock.monotonicMs(), start);
      shown = new SingleBar(
        {
          format: `${name} |{bar}| {percentage}% of {size}, {speed}`,
          stream: process.stderr,
          hideCursor: true,
          clearOnComplete: false,
        },
        Presets.shades_classic,
      );
      shown.start(total ?? Math.max(1, start), start, { size: total ? megabytes(total) : "?", speed: "-" });
    },
    at(bytes) {
      if (shown && bytes > shown.getTotal()) shown.setTotal(bytes);
      shown?.update(bytes, { speed: meter(clock.monotonicMs(), bytes) });
    },
    stop() {
      shown?.stop();
    },
  };
}

function lines(name: string, { clock, log }: Context): Progress {
  let meter = speedometer(clock.monotonicMs(), 0);
  let total: number | null = null;
  let bytes = 0;
  let nextMs = 0;
  const line = (text: string) =>
    log.info({ download: name }, `${name}: ${text} ${megabytes(bytes)}${total ? ` of ${megabytes(total)}` : ""}`);
  return {
    begin(label, expected, start) {
      total = expected;
      bytes = start;
      meter = speedometer(clock.monotonicMs(), start);
      nextMs = clock.monotonicMs() + LINE_EVERY_MS;
      line(`${start > 0 ? "continuing" : "downloading"} ${label},`);
    },
    at(now) {
      bytes = now;
      if (total !== null && bytes >= total) line(`downloaded (${meter(clock.monotonicMs(), bytes)}),`);
      else if (clock.monotonicMs() >= nextMs) {
        nextMs = clock.monotonicMs() + LINE_EVERY_MS;
        line(`${meter(clock.monotonicMs(), bytes)},`);
      }
    },
    stop() {},
  };
}

/** Mean speed since the start of the transfer, what was there before not counted. */
function speedometer(startedMs: number, startBytes: number) {
  return (nowMs: number, bytes: number) =>
    `${megabytes(((bytes - startBytes) * 1000) / Math.max(1, nowMs - startedMs))}/s`;
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
