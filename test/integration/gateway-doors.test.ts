import { mkdtempSync, statSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { type IncomingHttpHeaders, request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { io } from "socket.io-client";
import { expect, onTestFinished, test } from "vitest";
import { loadSettings } from "../../src/config.ts";
import { readToken, refuseOpenHost } from "../../src/gateway/auth.ts";
import { createDoors } from "../../src/gateway/doors.ts";
import { gatewayWorld, TOKEN, taskView } from "../support/gateway.ts";

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  cookies: string[];
  text: string;
  error?: { code: string; message: string; remedy: string };
}

/** node:http and not fetch, which neither lets a Host be set nor leaves a body's type out. */
function ask(url: string, { method = "GET", headers = {}, body = "" } = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { method, headers }, (response) => {
      let text = "";
      response.on("data", (part: Buffer) => {
        text += part.toString();
      });
      response.on("end", () => {
        const { error } = text.startsWith('{"error"') ? JSON.parse(text) : {};
        const cookies = response.headers["set-cookie"] ?? [];
        resolve({ status: response.statusCode ?? 0, headers: response.headers, cookies, text, error });
      });
    });
    asked.on("error", reject);
    asked.end(body);
  });
}

const bearer = { Authorization: `Bearer ${TOKEN}` };

async function world() {
  const made = await gatewayWorld();
  made.waiting.tasks.set("m1_group1", taskView("m1_group1", { state: "done", outcome: "failed", keyGroup: "sim-a" }));
  const gateway = await made.start({ allowedHosts: ["vigilane.example"] });
  const url = gateway.url();
  return { ...made, url, retry: `${url}/api/tasks/m1_group1/retry`, host: url.slice("http://".length) };
}

/** Opens a session as a browser does and returns its cookies. */
async function openSession(url: string) {
  const opened = await ask(`${url}/?token=${TOKEN}`);
  const pairs = opened.cookies.map((cookie) => cookie.split(";")[0] ?? "");
  const xsrf = pairs.find((pair) => pair.startsWith("XSRF-TOKEN="))?.slice("XSRF-TOKEN=".length) ?? "";
  return { opened, cookie: pairs.join("; "), xsrf };
}

test("hosts: our own names are answered, a rebound name is not", async () => {
  const { url, host } = await world();
  const port = host.split(":")[1];
  for (const name of [
    host,
    `localhost:${port}`,
    "LOCALHOST",
    "[::1]:8800",
    "vigilane.example",
    "vigilane.example:443",
  ]) {
    expect([name, (await ask(`${url}/api/cameras`, { headers: { Host: name } })).status]).toEqual([name, 200]);
  }
  for (const name of ["evil.example", `127.0.0.1.evil.example:${port}`, "localhost.evil.example", "user@localhost"]) {
    const { status, error } = await ask(`${url}/api/cameras`, { headers: { Host: name } });
    expect([name, status, error?.code]).toEqual([name, 403, "NO_PERMISSION"]);
  }
  expect((await ask(`${url}/`, { headers: { Host: "evil.example" } })).status).toBe(403);
  expect((await ask(`${url}/healthz`, { headers: { Host: "10.0.0.7:8800" } })).status).toBe(200); // a container's probe
});

test("hosts: a request that names none is refused", async () => {
  const { url, host } = await world();
  for (const header of ["Host:", "Host: ", "Host: :8800", "Host: [", "Host: a b", `Host: http://${host}`]) {
    expect([header, await raw(url, header)]).toEqual([header, 403]);
  }
  expect(await raw(url, `Host: ${host}`)).toBe(200);
});

/** The status of GET /api/cameras with a Host header that no client library would send. */
async function raw(url: string, hostHeader: string): Promise<number> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.end(`GET /api/cameras HTTP/1.1\r\n${hostHeader}\r\nConnection: close\r\n\r\n`);
  return Number(/^HTTP\/1\.1 (\d+)/.exec(await text(socket))?.[1]);
}

test("hosts: what is no host name is refused as a setting, not taken for an empty one", () => {
  for (const name of [
    "https://cams.example.org",
    "cams.example.org/x",
    "user@cams.example.org",
    " ",
    "*.example.org:x",
  ]) {
    expect(() => createDoors({ host: "127.0.0.1", allowedHosts: [name] }), name).toThrow(/no host name/);
  }
  expect(() => loadSettings(["--allowed-hosts", "ok.example,https://cams.example.org"], {})).toThrow(/host names only/);
  const { settings } = loadSettings(["--allowed-hosts", "cams.example.org:8443,10.0.0.7,[fe80::1]"], {});
  expect(settings.allowedHosts).toEqual(["cams.example.org:8443", "10.0.0.7", "[fe80::1]"]);
});

