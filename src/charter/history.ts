/**
 * The State's history, replayed: from the founding charter and what the ledger holds, in its order, to the
 * charter in force. Home, sites, recovery and auditors all do this, and come to the same.
 */
import { toHex } from "../crypto/bytes.ts";
import { envelopeId } from "../crypto/dsse.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError, invariant, isExclaveError } from "../errors.ts";
import {
  assess,
  type Enacted,
  type Facts,
  inLedgerOrder,
  keysFor,
  type Logged,
  type Standing,
} from "./assess.ts";
import { type Charter, readCharter, type StoredCharter } from "./charter.ts";
import { applyDecision, type Decision, type OpenedPaper, openPaper } from "./decision.ts";
import { mayBeByRecovery } from "./orders.ts";
import { applySuccession, type Succession } from "./succession.ts";
import { recoveryKey } from "./thresholds.ts";

/** An entry of the ledger that matters to the charter, with the document that its envelope holds. */
export type HistoryEntry = {
  readonly kind: "decision" | "veto" | "freeze" | "charter" | "succession";
  /** The envelope; of a charter the payload. */
  readonly bytes: Uint8Array;
  /** Of the ledger that it is in; the State's first is 1. */
  readonly generation: number;
  /** In that ledger. Entries come in this order, one generation after the other. */
  readonly position: number;
  /**
   * When the quorum of witnesses first covered it; which witnesses these are, the charter in force says.
   * Undefined for what they have not covered yet: it counts for nothing until then.
   */
  readonly at: Date | ((charter: Charter) => Date | undefined);
};

/** An entry that counts for nothing, and why. */
export type Quarantined = {
  readonly generation: number;
  readonly position: number;
  readonly why: string;
};

/** A succession that took effect. */
export type Succeeded = {
  /** SHA-256 of its payload. */
  readonly id: string;
  /** SHA-256 of the envelope that the ledger has. */
  readonly envelope: string;
  readonly paper: Succession;
  /** When the ledger that it opened had the charter that follows from it. */
  readonly at: Date;
};

export type History = Facts & {
  readonly successions: readonly Succeeded[];
  readonly quarantined: readonly Quarantined[];
};

/**
 * Replays the ledgers. Whatever is not what it should be counts for nothing and is named; it never stops what
 * comes after it.
 *
 * A ledger of the next generation begins with the succession that opens it, then the charter that follows
 * from that; from there on the one before is closed. The caller leaves out what the old one holds from
 * `closes.size` on, and has found the rest to be what `closes.root` covers.
 *
 * @param founding the founding charter, which the caller has verified to be the State's
 * @param state the State's id
 */
export function replay(
  founding: StoredCharter,
  state: string,
  entries: readonly HistoryEntry[],
  { hadCheckpoint, now }: Pick<Facts, "hadCheckpoint" | "now">,
): History {
  const history = [founding];
  const decisions: Logged<"decision">[] = [];
  const vetoes: Logged<"veto">[] = [];
  const freezes: Logged<"freeze">[] = [];
  const enacted = new Map<string, Enacted>();
  const quarantined: Quarantined[] = [];
  const refused = new Set<string>();
  const facts: Facts = {
    history,
    decisions,
    vetoes,
    freezes,
    enacted,
    refused,
    hadCheckpoint,
    now,
  };
  const successions: Succeeded[] = [];
  let opening: OpenedPaper<"succession"> | undefined;
  for (const entry of entries) {
    const { kind, bytes, generation, position } = entry;
    const current = history.at(-1) ?? founding;
    const trusted = keysFor([current.charter]);
    const seen = typeof entry.at === "function" ? entry.at(current.charter) : entry.at;
    if (!seen) continue;
    // The witnesses that a succession brings cannot date anything to before those of old saw it.
    const opened = successions.at(-1)?.at;
    const at = opened && seen < opened ? opened : seen;
    const place = { generation, position, at };
    try {
      if (kind === "succession") {
        opening = openSuccession(entry, state, current);
      } else if (opening && isFirstCharter(entry, opening.paper)) {
        history.push(succeeding(bytes, current, opening));
        const { id, paper, envelope } = opening;
        successions.push({ id, envelope: envelopeId(envelope), paper, at });
        opening = undefined;
      } else if (isFounding(entry, founding)) {
        // It is where the history begins.
      } else if (generation !== current.charter.ledger.generation) {
        throw outside(generation, current.charter);
      } else if (kind === "decision") {
        decisions.push({ opened: openDecision(bytes, state, current.charter), ...place });
      } else if (kind === "veto") {
        vetoes.push({ opened: openPaper("veto", bytes, state, trusted), ...place });
      } else if (kind === "freeze") {
        freezes.push({ opened: openPaper("freeze", bytes, state, trusted), ...place });
      } else {
        const { charter, decision } = following(bytes, { ...facts, now: at });
        history.push(charter);
        enacted.set(decision.id, {
          decision: decision.paper,
          at,
          version: charter.charter.version,
        });
      }
    } catch (error) {
      if (!isExclaveError(error) || error.code === "bug") throw error;
      quarantined.push({ generation, position, why: error.message });
      if (kind === "charter") refused.add(toHex(sha256(bytes)));
    }
  }
  return { ...facts, successions, quarantined };
}

