import { Command } from "commander";
import { type Freeze, signPaper, type Veto } from "../charter/decision.ts";
import { sentenceOf } from "../charter/sentences.ts";
import { ExclaveError, invariant, isExclaveError } from "../errors.ts";
import { carryOut } from "../governance/carry-out.ts";
import {
  draftFreeze,
  draftVeto,
  enactRipe,
  freezeOf,
  ownSeat,
  standingOf,
  submit,
  takeFreeze,
  takeVeto,
} from "../governance/decide.ts";
import {
  mergeProposals,
  newProposal,
  type Proposal,
  readProposal,
  signProposal,
} from "../governance/proposal.ts";
import type { Home } from "../vault/home.ts";
import { openHome, withState } from "./context.ts";
import { bringToSites } from "./decide-bring.ts";
import { listCommand } from "./decide-list.ts";
import { proposeCommand } from "./decide-propose.ts";
import { type KeyFlags, keyFrom, signCommand } from "./decide-sign.ts";
import {
  isFile,
  proposalIn,
  proposalInLedger,
  resolveDecision,
  type Told,
  toldAtHome,
} from "./decisions.ts";
import { EXIT } from "./exit-codes.ts";
import { collect } from "./flags.ts";
import { formatTime, plural } from "./format.ts";
import type { MakeCommand } from "./main.ts";
import { writeNewFile } from "./new-file.ts";
import { type PaperView, paperLines, standingText, viewOf } from "./paper.ts";
import { refuseRegisterNames, registerNames } from "./proposed.ts";
import { type AtSites, addAtSites, isAtSites, toldFor } from "./state-at-sites.ts";
import type { Terminal } from "./terminal.ts";

const NAME_DIGITS = 12;

const SUBMIT_HELP = `
A veto or a freeze counts at any site that enforces, whatever home does with it:
  exclave decide submit veto-3f2a….json --site https://exclave.example.ee:7443
Whoever has the file can bring it there: it is the signatures in it that count.`;
const FREEZE_DAYS_MAX = 14;

const HELP = `
Nobody decides alone. A decision is a file that says one thing; signatories read it and
sign it, each at a machine of their own, with no network if they like:

  exclave decide propose expel-site ca --reason "…" --citation "…"    at home
  exclave decide show decision-3f2a….json                             anywhere
  exclave decide sign decision-3f2a….json --key ana-sosa.key.age      each signatory
  exclave decide submit decision-*.json                               at home

It then waits as long as the charter says, in the sight of all host countries. While it
waits, \`decide veto\` stops it; \`decide freeze\` stops all but everyday decisions for a while.`;

export const decideCommand: MakeCommand = (terminal, setExit) => {
  const decide = new Command("decide")
    .description("what only several people together may: propose, sign, submit, veto, freeze")
    .addHelpText("after", HELP);
  decide.addCommand(proposeCommand(terminal, setExit));
  addAtSites(decide.command("show"))
    .argument("<file-or-id>", "a proposal, or the beginning of a decision's id")
    .description("a decision as a sentence, what it changes, who signed, where it stands")
    .option("--offline", "by the file alone, though there is a home here", false)
    .action(async (what: string, flags: ShowFlags) => {
      const view = await viewFrom(terminal, what, flags);
      terminal.result(view, paperLines(view));
    });
  decide.addCommand(signCommand(terminal, setExit));
  addSubmit(decide, terminal, setExit);
  addAtSites(decide.command("veto"))
    .argument("<file-or-id>", "a proposal, or the beginning of a decision's id")
    .description(
      "stop a decision before it takes effect; it takes as many seats as the charter says",
    )
    .requiredOption("--reason <text>", "why, in words that every host country may read")
    .option("--key <file>", "sign it at once with this key")
    .option("--passphrase-file <file>", "its passphrase; asked for when absent")
    .option("--identity-file <file>", "the age identity that opens it, in place of a passphrase")
    .option("--out <file>", "where to write it (default: veto-ID.json, here)")
    .action(async (what: string, flags: ObjectFlags) => {
      const { proposal, told } = await proposalFrom(terminal, what, flags);
      if (proposal.kind !== "decision") {
        throw new ExclaveError("usage", "only a decision is vetoed");
      }
      const veto = draftVeto(proposal.state, proposal.id, flags.reason, new Date());
      await say(terminal, veto, proposal.charterPayload, told, flags);
    });
  addAtSites(decide.command("freeze"))
    .description("let no decision but everyday ones take effect for some days")
    .requiredOption("--days <n>", "1 to 14; each seat has 14 a year to spend", freezeDays)
    .requiredOption("--reason <text>", "why, in words that every host country may read")
    .option("--key <file>", "sign it at once with this key")
    .option("--passphrase-file <file>", "its passphrase; asked for when absent")
    .option("--identity-file <file>", "the age identity that opens it, in place of a passphrase")
    .option("--out <file>", "where to write it (default: freeze-ID.json, here)")
    .action(async (flags: ObjectFlags & { readonly days: number }) => {
      const told = await toldFor(terminal, flags);
      const current = told.known.history.history.at(-1);
      invariant(current, "a State has a charter");
      const freeze = draftFreeze(told.known.id, flags.days, flags.reason, new Date());
      await say(terminal, freeze, current.payload, told, flags);
    });
  decide.addCommand(listCommand(terminal, setExit));
  return decide;
};

