/**
 * Decisions at home: an order becomes a paper, the paper gathers signatures, the ledger takes it in, and when it
 * is ripe the charter follows. In a trial, where home keeps the one seat's key, all of it happens at once.
 */
import { assess, frozenUntil, keysFor, type Logged, type Standing } from "../charter/assess.ts";
import { momentOf } from "../charter/charter.ts";
import {
  type Decision,
  type Freeze,
  type OpenedPaper,
  openPaper,
  type PaperKind,
  signPaper,
  type Veto,
} from "../charter/decision.ts";
import { charterAfter, nextToEnact, openDecision } from "../charter/history.ts";
import { applyOrder, type Order } from "../charter/orders.ts";
import { seatKeys, seatsThatSigned } from "../charter/thresholds.ts";
import { toHex } from "../crypto/bytes.ts";
import { envelopeId } from "../crypto/dsse.ts";
import type { SigningKey } from "../crypto/signing.ts";
import { ExclaveError, invariant } from "../errors.ts";
import { documentRandom } from "../vault/documents.ts";
import type { Home } from "../vault/home.ts";
import type { KnownState } from "../vault/known-state.ts";
import { lockState } from "../vault/lock.ts";
import { enter, type GoverningDocument } from "./ledger-at-sites.ts";

const DAY_SECONDS = 86_400;
/** How long there is for signing, unless the author says otherwise. */
export const VALID_DAYS = 30;
/** Decisions that take effect one after another, in one run. */
const ENACT_AT_ONCE_MAX = 256;

/** Why an order is given, and until when it can be signed. */
export type Grounds = {
  readonly reason: string;
  readonly citation: string;
  readonly validDays?: number;
  /** Of a destructive order: the announcement that it carries out, by its id. */
  readonly carriesOut?: string;
};

/**
 * The decision that gives an order, under the charter in force. Throws `usage` when the order does not fit
 * the charter: nobody should sign in vain.
 */
export async function draftDecision(
  home: Home,
  order: Order,
  grounds: Grounds,
  now: Date,
): Promise<Decision> {
  const { history, id } = home.known;
  const current = history.history.at(-1);
  invariant(current, "a State has a charter");
  applyOrder(current, order, { at: now, decision: "00".repeat(32) });
  const head = await home.withLedger((log) => log.head());
  const validMs = (grounds.validDays ?? VALID_DAYS) * DAY_SECONDS * 1000;
  return {
    kind: "decision",
    format: 1,
    state: id,
    order,
    reason: grounds.reason,
    citation: grounds.citation,
    charter: current.id,
    checkpoint: { size: head.size, root: toHex(head.root) },
    notBefore: momentOf(now),
    notAfter: momentOf(new Date(now.getTime() + validMs)),
    ...(grounds.carriesOut === undefined ? {} : { carriesOut: grounds.carriesOut }),
    random: documentRandom(),
  };
}

/** Where a decision stands, and its id. */
export type Decided = { readonly id: string; readonly standing: Standing };

/** In a trial: the one seat's key, which home keeps. Undefined as soon as the State has other seats. */
export function ownSeat(home: Home): SigningKey | undefined {
  const { seat } = home;
  const { constitution } = home.charter;
  return seat && constitution.seats.length === 1 && seatKeys(constitution).has(seat.id)
    ? seat
    : undefined;
}

/**
 * Gives an order that home's own seat can decide alone: signed, into the ledger, and in effect if nothing
 * delays it. Throws `usage` when the charter needs other signatures.
 */
export async function decide(
  home: Home,
  order: Order,
  grounds: Grounds,
  now: Date,
): Promise<Decided> {
  const { seat } = home;
  if (!seat) {
    throw new ExclaveError(
      "usage",
      "this State decides with signatures, and home has no key to sign with. Nothing was changed; `exclave decide propose` makes the paper",
    );
  }
  const decision = await draftDecision(home, order, grounds, now);
  return submit(home, [signPaper(decision, seat)], now);
}

