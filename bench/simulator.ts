/**
 * Is the simulated provider quick enough not to be what is measured? It runs in a process of its own, as `vigilane up`
 * starts it; calls carry one of 40 JPEGs and come from our own vision client, open loop, as in a camera load.
 *
 *     node bench/simulator.ts [calls a second, default 300] [seconds, default 10]
 *
 * Prints one line of JSON: the calls answered a second, and by how much answers came later than the provider was told to
 * answer (network, decoding and this client included), ms. Exits 1 when it does not keep up.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { pino } from "pino";
import sharp from "sharp";
import { systemClock } from "../src/context.ts";
import { createVisionClient } from "../src/processors/vision-client.ts";
import { SimulatorConfig } from "../src/simulator/simulator-config.ts";
import { startVisionProvider } from "../src/simulator/vision-provider.ts";

const TOLD_MS = 500;
const context = { clock: systemClock, log: pino({ level: "silent" }) };

async function provide() {
  const config = SimulatorConfig.parse({
    accounts: [
      { id: "bench", keys: ["key"], windows: { requestsPerMinute: 1_000_000 }, faults: { latencyMs: TOLD_MS } },
    ],
  });
  const provider = await startVisionProvider({ config }, context);
  process.once("disconnect", () => process.exit());
  process.on("message", () => process.send?.(process.cpuUsage()));
  process.send?.(provider.url);
}

async function measure(perSecond: number, seconds: number) {
  const child = fork(import.meta.filename, ["--provide"], { stdio: "inherit" });
  const [baseUrl] = (await once(child, "message")) as [string];
  const client = createVisionClient({ baseUrl, secret: "key", model: "m", timeoutMs: 60_000 }, context);
  const jpegs = await Promise.all(Array.from({ length: 40 }, () => pictureOf(170, 170)));
  const requests = jpegs.map((jpeg) => requestWith(`data:image/jpeg;base64,${jpeg.toString("base64")}`));
  const call = (nth: number) => client.assess({ messages: requests[nth % requests.length] ?? [] });
  for (let i = 0; i < 20; i += 1) await Promise.all(Array.from({ length: 20 }, (_, nth) => call(i * 20 + nth)));

  const calls: Promise<number>[] = [];
  const startedAtMs = systemClock.monotonicMs();
  for (let i = 0; i < perSecond * seconds; i += 1) {
    const dueMs = startedAtMs + (i * 1_000) / perSecond;
    const waitMs = dueMs - systemClock.monotonicMs();
    if (waitMs > 0) await systemClock.sleep(waitMs);
    calls.push(call(i).then(() => systemClock.monotonicMs() - dueMs - TOLD_MS));
  }
  const lateMs = (await Promise.all(calls)).sort((a, b) => a - b);
  const tookSeconds = (systemClock.monotonicMs() - startedAtMs - TOLD_MS) / 1_000;
  child.send("cpu");
  const [cpu] = (await once(child, "message")) as [NodeJS.CpuUsage];
  await client.close();
  child.disconnect();
  const quantile = (share: number) => Math.round((lateMs[Math.floor(share * (lateMs.length - 1))] ?? 0) * 10) / 10;
  const answeredPerSecond = Math.round(calls.length / tookSeconds);
  const line = {
    offeredPerSecond: perSecond,
    answeredPerSecond,
    inFlight: Math.round((perSecond * TOLD_MS) / 1_000),
    jpegBytes: Math.round(jpegs.reduce((sum, { length }) => sum + length, 0) / jpegs.length),
    lateMs: { p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99) },
    providerCpuMsPerCall: Math.round((cpu.user + cpu.system) / 10 / (calls.length + 400)) / 100,
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
  if (answeredPerSecond < 0.97 * perSecond || line.lateMs.p95 > 100) process.exitCode = 1;
}

const requestWith = (url: string) => [
  {
    role: "user" as const,
    content: [
      { type: "text" as const, text: "JSON" },
      { type: "image_url" as const, image_url: { url } },
    ],
  },
];

/** Noise over a gradient: a JPEG of about the size that a crop of a street has. */
async function pictureOf(width: number, height: number): Promise<Buffer> {
  const noise = { type: "gaussian" as const, mean: 128, sigma: 12 };
  return await sharp({ create: { width, height, channels: 3, background: "#888", noise } })
    .jpeg({ quality: 90 })
    .toBuffer();
}

if (process.argv[2] === "--provide") await provide();
else await measure(Number(process.argv[2] ?? 300), Number(process.argv[3] ?? 10));
