/** What the gateway may see and do of the keys' file: the contract between keys (which does it) and gateway (which lets people). */

/** A group as the file has it. No secret is in it: only its first 3 and last 4 characters. */
export interface GroupOnFile {
  id: string;
  provider: string;
  baseUrl: string | null;
  model: string | null;
  account: string | null;
  weight: number;
  strategy: string;
  region: string | null;
  quality: number;
  price: object | null;
  /** What the file itself says; the rest is what is known of the provider. */
  capabilities: object;
  /** Null: the file says nothing, and what is known of the provider holds. */
  refusedCallsCount: boolean | null;
  windows: object;
  keys: { id: string; secret: string; weight: number; enabled: boolean }[];
}

/**
 * Changes reject with REQUEST_UNREADABLE for what would not load, with every fault; NOT_FOUND for a group or key that is not
 * there; OPERATION_OFF where this process has no keys' file; SETTINGS_INVALID, with the faults, where the file itself cannot be
 * read as it is. What they resolve with is what was done, for people. They are in the file when they resolve; bridge and
 * workers take them over within seconds.
 */
export interface KeyGroupsFile {
  /** Rejects with OPERATION_OFF or SETTINGS_INVALID as changes do. */
  groups(): Promise<GroupOnFile[]>;
  /** A group as in the file. Secrets are entered, not referred to. */
  create(group: unknown): Promise<string>;
  /** Fields of a group, merged as RFC 7396 does: null takes one away, lists are replaced whole; keys go by their ids. Where baseUrl goes elsewhere, each secret is entered again. */
  change(groupId: string, fields: unknown): Promise<string>;
  /** The group, or one key of it. */
  remove(groupId: string, keyId?: string): Promise<string>;
}
