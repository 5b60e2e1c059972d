/**
 * Decisions at home: an order becomes a paper, the paper gathers signatures, the ledger takes it in, and when it
 * is ripe the charter follows. In a trial, where home keeps the one seat's key, all of it happens at once.
 */
import { assess, keysFor, type Standing } from "../charter/assess.ts";
import { momentOf } from "../charter/charter.ts";
import {
  addSignature,
  type Decision,
  type OpenedPaper,
  openPaper,
  type PaperKind,
  signPaper,
} from "../charter/decision.ts";
import { charterAfter, nextToEnact, openDecision } from "../charter/history.ts";
import { applyOrder, type Order } from "../charter/orders.ts";
import { toHex } from "../crypto/bytes.ts";
import { envelopeId } from "../crypto/dsse.ts";
import type { SigningKey } from "../crypto/signing.ts";
import { ExclaveError, invariant } from "../errors.ts";
import { documentRandom } from "../vault/documents.ts";
import type { Home } from "../vault/home.ts";
import { lockState } from "../vault/lock.ts";
import {
  enter,
  type GoverningDocument,
  openAllSites,
  publish,
  requireCurrent,
  requirePublished,
} from "./ledger-at-sites.ts";

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
    random: documentRandom(),
  };
}

/** Where a decision stands, and its id. */
export type Decided = { readonly id: string; readonly standing: Standing };

/** An order that was decided, or the decision that is to be signed first. */
export type Given =
  | ({ readonly status: "decided" } & Decided)
  | { readonly status: "proposed"; readonly decision: Decision };

/**
 * Gives an order: decided and brought to the sites where home's own seat can decide alone, and otherwise
 * the decision for people to sign. Throws as `decide`, `requireCurrent` and `requirePublished` do.
 */
export async function give(home: Home, order: Order, grounds: Grounds, now: Date): Promise<Given> {
  if (!home.seat) {
    return { status: "proposed", decision: await draftDecision(home, order, grounds, now) };
  }
  const places = await openAllSites(home);
  await requireCurrent(home, places);
  const decided = await decide(home, order, grounds, now);
  requirePublished(home, await publish(home, places));
  return { status: "decided", ...decided };
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
  await enter(
    home,
    opened.map(({ envelope }) => documentOf("decision", envelope)),
    now,
  );
  await enactRipe(home, now);
  const [first] = opened;
  invariant(first, "there is something to submit");
  return { id: first.id, standing: standingOf(home, first, now) };
}

function requireSigned(home: Home, opened: OpenedPaper<"decision">, now: Date): void {
  const standing = standingOf(home, opened, now);
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
export function standingOf(home: Home, opened: OpenedPaper<"decision">, now: Date): Standing {
  return assess(opened, { ...home.known.history, now });
}

/** Takes a veto or a freeze into the ledger. Whether it counts, the seats that signed it decide. */
export async function object(
  home: Home,
  kind: "veto" | "freeze",
  envelope: Uint8Array,
  now: Date,
): Promise<string> {
  const { id } = openPaper(kind, envelope, home.state, keysFor([home.charter]));
  await enter(home, [documentOf(kind, envelope)], now);
  return id;
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
  }
  return ENACT_AT_ONCE_MAX;
}

/** The paper with this key's signature: the first, or one more. */
export function signWith(
  key: SigningKey,
  paper: Parameters<typeof signPaper>[0] | OpenedPaper<PaperKind>,
): Uint8Array {
  return "envelope" in paper ? addSignature(paper, key) : signPaper(paper, key);
}

function documentOf(kind: GoverningDocument["kind"], envelope: Uint8Array): GoverningDocument {
  return { kind, id: envelopeId(envelope), bytes: envelope };
}
