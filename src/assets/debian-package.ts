/** One file out of a Debian package, with apt's own sources and signatures, without root and without touching the system. */
import { execFile } from "node:child_process";
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Fetching, sha256Of } from "./download.ts";

const execute = promisify(execFile);

export async function fromDebian(source: { package: string; member: string }, fetching: Fetching): Promise<string> {
  const { scratch, context } = fetching;
  const state = join(scratch, "apt");
  await mkdir(join(state, "state", "lists", "partial"), { recursive: true });
  await mkdir(join(state, "cache", "archives", "partial"), { recursive: true });
  const options = [
    `Dir::State=${join(state, "state")}`,
    "Dir::State::status=/var/lib/dpkg/status",
    `Dir::Cache=${join(state, "cache")}`,
    "Debug::NoLocking=1",
    "APT::Sandbox::User=",
  ].flatMap((option) => ["-o", option]);
  const apt = (...args: string[]) =>
    execute("apt-get", [...options, ...args], { cwd: state, maxBuffer: 16 << 20, timeout: 600_000 });
  try {
    context.log.info({ package: source.package }, "reading Debian's package lists");
    await apt("-qq", "update");
    const archive = await fetchArchive(source.package, fetching, apt, state);
    const unpacked = join(scratch, "unpacked");
    await execute("dpkg", ["-x", archive, unpacked]);
    await rm(archive, { force: true });
    return join(unpacked, source.member);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") throw new Error("there is no apt-get on this machine");
    throw error;
  }
}

/** By our own download, with its bar, where apt's address can be reached directly; else by apt itself. */
async function fetchArchive(
  name: string,
  { url, context }: Fetching,
  apt: (...args: string[]) => Promise<{ stdout: string }>,
  folder: string,
): Promise<string> {
  // 'http://…/opencv-doc_4.6.0_all.deb' opencv-doc_4.6.0_all.deb 96000000 SHA256:…
  const { stdout } = await apt("-qq", "--print-uris", "download", name);
  const [, address, sha256] = /^'([^']+)' \S+ \d+ SHA256:([0-9a-f]{64})/m.exec(stdout) ?? [];
  if (address && sha256) {
    try {
      const path = await url(address, `Debian package ${name}`);
      if ((await sha256Of(path)) === sha256) return path;
      await rm(path, { force: true });
    } catch (error) {
      context.log.debug({ cause: String(error) }, "not directly; by apt-get");
    }
  }
  await apt("-qq", "download", name);
  const file = (await readdir(folder)).find((entry) => entry.endsWith(".deb"));
  if (!file) throw new Error(`apt-get fetched no file for ${name}`);
  return join(folder, file);
}
