/** One client a key, made and given up as keys come and go. A call under way ends with the client it began with. */
import type { Context } from "../context.ts";
import type { KeyGroup } from "../queues/key-groups.ts";
import { ANSWER_TOKENS } from "../queues/token-estimate.ts";
import { createVisionClient, type VisionClient, type VisionClientOptions } from "./vision-client.ts";

export interface VisionClients {
  /** The client that calls with this key; undefined: this process does not hold it. */
  clientOf(keyGroup: string, keyId: string): VisionClient | undefined;
  /** From now on exactly these. Clients of keys that have not changed stay, with their connections. */
  use(groups: readonly KeyGroup[]): void;
  /** Closes all; calls under way fail. */
  close(): Promise<void>;
}

interface Held {
  options: VisionClientOptions;
  client: VisionClient;
  atWork: number;
  /** Closed when its last call has ended. */
  givenUp: boolean;
  /** As handed out: counts its calls. */
  counted: VisionClient;
}

export function createVisionClients(timeoutMs: number, context: Pick<Context, "clock">): VisionClients {
  let held = new Map<string, Held>();
  const leaving = new Set<Held>();

  function hold(options: VisionClientOptions): Held {
    const client = createVisionClient(options, context);
    const one: Held = {
      options,
      client,
      atWork: 0,
      givenUp: false,
      counted: {
        async assess(request, limits) {
          one.atWork += 1;
          try {
            return await client.assess(request, limits);
          } finally {
            one.atWork -= 1;
            closeWhenDone(one);
          }
        },
        close: () => client.close(),
      },
    };
    return one;
  }

  function closeWhenDone(one: Held): void {
    if (!one.givenUp || one.atWork > 0) return;
    leaving.delete(one);
    one.client.close().catch(() => {});
  }

  return {
    clientOf: (keyGroup, keyId) => held.get(`${keyGroup}/${keyId}`)?.counted,
    use(groups) {
      const next = new Map<string, Held>();
      for (const { id, provider, baseUrl, model, capabilities, keys } of groups) {
        const ofGroup = {
          provider,
          baseUrl,
          model,
          timeoutMs,
          jsonSchema: capabilities.jsonSchema,
          jsonObject: capabilities.jsonObject,
          maxTokens: ANSWER_TOKENS,
        };
        for (const key of keys) {
          const options = { ...ofGroup, secret: key.secret };
          const known = held.get(`${id}/${key.id}`);
          const same = known !== undefined && JSON.stringify(known.options) === JSON.stringify(options);
          next.set(`${id}/${key.id}`, same ? known : hold(options));
        }
      }
      const kept = new Set(next.values());
      for (const one of held.values()) {
        if (kept.has(one)) continue;
        one.givenUp = true;
        leaving.add(one);
        closeWhenDone(one);
      }
      held = next;
    },
    async close() {
      await Promise.all([...held.values(), ...leaving].map(({ client }) => client.close()));
      held = new Map();
      leaving.clear();
    },
  };
}
