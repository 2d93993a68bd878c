/** How the gateway says that something went wrong: JSON `{ error: { code, message, remedy } }` with a fitting status. */
import type { NextFunction, Request, Response } from "express";
import { z } from "zod";
import type { Logger } from "../context.ts";
import { type ErrorCode, VigilaneError } from "../errors.ts";

const STATUS: Partial<Record<ErrorCode, number>> = {
  REQUEST_UNREADABLE: 400,
  IMAGE_FOREIGN: 400,
  NO_PERMISSION: 403,
  NOT_FOUND: 404,
  NO_SUCH_TASK: 404,
  OPERATION_OFF: 405,
  NOT_FAILED: 409,
  // Of the keys' file as it lies there: it is to be mended before it can be changed.
  SETTINGS_INVALID: 409,
  IMAGE_GONE: 410,
  REQUEST_TOO_LARGE: 413,
  STORE_AWAY: 503,
  IMAGES_AWAY: 503,
  TIMED_OUT: 503,
};

export const statusOf = (error: VigilaneError) => STATUS[error.code] ?? 500;

export interface ErrorAnswer {
  error: { code: string; message: string; remedy: string };
}

export function answerError(response: Response, error: VigilaneError): void {
  const { code, message, remedy } = error;
  const answer: ErrorAnswer = { error: { code, message, remedy } };
  response.status(statusOf(error)).json(answer);
}

/** Express' last handler. What is no error of ours is logged and told without its particulars. */
export const errorHandler =
  (log: Logger) =>
  (error: unknown, request: Request, response: Response, next: NextFunction): void => {
    if (response.headersSent) {
      next(error);
      return;
    }
    const ours = error instanceof VigilaneError ? error : requestFault(error);
    if (ours) {
      answerError(response, ours);
      return;
    }
    log.error({ err: error, method: request.method, path: request.path }, "a request failed");
    const answer: ErrorAnswer = {
      error: { code: "INTERNAL", message: "the request failed", remedy: "The gateway's log says why." },
    };
    response.status(500).json(answer);
  };

/** Express and its parsers say with `status` that the request itself is at fault, and with `type` what is wrong with its body. */
const RequestFault = z.object({
  status: z.number().int().min(400).max(499),
  type: z.string().catch(""),
  message: z.string().catch(""),
  /** Of a body that is too big: what it may be, bytes. */
  limit: z.number().catch(0),
});

function requestFault(error: unknown): VigilaneError | null {
  const parsed = RequestFault.safeParse(error);
  if (!parsed.success) return null;
  const { status, type, message, limit } = parsed.data;
  switch (type) {
    case "entity.parse.failed":
      return new VigilaneError("REQUEST_UNREADABLE", `the body is no JSON object${placeIn(message)}`);
    case "entity.too.large":
      return new VigilaneError("REQUEST_TOO_LARGE", `the body is too big: at most ${Math.floor(limit / 1024)} KiB`);
    case "charset.unsupported":
    case "encoding.unsupported":
      return new VigilaneError("REQUEST_UNREADABLE", "the body must be JSON in UTF-8, plain or compressed by gzip");
    default: {
      const code = status === 404 ? "NOT_FOUND" : "REQUEST_UNREADABLE";
      return new VigilaneError(code, `the request cannot be answered (${status})`);
    }
  }
}

/** ": line 2, column 5" where the parser says so. Its own words repeat the body, which may hold a secret. */
function placeIn(message: string): string {
  const [, line, column] = /\(line (\d+) column (\d+)\)/.exec(message) ?? [];
  return line === undefined ? "" : `: line ${line}, column ${column}`;
}
