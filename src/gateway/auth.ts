/**
 * Who may look, and who may change anything. Without the token everything is read-only; where other machines reach the
 * gateway, nothing is to be seen without it either. The token is shown as `Authorization: Bearer`, or
 * turned once into a session by opening `/?token=…`: an HttpOnly cookie, signed with the token, so that every gateway with
 * the same token accepts it and a restart forgets nothing. A session's changes also need the XSRF token bound to it.
 */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import type { Clock } from "../context.ts";
import { VigilaneError } from "../errors.ts";

export const SESSION_COOKIE = "vigilane_session";
/** The names that bull-board's page uses by itself, and so ours. */
export const XSRF_COOKIE = "XSRF-TOKEN";
export const XSRF_HEADER = "x-xsrf-token";
const SESSION_MS = 7 * 24 * 3_600_000;

/** How a request showed that it may change things; "nothing": it may only look, where looking is open. */
export type Permission = { by: "nothing" } | { by: "bearer" } | { by: "session"; session: string };

export interface Auth {
  permissionOf(request: IncomingMessage): Permission;
  /** Throws NO_PERMISSION unless the request may look. */
  requireLook(request: IncomingMessage): void;
  /** Throws NO_PERMISSION unless the request may change things (a session: with its XSRF token). */
  requireChange(request: IncomingMessage): void;
  /** Sets the session's cookies when `token` is right; false when it is not. */
  openSession(token: string, response: ServerResponse): boolean;
}

/** The token of this installation: the setting, else the data folder's file `token`, made (mode 0600) when there is none. */
export function readToken(settings: { token?: string | undefined; data: string }): string {
  if (settings.token !== undefined) return settings.token;
  const file = join(settings.data, "token");
  mkdirSync(settings.data, { recursive: true });
  try {
    writeFileSync(file, `${randomBytes(24).toString("base64url")}\n`, { mode: 0o600, flag: "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  const token = readFileSync(file, "utf8").trim();
  if (token.length < 16) {
    throw new VigilaneError("SETTINGS_INVALID", `the file ${file} holds a token of fewer than 16 characters`, {
      remedy: "Delete the file; a new token is made at the next start.",
    });
  }
  return token;
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1|\[::1\])$/i;

/** Whether only this machine reaches what listens there. */
export const isLoopback = (host: string) => LOOPBACK.test(host);

/** Other machines could reach a gateway whose token nobody chose: refused with SETTINGS_INVALID. */
export function refuseOpenHost(settings: { host: string; token?: string | undefined }): void {
  if (isLoopback(settings.host) || settings.token !== undefined) return;
  throw new VigilaneError(
    "SETTINGS_INVALID",
    `host = "${settings.host}": the gateway may listen on another address than loopback only with a token`,
    { remedy: "Set VIGILANE_TOKEN (16 characters or more), or leave the host at 127.0.0.1." },
  );
}

/** `looking`: "open" - whoever reaches the gateway may look; "permitted" - only a session or the token. */
export function createAuth(token: string, clock: Clock, looking: "open" | "permitted"): Auth {
  const sign = (text: string) => createHmac("sha256", token).update(text).digest("base64url");

  /** A session is `<issuedAtMs>.<random>`, its cookie that and the signature. */
  function sessionIn(cookie: string | undefined): string | null {
    const match = /^(\d{1,15}\.[A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})$/.exec(cookie ?? "");
    if (!match?.[1] || !match[2] || !equal(match[2], sign(`session ${match[1]}`))) return null;
    const ageMs = clock.nowMs() - Number(match[1].split(".")[0]);
    return ageMs < SESSION_MS ? match[1] : null;
  }

  const auth: Auth = {
    permissionOf(request) {
      const bearer = /^Bearer (.+)$/i.exec(request.headers.authorization ?? "")?.[1];
      if (bearer !== undefined) return equal(bearer.trim(), token) ? { by: "bearer" } : { by: "nothing" };
      const session = sessionIn(cookiesOf(request).get(SESSION_COOKIE));
      return session === null ? { by: "nothing" } : { by: "session", session };
    },
    requireLook(request) {
      if (looking === "open" || auth.permissionOf(request).by !== "nothing") return;
      throw new VigilaneError("NO_PERMISSION", "other machines reach this gateway: it shows nothing without the token");
    },
    requireChange(request) {
      const permission = auth.permissionOf(request);
      if (permission.by === "nothing") {
        throw new VigilaneError("NO_PERMISSION", "without the token everything is read-only");
      }
      if (permission.by === "bearer") return;
      const shown = request.headers[XSRF_HEADER];
      if (typeof shown !== "string" || !equal(shown, sign(`xsrf ${permission.session}`))) {
        throw new VigilaneError("NO_PERMISSION", "the X-XSRF-TOKEN header is missing or belongs to another session");
      }
    },
    openSession(shown, response) {
      if (!equal(shown, token)) return false;
      const session = `${Math.floor(clock.nowMs())}.${randomBytes(16).toString("base64url")}`;
      const lasts = `Path=/; SameSite=Strict; Max-Age=${SESSION_MS / 1000}`;
      response.setHeader("Set-Cookie", [
        `${SESSION_COOKIE}=${session}.${sign(`session ${session}`)}; HttpOnly; ${lasts}`,
        `${XSRF_COOKIE}=${sign(`xsrf ${session}`)}; ${lasts}`,
      ]);
      return true;
    },
  };
  return auth;
}

function cookiesOf(request: IncomingMessage): Map<string, string> {
  const pairs = (request.headers.cookie ?? "").split(";").map((part): [string, string] => {
    const at = part.indexOf("=");
    return at < 0 ? [part.trim(), ""] : [part.slice(0, at).trim(), part.slice(at + 1).trim()];
  });
  return new Map(pairs);
}

/** Takes the same time wherever two texts differ. */
function equal(a: string, b: string): boolean {
  const digest = (text: string) => createHmac("sha256", "equal").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
