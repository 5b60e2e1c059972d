/** A decision, veto or freeze as a person reads it: what it would do, what changes, who signed, where it stands. */

import type { Standing } from "../charter/assess.ts";
import type { Seat } from "../charter/charter.ts";
import { readCharter } from "../charter/charter.ts";
import { applyDecision } from "../charter/decision.ts";
import { type Difference, differencesOf, sentenceOf, termsOf } from "../charter/sentences.ts";
import { fingerprint } from "../custody/kit.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { freezeOf, standingOf, standingOfId, vetoingSeats } from "../governance/decide.ts";
import { decisionIn, type Proposal, signersOf, standingAlone } from "../governance/proposal.ts";
import { displayName, fromText } from "../platform/names.ts";
import type { KnownState } from "../vault/known-state.ts";
import { namesOf, type Told } from "./decisions.ts";
import { formatTime } from "./format.ts";
import { wrap } from "./page.ts";

const COLUMNS = 78;
/** Differences that are shown one by one; the rest is counted. */
const DIFFERENCES_SHOWN_MAX = 400;

/** What `decide show` prints, as an object. */
export type PaperView = {
  readonly kind: Proposal["kind"];
  readonly id: string;
  readonly state: string;
  readonly stateName: string;
  readonly fingerprint: string;
  readonly sentence: string;
  readonly reason: string;
  readonly citation?: string;
  readonly terms: readonly string[];
  readonly differences: readonly Difference[];
  readonly signed: readonly SignedBy[];
  readonly standing?: Standing;
  /** The same in words. */
  readonly stands: string;
  /** Who was asked where it stands; "file" when nobody was but the paper itself. */
  readonly by: "file" | "home" | "sites";
};

type SignedBy = {
  readonly seat: string;
  readonly office: string;
  readonly institution: string;
  readonly jurisdiction: string;
};

/** Text that somebody wrote, so that nothing in it steers a terminal or passes for another line. */
export function plainText(text: string): string {
  return displayName(fromText(text));
}

/**
 * @param told of the paper's State, when that is to say where the paper stands; else the paper alone does
 */
export function viewOf(proposal: Proposal, now: Date, told?: Told): PaperView {
  const { kind, id, state, charter, said } = proposal;
  const { seats, joining, recovery } = signersOf(proposal, now);
  const signed = [
    ...seats.map((seat) => signedBy(seat)),
    ...joining.map((seat) => signedBy(seat, ", as a new seat")),
    ...(recovery
      ? [{ seat: "recovery key", office: "The recovery key", institution: "", jurisdiction: "" }]
      : []),
  ];
  const common: Omit<PaperView, "sentence" | "terms" | "differences" | "stands"> = {
    kind,
    id,
    state,
    stateName: charter.name,
    fingerprint: fingerprint(state),
    reason: said.reason,
    signed,
    by: told === undefined ? "file" : told.home ? "home" : "sites",
  };
  if (said.kind === "veto") {
    const seatsWanted = told ? vetoText(told.known, said.decision, now) : "";
    return {
      ...common,
      sentence: `Veto the decision ${said.decision}: it is not to take effect.${vetoed(said.decision, told)}`,
      terms: ["It counts when the ledger has it before that decision takes effect."],
      differences: [],
      stands: seatsWanted || "It counts as soon as it is handed in, for each seat that signed it.",
    };
  }
  if (said.kind === "freeze") {
    const { freezeSignatures } = charter.constitution;
    return {
      ...common,
      sentence: `Freeze the State's decisions from ${formatTime(said.from)} to ${formatTime(said.until)}: none but everyday ones takes effect.`,
      terms: [
        `It needs ${freezeSignatures} of ${charter.constitution.seats.length} seats, and each of these spends so many of its 14 days a year.`,
      ],
      differences: [],
      stands: told
        ? freezeText(told.known, id, now)
        : `${seats.length} of ${freezeSignatures} seats signed it.`,
    };
  }
  const opened = decisionIn(proposal);
  if (!opened) throw new ExclaveError("bug", "a decision is one");
  const standing = told ? standingOf(told.known, opened, now) : standingAlone(proposal, now);
  let differences: readonly Difference[] = [];
  let terms: readonly string[] = [];
  try {
    const after = applyDecision(readCharter(proposal.charterPayload), opened, now).charter;
    terms = termsOf(said, charter, after, now);
    differences = differencesOf(charter, after);
  } catch (error) {
    // What does not fit the charter is void, and that is said where it stands.
    if (!isExclaveError(error, "usage")) throw error;
  }
  return {
    ...common,
    sentence: sentenceOf(said.order, charter, told && namesOf(told)),
    citation: said.citation,
    terms,
    differences,
    ...(standing ? { standing, stands: standingText(standing) } : { stands: "" }),
  };
}

