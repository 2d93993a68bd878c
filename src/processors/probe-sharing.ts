/**
 * Do these keys have a quota each, or do some share one? An experiment, since providers do not say: one key fills its
 * window with calls at once, and while it is full all others are asked. Who is refused then, and not when it is free, shares
 * it; who is let in has its own.
 *
 * What makes it sound:
 *   - Controls: before the others, and when all their calls have left, the filling key itself is asked, three times each.
 *     Only a round in which it is refused all six times counts: its window was full all the while.
 *   - A key counts as sharing in a round only if it was refused twice in the full moment and let in twice when the window
 *     had had time to empty; as separate only if it was let in twice in the full moment. Anything mixed, and any other
 *     error, is no evidence.
 *   - Keys that are asked together may fill a window of their own with what is let in. So a refusal counts only where none of
 *     those asked at that moment was let in; else who was refused is asked again without the others.
 *   - Three rounds must agree and none say otherwise. A key that was refused when nothing filled its window, or was twice
 *     refused and let in at one moment, is never said to share: its provider refuses for other reasons too. One that
 *     refuses every other call by chance so gets past all this with one key in 1,600.
 *   - One filling tests all other keys at once, and whoever shares it is not tested again: ten keys of an account each take
 *     27 fillings and ten of one account three, not the 135 of 45 pairs.
 *
 * What it cannot tell: a limit by the caller's address looks like a shared account; and of two limits, one for each key
 * and a wider one for them all, it meets the narrower.
 */
import type { Clock } from "../context.ts";
import {
  asksOf,
  CONTROLS,
  emptyAfterMs,
  LONGEST_REST_MS,
  MOST_ROUNDS,
  type ProbeAnswer,
  type ProbedKey,
  type ProbePlan,
  REST,
  roundsOf,
} from "./probe-plan.ts";

export interface Sharing {
  /** Keys that share one quota are together; keys of different lists are proven not to share. */
  quotas: string[][];
  /** Whose place is not known. */
  notKnown: { name: string; why: string }[];
  calls: number;
}

/** Keys of one provider, address and model, which nobody else uses meanwhile. `say`: what is under way, for people. */
export async function probeSharing(
  keys: readonly ProbedKey[],
  { most }: Pick<ProbePlan, "most">,
  { clock }: { clock: Clock },
  say: (line: string) => void = () => {},
): Promise<Sharing> {
  const spending: Spending = { calls: 0, most, clock, say };
  const sharing: Sharing = { quotas: [], notKnown: [], calls: 0 };
  let left = [...keys];
  for (let filler = left.shift(); filler !== undefined; filler = left.shift()) {
    if (left.length === 0) {
      sharing.quotas.push([filler.name]);
      break;
    }
    const found = await compare(filler, left, spending);
    if (found.unfilled !== undefined) sharing.notKnown.push({ name: filler.name, why: found.unfilled });
    else sharing.quotas.push([filler.name, ...found.shared.map(({ name }) => name)]);
    sharing.notKnown.push(...found.notKnown);
    left = found.separate;
  }
  return { ...sharing, calls: spending.calls };
}

interface Spending {
  calls: number;
  most: number;
  clock: Clock;
  say: (line: string) => void;
}

interface Compared {
  /** Why the filling key's window could never be seen full; the others are then as unknown to it as before. */
  unfilled: string | undefined;
  shared: ProbedKey[];
  separate: ProbedKey[];
  notKnown: Sharing["notKnown"];
}

/** What the rounds said of one key beside the one that fills. */
interface Tally {
  key: ProbedKey;
  /** Rounds that it was in, but for those in which others may have been in its way. */
  tries: number;
  /** Keys of equal depth are asked together. Who was refused beside one that was let in goes one deeper. */
  depth: number;
  shared: number;
  separate: number;
  /** Rounds in which it was refused and let in at the same moment. */
  mixed: number;
  /** It was refused while nothing filled its window. */
  outOfTurn: boolean;
  /** Why the last round that proved nothing did not. */
  why: string;
}

type TallyVerdict = "shared" | "separate" | "contradictory" | "open" | "given up";

function verdictOf({ key, shared, separate, mixed, outOfTurn, tries }: Tally): TallyVerdict {
  if (shared > 0 && (separate > 0 || outOfTurn || mixed > 1)) return "contradictory";
  if (Math.max(shared, separate) >= roundsOf(key)) return shared > 0 ? "shared" : "separate";
  return tries >= roundsOf(key, MOST_ROUNDS) ? "given up" : "open";
}

