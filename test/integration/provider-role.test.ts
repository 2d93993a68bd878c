/** The provider's role as a process of its own: its windows outlive kill -9. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, expect, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import { createVisionClient } from "../../src/processors/vision-client.ts";
import { createProvider } from "../../src/roles/provider.ts";
import { Settings } from "../../src/settings.ts";

const context = { clock: systemClock, log: pino({ level: "silent" }) };
let releases: (() => unknown)[] = [];
afterEach(async () => {
  for (const release of releases.reverse()) await release();
  releases = [];
});

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address ? address.port : 0;
}

/** Resolves when the role says that it is ready. */
async function startRole(data: string, simulatorUrl: string, ...more: string[]): Promise<ChildProcess> {
  const args = ["src/main.ts", "provider", "--data", data, "--simulator-url", simulatorUrl, ...more];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  releases.push(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });
  let said = "";
  for await (const chunk of child.stdout) {
    said += String(chunk);
    if (said.includes('"ready"')) break;
  }
  expect(said).toContain('"ready"');
  return child;
}

test("kill -9 gives nobody a fresh quota", async () => {
  const data = mkdtempSync(join(tmpdir(), "vigilane-provider-"));
  releases.push(() => rmSync(data, { recursive: true, force: true }));
  const simulatorUrl = `http://127.0.0.1:${await freePort()}/v1`;
  const client = createVisionClient(
    { baseUrl: simulatorUrl, secret: "sim-key-03", model: "m", timeoutMs: 15_000 },
    context,
  );
  releases.push(() => client.close());
  const used = async () => {
    const stats = await (await fetch(new URL("/simulator/stats", simulatorUrl))).json();
    return (stats as { accounts: { id: string; windows: { requestsPerMinute: { used: number } } }[] }).accounts.find(
      ({ id }) => id === "simulated-03",
    )?.windows.requestsPerMinute.used;
  };
  const messages = [{ role: "user" as const, content: "JSON" }];

  const first = await startRole(data, simulatorUrl);
  await Promise.all([1, 2, 3].map(() => client.assess({ messages })));
  const inFlight = [4, 5].map(() => client.assess({ messages }).catch((error: unknown) => error));
  while ((await used()) !== 5) await systemClock.sleep(5);
  first.kill("SIGKILL");
  await once(first, "exit");
  const broken = await Promise.all(inFlight);
  expect(broken).toMatchObject([{ code: "PROVIDER_UNREACHABLE" }, { code: "PROVIDER_UNREACHABLE" }]);

  await startRole(data, simulatorUrl);
  expect(await used()).toBe(5);
});

test("it needs to be told where to listen, and says what it is doing", async () => {
  expect(() => createProvider(Settings.parse({}), context)).toThrow(
    expect.objectContaining({ code: "SETTINGS_INVALID" }),
  );
  const data = mkdtempSync(join(tmpdir(), "vigilane-provider-"));
  releases.push(() => rmSync(data, { recursive: true, force: true }));
  const simulatorUrl = `http://localhost:${await freePort()}/v1`;
  const role = createProvider(Settings.parse({ data, simulatorUrl }), context);
  releases.push(() => role.stop());
  await role.start();
  expect(role.detail()).toBe("simulated: 0 calls, 0 refused, 0 in flight");
});

test("a role touches its file while it works, not while it stands still, and takes it away at its end", async () => {
  const data = mkdtempSync(join(tmpdir(), "vigilane-provider-"));
  releases.push(() => rmSync(data, { recursive: true, force: true }));
  const file = join(data, "alive");
  const child = await startRole(data, `http://127.0.0.1:${await freePort()}/v1`, "--alive-file", file);
  const touched = () => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  await expect.poll(touched, { timeout: 3_000 }).toBeGreaterThan(0);
  const first = touched();
  await expect.poll(touched, { timeout: 3 * 1_000 }).toBeGreaterThan(first);
  child.kill("SIGSTOP");
  await expect.poll(() => Date.now() - touched(), { timeout: 10_000 }).toBeGreaterThan(2_500);
  child.kill("SIGCONT");
  child.kill("SIGTERM");
  await once(child, "exit");
  expect(touched()).toBe(0);
});
