/** Calls of a vision LLM at any OpenAI-compatible server. The only file that imports `openai`. */
import OpenAI, { APIConnectionTimeoutError, APIError } from "openai";
import { Agent, fetch as pooledFetch } from "undici";
import { z } from "zod";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { readErrorBody } from "./error-body.ts";
import type { ChatMessage } from "./prompt.ts";
import { networkMs, TIMING_HEADERS } from "./provider-time.ts";
import { Refusal, type RefusedAnswer, sortRefusal, withoutSecrets } from "./refusal.ts";
import { type AnswerForm, answerFormOf, looserForm, refusesForm, requestBody } from "./request-body.ts";
import { tellWhenSent } from "./request-sent.ts";

export interface VisionClientOptions {
  /** Any OpenAI-compatible server, up to and including its version: "https://…/v1". */
  baseUrl: string;
  /** The key. It goes into the Authorization header and nowhere else. */
  secret: string;
  model: string;
  /** Whose dialect its refusals are in (dialects/registry.ts). Default: nobody's in particular. */
  provider?: string;
  /** Longest one call may take, ms. */
  timeoutMs: number;
  /** The provider knows response_format json_schema (the verdict's form), or json_object. Default false: the prompt alone asks for JSON. */
  jsonSchema?: boolean;
  jsonObject?: boolean;
  /** Most tokens of an answer. Default 500. */
  maxTokens?: number;
}

export interface VisionRequest {
  messages: readonly ChatMessage[];
}

export interface CallLimits {
  /** Shorter than the client's own when the task's deadline is near; a time-out is then nobody's fault. */
  timeoutMs?: number;
  signal?: AbortSignal;
  /** Called when the request really leaves: its headers are written on a connection that is there. */
  onSent?: () => void;
}

export interface VisionAnswer {
  text: string;
  /** The model that answered, as the server names it. */
  model: string;
  /** Null: the server did not say. */
  tokens: { prompt: number; completion: number } | null;
  /** From sending to the last byte of the answer. */
  latencyMs: number;
  /** Of it the network's part, ms; null: the provider does not say how long it worked. */
  networkMs: number | null;
  /** The server says that it is a simulator: whoever shows the verdict must say so too. */
  simulated: boolean;
  /** Headers of rate limits, of whose account it is, of the request's id; names in lower case. */
  headers: Record<string, string>;
}

export interface VisionClient {
  /**
   * One call, never repeated here. Throws a Refusal (a VigilaneError sorted by cause), or the abort's own reason when
   * `signal` ends it (STOPPED where that is no VigilaneError).
   */
  assess(request: VisionRequest, limits?: CallLimits): Promise<VisionAnswer>;
  /** Closes its connections; calls under way fail. */
  close(): Promise<void>;
}

