/**
 * A proxy before Redis that can stop at a named script: before it is forwarded, or after it ran but before its answer is
 * delivered. What is then killed dies between two steps of its life, without any test code in the product.
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export interface RedisProxy {
  url: string;
  /** At the next call of this script ("queues/take.lua"): holds it (before) or its answer (after), runs `act`, then breaks that connection. */
  stopAt(script: string, when: "before" | "after", act: () => void): Promise<void>;
  close(): Promise<void>;
}

export async function startRedisProxy(targetPort: number): Promise<RedisProxy> {
  type Stop = { needle: Buffer; when: "before" | "after"; act: () => void; done: () => void };
  let stop: Stop | undefined;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(targetPort, "127.0.0.1");
    let heldBy: Stop | undefined;
    const strike = (at: Stop) => {
      at.act();
      client.destroy();
      upstream.destroy();
      at.done();
    };
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on("data", (data) => {
      const at = stop;
      if (at && data.includes(at.needle)) {
        stop = undefined;
        if (at.when === "before") return strike(at);
        heldBy = at;
      }
      upstream.write(data);
    });
    upstream.on("data", (data) => {
      if (heldBy) return strike(heldBy);
      client.write(data);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `redis://127.0.0.1:${port}`,
    stopAt(script, when, act) {
      const { promise, resolve } = Promise.withResolvers<void>();
      stop = { needle: Buffer.from(shaOf(script)), when, act, done: resolve };
      return promise;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** As ioredis sends it: EVALSHA with the digest of the folder's prelude and the script. `script`: "queues/take.lua". */
function shaOf(script: string): string {
  const prelude = script.startsWith("queues/") ? "queues/prelude.lua" : "topics/redis-topic.lua";
  const text = `${readFileSync(`src/${prelude}`, "utf8")}\n${readFileSync(`src/${script}`, "utf8")}`;
  return createHash("sha1").update(text).digest("hex");
}
