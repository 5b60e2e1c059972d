/**
 * Where a decision stands: a pure function of the charter, the ledger and the clock, so that home, every
 * site and every auditor come to the same. When in doubt it has no effect.
 */
import { ExclaveError } from "../errors.ts";
import { type Charter, constitutionId, type StoredCharter } from "./charter.ts";
import { applyDecision, type Decision, type OpenedPaper } from "./decision.ts";
import { classOf, type OrderKind } from "./orders.ts";
import { missingFor, seatKeys, seatsThatSigned } from "./thresholds.ts";

export type Facts = {
  /** The charter in force. */
  readonly current: StoredCharter;
  /** By id, every charter that ever was in force. */
  readonly charters: ReadonlyMap<string, StoredCharter>;
  /** Seen in the ledger, under a checkpoint with the quorum of witnesses, by whoever asks; absent before. */
  readonly seenAt?: Date;
  readonly vetoes: readonly OpenedPaper<"veto">[];
  readonly freezes: readonly OpenedPaper<"freeze">[];
  /** Decisions that have taken effect, by id, and when. */
  readonly enacted: ReadonlyMap<string, { readonly decision: Decision; readonly at: Date }>;
  readonly now: Date;
};

export type Standing =
  /** It lacks signatures: sentences. */
  | { readonly status: "unsigned"; readonly missing: readonly string[] }
  /** It has them, and is not in the ledger. */
  | { readonly status: "signed" }
  | { readonly status: "waiting"; readonly until: Date }
  | { readonly status: "frozen"; readonly until: Date }
  /** It can take effect now. */
  | { readonly status: "ripe" }
  | { readonly status: "enacted"; readonly at: Date }
  /** It never will: a sentence. */
  | { readonly status: "void"; readonly why: string };

export function assess(opened: OpenedPaper<"decision">, facts: Facts): Standing {
  const { paper: decision, id } = opened;
  const enacted = facts.enacted.get(id);
  if (enacted) return { status: "enacted", at: enacted.at };
  const void_ = (why: string): Standing => ({ status: "void", why });

  const basis = facts.charters.get(decision.charter);
  if (!basis) return void_("it was made under a charter that never was in force");
  if (constitutionId(basis.charter) !== constitutionId(facts.current.charter)) {
    return void_(
      "seats, thresholds or delays have changed since it was made; it has to be made anew",
    );
  }
  const countedAt = facts.seenAt ?? facts.now;
  if (countedAt.getTime() >= Date.parse(decision.notAfter)) return void_("its time is over");
  if (facts.seenAt && facts.seenAt.getTime() < Date.parse(decision.notBefore)) {
    return void_("it was in the ledger before its time");
  }
  const phase = phaseOf(decision, facts);
  if (phase !== undefined) return void_(phase);

  let after: Charter;
  try {
    const trial = { time: facts.current.charter.time, random: "00".repeat(16) };
    after = applyDecision(facts.current, opened, trial).charter;
  } catch (error) {
    if (!(error instanceof ExclaveError) || error.code !== "usage") throw error;
    return void_(error.message);
  }
  const missing = missingSignatures(opened, facts.current.charter, after, countedAt);
  if (missing.length > 0) return { status: "unsigned", missing };
  if (!facts.seenAt) return { status: "signed" };

  const veto = vetoOf(opened, facts);
  if (veto !== undefined) return void_(veto);
  const { timelockSeconds } =
    facts.current.charter.constitution.thresholds[classOf(decision.order)];
  const ripeAt = new Date(facts.seenAt.getTime() + timelockSeconds * 1000);
  if (facts.now < ripeAt) return { status: "waiting", until: ripeAt };
  const frozenUntil = NEVER_FROZEN.includes(decision.order.kind) ? undefined : frozen(facts);
  if (frozenUntil) return { status: "frozen", until: frozenUntil };
  return { status: "ripe" };
}

/** What keeps protection going is not stopped by two people. */
const NEVER_FROZEN: readonly OrderKind[] = ["revoke-agent", "rotate-epoch"];

