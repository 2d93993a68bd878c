/** `/api/key-groups`: the keys' file over REST. That a change needs permission, the doors before it see to. */
import express, { type Router } from "express";
import type { Context } from "../context.ts";
import { explain, VigilaneError } from "../errors.ts";
import type { GroupOnFile, KeyGroupsFile } from "../key-groups-file.ts";
import type { Auth } from "./auth.ts";
import type { SystemWatch } from "./system-watch.ts";

const LARGEST_BODY = "64kb";

export interface KeyGroupsApiOptions {
  /** Undefined: this gateway has none to do with it. */
  keys: KeyGroupsFile | undefined;
  auth: Auth;
  system: SystemWatch;
}

export function keyGroupsApi({ keys, auth, system }: KeyGroupsApiOptions, { clock }: Pick<Context, "clock">): Router {
  const router = express.Router();
  const file = () => {
    if (keys) return keys;
    throw new VigilaneError("OPERATION_OFF", "this gateway has nothing to do with the keys' file", {
      remedy: "Change the file itself, or use `vigilane keys` where it lies.",
    });
  };
  router.use(express.json({ limit: LARGEST_BODY }));

  /** How the groups stand is for everyone who may look; what the file says of them for those who may change it. */
  router.get("/", async (request, response) => {
    const keyGroups = [...system.state().keyGroups.values()];
    const permitted = auth.permissionOf(request).by !== "nothing";
    response.json({ nowMs: clock.nowMs(), keyGroups, ...(permitted && keys && (await onFile(keys))) });
  });
  router.post("/", async (request, response) => {
    response.status(201).json({ done: await file().create(request.body) });
  });
  router.patch("/:id", async (request, response) => {
    response.json({ done: await file().change(request.params.id, request.body) });
  });
  router.delete("/:id", async (request, response) => {
    response.json({ done: await file().remove(request.params.id) });
  });
  router.delete("/:id/keys/:key", async (request, response) => {
    response.json({ done: await file().remove(request.params.id, request.params.key) });
  });
  return router;
}

/** A file that is missing or cannot be read hides nothing of how the groups stand. */
async function onFile(keys: KeyGroupsFile): Promise<{ onFile: GroupOnFile[] | null; onFileProblem?: string }> {
  try {
    return { onFile: await keys.groups() };
  } catch (error) {
    if (error instanceof VigilaneError) return { onFile: null, onFileProblem: explain(error) };
    throw error;
  }
}