/**
 * Takes decisions into the ledger, each with all the signatures that came with it, and lets take effect what
 * is ripe. Returns where the first of them stands.
 *
 * @throws ExclaveError `usage` when one lacks signatures or can never take effect: then nothing was changed
 */
export async function submit(
  home: Home,
  envelopes: readonly Uint8Array[],
  now: Date,
): Promise<Decided> {
  const opened = envelopes.map((envelope) => openDecision(envelope, home.state, home.charter));
  for (const one of opened) requireSigned(home, one, now);
  const fresh = opened.filter((one) => !isLogged(home.known.history.decisions, one));
  if (fresh.length > 0) {
    await enter(
      home,
      fresh.map(({ envelope }) => documentOf("decision", envelope)),
      now,
    );
  }
  await enactRipe(home, now);
  const [first] = opened;
  invariant(first, "there is something to submit");
  return { id: first.id, standing: standingOf(home.known, first, now) };
}

/** Throws `usage` when a decision would not count, were it in the ledger now. */
function requireSigned(home: Home, opened: OpenedPaper<"decision">, now: Date): void {
  const { history } = home.known;
  const { generation } = home.charter.ledger;
  const last = { opened, generation, position: Number.MAX_SAFE_INTEGER, at: now };
  const standing = assess(opened, { ...history, decisions: [...history.decisions, last], now });
  if (standing.status === "unsigned") {
    throw new ExclaveError(
      "usage",
      `the decision has ${standing.missing.join(", and ")}. Nothing was changed; have it signed: exclave decide sign FILE --key KEY`,
    );
  }
  if (standing.status === "void") {
    throw new ExclaveError(
      "usage",
      `the decision can not take effect: ${standing.why}. Nothing was changed`,
    );
  }
}

/** Where a decision stands now. */
export function standingOf(
  { history }: KnownState,
  opened: OpenedPaper<"decision">,
  now: Date,
): Standing {
  return assess(opened, { ...history, now });
}

/** True when the ledger has a paper with all the signatures that this copy of it brings. */
function isLogged(logged: readonly Logged<PaperKind>[], { id, keyIds }: OpenedPaper<PaperKind>) {
  const known = new Set(
    logged.filter(({ opened }) => opened.id === id).flatMap(({ opened }) => opened.keyIds),
  );
  return keyIds.every((keyId) => known.has(keyId));
}

/** Takes a veto or a freeze into the ledger. Whether it counts, the seats that signed it decide. */
export async function object(
  home: Home,
  kind: "veto" | "freeze",
  envelope: Uint8Array,
  now: Date,
): Promise<string> {
  const { vetoes, freezes } = home.known.history;
  const opened = openPaper(kind, envelope, home.state, keysFor([home.charter]));
  if (!isLogged(kind === "veto" ? vetoes : freezes, opened)) {
    await enter(home, [documentOf(kind, envelope)], now);
  }
  return opened.id;
}

/** The veto of a decision, for seats to sign. */
export function draftVeto(state: string, decision: string, reason: string, now: Date): Veto {
  return {
    kind: "veto",
    format: 1,
    state,
    decision,
    reason,
    time: momentOf(now),
    random: documentRandom(),
  };
}

/** A freeze from now on, for seats to sign. */
export function draftFreeze(state: string, days: number, reason: string, now: Date): Freeze {
  const until = new Date(now.getTime() + days * DAY_SECONDS * 1000);
  return {
    kind: "freeze",
    format: 1,
    state,
    from: momentOf(now),
    until: momentOf(until),
    reason,
    random: documentRandom(),
  };
}

/** A veto in the ledger: the seats that veto the decision by now, and where that stands. */
export type Vetoed = {
  readonly id: string;
  readonly decision: string;
  readonly seats: readonly string[];
  /** Undefined for a decision that the ledger does not have yet. */
  readonly standing?: Standing;
};

