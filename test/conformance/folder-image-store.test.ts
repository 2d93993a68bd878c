import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { type Clock, systemClock } from "../../src/context.ts";
import { createFolderImageStore } from "../../src/images/folder-image-store.ts";
import { type ImageStoreFixture, imageStoreConformance } from "./image-store.suite.ts";

const log = pino({ level: "silent" });

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), "vigilane-images-"));
  onTestFinished(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

async function opened(at: string, clock: Clock = systemClock) {
  const store = createFolderImageStore({ folder: at }, { clock, log });
  onTestFinished(() => store.stop());
  await store.start();
  return store;
}

let last = "";
const fixture: ImageStoreFixture = {
  open(clock) {
    last = folder();
    return opened(last, clock);
  },
  openAgain: () => opened(last),
  create: () => createFolderImageStore({ folder: folder() }, { clock: systemClock, log }),
};

imageStoreConformance("A folder", fixture);

test("what a writer that died left behind is swept, and files of others are left alone", async () => {
  const at = folder();
  const store = await opened(at);
  const reference = await store.put("c", "m", Buffer.from("jpeg"));
  const hour = reference.split("/")[2] ?? "";
  for (const name of ["dead.tmp", "young.tmp", "notes.txt"]) writeFileSync(join(at, "c", hour, name), "x");
  const longAgo = new Date(Date.now() - 3_600_000);
  for (const name of ["dead.tmp", "notes.txt"]) utimesSync(join(at, "c", hour, name), longAgo, longAgo);
  await store.sweep({ maxAgeMs: 3_600_000, maxBytes: 1e9 });
  expect(readdirSync(join(at, "c", hour)).sort()).toEqual(["m.jpg", "notes.txt", "young.tmp"]);
});
