/**
 * Run by npm before `npm start`, `npm run vigilane` and `npm test`, on whatever Node is there (20 or newer): installs the
 * packages when they are missing or older than the lock file, and builds the page when it is missing or older than its
 * sources. Says what it does, and does nothing when nothing is to be done. It needs no package itself.
 *
 * It is a script of its own, and not `prepare && start` in one: npm looks for `node` on its PATH anew for each script,
 * so that the next one finds the Node 24 that this one has just installed.
 *
 * --test: what only tests need besides (a redis-server, ffmpeg, a browser, an RTSP server, Java for a Kafka broker, kcat, openssl). On Debian and as root they
 * are installed; elsewhere one line says what is missing, and the tests that need it are skipped. An S3 server is built once
 * (s3-server.mjs), as root or not.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync, utimesSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildServer, goFor, serverThere } from "./s3-server.mjs";

const LEAST_NODE = 20;
const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const inRoot = (...parts) => join(root, ...parts);
const say = (text) => console.log(`prepare: ${text}`);

/** Debian's packages, and how to tell that each is there. */
const FOR_TESTS = [
  { packages: ["redis-server"], there: () => onPath("redis-server") || onPath("valkey-server") },
  { packages: ["ffmpeg"], there: () => onPath("ffmpeg") },
  { packages: ["chromium"], there: () => ["chromium", "chromium-browser", "google-chrome"].some(onPath) },
  {
    packages: ["default-jre-headless"],
    there: () => onPath("java") || existsSync(join(process.env.JAVA_HOME ?? "", "bin", "java")),
  },
  { packages: ["kcat"], there: () => onPath("kcat") },
  { packages: ["openssl"], there: () => onPath("openssl") },
  {
    // Brings the Go that builds the S3 server.
    packages: ["python3-pip"],
    there: () => serverThere() || goFor() || runs("python3", ["-m", "pip", "--version"]),
  },
  { packages: ["procps"], there: () => onPath("ps") },
  { packages: ["fonts-noto-cjk"], there: () => existsSync("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc") },
  {
    packages: ["python3-gi", "gir1.2-gst-rtsp-server-1.0", "gstreamer1.0-plugins-good", "gstreamer1.0-plugins-bad"],
    there: () => runs("/usr/bin/python3", ["-c", "import gi; gi.require_version('GstRtspServer', '1.0')"]),
  },
];

if (Number(process.versions.node.split(".")[0]) < LEAST_NODE) {
  console.error(`prepare: this is Node ${process.versions.node}; Node ${LEAST_NODE} or newer is needed.`);
  process.exit(1);
}
installPackages();
buildPage();
if (process.argv.includes("--test")) {
  installForTests();
  const whyNot = buildServer(say);
  if (whyNot) say(`not here: an S3 server (${whyNot}); the tests that need one are skipped.`);
}

function installPackages() {
  const lock = timeOf(inRoot("package-lock.json"));
  const installed = timeOf(inRoot("node_modules", ".package-lock.json"));
  const node = inRoot("node_modules", ".bin", process.platform === "win32" ? "node.cmd" : "node");
  if (installed >= lock && existsSync(node)) return;
  say(
    `${installed > 0 ? "packages are older than the lock file" : "no packages yet"}: npm install (half a minute or so) …`,
  );
  const started = Date.now();
  // Not `npm ci`: it removes node_modules first, which may hold the Node that runs us, and it refuses a lock file that
  // names no package for a platform whose packages its writer's registry did not have.
  run("npm", ["install", "--no-fund", "--no-audit", "--loglevel", "error"], {
    // The postinstall of onnxruntime-node would fetch CUDA libraries that nothing here uses; the CPU's are in the package.
    ONNXRUNTIME_NODE_INSTALL: "skip",
    // npm runs us with its own settings in the environment; a global or dry run of theirs is not meant for this one.
    npm_config_global: "",
    npm_config_dry_run: "",
  });
  const marker = inRoot("node_modules", ".package-lock.json");
  if (existsSync(marker)) utimesSync(marker, new Date(), new Date());
  say(`packages are installed (${Math.round((Date.now() - started) / 1000)} s).`);
}

function buildPage() {
  if (!existsSync(inRoot("dashboard", "index.html"))) {
    say("there is no dashboard/index.html: no page is built, the gateway serves its data without one.");
    return;
  }
  const built = timeOf(inRoot("dashboard", "dist", "index.html"));
  const sources = [
    newestIn(inRoot("dashboard"), ["dist", "node_modules"]),
    ...["events.ts", "messages.ts"].map((f) => timeOf(inRoot("src", f))),
  ];
  if (built >= Math.max(...sources)) return;
  say(`${built > 0 ? "the page is older than its sources" : "the page is not built yet"}: vite build …`);
  const node = inRoot("node_modules", "node", "bin", process.platform === "win32" ? "node.exe" : "node");
  const vite = inRoot("node_modules", "vite", "bin", "vite.js");
  run(existsSync(node) ? node : process.execPath, [vite, "build", "dashboard", "--logLevel", "warn"]);
  const index = inRoot("dashboard", "dist", "index.html");
  if (existsSync(index)) utimesSync(index, new Date(), new Date());
  say("the page is built.");
}

function installForTests() {
  const missing = FOR_TESTS.filter((need) => !need.there()).flatMap((need) => need.packages);
  if (missing.length === 0) return;
  const isDebian = onPath("apt-get") && existsSync("/etc/debian_version");
  const isRoot = process.getuid?.() === 0;
  if (!isDebian || !isRoot) {
    const why = isDebian ? "installing them needs root" : "this is no Debian";
    say(`not here: ${missing.join(", ")} (${why}); the tests that need them are skipped.`);
    return;
  }
  say(`installing for the tests: ${missing.join(", ")} …`);
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  const apt = ["-y", "-qq", "-o", "Dpkg::Use-Pty=0", "--no-install-recommends"];
  const tried =
    tryRun("apt-get", ["install", ...apt, ...missing], env) ||
    (tryRun("apt-get", ["update", "-qq"], env) && tryRun("apt-get", ["install", ...apt, ...missing], env));
  if (tried) say("installed.");
  else say(`${missing.join(", ")} could not be installed; the tests that need them are skipped.`);
}

/** Runs it in the repository's root with its output shown; ends this process with its code when it fails. */
function run(program, args, env = {}) {
  const { status, error } = spawnHere(program, args, env, "inherit");
  if (status === 0) return;
  console.error(
    `prepare: ${program} ${args[0]} failed${error ? ` (${error.message})` : ""}. Mend the cause above and start again.`,
  );
  process.exit(status || 1);
}

function tryRun(program, args, env) {
  return spawnHere(program, args, env, ["ignore", "ignore", "inherit"]).status === 0;
}

function runs(program, args) {
  return spawnHere(program, args, {}, "ignore").status === 0;
}

function spawnHere(program, args, env, stdio) {
  return spawnSync(program, args, {
    cwd: root,
    stdio,
    env: { ...process.env, ...env },
    shell: process.platform === "win32", // npm is a script there
  });
}

function onPath(name) {
  const endings = process.platform === "win32" ? [".exe", ".cmd"] : [""];
  return (process.env.PATH ?? "")
    .split(delimiter)
    .some((folder) => folder && endings.some((e) => existsSync(join(folder, name + e))));
}

/** When the file was last changed, ms; 0: there is none. */
function timeOf(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function newestIn(folder, except) {
  let newest = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (except.includes(entry.name)) continue;
    const path = join(folder, entry.name);
    newest = Math.max(newest, entry.isDirectory() ? newestIn(path, except) : timeOf(path));
  }
  return newest;
}
