/**
 * age's passphrase (its `scrypt` stanza, age-encryption.org/v1), derived by Node's own scrypt in a thread of its own. That of
 * the package is JavaScript on this thread: seconds in which a running worker would answer nobody.
 */
import { createCipheriv, createDecipheriv, randomBytes, type ScryptOptions, scrypt } from "node:crypto";
import { type Identity, type Recipient, Stanza } from "age-encryption";

/** 2^18 rounds: about a second here, and 256 MiB. */
const WORK_FACTOR = 18;
/** A file may ask for no more. */
const MOST_WORK = 20;
const LABEL = "age-encryption.org/v1/scrypt";
const NONCE = Buffer.alloc(12);
const TAG_BYTES = 16;

export function passphraseIdentity(passphrase: string): Identity {
  return {
    async unwrapFileKey(stanzas) {
      const stanza = stanzas.find(({ args }) => args[0] === "scrypt");
      if (!stanza || stanzas.length !== 1) return null;
      const [, salt = "", factor = ""] = stanza.args;
      const logN = Number(factor);
      if (!/^[1-9][0-9]?$/.test(factor) || logN > MOST_WORK) throw new Error("the work factor is too high");
      const key = await derive(passphrase, Buffer.from(salt, "base64"), logN);
      const body = Buffer.from(stanza.body);
      const decipher = createDecipheriv("chacha20-poly1305", key, NONCE, { authTagLength: TAG_BYTES });
      decipher.setAuthTag(body.subarray(-TAG_BYTES));
      try {
        return new Uint8Array(Buffer.concat([decipher.update(body.subarray(0, -TAG_BYTES)), decipher.final()]));
      } catch {
        return null; // another passphrase
      }
    },
  };
}

export function passphraseRecipient(passphrase: string, logN = WORK_FACTOR): Recipient {
  return {
    async wrapFileKey(fileKey) {
      const salt = randomBytes(16);
      const key = await derive(passphrase, salt, logN);
      const cipher = createCipheriv("chacha20-poly1305", key, NONCE, { authTagLength: TAG_BYTES });
      const body = Buffer.concat([cipher.update(fileKey), cipher.final(), cipher.getAuthTag()]);
      const args = ["scrypt", salt.toString("base64").replace(/=+$/, ""), String(logN)];
      return [new Stanza(args, new Uint8Array(body))];
    },
  };
}

function derive(passphrase: string, salt: Buffer, logN: number): Promise<Buffer> {
  const cost: ScryptOptions = { N: 2 ** logN, r: 8, p: 1, maxmem: 2 ** (logN + 11) };
  return new Promise((resolve, reject) => {
    scrypt(passphrase, Buffer.concat([Buffer.from(LABEL), salt]), 32, cost, (error, key) =>
      error ? reject(error) : resolve(key),
    );
  });
}
