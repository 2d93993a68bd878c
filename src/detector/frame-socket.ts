/**
 * ffmpeg's output by a local socket, read straight to where the bytes belong. Through a pipe every 64 KiB would come in a
 * buffer of its own: at 4 MB a look that is garbage by the hundred megabytes, and collections that cost more than the reading.
 */
import { connect } from "node:net";
import { join } from "node:path";
import type { Context } from "../context.ts";

export interface BytesInto {
  /** Where the next bytes belong; never empty. */
  target(): Buffer;
  /** So many have been written there. Throws when they are not what was expected. */
  filled(bytes: number): void;
}

export interface SocketReading {
  /** ffmpeg is gone: resolves when the last byte has been read, at once where there was no connection. */
  drained(): Promise<void>;
  /** Reads no more. */
  stop(): void;
}

/** Socket paths hold 104 bytes on macOS, 108 on Linux, with a 0 at the end. */
const LONGEST_PATH = 100;
/** ffmpeg waits so long for us, then ends; so none is left behind by a detector that was killed before it connected. */
const WAITS_MS = 20_000;
/** ffmpeg opens its output when it has understood its input, which may take seconds. */
const CONNECT_EVERY_MS = 25;

let made = 0;

/** Path of a socket in `folder`, or undefined where there can be none (Windows: ffmpeg knows no local sockets there). */
export function frameSocketPath(folder: string): string | undefined {
  made += 1;
  const path = join(folder, `frames-${made}`);
  return process.platform === "win32" || Buffer.byteLength(path) > LONGEST_PATH ? undefined : path;
}

export const listenOptions = ["-listen", "1", "-timeout", String(WAITS_MS)];
export const socketUrl = (path: string) => `unix:${path}`;

/** Connects as soon as ffmpeg listens. `onFault`: what `filled` threw; nothing is read after it. */
export function readFrameSocket(
  path: string,
  into: BytesInto,
  { clock }: Pick<Context, "clock">,
  onFault: (error: unknown) => void,
): SocketReading {
  const stopped = new AbortController();
  let connected = false;
  const callback = (bytes: number) => {
    try {
      into.filled(bytes);
      return true;
    } catch (error) {
      stopped.abort();
      onFault(error);
      return false;
    }
  };

  /** Until it is closed, or could not be opened. */
  const readOnce = () =>
    new Promise<void>((closed) => {
      const socket = connect({ path, signal: stopped.signal, onread: { buffer: () => into.target(), callback } });
      socket.once("connect", () => {
        connected = true;
      });
      socket.on("error", () => {}); // "close" follows
      socket.once("close", () => closed());
    });

  const reading = (async () => {
    while (!stopped.signal.aborted) {
      await readOnce();
      if (connected) return;
      await clock.sleep(CONNECT_EVERY_MS, stopped.signal).catch(() => {});
    }
  })();

  return {
    async drained() {
      if (!connected) stopped.abort();
      await reading;
    },
    stop: () => stopped.abort(),
  };
}
