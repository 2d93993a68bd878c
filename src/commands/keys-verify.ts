/** `vigilane keys verify`: asks once with every key, and on demand finds out which keys share a quota. */
import { randomUUID } from "node:crypto";
import { createInterface } from "node:readline/promises";
import { type Context, createLogger, systemClock } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import type { Draft } from "../keys/draft.ts";
import { readKeyMemory } from "../keys/key-memory.ts";
import { keysFile, loadKeySet, readDraft, readKeySet, rememberKeys } from "../keys/load-key-set.ts";
import { Acquired } from "../lifecycle.ts";
import { CHECK_ANSWER_TOKENS, checkKey, probeCall } from "../processors/check-key.ts";
import { type ProbedKey, type ProbePlan, planProbe } from "../processors/probe-plan.ts";
import { probeSharing } from "../processors/probe-sharing.ts";
import { seemingAccounts } from "../processors/seeming-accounts.ts";
import { createVisionClient, type VisionClient } from "../processors/vision-client.ts";
import type { KeyGroup } from "../queues/key-groups.ts";
import { PROVIDERS, type ProviderName } from "../queues/provider-presets.ts";
import { type CallsApart, createCallsApart } from "../queues/redis-apart.ts";
import { windowsByAccount } from "../queues/window.ts";
import type { Settings } from "../settings.ts";
import { connectStore } from "../store.ts";
import { lockData } from "../supervisor/data-lock.ts";
import { readRunFile } from "../supervisor/run-file.ts";
import { type KeysCall, numberOf, openFile } from "./keys-call.ts";
import { nameOf, type ProbedDomain, reportLines, type VerifiedKey, type VerifyReport } from "./keys-verify-report.ts";
import { createGate, type Gate } from "./verify-gate.ts";

/** A key as it is asked with. */
interface HeldKey {
  name: string;
  group: KeyGroup;
  keyId: string;
  secret: string;
  client: VisionClient;
}

/** Keys that could share a quota: one provider, address and model. Asked one after the other, in the order of the file. */
interface Domain {
  name: string;
  provider: string;
  keys: HeldKey[];
}

/** Exit code 0 when every enabled key is usable. */
export async function verifyKeys(call: KeysCall): Promise<number> {
  const context: Context = { clock: systemClock, log: createLogger("keys", "silent") };
  const acquired = new Acquired();
  try {
    const probing = call.given("probe-sharing");
    // The probe needs the keys for itself; one call more each does not.
    if (probing) acquired.add(await lockData(call.settings.data, context), "lock", (lock) => lock.release());
    const { groups, all, draft } = await chosenGroups(call);
    const domains = domainsOf(groups, call.settings, acquired, context);
    const mostCalls = numberOf(call, "most-calls");
    if (probing) await announce(domains, all, mostCalls, call);
    const apart = await runningWindows(call.settings, acquired, context);
    const gate = createGate(all, apart, { timeoutMs: timeoutOf(call.settings), say: progress }, context);
    const report: VerifyReport = {
      ...{ keys: [], seeming: [], probed: [] },
      spent: { calls: 0, promptTokens: 0, completionTokens: 0 },
    };
    const found: VerifiedKey[] = [];
    for (const domain of domains) found.push(...(await verifyDomain(domain, gate, report, context)));
    report.keys = inFileOrder(found, draft, groups);
    if (probing)
      for (const domain of domains) report.probed.push(await probeDomain(domain, all, report, mostCalls, context));
    const ok = report.keys.every(({ state }) => state === "usable" || state === "disabled");
    say(call.given("json") ? JSON.stringify({ ok, ...report }, null, 2) : reportLines(report).join("\n"));
    return ok ? 0 : 1;
  } finally {
    await acquired.unwind(context);
  }
}

const timeoutOf = ({ callTimeoutSeconds }: Settings) => callTimeoutSeconds * 1_000;

/** `all`: of the whole file, whose accounts' windows count. */
async function chosenGroups(
  call: KeysCall,
): Promise<{ groups: KeyGroup[]; all: KeyGroup[]; draft: Draft | undefined }> {
  const { settings, env, operands, flag } = call;
  const simulated = keysFile(settings) === undefined && settings.simulatorUrl !== undefined;
  const file = simulated ? undefined : await openFile(settings, env);
  const set = file
    ? readKeySet(file, settings, { env, memory: readKeyMemory(settings.data) })
    : await loadKeySet(settings, { env });
  rememberKeys(set, settings);
  for (const notice of set.notices) progress(notice);
  const wanted = flag("group") ?? operands[0];
  const groups = set.groups.filter(({ id }) => wanted === undefined || id === wanted);
  if (groups.length === 0)
    throw new VigilaneError("SETTINGS_INVALID", `there is no key group ${wanted}`, {
      remedy: `There are: ${set.groups.map(({ id }) => id).join(", ")}.`,
    });
  return { groups, all: set.groups, draft: file && readDraft(file.path, file.text).draft };
}

