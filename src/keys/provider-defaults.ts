/** What a provider's name alone says of a key group; what the file itself says wins. */
import type { Capabilities } from "../queues/key-groups.ts";
import { PROVIDERS, type ProviderName } from "../queues/provider-presets.ts";

export interface ProviderDefaults {
  /** Undefined: the file must say it. */
  baseUrl: string | undefined;
  needsKey: boolean;
  capabilities: Capabilities;
  refusedCallsCount: boolean;
}

export function defaultsOf(provider: ProviderName): ProviderDefaults {
  const { baseUrl, needsKey, jsonObject, jsonSchema } = PROVIDERS[provider];
  // What only some of a provider's models can do is asked for in the file.
  const capabilities = { jsonObject, jsonSchema: jsonSchema === true };
  // Of a server of which nothing is known the stricter is taken.
  const refusedCallsCount = provider === "custom" || PROVIDERS[provider].refusedCallsCount;
  return { baseUrl: baseUrl ?? undefined, needsKey, capabilities, refusedCallsCount };
}
