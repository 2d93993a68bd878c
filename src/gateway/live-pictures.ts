/**
 * Live pictures in the namespace /live, on a connection of their own, so that verdicts never wait behind pictures. A client
 * says which cameras it watches; each camera's next picture goes out when the client has acknowledged the one before, and
 * in between the newest wins. A gateway listens to a camera only while somebody watches it.
 */
import type { Redis } from "ioredis";
import type { Context } from "../context.ts";
import { PreviewHeader } from "../messages.ts";
import { KEYS } from "../names.ts";
import type { VigilaneServer } from "./sockets.ts";

export const WATCHED_MAX = 12;
/** A client that has not drawn a picture for so long is disconnected. */
const DRAWN_WITHIN_MS = 10_000;

export interface Picture {
  header: PreviewHeader;
  jpeg: Buffer;
}

/** What one client is owed of one camera. */
interface Credit {
  drawing: boolean;
  newest: Picture | null;
}

export interface LivePicturesOptions {
  io: VigilaneServer;
  /** A connection that does nothing else: it subscribes. */
  subscriber: Redis;
  drawnWithinMs?: number;
}

export function servePictures(
  { io, subscriber, drawnWithinMs = DRAWN_WITHIN_MS }: LivePicturesOptions,
  { log }: Context,
) {
  const live = io.of("/live");
  type Watcher = { credits: Map<string, Credit>; send: (cameraId: string, credit: Credit, picture: Picture) => void };
  const watchers = new Map<string, Set<Watcher>>();

  subscriber.on("messageBuffer", (channel: Buffer, message: Buffer) => {
    const cameraId = channel.toString().slice(KEYS.preview("").length);
    const watching = watchers.get(cameraId);
    const picture = watching ? readPreview(message) : null;
    if (!watching || !picture) return;
    for (const watcher of watching) {
      const credit = watcher.credits.get(cameraId);
      if (credit) offer(watcher, cameraId, credit, picture);
    }
  });

  function offer(watcher: Watcher, cameraId: string, credit: Credit, picture: Picture) {
    if (credit.drawing) credit.newest = picture;
    else watcher.send(cameraId, credit, picture);
  }

  function begin(watcher: Watcher, cameraId: string) {
    watcher.credits.set(cameraId, { drawing: false, newest: null });
    const watching = watchers.get(cameraId) ?? new Set();
    watchers.set(cameraId, watching.add(watcher));
    if (watching.size === 1) listen("subscribe", cameraId);
  }

  function end(watcher: Watcher, cameraId: string) {
    watcher.credits.delete(cameraId);
    const watching = watchers.get(cameraId);
    watching?.delete(watcher);
    if (watching?.size !== 0) return;
    watchers.delete(cameraId);
    listen("unsubscribe", cameraId);
  }

  function listen(how: "subscribe" | "unsubscribe", cameraId: string) {
    subscriber[how](KEYS.preview(cameraId)).catch((error: unknown) => log.debug({ err: error, cameraId }, how));
  }

  live.on("connection", (socket) => {
    const watcher: Watcher = {
      credits: new Map(),
      send(cameraId, credit, { header, jpeg }) {
        credit.drawing = true;
        credit.newest = null;
        socket.timeout(drawnWithinMs).emit("frame", header, jpeg, (late: Error | null) => {
          if (late) {
            if (socket.connected) log.info({ cameraId }, "a watcher that does not keep up is disconnected");
            socket.disconnect(true);
            return;
          }
          credit.drawing = false;
          const next = credit.newest;
          if (next && watcher.credits.get(cameraId) === credit) watcher.send(cameraId, credit, next);
        });
      },
    };
    socket.on("watch", (asked: unknown, answer?: unknown) => {
      const accepted = camerasIn(asked);
      for (const cameraId of [...watcher.credits.keys()]) if (!accepted.includes(cameraId)) end(watcher, cameraId);
      for (const cameraId of accepted) if (!watcher.credits.has(cameraId)) begin(watcher, cameraId);
      if (typeof answer === "function") answer(accepted);
    });
    socket.on("disconnect", () => {
      for (const cameraId of [...watcher.credits.keys()]) end(watcher, cameraId);
    });
  });

  /** Cameras that somebody watches on this gateway. */
  return { watched: () => [...watchers.keys()] };
}

function camerasIn(asked: unknown): string[] {
  if (!Array.isArray(asked)) return [];
  const ids = asked.filter((id): id is string => typeof id === "string" && id.length > 0 && id.length <= 200);
  return [...new Set(ids)].slice(0, WATCHED_MAX);
}

/** UInt32BE length of the header, the header as JSON, the JPEG. Null for what is not that. */
export function readPreview(message: Buffer): Picture | null {
  if (message.length < 4) return null;
  const headerEnd = 4 + message.readUInt32BE(0);
  if (headerEnd > message.length) return null;
  try {
    const header = PreviewHeader.parse(JSON.parse(message.toString("utf8", 4, headerEnd)));
    return { header, jpeg: message.subarray(headerEnd) };
  } catch {
    return null;
  }
}