/** One client a key: connections are kept open between calls and shared by all calls of this client. */
export function createVisionClient(options: VisionClientOptions, { clock }: Pick<Context, "clock">): VisionClient {
  const pool = new Agent({ keepAliveTimeout: 60_000, headersTimeout: 0, bodyTimeout: 0 });
  const provider = options.provider ?? "";
  const maxTokens = options.maxTokens ?? 500;
  let form: AnswerForm = answerFormOf(options);
  const openai = new OpenAI({
    apiKey: options.secret,
    baseURL: options.baseUrl,
    // The lease allows one call: whoever wants another asks for another lease.
    maxRetries: 0,
    timeout: options.timeoutMs,
    // Explicit, so that no variable of the environment (OPENAI_ORG_ID, …) leaks to another provider.
    organization: null,
    project: null,
    fetch: pooledFetch as unknown as typeof fetch,
    fetchOptions: { dispatcher: pool },
  });

  return {
    async assess({ messages }, { timeoutMs = options.timeoutMs, signal, onSent = () => {} } = {}) {
      const allowedMs = Math.max(1, Math.min(timeoutMs, options.timeoutMs));
      const deadline = new AbortController();
      const ended = new AbortController();
      clock.sleep(allowedMs, ended.signal).then(
        () => deadline.abort(),
        () => {},
      );
      const askedAtMs = clock.monotonicMs();
      let leftAtMs = askedAtMs;
      const askedForm = form;
      const left = () => {
        leftAtMs = clock.monotonicMs();
        onSent();
      };
      try {
        signal?.throwIfAborted();
        const { data, response } = await tellWhenSent(left, () =>
          openai.chat.completions
            .create(
              requestBody({ provider, model: options.model }, { messages, maxTokens, form: askedForm }),
              // The deadline covers the body too, which openai's own time-out does not.
              {
                timeout: Math.ceil(allowedMs) + 1_000,
                signal: signal ? AbortSignal.any([signal, deadline.signal]) : deadline.signal,
              },
            )
            .withResponse(),
        );
        const answeredAtMs = clock.monotonicMs();
        const headers = tellingHeaders(response.headers);
        const behind = errorBehind200(data, headers, clock.nowMs());
        if (behind) throw answeredRefusal(behind, provider, options.secret);
        return readCompletion(data, {
          headers,
          latencyMs: answeredAtMs - askedAtMs,
          networkMs: networkMs(answeredAtMs - leftAtMs, headers, false),
          askedModel: options.model,
        });
      } catch (error) {
        if (signal?.aborted) throw stopReason(signal);
        const timedOut = deadline.signal.aborted || error instanceof APIConnectionTimeoutError;
        const refusal = refusalOf(error, {
          timedOutAfterMs: timedOut ? allowedMs : undefined,
          ownDeadline: timeoutMs < options.timeoutMs,
          secret: options.secret,
          provider,
          nowMs: clock.nowMs(),
          roundTripMs: clock.monotonicMs() - leftAtMs,
        });
        if (!formRefused(refusal, askedForm)) throw refusal;
        // Nobody's fault but of who said that it is known: asked for in a looser form from now on, this task too.
        if (form === askedForm) form = looserForm(askedForm);
        throw new Refusal({ ...refusal.sorted, retry: "elsewhere", blames: "nobody" }, refusal.message, refusal.status);
      } finally {
        ended.abort();
      }
    },
    close: () => pool.destroy(),
  };
}

const formRefused = (error: VigilaneError, form: AnswerForm): error is Refusal =>
  form !== "prompt" && error instanceof Refusal && error.sorted.cause === "request" && refusesForm(error.message);

interface Answered extends Pick<VisionAnswer, "headers" | "latencyMs" | "networkMs"> {
  askedModel: string;
}

function readCompletion(data: OpenAI.Chat.ChatCompletion, answered: Answered): VisionAnswer {
  const { headers, latencyMs, networkMs, askedModel } = answered;
  const choice = data?.choices?.[0];
  // Gemini adds what was filtered for: "content_filter: SAFETY".
  if (textIn(choice?.finish_reason).startsWith("content_filter")) {
    throw new Refusal(
      sortRefusal(made(400, "content_filter", headers)),
      "the provider's content filter cut the answer",
      400,
    );
  }
  return {
    // A server that answers 200 with anything else has said nothing: the verdict's reader calls that unreadable.
    text: textIn(choice?.message?.content),
    model: textIn(data?.model) || askedModel,
    tokens: Usage.safeParse(data?.usage).data ?? null,
    latencyMs,
    networkMs,
    simulated: headers["x-vigilane-simulated"] === "true" || data?.system_fingerprint === "simulated",
    headers,
  };
}

/** Servers call themselves compatible and answer what they like: nothing of it is taken on trust. */
const textIn = (value: unknown) => (typeof value === "string" ? value : "");
const Usage = z
  .object({ prompt_tokens: z.number(), completion_tokens: z.number() })
  .transform(({ prompt_tokens: prompt, completion_tokens: completion }) => ({ prompt, completion }));

