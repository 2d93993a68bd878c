/**
 * From an assessment task to the messages of one chat call: instructions, the facts known from the boxes, the picture.
 *
 * The facts stand in a fenced block that programs can read as well as models (docs/simulator.md shows one):
 *
 *     ```facts
 *     { "frame": {...}, "group": {...}, "objects": [...], "features": {...} }
 *     ```
 */
import { type AssessmentTask, RISK_LEVELS } from "../messages.ts";

export type ContentPart = { type: "text"; text: string } | { type: "image_url"; image_url: { url: string } };
/** The part of OpenAI's chat messages that we use. */
export type ChatMessage =
  | { role: "system"; content: string }
  | { role: "assistant"; content: string }
  | { role: "user"; content: string | ContentPart[] };

export interface PromptOptions {
  /** The crop as `data:image/jpeg;base64,…`. */
  imageDataUrl: string;
  /** Language of the description, in English words. Default "English". Field names and levels never change. */
  language?: string;
}

/** What the model may name as risk; others are read too. */
const RISK_TYPES = [
  "pedestrian-vehicle conflict",
  "cyclist-vehicle conflict",
  "vehicle-vehicle conflict",
  "pedestrian in the roadway",
  "wrong way or reckless driving",
  "obstruction",
  "crowding",
  "fall or injury",
  "fire or smoke",
];

const instructions = (language: string) => `\
You judge road safety from one picture of a fixed camera. The picture shows a group of road users close to each other.
Beside the picture you get facts measured from the detector's boxes; boxes are [x1, y1, x2, y2] in pixels of the whole
frame, and the picture shows the group's box with a small margin.

Judge how likely somebody in this group comes to harm within the next few seconds:
- none: ordinary traffic; everybody keeps a safe distance or stands where they belong.
- low: unusual or rather near, but nobody has to react now.
- medium: somebody has to react soon to stay safe.
- high: a collision or an injury is happening or about to happen.
What you see counts more than the facts when they disagree. People walking side by side are no risk by themselves.

Answer with strictly one JSON object and nothing else, no code fence and no explanation:
{"riskLevel": one of ${RISK_LEVELS.map((level) => `"${level}"`).join(", ")},
 "confidence": how sure you are, a number from 0 to 1,
 "riskTypes": list of short texts, empty when the level is none; prefer ${RISK_TYPES.map((type) => `"${type}"`).join(", ")},
 "description": one or two sentences in ${language} about what you see and why you judge so,
 "dangerObjectCount": how many road users are in danger or cause it, an integer,
 "triggerObjectIds": list of the "id" of those objects, from the facts}`;

/** Pure. About 600 tokens of text besides the picture. */
export function buildPrompt(
  task: AssessmentTask,
  { imageDataUrl, language = "English" }: PromptOptions,
): ChatMessage[] {
  return [
    { role: "system", content: instructions(language) },
    {
      role: "user",
      content: [
        {
          type: "text",
          text: `The facts:\n\`\`\`facts\n${JSON.stringify(factsOf(task))}\n\`\`\`\nYour verdict as JSON:`,
        },
        { type: "image_url", image_url: { url: imageDataUrl } },
      ],
    },
  ];
}

/** The second and last try after an answer that could not be read: the same talk, and what was wrong with it. */
export function askAgain(messages: readonly ChatMessage[], answer: string, why: string): ChatMessage[] {
  return [
    ...messages,
    { role: "assistant", content: answer.slice(0, 2_000) || "(nothing)" },
    {
      role: "user",
      content: `That could not be read: ${why}. Answer again with strictly one complete JSON object of the form described, and nothing else.`,
    },
  ];
}

const round = (value: number, digits = 1) => {
  const factor = 10 ** digits;
  return Number.isFinite(value) ? Math.round(value * factor) / factor : null;
};

function factsOf(task: AssessmentTask) {
  return {
    frame: { width: task.imageWidth, height: task.imageHeight },
    group: { bbox: task.bbox.map((v) => round(v)), objectCount: task.objects.length },
    objects: task.objects.map((object, i) => ({
      id: task.memberIndices[i] ?? i,
      class: object.class,
      confidence: round(object.confidence, 2),
      bbox: object.bbox.map((v) => round(v)),
      ...(object.trackId === undefined ? {} : { trackId: object.trackId }),
    })),
    features: task.features && {
      vulnerableToVehiclePx: rounded(task.features.vulnerableToVehiclePx),
      vulnerableToVehicleHeights: rounded(task.features.vulnerableToVehicleHeights, 2),
      closingSpeedPxPerSecond: rounded(task.features.closingSpeedPxPerSecond),
      maxOverlap: round(task.features.maxOverlap, 3),
    },
  };
}

const rounded = (value: number | null, digits?: number) => (value === null ? null : round(value, digits));
