/** A port whose other end can be changed while it is in use: what is connected is cut, what comes next goes to the new one. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { onTestFinished } from "vitest";

export interface TcpSwitch {
  port: number;
  /** A port of 127.0.0.1; undefined: connections are refused. */
  to(port: number | undefined): Promise<void>;
  /** What is connected stays so, and what comes is let in; nothing passes any more, until `to`. */
  hold(): void;
}

/** Closed with the test. */
export async function startTcpSwitch(port = 0): Promise<TcpSwitch> {
  let target: number | undefined;
  let held = false;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    if (held) {
      sockets.add(client.on("error", () => {}));
      return;
    }
    if (target === undefined) return void client.destroy();
    const far = connect(target, "127.0.0.1");
    client.pipe(far).pipe(client);
    for (const socket of [client, far]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        client.destroy();
        far.destroy();
      });
    }
  });
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  const listen = async (at: number) => {
    server.listen(at, "127.0.0.1");
    await once(server, "listening");
    return (server.address() as AddressInfo).port;
  };
  const own = await listen(port);
  onTestFinished(() => {
    cut();
    server.close();
  });
  return {
    port: own,
    async to(next) {
      target = next;
      held = false;
      cut();
      if (next === undefined && server.listening) {
        server.close();
        await once(server, "close");
      }
      if (next !== undefined && !server.listening) await listen(own);
    },
    hold() {
      held = true;
      for (const socket of sockets) socket.unpipe().pause();
    },
  };
}
