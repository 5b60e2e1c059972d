/** The ledger for people: its newest entries, each as a sentence. */
import { standings } from "../charter/history.ts";
import { sentenceOf } from "../charter/sentences.ts";
import { toHex } from "../crypto/bytes.ts";
import { invariant } from "../errors.ts";
import type { LedgerEntry } from "../ledger/entry.ts";
import { headsAt } from "../ledger/from-sites.ts";
import type { Relation } from "../ledger/log.ts";
import type { Home } from "../vault/home.ts";
import { type Generation, witnessesOf } from "../vault/known-state.ts";
import { isOpen } from "../vault/open-sites.ts";
import { checkSentence } from "./check-sentence.ts";
import { openAllSites } from "./ledger-at-sites.ts";

/** A recovery point, as home knows it. */
export type NamedPoint = { readonly register: string; readonly id: string; readonly time: string };

export type ShownEntry = {
  readonly generation: number;
  readonly position: number;
  readonly kind: LedgerEntry["kind"];
  /** SHA-256 of the document. */
  readonly document: string;
  /** When it counted; absent while no checkpoint that counts covers it. */
  readonly time?: string;
  readonly sentence: string;
};

/**
 * The newest entries of the ledger, newest first.
 *
 * @param pointOf the recovery point that a statement is of, by the statement's object
 */
export async function newestEntries(
  home: Home,
  last: number,
  pointOf: (statement: string) => NamedPoint | undefined,
): Promise<readonly ShownEntry[]> {
  const say = sentences(home, pointOf);
  const witnesses = witnessesOf(home.charter);
  return home.withGenerations((generations) => {
    const shown: ShownEntry[] = [];
    for (const [i, { log, closedAt }] of [...generations.entries()].toReversed()) {
      const end = Math.min(log.size, closedAt ?? log.size);
      for (let position = end - 1; position >= 0 && shown.length < last; position--) {
        const entry = log.entry(position);
        const time = log.coveredAt(position, witnesses);
        shown.push({
          generation: i + 1,
          position,
          kind: entry.kind,
          document: entry.envelope,
          ...(time ? { time: time.toISOString() } : {}),
          sentence: say(entry, i + 1, position, time),
        });
      }
    }
    return shown;
  });
}

type Say = (
  entry: LedgerEntry,
  generation: number,
  position: number,
  time: Date | undefined,
) => string;

function sentences(home: Home, pointOf: (statement: string) => NamedPoint | undefined): Say {
  const facts = home.known.history;
  const where = standings(facts);
  const names = new Map(home.config.inventory.map(({ id, name }) => [id, name]));
  const charters = new Map(facts.history.map(({ id, charter }) => [id, charter]));
  return ({ kind, envelope }, generation, position, time) => {
    const isHere = (one: { readonly generation: number; readonly position: number }): boolean =>
      one.generation === generation && one.position === position;
    const ignored = facts.quarantined.find(isHere);
    if (ignored) return `A ${kind} that counts for nothing: ${ignored.why}.`;
    if (kind === "statement") {
      const point = pointOf(envelope);
      if (!point) return "A recovery point that the catalog does not have: exclave rebuild.";
      return `The recovery point ${point.id.slice(0, 12)} of ${point.register}, begun ${point.time}.`;
    }
    if (kind === "check") return checkSentence(home, envelope, time, (id) => names.get(id));
    if (kind === "charter") return charterSentence(charters.get(envelope));
    const decision = facts.decisions.find(isHere)?.opened;
    if (decision) {
      const { paper, id } = decision;
      const sentence = sentenceOf(
        paper.order,
        charters.get(paper.charter) ?? home.charter,
        (register) => names.get(register),
      );
      return `${sentence} (decision ${id.slice(0, 12)}, ${where.get(id)?.status ?? "unknown"})`;
    }
    const veto = facts.vetoes.find(isHere)?.opened.paper;
    if (veto) return `A veto of decision ${veto.decision.slice(0, 12)}.`;
    const freeze = facts.freezes.find(isHere)?.opened.paper;
    if (freeze) return `A freeze from ${freeze.from} to ${freeze.until}.`;
    const succession = facts.successions.find((one) => one.envelope === envelope)?.paper;
    if (succession) {
      return `The State went on from another home: generation ${succession.ledger.generation}, term ${succession.agent.term}.`;
    }
    return OTHERS[kind] ?? `A ${kind}.`;
  };
}

const OTHERS: Readonly<Partial<Record<LedgerEntry["kind"], string>>> = {
  "share-set": "The recovery key was divided among key holders.",
  receipt: "A key holder showed that they can open their share.",
  opening: "The recovery key was brought together.",
  drill: "A recovery was rehearsed.",
};

function charterSentence(charter: Home["charter"] | undefined): string {
  if (!charter) return "A charter.";
  return charter.version === 1
    ? `The founding charter of ${charter.name}.`
    : `The charter of ${charter.name}, version ${charter.version}, in force from ${charter.time}.`;
}

/** What there is of each generation, for people. */
export type ShownGeneration = {
  readonly generation: number;
  readonly origin: string;
  readonly entries: number;
  readonly root: string;
  readonly closed: boolean;
};

export function shownGenerations(generations: readonly Generation[]): readonly ShownGeneration[] {
  return generations.map(({ log, closedAt }, i) => {
    const entries = Math.min(log.size, closedAt ?? log.size);
    return {
      generation: i + 1,
      origin: log.origin,
      entries,
      root: toHex(log.head(entries).root),
      closed: closedAt !== undefined,
    };
  });
}

/** What a site holds of the newest generation, next to what home has. */
export type ShownSite = {
  readonly site: string;
  /** Of its newest checkpoint. */
  readonly entries?: number;
  readonly relation?: Relation | "nothing";
  readonly unavailable?: string;
};

export async function shownSites(home: Home): Promise<readonly ShownSite[]> {
  const places = await openAllSites(home);
  return home.withGenerations(async (generations) => {
    const log = generations.at(-1)?.log;
    invariant(log, "a State has a ledger");
    const answers = await headsAt(places.filter(isOpen), log.keys);
    return places.map((place): ShownSite => {
      const site = place.name;
      if (!isOpen(place)) return { site, unavailable: place.problem };
      const answer = answers.find((one) => one.site === site);
      if (!answer || "unavailable" in answer) {
        return { site, unavailable: answer?.unavailable ?? "it was not asked" };
      }
      if (!answer.signed) return { site, entries: 0, relation: "nothing" };
      const { head } = answer.signed;
      return { site, entries: head.size, relation: log.relation(head) };
    });
  });
}
