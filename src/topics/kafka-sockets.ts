/**
 * The connections under kafkajs. One that owes an answer for so long that no broker takes so long is ended, however open it
 * looks: a broker that stands still keeps its connections, and kafkajs would go on asking it, also who leads now.
 */
import { connect, Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import type { Clock } from "../context.ts";

/** More than the longest wait that we ask a broker for (REBALANCE_MS of kafka-membership.ts). */
const SILENT_MS = 9_000;
const LOOK_MS = 1_000;

export interface SocketOrder {
  host: string;
  port: number;
  ssl?: ConnectionOptions;
  onConnect: () => void;
}

export interface Sockets {
  /** For kafkajs' setting of the same name. */
  socketFactory(order: SocketOrder): Socket;
  /** Ends all that are open, at once, and whatever waits on them; no other one is opened. */
  hangUp(): void;
}

export function kafkaSockets(clock: Clock): Sockets {
  const open = new Set<Socket>();
  let over = false;
  return {
    socketFactory({ host, port, ssl, onConnect }) {
      if (over) return new Socket().destroy(new Error("hung up"));
      const servername = /^[\d.]+$|:/.test(host) ? {} : { servername: host };
      const socket = ssl
        ? connectTls({ host, port, ...servername, ...ssl }, onConnect)
        : connect({ host, port }, onConnect);
      socket.setKeepAlive(true, 60_000);
      socket.setNoDelay(true);
      // kafkajs ends a connection once for each request that finds it broken, and each waits for the connecting one.
      socket.setMaxListeners(0);
      open.add(socket);
      const closed = new AbortController();
      socket.once("close", () => {
        open.delete(socket);
        closed.abort();
      });
      void watch(socket, `${host}:${port}`, clock, closed.signal);
      return socket;
    },
    hangUp() {
      over = true;
      // With an error: kafkajs leaves what waits on a connection that was closed without one.
      for (const socket of open) socket.destroy(new Error("hung up"));
    },
  };
}

async function watch(socket: Socket, address: string, clock: Clock, closed: AbortSignal): Promise<void> {
  let written = 0;
  let owedSinceMs: number | undefined;
  socket.on("data", () => {
    owedSinceMs = undefined;
    written = socket.bytesWritten;
  });
  for (let lookedMs = clock.monotonicMs(); !closed.aborted; ) {
    await clock.sleep(LOOK_MS, closed).catch(() => {});
    const nowMs = clock.monotonicMs();
    // This process itself stood still: what came meanwhile is read first.
    if (nowMs - lookedMs > 3 * LOOK_MS) owedSinceMs = undefined;
    lookedMs = nowMs;
    if (socket.bytesWritten > written) owedSinceMs ??= nowMs;
    if (owedSinceMs !== undefined && nowMs - owedSinceMs > SILENT_MS - LOOK_MS) {
      socket.destroy(new Error(`${address} has not answered for ${SILENT_MS / 1000} s`));
    }
  }
}
