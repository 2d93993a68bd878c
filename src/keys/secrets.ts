/** Secrets: how the file may say where one is, and how one is shown to people. */
import { readFileSync } from "node:fs";

/** Of a server that asks for no key: sent in the place of one, and no secret. */
export const NO_SECRET = "no-key-needed";

const LEAST_TO_SHOW = 16;

/** The first 3 and the last 4 characters; a secret too short for that to hide enough is hidden whole. */
export function showSecret(secret: string): string {
  if (secret === NO_SECRET) return "none needed";
  return secret.length < LEAST_TO_SHOW ? "…" : `${secret.slice(0, 3)}…${secret.slice(-4)}`;
}

/** How a secret is written in the file, for people: a reference as it is, a secret shown by its ends. */
export const showWritten = (written: string) =>
  referenceOf(written).kind === "literal" ? showSecret(written) : written;

export type SecretReference =
  | { kind: "literal" }
  | { kind: "environment"; name: string }
  | { kind: "file"; path: string }
  | { kind: "unreadable"; why: string };

/** `${NAME}`, `file:/path`, or the secret itself. */
export function referenceOf(written: string): SecretReference {
  const name = /^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$/.exec(written)?.[1];
  if (name !== undefined) return { kind: "environment", name };
  if (written.startsWith("file:")) {
    const path = written.slice("file:".length).replace(/^\/\/(?=\/)/, "");
    return path.startsWith("/") || /^[A-Za-z]:[\\/]/.test(path)
      ? { kind: "file", path }
      : { kind: "unreadable", why: "file: needs a whole path, as in file:/run/secrets/qwen" };
  }
  if (/\$\{/.test(written)) {
    return {
      kind: "unreadable",
      why: "a variable stands alone in its braces, and is named with letters, digits and _",
    };
  }
  return { kind: "literal" };
}

export type Resolved = { secret: string; file?: string } | { fault: string; file?: string };

/** The secret that is meant. A fault says what is missing, never what is there. */
export function resolveSecret(written: string, env: NodeJS.ProcessEnv): Resolved {
  const reference = referenceOf(written);
  switch (reference.kind) {
    case "literal":
      return printable(written);
    case "environment": {
      const secret = env[reference.name];
      return secret
        ? printable(secret)
        : { fault: `the environment has no ${reference.name}: set it, or correct the name` };
    }
    case "file":
      return { ...readSecretFile(reference.path), file: reference.path };
    case "unreadable":
      return { fault: reference.why };
    default:
      return reference satisfies never;
  }
}

/** Container secrets end in a newline more often than not. */
function readSecretFile(path: string): Resolved {
  try {
    const secret = readFileSync(path, "utf8").replace(/\r?\n$/, "");
    return secret === "" ? { fault: `the file ${path} is empty: it must hold the secret` } : printable(secret);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unreadable";
    return { fault: `the file ${path} cannot be read (${code}): mount the secret there, or correct the path` };
  }
}

/** It goes into a header; anything else would be an error of the HTTP client, with the secret in its message. */
const printable = (secret: string): Resolved =>
  /^[\x21-\x7e]+$/.test(secret)
    ? { secret }
    : { fault: "the secret holds a space, a line break or another character that no key has; paste it again" };