function domainsOf(groups: readonly KeyGroup[], settings: Settings, acquired: Acquired, context: Context): Domain[] {
  const held = groups.flatMap((group) =>
    group.keys.map(({ id: keyId, secret }): HeldKey => {
      const { provider, baseUrl, model } = group;
      const timeoutMs = timeoutOf(settings);
      const client = createVisionClient(
        { provider, baseUrl, model, secret, timeoutMs, maxTokens: CHECK_ANSWER_TOKENS },
        context,
      );
      acquired.add(client, "vision client", (one) => one.close());
      return { name: nameOf({ group: group.id, key: keyId }), group, keyId, secret, client };
    }),
  );
  const domains = Map.groupBy(held, ({ group }) => `${group.provider}, ${group.model} at ${group.baseUrl}`);
  return [...domains].map(([name, keys]) => ({ name, provider: keys[0]?.group.provider ?? "", keys }));
}

/** The windows of the system that runs on this data folder or at REDIS_URL; undefined: none does, or its store is away. */
async function runningWindows(
  settings: Settings,
  acquired: Acquired,
  context: Context,
): Promise<CallsApart | undefined> {
  const redisUrl = settings.redisUrl ?? readRunFile(settings.data)?.redisUrl;
  if (redisUrl === undefined) return undefined;
  try {
    const redis = await connectStore(redisUrl, context, {}, AbortSignal.timeout(3_000));
    acquired.add(redis, "store", (one) => one.disconnect());
    return createCallsApart(redis);
  } catch {
    progress("The store does not answer: its windows know nothing of these calls.");
    return undefined;
  }
}

async function verifyDomain(
  domain: Domain,
  gate: Gate,
  report: VerifyReport,
  { clock }: Context,
): Promise<VerifiedKey[]> {
  const found: VerifiedKey[] = [];
  for (const { name, group, keyId, client } of domain.keys) {
    const about = { group: group.id, key: keyId, account: group.account, model: group.model };
    const passed = await gate.pass(group, `${name}@${randomUUID()}`);
    if (passed.kind === "held") {
      found.push({ ...about, state: "held", check: null, why: passed.why });
      continue;
    }
    const check = await checkKey(client, clock);
    const { tokens, sent } = check;
    await passed.ended(tokens ? tokens.prompt + tokens.completion : undefined);
    if (sent) report.spent.calls += 1;
    report.spent.promptTokens += tokens?.prompt ?? 0;
    report.spent.completionTokens += tokens?.completion ?? 0;
    found.push({ ...about, state: check.state, check, why: null });
  }
  const called = found.flatMap((one) =>
    one.check ? [{ name: nameOf(one), ...one.check, counted: one.state === "usable" }] : [],
  );
  report.seeming.push(...sameSecrets(domain.keys), ...seemingAccounts(called));
  return found;
}

/** These need no hint of the provider. */
function sameSecrets(keys: readonly HeldKey[]) {
  return [...Map.groupBy(keys, ({ secret }) => secret).values()]
    .filter((same) => same.length > 1)
    .map((same) => ({ keys: same.map(({ name }) => name), why: "they are one and the same secret" }));
}

function inFileOrder(
  found: readonly VerifiedKey[],
  draft: Draft | undefined,
  groups: readonly KeyGroup[],
): VerifiedKey[] {
  return groups.flatMap((group) => {
    const own = found.filter((one) => one.group === group.id);
    const written = draft?.groups.find(({ id }) => id === group.id)?.keys ?? [];
    const disabled = written
      .filter(({ enabled }) => !enabled)
      .map(({ id: key }): VerifiedKey => {
        const { id, account, model } = group;
        return { group: id, key, account, model, state: "disabled", check: null, why: null };
      });
    return [...own, ...disabled];
  });
}

