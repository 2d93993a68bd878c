/**
 * The keys' file as text, also where it is encrypted with age (age-encryption.org). With passphrase.ts the only
 * file that imports `age-encryption`. What opens and seals comes from the environment, never from a flag, which others could see:
 * VIGILANE_AGE_IDENTITY, VIGILANE_AGE_IDENTITY_FILE, VIGILANE_AGE_PASSPHRASE.
 */
import { readFileSync } from "node:fs";
import { VigilaneError } from "../errors.ts";

/** Ending of an encrypted file's name. */
export const SEALED = ".age";

export interface KeysText {
  path: string;
  text: string;
  /** The identity's file, where it was needed: a new one may open what the old one could not. */
  sealedWith?: string;
}

export interface OpenedKeys extends KeysText {
  /** The file as it was read: what it must still hold when it is written over. */
  onDisk: Uint8Array;
}

/** What an encrypted file is opened and sealed with. */
export interface Opener {
  identities: string[];
  passphrase: string | undefined;
  identityFile: string | undefined;
}

const VARIABLES = "VIGILANE_AGE_IDENTITY, VIGILANE_AGE_IDENTITY_FILE or VIGILANE_AGE_PASSPHRASE";
const HOW = `Set ${VARIABLES}; docs/keys.md says how.`;

export const isSealed = (path: string) => path.endsWith(SEALED);

/** Undefined: the environment has none. Throws SETTINGS_INVALID for an identity that is none. */
export function openerFrom(env: NodeJS.ProcessEnv): Opener | undefined {
  const { VIGILANE_AGE_IDENTITY: identity, VIGILANE_AGE_IDENTITY_FILE: identityFile } = env;
  const passphrase = env.VIGILANE_AGE_PASSPHRASE || undefined;
  if (!identity && !identityFile && passphrase === undefined) return undefined;
  const identities = [
    ...(identity ? identitiesIn(identity, "VIGILANE_AGE_IDENTITY") : []),
    ...(identityFile ? identitiesIn(readIdentityFile(identityFile), identityFile) : []),
  ];
  return { identities, passphrase, identityFile: identityFile || undefined };
}

/** Reads the file, and opens it where it is encrypted. Rejects with SETTINGS_INVALID; the reason shows nothing of it. */
export async function openKeysText(path: string, env: NodeJS.ProcessEnv): Promise<OpenedKeys> {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unreadable";
    throw new VigilaneError("SETTINGS_INVALID", `the keys' file ${path} cannot be read (${code})`, {
      remedy: "Correct the path (setting keys), or copy config/keys.example.yaml there.",
    });
  }
  if (!isSealed(path)) return { path, text: bytes.toString("utf8"), onDisk: bytes };
  const opener = openerFrom(env);
  if (!opener) {
    throw new VigilaneError("SETTINGS_INVALID", `${path} is encrypted, and there is nothing to open it with`, {
      remedy: HOW,
    });
  }
  const text = await open(bytes, opener, path);
  return { path, text, onDisk: bytes, ...(opener.identityFile !== undefined && { sealedWith: opener.identityFile }) };
}

/** Only where a file is encrypted: all of its cryptography takes time and memory to load. */
const age = async () => ({ ...(await import("age-encryption")), ...(await import("./passphrase.ts")) });

async function open(bytes: Buffer, { identities, passphrase }: Opener, path: string): Promise<string> {
  const { Decrypter, passphraseIdentity } = await age();
  const decrypter = new Decrypter();
  for (const identity of identities) decrypter.addIdentity(identity);
  if (passphrase !== undefined) decrypter.addIdentity(passphraseIdentity(passphrase));
  try {
    return await decrypter.decrypt(bytes, "text");
  } catch {
    throw new VigilaneError("SETTINGS_INVALID", `${path} cannot be opened with this identity or passphrase`, {
      remedy: `It is damaged, or was encrypted for another. ${HOW}`,
    });
  }
}

/** For every identity, so that any of them opens it; a passphrase stands alone, as the format has it. */
export async function seal(text: string, { identities, passphrase }: Opener): Promise<Uint8Array> {
  const { Encrypter, identityToRecipient, passphraseRecipient } = await age();
  const encrypter = new Encrypter();
  if (identities.length > 0) {
    for (const identity of identities) encrypter.addRecipient(await identityToRecipient(identity));
  } else encrypter.addRecipient(passphraseRecipient(passphrase ?? ""));
  return await encrypter.encrypt(text);
}

/** A new identity as the text of its file. */
export async function newIdentityFile(nowMs: number): Promise<string> {
  const { generateX25519Identity, identityToRecipient } = await age();
  const identity = await generateX25519Identity();
  return `# created: ${new Date(nowMs).toISOString()}\n# public key: ${await identityToRecipient(identity)}\n${identity}\n`;
}

function readIdentityFile(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unreadable";
    throw new VigilaneError("SETTINGS_INVALID", `the identity's file ${path} cannot be read (${code})`, {
      remedy: "Correct VIGILANE_AGE_IDENTITY_FILE, or mount the file there.",
    });
  }
}

function identitiesIn(text: string, from: string): string[] {
  const lines = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  if (lines.length > 0 && lines.every((line) => /^AGE-SECRET-KEY-(PQ-)?1[A-Z0-9]+$/.test(line))) return lines;
  throw new VigilaneError("SETTINGS_INVALID", `${from} holds no age identity`, {
    remedy: "It must hold a line AGE-SECRET-KEY-1…, as `vigilane keys encrypt --identity FILE` or age-keygen makes it.",
  });
}