/** OpenRouter answers 200 once the model has begun, and says in the body what went wrong; undefined: nothing did. */
function errorBehind200(
  data: unknown,
  headers: Record<string, string>,
  nowMs: number,
): (RefusedAnswer & { status: number }) | undefined {
  const error = ErrorBehind200.safeParse(data).data?.error;
  if (!error) return undefined;
  const status = Number(error.code);
  const named = Number.isInteger(status) && status >= 400 && status <= 599;
  return { status: named ? status : 502, ...readErrorBody(error, ""), headers, nowMs };
}
const ErrorBehind200 = z.object({
  error: z.looseObject({ code: z.unknown(), message: z.string() }),
  choices: z.array(z.unknown()).max(0).nullish(),
});

function answeredRefusal(answer: RefusedAnswer & { status: number }, provider: string, secret: string): Refusal {
  const said = `the provider answered ${answer.status} ${withoutSecrets(answer.text, secret)}`;
  return new Refusal(sortRefusal(answer, provider), said, answer.status);
}

interface Circumstances {
  timedOutAfterMs: number | undefined;
  /** The task's deadline, not the client's own time-out, ended the call. */
  ownDeadline: boolean;
  secret: string;
  provider: string;
  nowMs: number;
  roundTripMs: number;
}

function refusalOf(error: unknown, circumstances: Circumstances): VigilaneError {
  const { timedOutAfterMs, ownDeadline, secret, provider, nowMs, roundTripMs } = circumstances;
  if (error instanceof VigilaneError) return error;
  if (timedOutAfterMs !== undefined) {
    const sorted = sortRefusal(made(408, "timeout", {}));
    const message = `no answer within ${Math.round(timedOutAfterMs)} ms`;
    return ownDeadline
      ? new Refusal({ ...sorted, blames: "nobody", coolMs: 0 }, `${message}, when the task's deadline ended the call`)
      : new Refusal(sorted, message);
  }
  if (error instanceof APIError && error.status !== undefined) {
    const body = readErrorBody(error.error, error.message);
    const headers = tellingHeaders(error.headers ?? new Headers());
    const refusal = answeredRefusal({ status: error.status, ...body, headers, nowMs }, provider, secret);
    refusal.headers = headers;
    if (error.status === 429) refusal.networkMs = networkMs(roundTripMs, headers, true);
    return refusal;
  }
  const what = withoutSecrets(networkCause(error), secret);
  if (error instanceof SyntaxError) {
    return new Refusal(sortRefusal(made(502, "", {})), `the provider's answer was no JSON: ${what}`);
  }
  const unanswered: RefusedAnswer = { status: undefined, text: "", headers: {}, nowMs };
  const neverSent = UNCONNECTED.has(codeOf(innermostCause(error)));
  return new Refusal(sortRefusal(unanswered), `no answer from the provider: ${what}`, undefined, neverSent);
}

/** Codes of a connection that never came about: the provider has not seen the request. */
const UNCONNECTED = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);

const made = (status: number, code: string, headers: Record<string, string>): RefusedAnswer => ({
  status,
  code,
  text: "",
  headers,
  nowMs: 0,
});

/** The innermost cause says what happened ("connect ECONNREFUSED …"); openai's own text is "Connection error.". */
function networkCause(error: unknown): string {
  const innermost = innermostCause(error);
  if (!(innermost instanceof Error)) return String(innermost);
  const code = codeOf(innermost);
  return innermost.message.includes(code) ? innermost.message : `${code} ${innermost.message}`;
}

function innermostCause(error: unknown): unknown {
  let innermost: unknown = error;
  for (let depth = 0; depth < 5 && innermost instanceof Error && innermost.cause instanceof Error; depth += 1) {
    innermost = innermost.cause;
  }
  return innermost;
}

const codeOf = (error: unknown) =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";

function stopReason(signal: AbortSignal): VigilaneError {
  return signal.reason instanceof VigilaneError
    ? signal.reason
    : new VigilaneError("STOPPED", "the call was given up before its answer");
}

const TELLING =
  /^(retry-after|x-ratelimit-|anthropic-ratelimit-|x-request-id$|x-vigilane-|request-id$|[a-z]+-(organization|organization-id|project)$)/;

function tellingHeaders(headers: Headers): Record<string, string> {
  return Object.fromEntries([...headers].filter(([name]) => TELLING.test(name) || TIMING_HEADERS.test(name)));
}
