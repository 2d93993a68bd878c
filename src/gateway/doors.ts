/**
 * The doors. A page in the user's browser can reach loopback too, so that being local protects nothing: only known host
 * names are answered (against DNS rebinding), sockets and changes come from our own pages or from no page at all, bodies
 * are JSON only, and nothing of ours is framed, sniffed or loaded from elsewhere.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { VigilaneError } from "../errors.ts";
import { HOST_NAME } from "../settings.ts";

export interface Doors {
  /** Throws NO_PERMISSION for a Host header that is not one of our names, or none at all. */
  checkHost(request: IncomingMessage): void;
  /** Throws NO_PERMISSION for a request that another site's page has made. */
  checkOrigin(request: IncomingMessage): void;
  /** For every request that may change something: origin, Sec-Fetch-Site and the kind of body. */
  checkChange(request: IncomingMessage): void;
}

const LOOPBACK_NAMES = ["localhost", "127.0.0.1", "[::1]"];
const WILDCARDS = ["0.0.0.0", "::", "[::]"];

/** `host`: what the gateway listens on; `allowedHosts`: further names, with or without a port. */
export function createDoors({ host, allowedHosts }: { host: string; allowedHosts: readonly string[] }): Doors {
  const own = WILDCARDS.includes(host) ? [] : [host.includes(":") && !host.startsWith("[") ? `[${host}]` : host];
  const names = new Set([...LOOPBACK_NAMES, ...own, ...allowedHosts].map(knownName));

  const doors: Doors = {
    checkHost(request) {
      const name = nameOf(request.headers.host ?? "");
      if (name === null) throw new VigilaneError("NO_PERMISSION", "the request's Host header names no host");
      if (names.has(name)) return;
      throw new VigilaneError("NO_PERMISSION", `the gateway is not known as "${request.headers.host ?? ""}"`, {
        remedy: "Add the name to the setting allowedHosts (VIGILANE_ALLOWED_HOSTS).",
      });
    },
    checkOrigin(request) {
      const { origin, host: asked } = request.headers;
      if (origin === undefined) return;
      if (URL.canParse(origin) && new URL(origin).host === asked?.toLowerCase()) return;
      throw new VigilaneError("NO_PERMISSION", `pages of ${origin} may not use this gateway`, {
        remedy: "Use the gateway's own page, or ask from a program that sends no Origin.",
      });
    },
    checkChange(request) {
      doors.checkOrigin(request);
      const site = request.headers["sec-fetch-site"];
      if (site === "cross-site" || site === "same-site") {
        throw new VigilaneError("NO_PERMISSION", "changes are accepted from the gateway's own page only");
      }
      const hasBody =
        request.headers["transfer-encoding"] !== undefined || Number(request.headers["content-length"]) > 0;
      if (hasBody && !/^application\/json\s*(;|$)/i.test(request.headers["content-type"] ?? "")) {
        throw new VigilaneError("REQUEST_UNREADABLE", "a body must be application/json");
      }
    },
  };
  return doors;
}

/** Methods that change nothing. */
export const LOOKS = new Set(["GET", "HEAD", "OPTIONS"]);

const CONTENT_SECURITY_POLICY = [
  "default-src 'self'",
  // bull-board and Leaflet set styles inline; scripts come from files of ours only.
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data: blob:",
  "worker-src 'self' blob:",
  "object-src 'none'",
  "base-uri 'self'",
  "form-action 'self'",
  "frame-ancestors 'self'",
].join("; ");

export function setSecurityHeaders(response: ServerResponse): void {
  response.setHeader("Content-Security-Policy", CONTENT_SECURITY_POLICY);
  response.setHeader("X-Content-Type-Options", "nosniff");
  response.setHeader("X-Frame-Options", "SAMEORIGIN");
  response.setHeader("Referrer-Policy", "no-referrer");
  response.setHeader("Cross-Origin-Resource-Policy", "same-origin");
  response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
  response.setHeader("Permissions-Policy", "camera=(), microphone=(), geolocation=()");
}

function knownName(host: string): string {
  const name = nameOf(host);
  if (name !== null) return name;
  throw new VigilaneError("SETTINGS_INVALID", `"${host}" is no host name`, {
    remedy: "Give allowedHosts host names only, without https:// and path.",
  });
}

/** The host's name without its port, in lower case; null for what is none. */
function nameOf(host: string): string | null {
  return HOST_NAME.exec(host)?.[1]?.toLowerCase().replace(/\.$/, "") || null;
}