/**
 * Takes a veto into the ledger. Whether it counts, the seats that signed it decide; one of a decision that the
 * ledger does not have yet counts when that comes. Throws `usage` when it comes too late.
 */
export async function takeVeto(home: Home, envelope: Uint8Array, now: Date): Promise<Vetoed> {
  const { decision } = openPaper("veto", envelope, home.state, keysFor([home.charter])).paper;
  const before = standingOfId(home.known, decision, now);
  if (before?.status === "enacted") {
    throw new ExclaveError(
      "usage",
      `the veto comes too late: the decision took effect on ${before.at.toISOString()}. Nothing was changed`,
    );
  }
  const id = await object(home, "veto", envelope, now);
  const standing = standingOfId(home.known, decision, now);
  const seats = vetoingSeats(home.known, decision, now);
  return { id, decision, seats, ...(standing ? { standing } : {}) };
}

/** The seats under vetoes of a decision that the ledger has. */
export function vetoingSeats(known: KnownState, decision: string, now: Date): readonly string[] {
  const keyIds = known.history.vetoes
    .filter(({ opened }) => opened.paper.decision === decision)
    .flatMap(({ opened }) => opened.keyIds);
  return seatsThatSigned(known.charter.constitution, keyIds, now).map(({ name }) => name);
}

/** A freeze in the ledger: the seats under it, and until when decisions are frozen, if they are. */
export type Frozen = {
  readonly id: string;
  readonly seats: readonly string[];
  readonly needed: number;
  readonly until?: Date;
};

/** Takes a freeze into the ledger. It holds as soon as the ledger has enough seats' signatures under it. */
export async function takeFreeze(home: Home, envelope: Uint8Array, now: Date): Promise<Frozen> {
  const id = await object(home, "freeze", envelope, now);
  return { id, ...freezeOf(home.known, id, now) };
}

/** Where a freeze stands that the ledger has. */
export function freezeOf(known: KnownState, id: string, now: Date): Omit<Frozen, "id"> {
  const { constitution } = known.charter;
  const keyIds = known.history.freezes
    .filter(({ opened }) => opened.id === id)
    .flatMap(({ opened }) => opened.keyIds);
  const until = frozenUntil({ ...known.history, now }, known.charter);
  return {
    seats: seatsThatSigned(constitution, keyIds, now).map(({ name }) => name),
    needed: constitution.freezeSignatures,
    ...(until ? { until } : {}),
  };
}

/** Where a decision stands that the ledger has, by its id. */
export function standingOfId(known: KnownState, id: string, now: Date): Standing | undefined {
  const logged = known.history.decisions.find(({ opened }) => opened.id === id);
  return logged && standingOf(known, logged.opened, now);
}

/** Lets what became ripe meanwhile take effect, whoever runs first. */
export async function settle(home: Home, now: Date): Promise<void> {
  if (!nextToEnact({ ...home.known.history, now })) return;
  const unlock = lockState(home);
  try {
    home.refresh();
    await enactRipe(home, now);
  } finally {
    unlock();
  }
}

/** Lets every ripe decision take effect, in the order that the rules give. Returns how many did. */
export async function enactRipe(home: Home, now: Date): Promise<number> {
  for (let enacted = 0; enacted < ENACT_AT_ONCE_MAX; enacted++) {
    const facts = { ...home.known.history, now };
    const ripe = nextToEnact(facts);
    if (!ripe) return enacted;
    const { id, payload } = charterAfter(facts, ripe);
    await enter(home, [{ kind: "charter", id, bytes: payload }], now);
    // It counts when enough witnesses have seen it; to enter it again would bring it no further.
    if (home.known.charterId !== id) return enacted;
  }
  return ENACT_AT_ONCE_MAX;
}

function documentOf(kind: GoverningDocument["kind"], envelope: Uint8Array): GoverningDocument {
  return { kind, id: envelopeId(envelope), bytes: envelope };
}
