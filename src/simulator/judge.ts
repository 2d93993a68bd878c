/**
 * The verdict of the simulated model: follows from the facts in the prompt's text (docs/simulator.md), since it cannot
 * see. Written against the documented form of the facts alone; a prompt without them gets a verdict that says so.
 */
import { z } from "zod";
import { normal, type Random } from "./latency.ts";

const Box = z.tuple([z.number(), z.number(), z.number(), z.number()]);
type Box = z.infer<typeof Box>;

const Facts = z.looseObject({
  objects: z.array(z.looseObject({ id: z.number().int(), class: z.string(), bbox: Box })),
  features: z
    .looseObject({
      closingSpeedPxPerSecond: z.number().nullable().optional(),
      vulnerableToVehicleHeights: z.number().nullable().optional(),
      maxOverlap: z.number().nullable().optional(),
    })
    .nullish(),
});
type Facts = z.infer<typeof Facts>;
type FactObject = Facts["objects"][number];

/** The answer's JSON as our prompt asks for it. */
export interface Judgement {
  riskLevel: "none" | "low" | "medium" | "high";
  confidence: number;
  riskTypes: string[];
  description: string;
  dangerObjectCount: number;
  triggerObjectIds: number[];
}

const RIDERS = new Set(["bicycle", "motorcycle"]);
const VULNERABLE = new Set(["person", ...RIDERS]);
const VEHICLES = new Set(["car", "bus", "truck", "train"]);

export function judge(promptText: string, random: Random): Judgement {
  const facts = readFacts(promptText);
  if (!facts) {
    return calm("Simulated verdict: the prompt states no facts about the road users, so nothing could be judged.", 0.1);
  }
  const pair = nearestPair(facts.objects);
  return pair ? judgePair(pair, facts, random) : judgeRest(facts.objects, random);
}

/** The last fenced block called facts; undefined when there is none that can be read. */
function readFacts(text: string): Facts | undefined {
  const block = [...text.matchAll(/```facts\s*\n([\s\S]*?)\n```/g)].at(-1)?.[1];
  if (block === undefined) return undefined;
  try {
    return Facts.safeParse(JSON.parse(block)).data;
  } catch {
    return undefined;
  }
}

interface Pair {
  vulnerable: FactObject;
  vehicle: FactObject;
  gapPx: number;
  /** The gap in heights of the smaller box, which perspective does not change. */
  gapHeights: number;
  smallerHeightPx: number;
  overlap: number;
}

function nearestPair(objects: readonly FactObject[]): Pair | undefined {
  let nearest: Pair | undefined;
  for (const vulnerable of objects.filter((o) => VULNERABLE.has(o.class))) {
    for (const vehicle of objects.filter((o) => VEHICLES.has(o.class))) {
      const gapPx = gapBetween(vulnerable.bbox, vehicle.bbox);
      const smallerHeightPx = Math.max(1, Math.min(heightOf(vulnerable.bbox), heightOf(vehicle.bbox)));
      const overlap = overlapOf(vulnerable.bbox, vehicle.bbox);
      const gapHeights = gapPx / smallerHeightPx;
      const nearer = !nearest || gapHeights < nearest.gapHeights || (gapHeights === 0 && overlap > nearest.overlap);
      if (nearer) nearest = { vulnerable, vehicle, gapPx, gapHeights, smallerHeightPx, overlap };
    }
  }
  return nearest;
}

