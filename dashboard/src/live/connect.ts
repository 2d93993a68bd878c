/**
 * The link to the gateway: one socket for events, whose arrivals are gathered and flushed every 100 ms, and a snapshot at
 * each (re)connection. Pictures have a socket of their own (pictures.ts), so that no verdict ever waits behind one.
 */
import { io, type Socket } from "socket.io-client";
import type { ServerToClientEvents, Snapshot } from "../../../src/events.ts";
import { applyInbox, applySnapshot, emptyInbox, isEmpty } from "./state.ts";
import { usePage } from "./store.ts";

const FLUSH_MS = 100;
const SNAPSHOT_RETRY_MS = 2_000;

/** Connects for the life of the page; returns the way to end it. */
export function connect(): () => void {
  const socket: Socket<ServerToClientEvents> = io({ transports: ["websocket"], reconnectionDelayMax: 2_000 });
  let inbox = emptyInbox();
  let flushTimer: ReturnType<typeof setTimeout> | undefined;
  let retryTimer: ReturnType<typeof setTimeout> | undefined;
  /** Events wait while the snapshot that they follow is on its way. */
  let awaitingSnapshot = false;

  function flush() {
    flushTimer = undefined;
    if (awaitingSnapshot || isEmpty(inbox)) return;
    const arrived = inbox;
    inbox = emptyInbox();
    usePage.setState((page) => applyInbox(page, arrived, Date.now() + page.clockOffsetMs));
  }
  const soon = () => {
    flushTimer ??= setTimeout(flush, FLUSH_MS);
  };

  async function loadSnapshot() {
    clearTimeout(retryTimer);
    awaitingSnapshot = true;
    try {
      const askedMs = Date.now();
      const answer = await fetch("/api/snapshot", { headers: { accept: "application/json" } });
      if (!answer.ok) throw new Error(`the snapshot was refused: ${answer.status}`);
      const snapshot = (await answer.json()) as Snapshot;
      const halfWayMs = (askedMs + Date.now()) / 2;
      usePage.setState((page) => applySnapshot(page, snapshot, snapshot.nowMs - halfWayMs));
    } catch {
      // The events alone still tell of the health; what is missing is asked for again.
      if (socket.connected) retryTimer = setTimeout(loadSnapshot, SNAPSHOT_RETRY_MS);
    } finally {
      awaitingSnapshot = false;
      soon();
    }
  }

  socket.on("connect", () => {
    usePage.setState({ link: "live", linkSinceMs: Date.now() });
    void loadSnapshot();
  });
  const down = () =>
    usePage.setState((page) => (page.link === "live" ? { link: "lost", linkSinceMs: Date.now() } : {}));
  socket.on("disconnect", (reason) => {
    down();
    // The one reason after which socket.io does not try again by itself.
    if (reason === "io server disconnect") socket.connect();
  });

  socket.on("camera", (event) => {
    inbox.cameras.push(event);
    soon();
  });
  socket.on("outcome", (event) => {
    inbox.outcomes.push(event);
    soon();
  });
  socket.on("keyGroup", (event) => {
    inbox.keyGroups.push(event);
    soon();
  });
  socket.on("keyGroupChange", (event) => {
    inbox.keyGroupChanges.push(event);
    soon();
  });
  socket.on("totals", (event) => {
    inbox.totals = event;
    soon();
  });
  socket.on("health", (event) => {
    inbox.health = event;
    soon();
  });

  return () => {
    clearTimeout(flushTimer);
    clearTimeout(retryTimer);
    socket.disconnect();
  };
}
