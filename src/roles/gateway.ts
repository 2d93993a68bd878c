/** The role gateway: page, REST, sockets, bull-board. Wires the waiting room and the image store into it. */
import { hostname } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ROLES, type Settings } from "../config.ts";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { readToken, refuseOpenHost } from "../gateway/auth.ts";
import { createGatewayService, type GatewayService } from "../gateway/gateway.ts";
import { createFolderImageStore } from "../images/folder-image-store.ts";
import { createWaitingRoom } from "../queues/waiting-room.ts";

export function createGateway(settings: Settings, context: Context): GatewayService {
  refuseOpenHost(settings);
  const { redisUrl, port, host, allowedHosts, maxWaiting } = settings;
  if (redisUrl === undefined) throw new VigilaneError("SETTINGS_INVALID", "the gateway needs redisUrl (REDIS_URL)");
  const images = createFolderImageStore({ folder: join(settings.data, "images") }, context);
  return createGatewayService(
    {
      redisUrl,
      port,
      host,
      allowedHosts,
      token: readToken(settings),
      askedRoles: askedRoles(settings),
      instance: process.env.VIGILANE_INSTANCE ?? `gateway-${hostname()}-${process.pid}`,
      waiting: (redis) => createWaitingRoom(redis, { maxWaiting, hasImage: (reference) => images.has(reference) }),
      images,
      pageFolder: fileURLToPath(new URL("../../dashboard/dist", import.meta.url)),
    },
    context,
  );
}

/** The supervisor says which roles it was asked for; a gateway by itself answers for itself and what `roles` names. */
function askedRoles(settings: Settings): string[] {
  const asked = process.env.VIGILANE_ASKED_ROLES?.split(",").filter((role) =>
    (ROLES as readonly string[]).includes(role),
  );
  return asked ?? settings.roles ?? ["gateway"];
}