/**
 * A succession, when it is the first entry of the next generation, is signed by the recovery key of the
 * charter in force, and fits that charter.
 */
function openSuccession(
  { bytes, generation, position }: HistoryEntry,
  state: string,
  current: StoredCharter,
): OpenedPaper<"succession"> {
  if (position !== 0 || generation !== current.charter.ledger.generation + 1) {
    throw new ExclaveError("untrusted", "a succession counts only where the next ledger begins");
  }
  const opened = openPaper("succession", bytes, state, recoveryKey(current.charter));
  applySuccession(current, opened);
  return opened;
}

function isFirstCharter({ kind, generation, position }: HistoryEntry, paper: Succession): boolean {
  return kind === "charter" && position === 1 && generation === paper.ledger.generation;
}

/** The published charter, when it is exactly the one that follows from the succession before it. */
function succeeding(
  payload: Uint8Array,
  current: StoredCharter,
  succession: OpenedPaper<"succession">,
): StoredCharter {
  const after = applySuccession(current, succession);
  if (readCharter(payload).id !== after.id) {
    throw new ExclaveError("untrusted", "it is not the charter that follows from its succession");
  }
  return after;
}

function isFounding(
  { kind, bytes, generation, position }: HistoryEntry,
  founding: StoredCharter,
): boolean {
  return (
    kind === "charter" && generation === 1 && position === 0 && toHex(sha256(bytes)) === founding.id
  );
}

/** Why an entry of another ledger than the charter's counts for nothing. */
function outside(generation: number, { ledger }: Charter): ExclaveError {
  return new ExclaveError(
    "untrusted",
    generation < ledger.generation
      ? "the ledger that it is in was closed"
      : "the ledger that it is in was not opened by a succession",
  );
}

/**
 * A decision with all signatures that may count: of the seats in force and, where it would bring others,
 * of those; of the recovery key where it releases, or brings seats or rules and nothing else. Throws as `openPaper`
 * does.
 */
export function openDecision(
  envelope: Uint8Array,
  state: string,
  charter: Charter,
): OpenedPaper<"decision"> {
  const seats = keysFor([charter]);
  const recovery = recoveryKey(charter);
  // What it orders decides whether the recovery key may sign it, and is to be believed only when signed.
  const { order } = openPaper("decision", envelope, state, new Map([...seats, ...recovery])).paper;
  const both =
    order.kind === "amend" && order.constitution
      ? keysFor([charter, { ...charter, constitution: order.constitution }])
      : seats;
  const trusted = mayBeByRecovery(order) ? new Map([...both, ...recovery]) : both;
  return openPaper("decision", envelope, state, trusted);
}

/** A decision that can take effect, and since when. */
export type Ripe = { readonly decision: OpenedPaper<"decision">; readonly since: Date };

/**
 * The decision that takes effect next; undefined when none can now. Of several the one that has been ripe
 * for longest, and of these the first in the ledger: nobody chooses. One whose charter was entered before its
 * time, and can not be entered again, lets the others go first: its charter is another one after theirs.
 */
export function nextToEnact(facts: Facts): Ripe | undefined {
  const first = new Map<string, Logged<"decision">>();
  for (const one of facts.decisions) {
    if (!first.has(one.opened.id)) first.set(one.opened.id, one);
  }
  const ripe = [...first.values()].flatMap(({ opened, generation, position }) => {
    const standing = assess(opened, facts);
    return standing.status === "ripe"
      ? [{ decision: opened, since: standing.since, generation, position }]
      : [];
  });
  const inTurn = ripe.toSorted(
    (a, b) => a.since.getTime() - b.since.getTime() || inLedgerOrder(a, b),
  );
  const next = inTurn.find((one) => !isRefused(facts, one));
  return next && { decision: next.decision, since: next.since };
}

function isRefused(facts: Facts, ripe: Ripe): boolean {
  const { refused } = facts;
  return refused !== undefined && refused.size > 0 && refused.has(charterAfter(facts, ripe).id);
}

/** The charter that a ripe decision makes: what home publishes, and everybody else expects. */
export function charterAfter(facts: Facts, { decision, since }: Ripe): StoredCharter {
  const current = facts.history.at(-1);
  invariant(current, "a State has a charter");
  return applyDecision(current, decision, since);
}

/** Where every open decision stands, by id. */
export function standings(
  facts: Facts,
): ReadonlyMap<string, Standing & { readonly decision: Decision }> {
  return new Map(
    facts.decisions.map(({ opened }) => [
      opened.id,
      { ...assess(opened, facts), decision: opened.paper },
    ]),
  );
}

/** The published charter, when it is exactly the one that follows at that moment. */
function following(
  payload: Uint8Array,
  facts: Facts,
): { readonly charter: StoredCharter; readonly decision: OpenedPaper<"decision"> } {
  const next = nextToEnact(facts);
  const after = next && charterAfter(facts, next);
  if (next && after?.id === toHex(sha256(payload))) {
    return { charter: after, decision: next.decision };
  }
  // Another one: who reads of it is to know what is wrong with it.
  const published = readCharter(payload);
  throw new ExclaveError(
    "untrusted",
    !next
      ? "no decision can take effect at that moment"
      : published.charter.decision === next.decision.id
        ? "it is not the charter that follows from its decision"
        : `decision ${next.decision.id} takes effect first`,
  );
}