function freezeDays(text: string): number {
  const number = /^\d{1,2}$/.test(text) ? Number(text) : 0;
  if (number >= 1 && number <= FREEZE_DAYS_MAX) return number;
  throw new ExclaveError("usage", `${text} is not a number of days from 1 to ${FREEZE_DAYS_MAX}`);
}

type ShowFlags = AtSites & { readonly offline: boolean };

async function viewFrom(terminal: Terminal, what: string, flags: ShowFlags): Promise<PaperView> {
  const now = new Date();
  if (flags.offline) {
    if (await isFile(what)) return viewOf(await proposalIn(what), now);
    throw new ExclaveError("usage", `${what} is no file, and --offline asks no home`);
  }
  const { proposal, told } = await proposalFrom(terminal, what, flags);
  return viewOf(proposal, now, told);
}

/** A proposal in a file, or one that the ledger has, at home or at the sites named; and what is told of its State. */
async function proposalFrom(
  terminal: Terminal,
  what: string,
  flags: AtSites,
): Promise<{ readonly proposal: Proposal; readonly told: Told | undefined }> {
  if (!(await isFile(what))) {
    const told = await toldFor(terminal, flags);
    return { proposal: proposalInLedger(told.known, what), told };
  }
  const proposal = await proposalIn(what);
  if (!isAtSites(flags)) return { proposal, told: await toldAtHome(proposal.state) };
  if (flags.state !== proposal.state) {
    throw new ExclaveError("usage", "the proposal is another State's than --state names");
  }
  return { proposal, told: await toldFor(terminal, flags) };
}

type ObjectFlags = KeyFlags & AtSites & { readonly reason: string; readonly out?: string };

function addSubmit(decide: Command, terminal: Terminal, setExit: (code: number) => void): void {
  decide
    .command("submit")
    .argument("[files...]", "copies of one proposal, as they came back")
    .description("hand a proposal in; without files: let take effect what can by now")
    .option(
      "--site <address>",
      "bring it to a site that enforces, not by way of home; several times",
      collect,
      [],
    )
    .addHelpText("after", SUBMIT_HELP)
    .action(async (files: readonly string[], flags: { readonly site: readonly string[] }) => {
      const given = await Promise.all(files.map(proposalIn));
      if (flags.site.length > 0) {
        const failed = await bringToSites(terminal, given, flags.site);
        if (failed.length > 0) setExit(EXIT.incomplete);
        return;
      }
      const home = await openHome();
      const proposals = withOwnSeat(home, given);
      const envelope = files.length > 0 ? mergeProposals(proposals) : undefined;
      const [first] = proposals;
      const done = await takeIn(home, async (now) =>
        first && envelope ? handIn(home, first.kind, envelope, now) : settled(home, now),
      );
      terminal.result(done.object, done.lines);
    });
}

/** In a trial, whose one seat's key is at home, who hands a paper in signs it too. */
function withOwnSeat(home: Home, proposals: readonly Proposal[]): readonly Proposal[] {
  const seat = ownSeat(home);
  const [first] = proposals;
  const isSigned = proposals.some(({ opened }) => opened?.keyIds.includes(seat?.id ?? ""));
  if (!seat || !first || isSigned) return proposals;
  return [...proposals, readProposal(signProposal(first, seat))];
}

