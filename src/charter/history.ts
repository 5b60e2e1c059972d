/**
 * The State's history, replayed: from the founding charter and what the ledger holds, in its order, to the
 * charter in force. Home, sites, recovery and auditors all do this, and come to the same.
 */
import { ExclaveError, invariant, isExclaveError } from "../errors.ts";
import { assess, type Enacted, type Facts, keysFor, type Logged, type Standing } from "./assess.ts";
import { type Charter, readCharter, type StoredCharter } from "./charter.ts";
import { applyDecision, type Decision, type OpenedPaper, openPaper } from "./decision.ts";

/** An entry of the ledger that matters to the charter, with the document that its envelope holds. */
export type HistoryEntry = {
  readonly kind: "decision" | "veto" | "freeze" | "charter";
  /** The envelope; of a charter the payload. */
  readonly bytes: Uint8Array;
  /** In the ledger; entries come in this order. */
  readonly position: number;
  /** When the quorum of witnesses first covered it. */
  readonly at: Date;
};

/** An entry that counts for nothing, and why. */
export type Quarantined = { readonly position: number; readonly why: string };

export type History = Facts & { readonly quarantined: readonly Quarantined[] };

/**
 * Replays the ledger. Whatever is not what it should be counts for nothing and is named; it never stops what
 * comes after it.
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
  const facts: Facts = { history, decisions, vetoes, freezes, enacted, hadCheckpoint, now };
  for (const { kind, bytes, position, at } of entries) {
    const current = history.at(-1) ?? founding;
    const trusted = keysFor([current.charter]);
    try {
      if (kind === "decision") {
        decisions.push({ opened: openDecision(bytes, state, current.charter), position, at });
      } else if (kind === "veto") {
        vetoes.push({ opened: openPaper("veto", bytes, state, trusted), position, at });
      } else if (kind === "freeze") {
        freezes.push({ opened: openPaper("freeze", bytes, state, trusted), position, at });
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
      quarantined.push({ position, why: error.message });
    }
  }
  return { ...facts, quarantined };
}

/**
 * A decision with all signatures that may count: of the seats in force and, where it would bring others,
 * of those. Throws as `openPaper` does.
 */
export function openDecision(
  envelope: Uint8Array,
  state: string,
  charter: Charter,
): OpenedPaper<"decision"> {
  const opened = openPaper("decision", envelope, state, keysFor([charter]));
  const { order } = opened.paper;
  if (order.kind !== "amend" || !order.constitution) return opened;
  const both = keysFor([charter, { ...charter, constitution: order.constitution }]);
  return openPaper("decision", envelope, state, both);
}

/** A decision that can take effect, and since when. */
export type Ripe = { readonly decision: OpenedPaper<"decision">; readonly since: Date };

/**
 * The decision that takes effect next; undefined when none can now. Of several the one that has been ripe
 * for longest, and of these the first in the ledger: nobody chooses.
 */
export function nextToEnact(facts: Facts): Ripe | undefined {
  const first = new Map<string, Logged<"decision">>();
  for (const one of facts.decisions) {
    if (!first.has(one.opened.id)) first.set(one.opened.id, one);
  }
  const ripe = [...first.values()].flatMap(({ opened, position }) => {
    const standing = assess(opened, facts);
    return standing.status === "ripe"
      ? [{ decision: opened, since: standing.since, position }]
      : [];
  });
  const [next] = ripe.toSorted(
    (a, b) => a.since.getTime() - b.since.getTime() || a.position - b.position,
  );
  return next && { decision: next.decision, since: next.since };
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
  const published = readCharter(payload);
  const next = nextToEnact(facts);
  if (!next || published.charter.decision !== next.decision.id) {
    throw new ExclaveError(
      "untrusted",

      next
        ? `decision ${next.decision.id} takes effect first`
        : "no decision can take effect at that moment",
    );
  }
  if (charterAfter(facts, next).id !== published.id) {
    throw new ExclaveError("untrusted", "it is not the charter that follows from its decision");
  }
  return { charter: published, decision: next.decision };
}
