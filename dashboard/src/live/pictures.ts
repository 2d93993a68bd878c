/**
 * The cameras' live pictures, over a connection of their own (namespace /live). A frame is acknowledged once it is
 * drawn, which is the credit for the next one: a slow page gets fewer pictures, never older ones. Only cameras that
 * somebody looks at are watched.
 */
import { io, type Socket } from "socket.io-client";
import type { ClientToServerEvents } from "../../../src/events.ts";
import type { PreviewHeader } from "../../../src/messages.ts";

export interface Picture {
  header: PreviewHeader;
  bitmap: ImageBitmap;
  /** This machine's clock. */
  arrivedAtMs: number;
}

type Draw = (picture: Picture) => void;

/** In a browser the JPEG arrives as an ArrayBuffer. */
interface Frames {
  frame: (header: PreviewHeader, jpeg: ArrayBuffer, drawn: () => void) => void;
}

/** What the gateway sends to one page at most. */
const MOST_WATCHED = 12;

const drawers = new Map<string, Set<Draw>>();
const newest = new Map<string, Picture>();
let socket: Socket<Frames, ClientToServerEvents> | undefined;
let announcing = false;

/** Calls `draw` with each picture of the camera, and at once with the newest one that is there. Returns the way to end it. */
export function watchPictures(cameraId: string, draw: Draw): () => void {
  const mine = drawers.get(cameraId) ?? new Set<Draw>();
  drawers.set(cameraId, mine.add(draw));
  const known = newest.get(cameraId);
  if (known) draw(known);
  announce();
  return () => {
    mine.delete(draw);
    if (mine.size === 0) drawers.delete(cameraId);
    announce();
  };
}

/** Of a camera; undefined: none yet. */
export const newestPicture = (cameraId: string): Picture | undefined => newest.get(cameraId);

/** Tells the gateway once for all changes of this turn. A hidden page watches nothing. */
function announce() {
  if (announcing) return;
  announcing = true;
  queueMicrotask(() => {
    announcing = false;
    socket ??= open();
    socket.emit("watch", document.hidden ? [] : [...drawers.keys()].slice(0, MOST_WATCHED));
  });
}

function open() {
  const opened: Socket<Frames, ClientToServerEvents> = io("/live", {
    forceNew: true,
    transports: ["websocket"],
    reconnectionDelayMax: 2_000,
  });
  opened.on("connect", announce);
  opened.on("disconnect", (reason) => {
    if (reason === "io server disconnect") opened.connect();
  });
  opened.on("frame", (header, jpeg, drawn) => void receive(header, jpeg).finally(drawn));
  document.addEventListener("visibilitychange", announce);
  return opened;
}

async function receive(header: PreviewHeader, jpeg: ArrayBuffer) {
  const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" })).catch(() => null);
  if (!bitmap) return; // not a picture: the next one may be
  newest.get(header.cameraId)?.bitmap.close();
  const picture = { header, bitmap, arrivedAtMs: Date.now() };
  newest.set(header.cameraId, picture);
  for (const draw of drawers.get(header.cameraId) ?? []) draw(picture);
}
