/** `decide list`: what is open, what stops it, and what came of the rest. */
import { Command } from "commander";
import type { Standing } from "../charter/assess.ts";
import type { History } from "../charter/history.ts";
import { sentenceOf } from "../charter/sentences.ts";
import { freezeOf, standingOf, vetoingSeats } from "../governance/decide.ts";
import { signersOf } from "../governance/proposal.ts";
import { namesOf, proposalInLedger, resolveDecision, type Told } from "./decisions.ts";
import { formatTime, plural } from "./format.ts";
import type { MakeCommand } from "./main.ts";
import { plainText, standingText } from "./paper.ts";
import { type AtSites, addAtSites, toldFor } from "./state-at-sites.ts";

/** Decisions that took effect, and entries that count for nothing, that are shown without --all. */
const LAST_SHOWN = 5;
const ID_DIGITS = 12;

export const listCommand: MakeCommand = (terminal) =>
  addAtSites(new Command("list"))
    .description("decisions that wait, what stops them, and the last ones that took effect")
    .option("--all", "all that there ever were", false)
    .action(async (flags: AtSites & { readonly all: boolean }) => {
      const list = listOf(await toldFor(terminal, flags), new Date(), flags.all);
      terminal.result(list, listLines(list));
    });

type Listed = {
  readonly id: string;
  readonly sentence: string;
  readonly signed: readonly string[];
  readonly vetoedBy: readonly string[];
  readonly standing: Standing;
};

type List = {
  readonly open: readonly Listed[];
  readonly frozenUntil?: Date;
  readonly freezes: readonly {
    readonly id: string;
    readonly until: string;
    readonly reason: string;
    readonly seats: readonly string[];
  }[];
  readonly enacted: readonly Listed[];
  readonly void: readonly Listed[];
  /** Entries of the ledger that count for nothing, and why. */
  readonly quarantined: History["quarantined"];
};

function listOf(told: Told, now: Date, all: boolean): List {
  const { known } = told;
  const { history } = known;
  const ids = new Set(history.decisions.map(({ opened }) => opened.id));
  const listed = [...ids].map((id): Listed => {
    const proposal = proposalInLedger(known, id);
    const { opened } = resolveDecision(known, id);
    const { seats, joining } = signersOf(proposal, now);
    return {
      id,
      sentence: sentenceOf(opened.paper.order, proposal.charter, namesOf(told)),
      signed: [...seats, ...joining].map(({ name }) => name),
      vetoedBy: vetoingSeats(known, id, now),
      standing: standingOf(known, opened, now),
    };
  });
  const standing = (...statuses: readonly string[]): readonly Listed[] =>
    listed.filter((one) => statuses.includes(one.standing.status));
  const last = <T>(items: readonly T[]): readonly T[] => (all ? items : items.slice(-LAST_SHOWN));
  const freezes = [...new Map(history.freezes.map(({ opened }) => [opened.id, opened])).values()]
    .filter(({ paper }) => all || Date.parse(paper.until) > now.getTime())
    .map(({ id, paper }) => ({
      id,
      ...freezeOf(known, id, now),
      until: paper.until,
      reason: paper.reason,
    }));
  const frozen = history.freezes[0] && freezeOf(known, history.freezes[0].opened.id, now).until;
  return {
    open: standing("unsigned", "signed", "waiting", "frozen", "ripe"),
    ...(frozen ? { frozenUntil: frozen } : {}),
    freezes,
    enacted: last(standing("enacted")),
    void: last(standing("void")),
    quarantined: last(history.quarantined),
  };
}

function listLines(list: List): readonly string[] {
  const { open, frozenUntil, freezes, enacted, quarantined } = list;
  const gone = list.void;
  return [
    open.length === 0 ? "No decision is open." : `Open: ${plural(open.length, "decision")}`,
    ...open.flatMap((one) => [
      `  ${one.id.slice(0, ID_DIGITS)}  ${one.sentence}`,
      `    signed by ${one.signed.join(", ") || "nobody"}${one.vetoedBy.length > 0 ? `; vetoed by ${one.vetoedBy.join(", ")}` : ""}`,
      `    ${standingText(one.standing)}`,
    ]),
    ...(frozenUntil
      ? [
          "",
          `Decisions are frozen until ${formatTime(frozenUntil.toISOString())}, everyday ones aside.`,
        ]
      : []),
    ...freezes.map(
      ({ id, until, reason, seats }) =>
        `  freeze ${id.slice(0, ID_DIGITS)} to ${formatTime(until)} by ${seats.join(", ") || "no seat"}: ${plainText(reason)}`,
    ),
    ...section("Took effect:", enacted),
    ...section("Will never take effect:", gone),
    ...(quarantined.length === 0 ? [] : ["", "In the ledger, and counting for nothing:"]),
    ...quarantined.map(
      ({ generation, position, why }) =>
        `  entry ${position} of ledger ${generation}: ${plainText(why)}`,
    ),
  ];
}

function section(title: string, listed: readonly Listed[]): readonly string[] {
  if (listed.length === 0) return [];
  return [
    "",
    title,
    ...listed.flatMap(({ id, sentence, standing }) => [
      `  ${id.slice(0, ID_DIGITS)}  ${sentence}`,
      `    ${standingText(standing)}`,
    ]),
  ];
}