/** What changes from round to round with one filling key. */
interface Rounds {
  filler: ProbedKey;
  /** Calls with which its window is filled; more the next time where these did not do. */
  size: number;
  /** Until every window is surely empty. */
  restMs: number;
  /** In some round the window was seen full. */
  filled: boolean;
}

async function compare(filler: ProbedKey, others: readonly ProbedKey[], spending: Spending): Promise<Compared> {
  const tallies: Tally[] = others.map((key) => ({
    ...{ key, tries: 0, depth: 0, shared: 0, separate: 0, mixed: 0, outOfTurn: false, why: "" },
  }));
  const longestMs = Math.max(...[filler, ...others].map(({ window }) => window.windowMs));
  const rounds: Rounds = {
    ...{ filler, size: filler.window.limit + 1, restMs: emptyAfterMs(longestMs), filled: false },
  };
  for (;;) {
    const open = tallies.filter((tally) => verdictOf(tally) === "open");
    if (open.length === 0) break;
    const [least] = open.toSorted((a, b) => a.tries - b.tries);
    const asked = open.filter(({ depth }) => depth === least?.depth);
    const asks = asked.reduce((sum, { key }) => sum + asksOf(key), 0);
    if (spending.calls + rounds.size + CONTROLS + 2 * asks > spending.most) {
      for (const tally of open) tally.why = `no more than ${spending.most} calls were allowed`;
      break;
    }
    const said = await runRound(asked, rounds, spending);
    spending.say(`${filler.name}: ${said}`);
  }
  const those = (...verdicts: TallyVerdict[]) => tallies.filter((tally) => verdicts.includes(verdictOf(tally)));
  if (!rounds.filled) return { unfilled: tallies[0]?.why, shared: [], separate: [...others], notKnown: [] };
  return {
    unfilled: undefined,
    shared: those("shared").map(({ key }) => key),
    separate: those("separate").map(({ key }) => key),
    notKnown: [
      ...those("contradictory").map(({ key, why }) => ({
        ...{ name: key.name, why: `the rounds do not agree${why && `: ${why}`}` },
      })),
      ...those("open", "given up").map(({ key, why }) => ({ name: key.name, why })),
    ],
  };
}

/** Resolves with what came of it, for people. */
async function runRound(asked: readonly Tally[], rounds: Rounds, spending: Spending): Promise<string> {
  for (const tally of asked) tally.tries += 1;
  await spending.clock.sleep(rounds.restMs);
  const moment = await askWhileFull(asked, rounds, spending);
  if (typeof moment === "string") {
    for (const tally of asked) tally.why = moment;
    return `proves nothing: ${moment}`;
  }
  rounds.filled = true;
  const all = (tally: Tally, kind: ProbeAnswer["kind"]) =>
    (moment.answers.get(tally) ?? []).every((answer) => answer.kind === kind);
  const refused = asked.filter((tally) => all(tally, "full"));
  const letIn = asked.filter((tally) => all(tally, "granted"));
  const mixed = asked.filter((tally) => !refused.includes(tally) && !letIn.includes(tally));
  // Let in while the filling key's window was full: that of another.
  for (const tally of letIn) tally.separate += 1;
  for (const tally of mixed) {
    const answers = moment.answers.get(tally) ?? [];
    tally.why = `asked twice at the same moment it got two answers${reasonOf(answers)}`;
    if (asked.length === 1 && answers.every(({ kind }) => kind !== "unclear")) tally.mixed += 1;
  }
  if (refused.length === asked.length) await askWhenFree(refused, rounds, spending);
  else if (asked.length > 1) askApart(letIn, [...mixed, ...refused]);
  const names = (some: readonly Tally[]) => some.map(({ key }) => key.name).join(", ") || "none";
  return `full after ${moment.sent} calls; then refused: ${names(refused)}; let in: ${names(letIn)}`;
}

/** What was let in may have filled the window of those that were not: they are asked apart, and this was no try of theirs. */
function askApart(letIn: readonly Tally[], others: readonly Tally[]): void {
  const moving = letIn.length > 0 ? others : others.slice(Math.ceil(others.length / 2));
  for (const tally of others) {
    tally.tries -= 1;
    if (moving.includes(tally)) tally.depth += 1;
    if (tally.why === "") tally.why = "it was refused beside others that were let in";
  }
}

