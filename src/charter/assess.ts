/**
 * Where a decision stands: a pure function of the charters, the ledger and the clock, so that home, every
 * site and every auditor, now and years later, come to the same. When in doubt it has no effect.
 *
 * All times are the ledger's: when a checkpoint with the quorum of witnesses first covered an entry. What a
 * paper says of its own time is its signer's to choose, and counts only where it makes the paper weaker.
 */
import { ExclaveError, invariant } from "../errors.ts";
import {
  type Charter,
  constitutionId,
  type Seat,
  type StoredCharter,
  type Threshold,
} from "./charter.ts";
import { applyDecision, type Decision, type OpenedPaper, type PaperKind } from "./decision.ts";
import {
  amendsConstitutionAlone,
  classOf,
  mayBeByRecovery,
  type OrderKind,
  releaseByRecovery,
  requirementsOf,
  sectionsOf,
} from "./orders.ts";
import { missingFor, recoveryKey, seatKeys, seatsThatSigned } from "./thresholds.ts";

/** A paper in the ledger. The same paper may be there again, with more signatures. */
export type Logged<K extends PaperKind> = {
  readonly opened: OpenedPaper<K>;
  /** The generation of the ledger that it is in, and its position there. */
  readonly generation: number;
  readonly position: number;
  /** When the quorum of witnesses first covered it. */
  readonly at: Date;
};

/** Orders entries as the ledgers have them, one generation after the other. */
export function inLedgerOrder(a: Place, b: Place): number {
  return a.generation - b.generation || a.position - b.position;
}

type Place = { readonly generation: number; readonly position: number };

export type Enacted = {
  readonly decision: Decision;
  readonly at: Date;
  /** The version of the charter that it made. */
  readonly version: number;
};

export type Facts = {
  /** Every charter that was in force, the founding one first; the last is in force. */
  readonly history: readonly StoredCharter[];
  readonly decisions: readonly Logged<"decision">[];
  readonly vetoes: readonly Logged<"veto">[];
  readonly freezes: readonly Logged<"freeze">[];
  /** Decisions that have taken effect, by id. */
  readonly enacted: ReadonlyMap<string, Enacted>;
  /** Charters in the ledger that count for nothing, by id: none of them can be entered again. */
  readonly refused?: ReadonlySet<string>;
  /** Whether the ledger once had this checkpoint. */
  readonly hadCheckpoint: (checkpoint: NonNullable<Decision["checkpoint"]>) => boolean;
  readonly now: Date;
};

export type Standing =
  /** It lacks signatures: sentences. */
  | { readonly status: "unsigned"; readonly missing: readonly string[] }
  /** It has them, and the ledger has not. */
  | { readonly status: "signed" }
  | { readonly status: "waiting"; readonly until: Date }
  | { readonly status: "frozen"; readonly until: Date }
  /** It can take effect, as of then. */
  | { readonly status: "ripe"; readonly since: Date }
  | { readonly status: "enacted"; readonly at: Date }
  /** It never will: a sentence. */
  | { readonly status: "void"; readonly why: string };

const DAY_SECONDS = 86_400;
/** What is ripe and not enacted for so long has been forgotten, or kept for a better moment. */
const ENACT_WITHIN_SECONDS = 30 * DAY_SECONDS;
/** An announcement is carried out within this, or announced again. */
const CARRY_OUT_WITHIN_SECONDS = 90 * DAY_SECONDS;
/** For so long after a change at least, its seats must be able to make the next. */
const ABLE_SECONDS = 90 * DAY_SECONDS;
/** What one seat can freeze, in any year. */
const FREEZE_SECONDS_MAX = 14 * DAY_SECONDS;
const YEAR_SECONDS = 365 * DAY_SECONDS;
/** What keeps protection going, or brings it back, is not stopped by two people. */
const NEVER_FROZEN: readonly OrderKind[] = ["activate", "rotate-epoch"];

