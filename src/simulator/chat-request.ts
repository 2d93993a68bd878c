/** Reads a chat request as a provider would: what it cannot use is refused with the reason. Images are really decoded. */
import { hash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import sharp from "sharp";
import { z } from "zod";
import type { Asked } from "./answers.ts";
import type { SpokenDialect } from "./dialects/dialect.ts";

/** As DashScope's limit for requests with inline images. */
const MAX_BODY_BYTES = 10_000_000;
const MAX_IMAGES = 16;

// One thread a picture: what calls cost must not depend on how many cores are idle.
sharp.concurrency(1);

type ImageSize = Asked["images"][number];

export class RequestFault extends Error {
  readonly status: number;
  constructor(message: string, status = 400) {
    super(message);
    this.status = status;
  }
}

const Part = z.union([
  z.looseObject({ type: z.literal("text"), text: z.string() }),
  z.looseObject({ type: z.literal("image_url"), image_url: z.looseObject({ url: z.string() }) }),
]);
const ChatRequest = z.looseObject({
  model: z.string().min(1),
  messages: z
    .array(
      z.looseObject({ role: z.enum(["system", "user", "assistant"]), content: z.union([z.string(), z.array(Part)]) }),
    )
    .min(1),
  stream: z.boolean().nullish(),
  response_format: z.looseObject({ type: z.string(), json_schema: z.unknown().optional() }).nullish(),
  max_tokens: z.number().int().min(1).nullish(),
  max_completion_tokens: z.number().int().min(1).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
});

/** Throws RequestFault, also for what a provider of this dialect does not take. */
export async function readChatRequest(request: IncomingMessage, dialect: SpokenDialect): Promise<Asked> {
  const parsed = ChatRequest.safeParse(parseJson(await readBody(request)));
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new RequestFault(`Bad request: ${issue?.path.join(".") || "body"}: ${issue?.message ?? "unreadable"}`);
  }
  const { model, messages, stream, response_format, max_tokens, max_completion_tokens, temperature } = parsed.data;
  if (stream) throw new RequestFault("This provider does not stream.");
  const unfit = dialect.unfit({
    model,
    format: response_format?.type,
    schema: response_format?.json_schema,
    maxTokens: max_tokens ?? undefined,
    maxCompletionTokens: max_completion_tokens ?? undefined,
    temperature: temperature ?? undefined,
  });
  if (unfit !== undefined) throw new RequestFault(unfit);
  const parts = messages.flatMap(({ content }) =>
    typeof content === "string" ? [{ type: "text" as const, text: content }] : content,
  );
  const text = parts.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("\n");
  if (response_format?.type === "json_object" && !/json/i.test(text)) {
    throw new RequestFault(
      "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
    );
  }
  const urls = parts.flatMap((part) => (part.type === "image_url" ? [part.image_url.url] : []));
  if (urls.length > MAX_IMAGES) throw new RequestFault(`More than ${MAX_IMAGES} images.`);
  const maxTokens = max_completion_tokens ?? max_tokens ?? Number.POSITIVE_INFINITY;
  return { text, images: await Promise.all(urls.map(decodeImage)), maxTokens };
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES)
      throw new RequestFault("Exceeded limit on max bytes of the request body: 10000000.", 413);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString("utf8"));
  } catch {
    throw new RequestFault("The request body is no JSON.");
  }
}

const DATA_URL = /^data:image\/(jpeg|jpg|png|webp);base64,/;

/** Images that were decoded lately, by digest: the same bytes decode the same. */
const decodedLately = new Map<string, ImageSize>();
const REMEMBERED = 500;

/** Size of an image that decodes to its last row; a reference to anywhere else is never fetched. */
async function decodeImage(url: string): Promise<ImageSize> {
  const prefix = DATA_URL.exec(url.slice(0, 64))?.[0];
  if (prefix === undefined) throw new RequestFault("The image must be a data: URL of a JPEG, PNG or WebP in base64.");
  const bytes = Buffer.from(url.slice(prefix.length), "base64");
  const digest = hash("sha1", bytes, "base64");
  const known = decodedLately.get(digest);
  if (known) return known;
  try {
    const { info } = await sharp(bytes, { failOn: "truncated" }).raw().toBuffer({ resolveWithObject: true });
    const size = { width: info.width, height: info.height };
    decodedLately.set(digest, size);
    const [oldest] = decodedLately.keys();
    if (decodedLately.size > REMEMBERED && oldest !== undefined) decodedLately.delete(oldest);
    return size;
  } catch {
    throw new RequestFault("The image format is illegal and cannot be opened.");
  }
}