/** A destructive order is announced, and carried out by a second decision after the first took effect. */
function phaseOf(decision: Decision, facts: Facts): string | undefined {
  if (decision.carriesOut === undefined) return undefined;
  if (classOf(decision.order) !== "destructive")
    return "only a destructive order is carried out in two steps";
  const announced = facts.enacted.get(decision.carriesOut)?.decision;
  if (!announced || announced.carriesOut !== undefined) {
    return "what it carries out was not announced, or not long enough ago";
  }
  return JSON.stringify(announced.order) === JSON.stringify(decision.order)
    ? undefined
    : "it carries out something else than was announced";
}

/** Signatures are counted under the constitution in force and, where another follows, under that one too. */
function missingSignatures(
  opened: OpenedPaper<"decision">,
  before: Charter,
  after: Charter,
  at: Date,
): readonly string[] {
  const orderClass = classOf(opened.paper.order);
  const missing = (charter: Charter): readonly string[] =>
    missingFor(
      charter.constitution,
      orderClass,
      seatsThatSigned(charter.constitution, opened.keyIds, at),
    );
  const now = missing(before);
  if (constitutionId(before) === constitutionId(after)) return now;
  return [...now, ...missing(after).map((what) => `${what}, under the charter that would follow`)];
}

/** Why it is vetoed, or undefined. Who would lose a seat by an amendment cannot veto it. */
function vetoOf(opened: OpenedPaper<"decision">, facts: Facts): string | undefined {
  const { constitution } = facts.current.charter;
  const { order } = opened.paper;
  const named =
    order.kind === "amend" && order.constitution
      ? constitution.seats
          .filter(({ name, people }) => {
            const after = order.constitution?.seats.find((seat) => seat.name === name);
            return JSON.stringify(after?.people) !== JSON.stringify(people);
          })
          .map(({ name }) => name)
      : [];
  const seats = new Set<string>();
  for (const { paper, keyIds } of facts.vetoes) {
    if (paper.decision !== opened.id) continue;
    // Not by the time that the veto states: who has lost the seat could choose it.
    for (const seat of seatsThatSigned(constitution, keyIds, facts.seenAt ?? facts.now)) {
      if (!named.includes(seat.name)) seats.add(seat.name);
    }
  }
  return seats.size >= constitution.vetoSignatures
    ? `it was vetoed by ${[...seats].toSorted().join(", ")}`
    : undefined;
}

/**
 * Until when everything is frozen, or undefined. A freeze counts when enough seats signed it; a person
 * who signed one that counts cannot help to make another that begins within the time of the first or
 * within as long again after it: it cannot be renewed by the same people.
 */
function frozen(facts: Facts): Date | undefined {
  const { constitution } = facts.current.charter;
  const used: { readonly seat: string; readonly again: number }[] = [];
  let until: Date | undefined;
  const inOrder = facts.freezes.toSorted((a, b) => (a.paper.from < b.paper.from ? -1 : 1));
  for (const { paper, keyIds } of inOrder) {
    const [from, end] = [Date.parse(paper.from), Date.parse(paper.until)];
    const at = new Date(Math.min(end, facts.now.getTime()));
    const seats = seatsThatSigned(constitution, keyIds, at).filter(
      ({ name }) => !used.some(({ seat, again }) => seat === name && from < again),
    );
    if (seats.length < constitution.freezeSignatures) continue;
    for (const { name } of seats) used.push({ seat: name, again: end + (end - from) });
    const now = facts.now.getTime();
    if (from <= now && now < end && (!until || end > until.getTime())) until = new Date(end);
  }
  return until;
}

/** The keys whose signatures a decision, veto or freeze may carry: those of now and of what would follow. */
export function keysFor(charters: readonly Charter[]): ReturnType<typeof seatKeys> {
  return new Map(charters.flatMap(({ constitution }) => [...seatKeys(constitution)]));
}
