/** The role gateway: page, REST, sockets, bull-board. Wires the waiting room and the image store into it. */

import type { Context } from "../context.ts";
import { readToken, refuseOpenHost } from "../gateway/auth.ts";
import { createGatewayService, type GatewayService } from "../gateway/gateway.ts";
import { createKeysAdmin } from "../keys/keys-admin.ts";
import { createWaitingRoom } from "../queues/redis-waiting-room.ts";
import { ROLES, type Settings } from "../settings.ts";
import { version } from "../version.ts";
import { openImageStore } from "./open-image-store.ts";
import { instanceName, pageFolder, storeUrl } from "./places.ts";

export function createGateway(settings: Settings, context: Context): GatewayService {
  refuseOpenHost(settings);
  const { port, host, allowedHosts, maxWaiting, frameIntervalMs } = settings;
  const images = openImageStore(settings, context);
  return createGatewayService(
    {
      redisUrl: storeUrl(settings),
      port,
      host,
      allowedHosts,
      token: readToken(settings),
      askedRoles: askedRoles(settings),
      instance: instanceName("gateway"),
      waiting: (redis) => createWaitingRoom(redis, { maxWaiting, hasImage: (reference) => images.has(reference) }),
      images,
      keys: createKeysAdmin(settings),
      pageFolder: pageFolder(),
      version: version(),
      frameIntervalMs,
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
