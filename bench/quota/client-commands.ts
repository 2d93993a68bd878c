/** Which commands clients send to a Redis; what scripts do inside is not among them. Watching costs time: measure that apart. */
import { once } from "node:events";
import { connect } from "node:net";
import { createInterface } from "node:readline";

export interface ClientCommands {
  /** Name of each command, in small letters, and how often it came. */
  counts: Map<string, number>;
  seconds: number;
}

/** `+1795681631.353637 [0 127.0.0.1:4711] "evalsha" …`; what a script does comes from `lua`. */
const CLIENT_COMMAND = /^\+\d+\.\d+ \[\d+ (?!lua\])[^\]]*\] "([^"]+)"/;

/** Watches the Redis on this port of 127.0.0.1 for so long, on a bare connection of its own. */
export async function watchCommands(port: number, ms: number): Promise<ClientCommands> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  const counts = new Map<string, number>();
  socket.write("MONITOR\r\n");
  const from = performance.now();
  const lines = createInterface({ input: socket });
  lines.on("line", (line) => {
    const name = CLIENT_COMMAND.exec(line)?.[1]?.toLowerCase();
    if (name !== undefined) counts.set(name, (counts.get(name) ?? 0) + 1);
  });
  await new Promise((resolve) => setTimeout(resolve, ms));
  lines.close();
  socket.destroy();
  return { counts, seconds: (performance.now() - from) / 1_000 };
}

export const total = ({ counts }: ClientCommands) => [...counts.values()].reduce((sum, n) => sum + n, 0);

/** The most frequent ones a second, or by whatever `per` is: "evalsha 3.1, bzpopmin 1". */
export function mostFrequent({ counts }: ClientCommands, per: number, most = 8): string {
  const sorted = [...counts].toSorted(([, a], [, b]) => b - a).slice(0, most);
  return sorted.map(([name, n]) => `${name} ${(n / per).toPrecision(2)}`).join(", ");
}