/** Answers of all while the window was full from before the first to after the last; or why it was not. */
async function askWhileFull(asked: readonly Tally[], rounds: Rounds, spending: Spending) {
  const { filler } = rounds;
  const fill = await fillUp(filler, rounds.size, spending);
  if (!fill.full) {
    if (fill.why !== undefined) return fill.why;
    rounds.size *= 2;
    return `not refused after ${fill.sent} calls at once: its window holds more than the file says`;
  }
  // The controls embrace the others: what needs a new connection first leaves later than it was asked for.
  const before = askMany(filler, CONTROLS / 2, spending);
  const inBetween = asked.map(({ key }) => askMany(key, asksOf(key), spending));
  await Promise.all(inBetween.map(({ left }) => left));
  const after = askMany(filler, CONTROLS / 2, spending);
  const controls = [...(await before.answers), ...(await after.answers)];
  const answers = await Promise.all(inBetween.map((one) => one.answers));
  await fill.ended;
  const toldMs = [...controls, ...answers.flat()].map((answer) => (answer.kind === "full" ? answer.restMs : 0));
  rounds.restMs = Math.min(LONGEST_REST_MS, Math.max(rounds.restMs, ...toldMs.map((ms) => ms * REST.factor)));
  if (Math.max(...toldMs) > LONGEST_REST_MS) return "the provider asks to wait for longer than two minutes";
  if (controls.some(({ kind }) => kind !== "full"))
    return `its window did not stay full for long enough${reasonOf(controls)}`;
  return { sent: fill.sent, answers: new Map(asked.map((tally, i) => [tally, answers[i] ?? []])) };
}

/** Who was refused while the window was full is asked when it is empty, never faster than it allows all of them together. */
async function askWhenFree(refused: readonly Tally[], rounds: Rounds, spending: Spending): Promise<void> {
  await spending.clock.sleep(rounds.restMs);
  for (const tally of refused) {
    const { limit, windowMs } = tally.key.window;
    const answers: ProbeAnswer[] = [];
    for (let i = 0; i < asksOf(tally.key); i += 1) {
      answers.push(await askOf(tally.key, spending));
      await spending.clock.sleep(emptyAfterMs(windowMs / limit));
    }
    if (answers.every(({ kind }) => kind === "granted")) tally.shared += 1;
    else if (answers.some(({ kind }) => kind === "full")) {
      tally.outOfTurn = true;
      tally.why = "it was also refused when nothing filled the window (or that is longer than the file says)";
    } else tally.why = `it could not be asked again${reasonOf(answers)}`;
  }
}

/** left: all of them have, or have ended without. */
function askMany(key: ProbedKey, times: number, spending: Spending) {
  const calls = Array.from({ length: times }, () => {
    const { promise: left, resolve } = Promise.withResolvers<void>();
    const answer = askOf(key, spending, resolve);
    return { answer, left: Promise.race([left, answer]) };
  });
  return {
    answers: Promise.all(calls.map(({ answer }) => answer)),
    left: Promise.all(calls.map(({ left }) => left)),
  };
}

function askOf(key: ProbedKey, spending: Spending, onSent = () => {}): Promise<ProbeAnswer> {
  spending.calls += 1;
  return key.ask(onSent);
}

const reasonOf = (answers: readonly ProbeAnswer[]) => {
  const unclear = answers.find((answer) => answer.kind === "unclear");
  return unclear ? ` (${unclear.why})` : "";
};

interface Filled {
  full: boolean;
  sent: number;
  /** Something else than a full window or an answer came. */
  why: string | undefined;
  /** All of its calls have ended. */
  ended: Promise<unknown>;
}

/** Resolves at the first refusal for the rate, or when `size` calls have ended without one. */
async function fillUp(key: ProbedKey, size: number, spending: Spending): Promise<Filled> {
  const { limit, windowMs } = key.window;
  // A second's window is met by all calls at once; a longer one by four times its rate, so that refusals end it in time.
  const atOnce = windowMs <= 1_000 ? size : Math.min(size, Math.max(8, Math.ceil((4 * limit * 1_000) / windowMs)));
  const state: { full: boolean; sent: number; why: string | undefined } = { full: false, sent: 0, why: undefined };
  const { promise: refused, resolve } = Promise.withResolvers<void>();
  const caller = async () => {
    while (state.sent < size && !state.full && state.why === undefined) {
      state.sent += 1;
      const answer = await askOf(key, spending);
      if (answer.kind === "unclear") state.why ??= answer.why;
      if (answer.kind !== "full") continue;
      state.full = true;
      resolve();
    }
  };
  const ended = Promise.all(Array.from({ length: atOnce }, caller));
  await Promise.race([refused, ended]);
  return { ...state, ended };
}