export function assess(opened: OpenedPaper<"decision">, facts: Facts): Standing {
  invariant(Number.isFinite(facts.now.getTime()), "there is a clock");
  const enacted = facts.enacted.get(opened.id);
  if (enacted) return { status: "enacted", at: enacted.at };
  try {
    return assessOpen(opened, facts);
  } catch (error) {
    if (!(error instanceof ExclaveError)) throw error;
    return { status: "void", why: error.message };
  }
}

function assessOpen(opened: OpenedPaper<"decision">, facts: Facts): Standing {
  const { paper: decision, id } = opened;
  const { now } = facts;
  const current = facts.history.at(-1);
  invariant(current, "a State has a charter");
  requireBasis(decision, facts, current);

  const logged = facts.decisions.filter((one) => one.opened.id === id);
  const met = whenMet(decision, logged, facts, current);
  const metAt = met?.at;
  const at = metAt ?? now;
  if (at.getTime() >= Date.parse(decision.notAfter)) throw refused("its time is over");
  const destroys = classOf(decision.order, current.charter, at) === "destructive";
  if (destroys && now.getTime() >= Date.parse(current.charter.review)) {
    throw refused("the charter is due for review, and until then nothing is destroyed");
  }
  const after = applyDecision(current, opened, at).charter;
  if (!met || !metAt) {
    const { missing } = demandOn(decision, opened.keyIds, current.charter, after, now);
    return missing.length > 0 ? { status: "unsigned", missing } : { status: "signed" };
  }
  requireAnnounced(decision, facts, metAt, destroys);

  const { requirements } = met;
  const ripeAt = new Date(metAt.getTime() + requirements.timelockSeconds * 1000);
  requireAble(after, ripeAt);
  const against = vetoing(opened, facts, current.charter, after, ripeAt);
  if (against.length >= requirements.vetoSignatures) {
    throw refused(`it was vetoed by ${against.map(({ name }) => name).join(", ")}`);
  }
  if (!(now >= ripeAt)) return { status: "waiting", until: ripeAt };
  if (!isNeverFrozen(decision, current.charter, metAt)) {
    const until = frozenUntil(facts, current.charter);
    if (until) return { status: "frozen", until };
  }
  if (now.getTime() > ripeAt.getTime() + ENACT_WITHIN_SECONDS * 1000) {
    throw refused("it was ripe and not enacted for too long");
  }
  return { status: "ripe", since: ripeAt };
}

/** What the author saw still holds: rules unchanged at every moment since, and nothing undone unseen. */
function requireBasis(
  decision: Decision,
  { history, hadCheckpoint }: Facts,
  current: StoredCharter,
): void {
  const from = history.findIndex(({ id }) => id === decision.charter);
  const basis = history[from];
  if (!basis) throw refused("it was made under a charter that never was in force");
  const rules = constitutionId(basis.charter);
  if (history.slice(from).some(({ charter }) => constitutionId(charter) !== rules)) {
    throw refused(
      "seats, thresholds or delays have changed since it was made; it has to be made anew",
    );
  }
  if (sectionsOf(decision.order, basis.charter) !== sectionsOf(decision.order, current.charter)) {
    throw refused("what it changes was changed since it was made; it has to be made anew");
  }
  if (decision.checkpoint && !hadCheckpoint(decision.checkpoint)) {
    throw refused("it speaks of a checkpoint that this ledger never had");
  }
}

/** When a decision had the signatures that it needs, and what it had to meet by these. */
type Met = { readonly at: Date; readonly requirements: Threshold };

/**
 * When the ledger first had all the signatures that it needs, but not before its own time. A release that the
 * recovery key signed is judged as one of seats as soon as enough of them have signed it too.
 */
export function whenMet(
  decision: Decision,
  logged: readonly Logged<"decision">[],
  facts: Pick<Facts, "now">,
  current: StoredCharter,
): Met | undefined {
  const keyIds = new Set<string>();
  let alone: Met | undefined;
  for (const { opened, at } of logged.toSorted(inLedgerOrder)) {
    for (const keyId of opened.keyIds) keyIds.add(keyId);
    const counted = new Date(Math.max(at.getTime(), Date.parse(decision.notBefore)));
    if (counted > facts.now) continue;
    // Seats that sign too late take nothing from what the recovery key did in time.
    if (alone && counted.getTime() >= Date.parse(decision.notAfter)) continue;
    const after = applyDecision(current, opened, counted).charter;
    const demand = demandOn(decision, keyIds, current.charter, after, counted);
    if (demand.missing.length > 0) continue;
    const met = { at: counted, requirements: demand.requirements };
    if (!demand.isAlone) return met;
    alone ??= met;
  }
  return alone;
}

