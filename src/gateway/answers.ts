/** How the gateway says that something went wrong: JSON `{ error: { code, message, remedy } }` with a fitting status. */
import type { NextFunction, Request, Response } from "express";
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

/** Express and its parsers say with `status` that the request itself is at fault. */
function requestFault(error: unknown): VigilaneError | null {
  const status = (error as { status?: unknown } | null)?.status;
  if (typeof status !== "number" || status < 400 || status >= 500) return null;
  return new VigilaneError(
    status === 404 ? "NOT_FOUND" : "REQUEST_UNREADABLE",
    `the request cannot be answered (${status})`,
  );
}