function signedBy({ name, office, institution, jurisdiction }: Seat, note = ""): SignedBy {
  return { seat: name, office: `${office}${note}`, institution, jurisdiction };
}

/** What a vetoed decision would do, where the ledger has it. */
function vetoed(decision: string, told: Told | undefined): string {
  const found = told?.known.history.decisions.find(({ opened }) => opened.id === decision);
  if (!told || !found) return "";
  return ` That is: ${sentenceOf(found.opened.paper.order, told.known.charter, namesOf(told))}`;
}

function vetoText(known: KnownState, decision: string, now: Date): string {
  const seats = vetoingSeats(known, decision, now);
  const standing = standingOfId(known, decision, now);
  const by = seats.length === 0 ? "no seat yet" : seats.join(", ");
  return `In the ledger it is vetoed by ${by}. ${standing ? `The decision: ${standingText(standing)}` : "The ledger does not have the decision."}`;
}

function freezeText(known: KnownState, id: string, now: Date): string {
  const { seats, needed, until } = freezeOf(known, id, now);
  const frozen = until ? ` Decisions are frozen until ${formatTime(until.toISOString())}.` : "";
  return `The ledger has ${seats.length} of the ${needed} signatures that it needs.${frozen}`;
}

/** Where a decision stands, as a sentence. */
export function standingText(standing: Standing): string {
  switch (standing.status) {
    case "unsigned":
      return `It has ${standing.missing.join(", and ")}.`;
    case "signed":
      return "It has all the signatures that it needs, and is to be handed in.";
    case "waiting":
      return `It takes effect on ${formatTime(standing.until.toISOString())}, unless it is vetoed before.`;
    case "frozen":
      return `It is frozen until ${formatTime(standing.until.toISOString())}, and takes effect after that.`;
    case "ripe":
      return "It can take effect now: `exclave decide submit` lets it, and so does the next `exclave protect`.";
    case "enacted":
      return `It took effect on ${formatTime(standing.at.toISOString())}.`;
    case "void":
      return `It will never take effect: ${standing.why}.`;
  }
}

const TITLES: Readonly<Record<Proposal["kind"], string>> = {
  decision: "Decision",
  veto: "Veto",
  freeze: "Freeze",
};

/** The same for people, in lines. */
export function paperLines(view: PaperView): readonly string[] {
  const { kind, id, stateName, sentence, reason, citation, terms, differences, signed } = view;
  const shown = differences.slice(0, DIFFERENCES_SHOWN_MAX);
  const left = differences.length - shown.length;
  return [
    `${TITLES[kind]} of ${plainText(stateName)}`,
    "",
    ...indented(sentence),
    "",
    ...indented(`Why: ${plainText(reason)}`),
    ...(citation === undefined ? [] : indented(`By what law: ${plainText(citation)}`)),
    "",
    ...terms.flatMap(indented),
    ...(shown.length === 0 ? [] : ["", "What changes in the charter:"]),
    ...shown.flatMap(differenceLines),
    ...(left > 0 ? [`  … and ${left} more, which --json shows`] : []),
    "",
    signed.length === 0 ? "Nobody has signed it yet." : "Signed by:",
    ...signed.map(({ office, institution, jurisdiction }) =>
      jurisdiction === "" ? `  ${office}` : `  ${office}, ${institution} (${jurisdiction})`,
    ),
    "",
    ...indented(view.stands),
    ...(view.by === "file"
      ? indented("That is by this file alone; the State's home may know of more.")
      : []),
    "",
    `  ${kind.padEnd(13)}${id}`,
    `  fingerprint  ${view.fingerprint}   the State's: compare it with your kit's, or your notes'`,
  ];
}

function indented(text: string): readonly string[] {
  return wrap(text, COLUMNS).map((line) => `  ${line}`);
}

function differenceLines({ path, before, after }: Difference): readonly string[] {
  return [
    `  ${path}`,
    ...(before === undefined ? [] : [`    - ${before}`]),
    ...(after === undefined ? [] : [`    + ${after}`]),
  ];
}