/** What a decision must meet, and what it lacks of that. */
type Demand = {
  readonly requirements: Threshold;
  readonly missing: readonly string[];
  /** True for a release by the recovery key that too few seats signed. */
  readonly isAlone: boolean;
};

/**
 * Signatures count under the constitution in force and, where another follows, under that one too. For an
 * amendment of the constitution alone the recovery key stands in for the seats in force; those that would
 * follow must sign all the same. For a release it stands alone, under a rule of its own.
 */
function demandOn(
  { order }: Decision,
  keyIds: Iterable<string>,
  before: Charter,
  after: Charter,
  at: Date,
): Demand {
  const signed = [...keyIds];
  const requirements = requirementsOf(order, before, after, at);
  const isByRecovery =
    mayBeByRecovery(order) && [...recoveryKey(before).keys()].some((id) => signed.includes(id));
  const bySeats = missingFor(requirements, seatsThatSigned(before.constitution, signed, at));
  if (isByRecovery && order.kind === "release" && bySeats.length > 0) {
    return { requirements: releaseByRecovery(before), missing: [], isAlone: true };
  }
  const standsIn = isByRecovery && amendsConstitutionAlone(order);
  const now = standsIn ? [] : bySeats;
  if (!standsIn && constitutionId(before) === constitutionId(after)) {
    return { requirements, missing: now, isAlone: false };
  }
  const next = missingFor(
    after.constitution.thresholds[classOf(order, before, at)],
    seatsThatSigned(after.constitution, signed, at),
  );
  const missing = [...now, ...next.map((what) => `${what}, under the charter that would follow`)];
  return { requirements, missing, isAlone: false };
}

/** A destructive order is announced; a second decision, made after the first took effect, carries it out, once. */
function requireAnnounced(decision: Decision, facts: Facts, metAt: Date, destroys: boolean): void {
  const { carriesOut } = decision;
  if (carriesOut === undefined) return;
  if (!destroys) throw refused("only a destructive order is carried out in two steps");
  const announced = facts.enacted.get(carriesOut);
  if (!announced || announced.decision.carriesOut !== undefined) {
    throw refused("what it carries out was not announced, or not long enough ago");
  }
  if (JSON.stringify(announced.decision.order) !== JSON.stringify(decision.order)) {
    throw refused("it carries out something else than was announced");
  }
  const basis = facts.history.findIndex(({ id }) => id === decision.charter);
  const version = facts.history[basis]?.charter.version ?? 0;
  if (version < announced.version || metAt <= announced.at) {
    throw refused("it was made before what it carries out was announced");
  }
  if (metAt.getTime() > announced.at.getTime() + CARRY_OUT_WITHIN_SECONDS * 1000) {
    throw refused("what it carries out was announced too long ago");
  }
  if ([...facts.enacted.values()].some((one) => one.decision.carriesOut === carriesOut)) {
    throw refused("what it carries out has been carried out");
  }
}

/** The seats that follow can still make every kind of decision for a while: nobody is locked out. */
function requireAble({ constitution }: Charter, ripeAt: Date): void {
  const later = new Date(ripeAt.getTime() + ABLE_SECONDS * 1000);
  const able = constitution.seats.filter(({ until }) => later.getTime() < Date.parse(until));
  for (const threshold of Object.values(constitution.thresholds)) {
    const [missing] = missingFor(threshold, able);
    if (missing !== undefined) {
      throw refused(`three months later too few seats would be left: ${missing}`);
    }
  }
}

/**
 * Seats whose veto was in the ledger before the decision was ripe. Who alone is replaced by an amendment
 * of nothing else cannot veto it; of one that replaces several, or changes rules too, everybody can.
 */