/** One of each secret, with the window that is filled; or why the domain is not probed. */
function probedKeys(domain: Domain, all: readonly KeyGroup[]): (ProbedKey & { secret: string })[] | string {
  if (Object.hasOwn(PROVIDERS, domain.provider) && PROVIDERS[domain.provider as ProviderName].quotaOf === "server")
    return "the keys of one server share it";
  const firsts = domain.keys.filter(({ secret }, i) => domain.keys.findIndex((one) => one.secret === secret) === i);
  if (firsts.length < 2) return "it has one key";
  const accounts = windowsByAccount(all);
  const probed = firsts.map(({ name, group, client, secret }) => {
    const windows = accounts.get(group.account)?.windows ?? [];
    const short = windows.filter(
      ({ windowMs, unit, name: of }) => windowMs <= 60_000 && unit !== "tokens" && !of.startsWith("@"),
    );
    const [window] = short.toSorted((a, b) => a.limit - b.limit);
    return window && { name, secret, window, ask: (onSent: () => void) => probeCall(client, onSent) };
  });
  if (probed.some((one) => one === undefined)) return "a key group has no window of requests of up to a minute to fill";
  return probed.filter((one) => one !== undefined);
}

/** Says what the probe may cost, and asks; rejects where nobody agrees. */
async function announce(
  domains: readonly Domain[],
  all: readonly KeyGroup[],
  mostCalls: number | undefined,
  call: KeysCall,
): Promise<void> {
  const lines = domains.flatMap((domain) => {
    const keys = probedKeys(domain, all);
    if (typeof keys === "string") return [`${domain.name}: not probed: ${keys}.`];
    const refusedCount = domain.keys.some(({ group }) => group.refusedCallsCount);
    return [`${domain.name}: ${keys.length} keys: ${planText(planProbe(keys, mostCalls), refusedCount)}`];
  });
  progress(
    "The probe finds out which keys share a quota: it fills the window of one key after the other, and asks with the",
  );
  progress("others at that moment. Nothing else may call with these keys meanwhile, also not from elsewhere.");
  for (const line of lines) progress(line);
  if (mostCalls !== undefined && domains.length > 1) progress(`In all never more than ${mostCalls}.`);
  progress("Besides, one call with each key first. None of these calls is counted in callsPerDay or a day's window.");
  if (call.given("yes") || domains.every((domain) => typeof probedKeys(domain, all) === "string")) return;
  if (!process.stdin.isTTY)
    throw new VigilaneError(
      "SETTINGS_INVALID",
      "nobody is there to agree to what the probe may cost; nothing was called",
      {
        remedy: "Add --yes; --most-calls N bounds it.",
      },
    );
  const asking = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await asking.question("Go on? [y/N] ");
  asking.close();
  if (!/^y(es)?$/i.test(answer.trim())) throw new VigilaneError("STOPPED", "nothing was called");
}

function planText({ usual, refused, most, seconds }: ProbePlan, refusedCount: boolean): string {
  const free = refusedCount ? "which this provider counts all the same" : "and so free";
  return `about ${usual} calls of a few words, never more than ${most}; about ${refused} of them are refused, ${free}. About ${seconds} s.`;
}

async function probeDomain(
  domain: Domain,
  all: readonly KeyGroup[],
  report: VerifyReport,
  mostCalls: number | undefined,
  context: Context,
): Promise<ProbedDomain> {
  const keys = probedKeys(domain, all);
  if (typeof keys === "string") return { name: domain.name, sharing: null, why: keys };
  const usable = new Set(report.keys.filter(({ state }) => state === "usable").map(nameOf));
  const asked = keys.filter(({ name }) => usable.has(name));
  if (asked.length < 2) return { name: domain.name, sharing: null, why: "fewer than two of its keys are usable" };
  // The bound is of all domains together.
  const before = report.probed.reduce((sum, { sharing }) => sum + (sharing?.calls ?? 0), 0);
  const left = mostCalls === undefined ? undefined : Math.max(0, mostCalls - before);
  const sharing = await probeSharing(asked, planProbe(asked, left), context, progress);
  report.spent.calls += sharing.calls;
  // Who has the secret of another shares its quota without a call.
  const twins = (name: string) => {
    const secret = asked.find((one) => one.name === name)?.secret;
    return domain.keys.filter((one) => one.secret === secret).map((one) => one.name);
  };
  return {
    name: domain.name,
    sharing: { ...sharing, quotas: sharing.quotas.map((some) => some.flatMap(twins)) },
    why: null,
  };
}

const say = (text: string) => void process.stdout.write(`${text}\n`);
/** Not among what programs read. */
const progress = (text: string) => void process.stderr.write(`${text}\n`);
