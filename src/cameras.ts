/** The cameras' file: what is watched, where it stands, and each camera's own policy. */
import { z } from "zod";
import { VigilaneError } from "./errors.ts";
import { policyId, policyOver, RoutingPolicy } from "./routing-policy.ts";
import { readYamlFile } from "./yaml-file.ts";

export const Camera = z.object({
  /** Letters, digits, dot, dash, underline. */
  id: z.preprocess((v) => (typeof v === "number" ? String(v) : v), z.string().regex(/^[A-Za-z0-9._-]{1,80}$/)),
  /** For people. Default: the id. */
  name: z.string().optional(),
  /** A file, rtsp(s)://, http(s):// (MJPEG, HLS), a folder of images, /dev/videoN. */
  source: z.string().min(1),
  lat: z.number().min(-90).max(90).optional(),
  lon: z.number().min(-180).max(180).optional(),
  /** Default: the setting frameIntervalMs. */
  frameIntervalMs: z.number().min(40).max(3_600_000).optional(),
  /** Default: the setting freshnessSeconds. 0: nothing of this camera expires or is superseded. */
  freshnessSeconds: z.number().min(0).max(3600).optional(),
  /** Default: the setting reuseSeconds. For so long a group that looks as it did gets its last verdict again; 0: never. */
  reuseSeconds: z.number().min(0).max(3600).optional(),
  /** Under overload a camera of weight 2 is looked at twice as often as one of weight 1. Default 1. */
  weight: z.number().positive().max(100).optional(),
  /** Files only: begin so many seconds in. Default 0. */
  startAtSeconds: z.number().min(0).optional(),
  /** Files only: begin anew at the end. Default true. */
  loop: z.boolean().optional(),
  /** Classes of road users to look for. Default: person, bicycle, car, motorcycle, bus, truck. */
  classes: z.array(z.string()).optional(),
  /** BX clustering. Defaults 150 px, 2. */
  distancePx: z.number().positive().optional(),
  minObjects: z.number().int().min(1).optional(),
  /** Which key groups may judge its groups, and which are preferred. What it does not say is routing.policy of the keys' file. */
  routing: RoutingPolicy.optional(),
});
export type Camera = z.infer<typeof Camera>;

const CamerasFile = z.strictObject({ cameras: z.array(Camera).min(1) });

/** Reads and checks the file; every fault is named with its line. */
export function readCameras(path: string): Camera[] {
  const { value, faults } = readYamlFile(path, CamerasFile);
  const cameras = value?.cameras ?? [];
  const ids = cameras.map((camera) => camera.id);
  const twice = ids.filter((id, i) => ids.indexOf(id) !== i).map((id) => `${path}: two cameras have the id ${id}`);
  const all = [...faults, ...twice];
  if (all.length === 0) return cameras;
  throw new VigilaneError("SETTINGS_INVALID", `the cameras' file is wrong:\n  - ${all.join("\n  - ")}`);
}

/** What the bridge needs to know of a camera. */
export interface CameraPolicy {
  freshnessSeconds: number;
  reuseSeconds: number;
  /** Absent: any group. */
  routing?: RoutingPolicy;
}

/** A camera's own policy; what it does not say, and all of unknown cameras (of other producers), is the settings'. */
export function policyOf(cameraId: string, cameras: readonly Camera[], settings: CameraPolicy): CameraPolicy {
  const camera = cameras.find(({ id }) => id === cameraId);
  const routing = policyOver(camera?.routing, settings.routing);
  return {
    freshnessSeconds: camera?.freshnessSeconds ?? settings.freshnessSeconds,
    reuseSeconds: camera?.reuseSeconds ?? settings.reuseSeconds,
    ...(policyId(routing) !== "" && { routing }),
  };
}

/** Every routing policy that tasks may have, each with the cameras that it is for; null: those that say nothing of their own. */
export function routingPolicies(
  cameras: readonly Camera[],
  all: RoutingPolicy | undefined,
): { policy: RoutingPolicy; cameras: (string | null)[] }[] {
  const found = new Map<string, { policy: RoutingPolicy; cameras: (string | null)[] }>();
  for (const camera of [null, ...cameras]) {
    const policy = policyOver(camera?.routing, all);
    const known = found.get(policyId(policy)) ?? { policy, cameras: [] };
    known.cameras.push(camera?.id ?? null);
    found.set(policyId(policy), known);
  }
  return [...found.values()];
}