test("changes: refused without the token, with a wrong one, and accepted with it", async () => {
  const { retry, waiting } = await world();
  for (const headers of [{}, { Authorization: "Bearer wrong" }, { Authorization: `Bearer ${TOKEN}x` }]) {
    const { status, error } = await ask(retry, { method: "POST", headers });
    expect([status, error?.code]).toEqual([403, "NO_PERMISSION"]);
    expect(error?.remedy).not.toBe("");
  }
  expect(waiting.reopened).toEqual([]);
  const done = await ask(retry, { method: "POST", headers: bearer });
  expect([done.status, JSON.parse(done.text)]).toEqual([200, { taskId: "m1_group1", revision: 2 }]);
});

test("changes: never from another site's page, whatever it knows", async () => {
  const { retry, url, host, waiting } = await world();
  const { cookie, xsrf } = await openSession(url);
  const session = { Cookie: cookie, "X-XSRF-TOKEN": xsrf };
  const refused = [
    { ...bearer, Origin: "https://evil.example" },
    { ...bearer, Origin: "null" },
    { ...bearer, Origin: "http://localhost:9999" },
    { ...session, "Sec-Fetch-Site": "cross-site" },
    { ...session, "Sec-Fetch-Site": "same-site" }, // another port of this machine
    { ...session, Origin: `http://${host}`, Host: "evil.example" },
  ];
  for (const headers of refused) {
    const { status, error } = await ask(retry, { method: "POST", headers });
    expect([headers, status, error?.code]).toEqual([headers, 403, "NO_PERMISSION"]);
  }
  expect(waiting.reopened).toEqual([]);
  const own = { ...session, Origin: `http://${host}`, "Sec-Fetch-Site": "same-origin" };
  expect((await ask(retry, { method: "POST", headers: own })).status).toBe(200);
});

test("changes: bodies are JSON only, so that a form of another site cannot make one", async () => {
  const { retry } = await world();
  for (const type of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]) {
    const headers = { ...bearer, ...(type === "" ? {} : { "Content-Type": type }) };
    const { status, error } = await ask(retry, { method: "POST", headers, body: "a=b" });
    expect([type, status, error?.code]).toEqual([type, 400, "REQUEST_UNREADABLE"]);
  }
  const headers = { ...bearer, "Content-Type": "application/json; charset=utf-8" };
  expect((await ask(retry, { method: "POST", headers, body: "{}" })).status).toBe(200);
});

test("sessions: the token is taken off the address; changes need the session's own XSRF token", async () => {
  const { url, retry } = await world();
  const { opened, cookie, xsrf } = await openSession(url);
  expect([opened.status, opened.headers.location]).toEqual([303, "/"]);
  expect(opened.cookies.find((one) => one.startsWith("vigilane_session="))).toMatch(/HttpOnly; .*SameSite=Strict/);
  expect(opened.cookies.join()).not.toContain(TOKEN);

  const other = await openSession(url);
  const change = (headers: Record<string, string>) => ask(retry, { method: "POST", headers });
  expect((await change({ Cookie: cookie })).status).toBe(403);
  expect((await change({ Cookie: cookie, "X-XSRF-TOKEN": other.xsrf })).status).toBe(403);
  expect((await change({ Cookie: cookie.replace(/\d/, "9"), "X-XSRF-TOKEN": xsrf })).status).toBe(403);
  expect((await change({ "X-XSRF-TOKEN": xsrf })).status).toBe(403);
  expect((await change({ Cookie: cookie, "X-XSRF-TOKEN": xsrf })).status).toBe(200);

  const permitted = async (headers = {}) => JSON.parse((await ask(`${url}/api/snapshot`, { headers })).text).permitted;
  expect([await permitted(), await permitted({ Cookie: cookie }), await permitted(bearer)]).toEqual([
    false,
    true,
    true,
  ]);
  const wrong = await ask(`${url}/?token=wrong-token-wrong-token`);
  expect([wrong.status, wrong.error?.code, wrong.cookies]).toEqual([403, "NO_PERMISSION", []]);
});

test("sockets: refused to other sites' pages and under other names, open to programs", async () => {
  const { url } = await world();
  const connects = (extraHeaders: Record<string, string>, transports: string[], namespace = "/") =>
    new Promise<boolean>((resolve) => {
      const client = io(`${url}${namespace}`, { transports, extraHeaders, forceNew: true, reconnection: false });
      onTestFinished(() => void client.disconnect());
      client.once("connect", () => resolve(true));
      client.once("connect_error", () => resolve(false));
    });
  for (const transport of ["websocket", "polling"]) {
    expect(await connects({}, [transport])).toBe(true);
    expect(await connects({ Origin: url }, [transport], "/live")).toBe(true);
    expect(await connects({ Origin: "https://evil.example" }, [transport])).toBe(false);
    expect(await connects({ Origin: "https://evil.example" }, [transport], "/live")).toBe(false);
    expect(await connects({ Origin: "null" }, [transport])).toBe(false);
  }
  // A rebound name is its own origin; only the Host gives it away.
  const rebound = { Host: "evil.example", Origin: "http://evil.example" };
  expect(await connects(rebound, ["websocket"])).toBe(false);
  const polling = `${url}/socket.io/?EIO=4&transport=polling`;
  expect((await ask(polling, { headers: rebound })).status).toBe(403);
  expect((await ask(polling)).status).toBe(200);
});