export function vetoing(
  opened: OpenedPaper<"decision">,
  { vetoes }: Pick<Facts, "vetoes">,
  before: Charter,
  after: Charter,
  ripeAt: Date,
): readonly Seat[] {
  const removed = onlySeatReplaced(before, after);
  const seats = new Map<string, Seat>();
  for (const { opened: veto, at } of vetoes) {
    if (veto.paper.decision !== opened.id || !(at < ripeAt)) continue;
    for (const seat of seatsThatSigned(before.constitution, veto.keyIds, at)) {
      if (seat.name !== removed) seats.set(seat.name, seat);
    }
  }
  return [...seats.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** The one seat that loses all its people, when nothing else of the constitution changes. */
function onlySeatReplaced(before: Charter, after: Charter): string | undefined {
  const [one, other] = [before.constitution, after.constitution];
  const changed = one.seats.filter(
    (seat) => !other.seats.some((next) => JSON.stringify(next) === JSON.stringify(seat)),
  );
  const [seat] = changed;
  if (!seat) return undefined;
  const others = (seats: readonly Seat[]): string =>
    JSON.stringify(seats.filter(({ name }) => name !== seat.name));
  if (
    others(one.seats) !== others(other.seats) ||
    JSON.stringify({ ...one, seats: [] }) !== JSON.stringify({ ...other, seats: [] })
  ) {
    return undefined;
  }
  const stay = other.seats.flatMap(({ people }) => people).map(({ person }) => person);
  return seat.people.some(({ person }) => stay.includes(person)) ? undefined : seat.name;
}

export function isNeverFrozen({ order }: Decision, charter: Charter, at: Date): boolean {
  return NEVER_FROZEN.includes(order.kind) || classOf(order, charter, at) === "ordinary";
}

/**
 * Until when everything is frozen, or undefined. A freeze counts from when the ledger has enough seats'
 * signatures under it; each seat has 14 days to spend in a year, and one that has spent them does not count.
 */
export function frozenUntil(
  { freezes, now }: Pick<Facts, "freezes" | "now">,
  { constitution }: Charter,
): Date | undefined {
  const spent: { readonly seat: string; readonly from: number; readonly until: number }[] = [];
  const signatures = new Map<string, Set<string>>();
  const begun = new Set<string>();
  let frozen: number | undefined;
  for (const { opened, at } of freezes.toSorted(inLedgerOrder)) {
    if (at > now || begun.has(opened.id)) continue;
    const keyIds = signatures.get(opened.id) ?? new Set();
    for (const keyId of opened.keyIds) keyIds.add(keyId);
    signatures.set(opened.id, keyIds);
    const from = Math.max(Date.parse(opened.paper.from), at.getTime());
    const until = Math.min(Date.parse(opened.paper.until), from + FREEZE_SECONDS_MAX * 1000);
    if (until <= from) continue;
    const used = (name: string): number =>
      spent
        .filter((one) => one.seat === name && one.until > from - YEAR_SECONDS * 1000)
        .reduce((sum, one) => sum + one.until - one.from, 0);
    const seats = seatsThatSigned(constitution, keyIds, at).filter(
      ({ name }) => used(name) + until - from <= FREEZE_SECONDS_MAX * 1000,
    );
    if (seats.length < constitution.freezeSignatures) continue;
    begun.add(opened.id);
    for (const { name } of seats) spent.push({ seat: name, from, until });
    if (from <= now.getTime() && now.getTime() < until) frozen = Math.max(frozen ?? 0, until);
  }
  return frozen === undefined ? undefined : new Date(frozen);
}

/** The keys whose signatures a decision, veto or freeze may carry: those of now and of what would follow. */
export function keysFor(charters: readonly Charter[]): ReturnType<typeof seatKeys> {
  return new Map(charters.flatMap(({ constitution }) => [...seatKeys(constitution)]));
}

/** Why a decision will never take effect. */
function refused(why: string): ExclaveError {
  return new ExclaveError("usage", why);
}