function judgePair(pair: Pair, { features }: Facts, random: Random): Judgement {
  const { vulnerable, vehicle, smallerHeightPx } = pair;
  const gapHeights = features?.vulnerableToVehicleHeights ?? pair.gapHeights;
  const overlap = features?.maxOverlap ?? pair.overlap;
  const closingPx = features?.closingSpeedPxPerSecond ?? null;
  const near = clamp(1 - gapHeights / 2);
  // A body's height a second is fast; nothing known counts as a quarter of it.
  const closing = closingPx === null ? 0.25 : clamp(closingPx / smallerHeightPx);
  const danger = 0.6 * near + 0.3 * closing + 0.1 * clamp(overlap * 4) + 0.03 * normal(random);
  const riskLevel = danger >= 0.78 ? "high" : danger >= 0.6 ? "medium" : danger >= 0.35 ? "low" : "none";
  const who = vulnerable.class === "person" ? "A person" : `A ${vulnerable.class}`;
  const where =
    gapHeights <= 0.05
      ? "right at"
      : gapHeights < 1
        ? `within ${gapHeights.toFixed(1)} body heights of`
        : "some way from";
  const moving =
    closingPx === null
      ? ""
      : closingPx > 0.1 * smallerHeightPx
        ? ", and they approach each other"
        : closingPx < -0.1 * smallerHeightPx
          ? ", and they move apart"
          : ", and the distance stays the same";
  const close: Record<typeof riskLevel, string> = {
    none: "Nobody has to react.",
    low: "It is worth watching.",
    medium: "One of them has to give way soon.",
    high: "A collision may be about to happen.",
  };
  const rider = RIDERS.has(vulnerable.class) ? "cyclist-vehicle conflict" : "pedestrian-vehicle conflict";
  return {
    riskLevel,
    confidence: confidence(0.72 + 0.2 * Math.abs(danger - 0.5), random),
    riskTypes: riskLevel === "none" ? [] : [rider],
    description: `${who} is ${where} a ${vehicle.class}${moving}. ${close[riskLevel]}`,
    dangerObjectCount: riskLevel === "none" ? 0 : 2,
    triggerObjectIds: riskLevel === "none" ? [] : [vulnerable.id, vehicle.id].sort((a, b) => a - b),
  };
}

/** Nobody vulnerable beside a vehicle: only vehicles on each other, or people among themselves. */
function judgeRest(objects: readonly FactObject[], random: Random): Judgement {
  const vehicles = objects.filter((o) => VEHICLES.has(o.class));
  const colliding = vehicles.flatMap((a, i) =>
    vehicles.slice(i + 1).map((b) => ({ a, b, overlap: overlapOf(a.bbox, b.bbox) })),
  );
  const worst = colliding.sort((x, y) => y.overlap - x.overlap)[0];
  if (worst && worst.overlap > 0.35) {
    return {
      riskLevel: "low",
      confidence: confidence(0.6, random),
      riskTypes: ["vehicle-vehicle conflict"],
      description: `A ${worst.a.class} and a ${worst.b.class} are very close to each other; one may be passing behind the other.`,
      dangerObjectCount: 2,
      triggerObjectIds: [worst.a.id, worst.b.id],
    };
  }
  const people = objects.filter((o) => o.class === "person").length;
  if (people + 0.5 * normal(random) >= 6) {
    return {
      ...calm(`A crowd of ${people} people without a vehicle nearby. It is worth watching.`, confidence(0.65, random)),
      riskLevel: "low",
      riskTypes: ["crowding"],
    };
  }
  const what = vehicles.length === 0 ? `${people || objects.length} people or riders` : `${objects.length} road users`;
  return calm(
    `${what} close to each other, none of them in the way of a vehicle. Nobody has to react.`,
    confidence(0.8, random),
  );
}

const calm = (description: string, certainty: number): Judgement => ({
  riskLevel: "none",
  confidence: certainty,
  riskTypes: [],
  description,
  dangerObjectCount: 0,
  triggerObjectIds: [],
});

const clamp = (value: number) => Math.min(1, Math.max(0, value));
const confidence = (about: number, random: Random) => Math.round(clamp(about + 0.04 * normal(random)) * 100) / 100;
const heightOf = ([, y1, , y2]: Box) => Math.abs(y2 - y1);

/** Between the edges; 0 when they touch or overlap. */
function gapBetween(a: Box, b: Box): number {
  return Math.hypot(Math.max(0, a[0] - b[2], b[0] - a[2]), Math.max(0, a[1] - b[3], b[1] - a[3]));
}

/** Intersection over union. */
function overlapOf(a: Box, b: Box): number {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (width <= 0 || height <= 0) return 0;
  const area = ([x1, y1, x2, y2]: Box) => (x2 - x1) * (y2 - y1);
  return (width * height) / (area(a) + area(b) - width * height);
}