type Done = { readonly object: object; readonly lines: readonly string[] };
/** Says what was done, when the sites and the witnesses have seen it. */
type Say = () => Done;

/** Under the State's lock, from a home that is the State's, and then to the sites. */
async function takeIn(home: Home, work: (now: Date) => Promise<Say>): Promise<Done> {
  return withState(home, async () => {
    const now = new Date();
    const say = await carryOut(home, now, () => work(now));
    return say();
  });
}

async function settled(home: Home, now: Date): Promise<Say> {
  const before = home.known.history.enacted.size;
  await enactRipe(home, now);
  return () => {
    const enacted = home.known.history.enacted.size - before;
    return {
      object: { enacted },
      lines: [
        enacted === 0
          ? "Nothing could take effect."
          : `${plural(enacted, "decision")} took effect.`,
      ],
    };
  };
}

async function handIn(
  home: Home,
  kind: Proposal["kind"],
  envelope: Uint8Array,
  now: Date,
): Promise<Say> {
  if (kind === "veto") {
    const veto = await takeVeto(home, envelope, now);
    const by = veto.seats.length === 0 ? "no seat" : veto.seats.join(", ");
    return () => ({
      object: { veto },
      lines: [
        `The ledger has the veto. By now the decision is vetoed by ${by}.`,
        veto.standing
          ? `The decision: ${standingText(veto.standing)}`
          : "The ledger does not have the decision yet; the veto counts when it comes.",
      ],
    });
  }
  if (kind === "freeze") {
    const { id } = await takeFreeze(home, envelope, now);
    return () => {
      const freeze = { id, ...freezeOf(home.known, id, new Date()) };
      return {
        object: { freeze },
        lines: [
          freeze.until
            ? `Decisions are frozen until ${formatTime(freeze.until.toISOString())}, everyday ones aside.`
            : `The ledger has the freeze, by ${freeze.seats.length} of the ${freeze.needed} seats that it needs, or they have spent their days; nothing is frozen yet.`,
        ],
      };
    };
  }
  const before = home.charter;
  const { id } = await submit(home, [envelope], now).catch((cause: unknown) => {
    if (!isExclaveError(cause, "untrusted")) throw cause;
    throw new ExclaveError(
      "untrusted",
      "no seat of the charter in force has signed the decision. Nothing was changed; have those sign it who decide now",
      { cause },
    );
  });
  const { opened } = resolveDecision(home.known, id);
  const names = registerNames(home);
  return () => {
    const standing = standingOf(home.known, opened, new Date());
    return {
      object: { decision: { id, standing } },
      lines: [
        sentenceOf(opened.paper.order, before, names),
        "",
        `  decision   ${id}`,
        `  stands     ${standingText(standing)}`,
      ],
    };
  };
}

/** A veto or freeze: signed where there is a key, decided where one seat is enough, and else written. */
async function say(
  terminal: Terminal,
  paper: Veto | Freeze,
  charterPayload: Uint8Array,
  told: Told | undefined,
  flags: ObjectFlags,
): Promise<void> {
  const { kind } = paper;
  const home = told?.home;
  if (home) refuseRegisterNames(home, flags.reason);
  const seat = home && flags.key === undefined ? ownSeat(home) : undefined;
  if (home && seat) {
    const envelope = paper.kind === "veto" ? signPaper(paper, seat) : signPaper(paper, seat);
    const done = await takeIn(home, (now) => handIn(home, kind, envelope, now));
    return terminal.result(done.object, done.lines);
  }
  const blank = newProposal(kind, paper, charterPayload);
  const bytes =
    flags.key === undefined ? blank : signProposal(readProposal(blank), await keyFrom(flags));
  const view = viewOf(readProposal(bytes), new Date(), told);
  const file = await writeNewFile(
    flags.out ?? `${kind}-${view.id.slice(0, NAME_DIGITS)}.json`,
    bytes,
  );
  terminal.result({ proposed: { id: view.id, file }, signed: view.signed }, [
    ...paperLines(view),
    "",
    `It is written to ${file}, and counts for nothing before it is handed in.`,
    `Have it signed:    exclave decide sign ${file} --key KEY`,
    `Then hand it in:   exclave decide submit ${file}`,
    ...(told && !home
      ? [`or at a site:      exclave decide submit ${file} --site ${flags.site[0]}`]
      : []),
  ]);
}