test("beyond loopback nothing is to be seen without the token, but for the probes", async () => {
  const made = await gatewayWorld();
  const gateway = await made.start({ host: "0.0.0.0" });
  const url = `http://127.0.0.1:${new URL(gateway.url()).port}`;
  const paths = [
    "/api/snapshot",
    "/api/cameras",
    "/api/outcomes",
    "/api/waiting",
    "/metrics",
    "/jobs",
    "/jobs/board/",
    "/images/a/2026112314/x.jpg",
    "/assets/index.js",
    "/nothing.html",
    "/",
  ];
  for (const method of ["GET", "HEAD", "OPTIONS"]) {
    for (const path of paths) {
      const { status, error } = await ask(`${url}${path}`, { method });
      expect([method, path, status]).toEqual([method, path, 403]);
      if (method === "GET") expect(error?.code).toBe("NO_PERMISSION");
    }
  }
  for (const path of ["/healthz", "/readyz"]) expect((await ask(`${url}${path}`)).status).not.toBe(403);

  const asked = await ask(`${url}/`, { headers: { Accept: "text/html,*/*;q=0.8" } });
  expect([asked.status, asked.headers["content-type"]]).toEqual([403, "text/html; charset=utf-8"]);
  expect(asked.text).toContain("needs the token");
  expect(asked.text).toContain('name="token"'); // its form opens /?token=…
  expect((await ask(`${url}/?token=wrong-token-wrong-token`)).status).toBe(403);

  const { opened, cookie } = await openSession(url);
  expect(opened.status).toBe(303);
  for (const headers of [{ Cookie: cookie }, bearer]) {
    for (const path of ["/api/snapshot", "/metrics", "/"]) {
      expect([path, (await ask(`${url}${path}`, { headers })).status]).toEqual([path, 200]);
    }
  }
});

test("beyond loopback sockets need the token, too", async () => {
  const made = await gatewayWorld();
  const gateway = await made.start({ host: "0.0.0.0" });
  const url = `http://127.0.0.1:${new URL(gateway.url()).port}`;
  const { cookie } = await openSession(url);
  const connects = (extraHeaders: Record<string, string>, transport: string, namespace: string) =>
    new Promise<boolean>((resolve) => {
      const how = { transports: [transport], extraHeaders, forceNew: true, reconnection: false };
      const client = io(`${url}${namespace}`, how);
      onTestFinished(() => void client.disconnect());
      client.once("connect", () => resolve(true));
      client.once("connect_error", () => resolve(false));
    });
  for (const transport of ["websocket", "polling"]) {
    for (const namespace of ["/", "/live"]) {
      expect(await connects({}, transport, namespace)).toBe(false);
      expect(await connects({ Authorization: "Bearer wrong" }, transport, namespace)).toBe(false);
      expect(await connects(bearer, transport, namespace)).toBe(true);
      expect(await connects({ Cookie: cookie }, transport, namespace)).toBe(true);
    }
  }
});

test("every answer carries the headers that keep others' pages out", async () => {
  const { url } = await world();
  for (const path of ["/", "/api/snapshot", "/jobs", "/jobs/board/", "/images/a/2026112314/x.jpg", "/nothing.html"]) {
    const { headers } = await ask(`${url}${path}`);
    expect(headers["content-security-policy"]).toContain("default-src 'self'; style-src 'self' 'unsafe-inline';");
    expect(headers).toMatchObject({
      "x-content-type-options": "nosniff",
      "cross-origin-resource-policy": "same-origin",
    });
    expect(headers).not.toHaveProperty("x-powered-by");
    expect(headers).not.toHaveProperty("access-control-allow-origin");
  }
});

test("the gateway listens beyond loopback only with a token that somebody chose", () => {
  for (const host of ["0.0.0.0", "::", "192.168.1.5"]) {
    expect(() => refuseOpenHost({ host })).toThrow(/only with a token/);
    expect(() => refuseOpenHost({ host, token: TOKEN })).not.toThrow();
  }
  for (const host of ["127.0.0.1", "localhost", "::1", "127.0.0.53"])
    expect(() => refuseOpenHost({ host })).not.toThrow();
});

test("the token is the setting's, else the data folder's own, made once and readable by its owner only", async () => {
  const data = mkdtempSync(join(tmpdir(), "vigilane-token-"));
  onTestFinished(() => rm(data, { recursive: true, force: true }));
  const { settings } = loadSettings(["--data", join(data, "new")], {});
  const token = readToken(settings);
  expect(token.length).toBeGreaterThanOrEqual(32);
  expect(readToken(settings)).toBe(token);
  expect(readToken({ ...settings, token: TOKEN })).toBe(TOKEN);
  expect(statSync(join(data, "new", "token")).mode & 0o777).toBe(0o600);
  writeFileSync(join(data, "token"), "short\n");
  expect(() => readToken({ data })).toThrow(/fewer than 16/);
});
