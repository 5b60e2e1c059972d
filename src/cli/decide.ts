import { Command } from "commander";
import { type Freeze, signPaper, type Veto } from "../charter/decision.ts";
import { sentenceOf } from "../charter/sentences.ts";
import { envelopeId } from "../crypto/dsse.ts";
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
import { openAt, parseSiteAddress } from "../vault/site-address.ts";
import { openHome, withState } from "./context.ts";
import { listCommand } from "./decide-list.ts";
import { proposeCommand } from "./decide-propose.ts";
import { type KeyFlags, keyFrom, signCommand } from "./decide-sign.ts";
import { homeOf, isFile, proposalAtHome, proposalIn, resolveDecision } from "./decisions.ts";
import { formatTime, plural } from "./format.ts";
import type { MakeCommand } from "./main.ts";
import { writeNewFile } from "./new-file.ts";
import { paperLines, standingText, viewOf } from "./paper.ts";
import { refuseRegisterNames, registerNames } from "./proposed.ts";
import { collect } from "./register.ts";
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
  decide
    .command("show")
    .argument("<file-or-id>", "a proposal, or the beginning of a decision's id")
    .description("a decision as a sentence, what it changes, who signed, where it stands")
    .option("--offline", "by the file alone, though there is a home here", false)
    .action(async (what: string, flags: { readonly offline: boolean }) => {
      const view = await viewFrom(what, flags.offline);
      terminal.result(view, paperLines(view));
    });
  decide.addCommand(signCommand(terminal, setExit));
  addSubmit(decide, terminal);
  decide
    .command("veto")
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
      const inFile = await isFile(what);
      const from = inFile ? await proposalIn(what) : proposalAtHome(await openHome(), what);
      if (from.kind !== "decision") throw new ExclaveError("usage", "only a decision is vetoed");
      const veto = draftVeto(from.state, from.id, flags.reason, new Date());
      await say(terminal, veto, from.charterPayload, await homeOf(from.state), flags);
    });
  decide
    .command("freeze")
    .description("let no decision but everyday ones take effect for some days")
    .requiredOption("--days <n>", "1 to 14; each seat has 14 a year to spend", freezeDays)
    .requiredOption("--reason <text>", "why, in words that every host country may read")
    .option("--key <file>", "sign it at once with this key")
    .option("--passphrase-file <file>", "its passphrase; asked for when absent")
    .option("--identity-file <file>", "the age identity that opens it, in place of a passphrase")
    .option("--out <file>", "where to write it (default: freeze-ID.json, here)")
    .action(async (flags: ObjectFlags & { readonly days: number }) => {
      const home = await openHome();
      const current = home.known.history.history.at(-1);
      invariant(current, "a State has a charter");
      const freeze = draftFreeze(home.state, flags.days, flags.reason, new Date());
      await say(terminal, freeze, current.payload, home, flags);
    });
  decide.addCommand(listCommand(terminal, setExit));
  return decide;
};

function freezeDays(text: string): number {
  const number = /^\d{1,2}$/.test(text) ? Number(text) : 0;
  if (number >= 1 && number <= FREEZE_DAYS_MAX) return number;
  throw new ExclaveError("usage", `${text} is not a number of days from 1 to ${FREEZE_DAYS_MAX}`);
}

async function viewFrom(what: string, offline: boolean) {
  const now = new Date();
  if (await isFile(what)) {
    const proposal = await proposalIn(what);
    return viewOf(proposal, now, offline ? undefined : await homeOf(proposal.state));
  }
  if (offline) throw new ExclaveError("usage", `${what} is no file, and --offline asks no home`);
  const home = await openHome();
  return viewOf(proposalAtHome(home, what), now, home);
}

type ObjectFlags = KeyFlags & { readonly reason: string; readonly out?: string };

function addSubmit(decide: Command, terminal: Terminal): void {
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
      if (flags.site.length > 0) return bringToSites(terminal, files, flags.site);
      const home = await openHome();
      const proposals = withOwnSeat(home, await Promise.all(files.map(proposalIn)));
      const envelope = files.length > 0 ? mergeProposals(proposals) : undefined;
      const [first] = proposals;
      const done = await takeIn(home, async (now) =>
        first && envelope ? handIn(home, first.kind, envelope, now) : settled(home, now),
      );
      terminal.result(done.object, done.lines);
    });
}

/** Who has a seat and does not trust home, or cannot reach it: a paper counts for what its signatures are. */
async function bringToSites(
  terminal: Terminal,
  files: readonly string[],
  addresses: readonly string[],
): Promise<void> {
  const proposals = await Promise.all(files.map(proposalIn));
  const [first] = proposals;
  if (!first) throw new ExclaveError("usage", "give the file of what is to be brought there");
  const envelope = mergeProposals(proposals);
  const name = `${first.kind}/${envelopeId(envelope)}`;
  for (const address of addresses) {
    const identity = { name: address, country: "?", operator: "?", hazardZone: "?" };
    const { site } = await openAt(parseSiteAddress(address), { identity, state: first.state });
    await site.put(name, [envelope]);
  }
  terminal.result({ brought: { kind: first.kind, id: first.id, name, sites: addresses } }, [
    `The ${first.kind} ${first.id.slice(0, NAME_DIGITS)} is at ${addresses.join(", ")}.`,
    "It counts there now. A site that knows others tells them; home takes it in when it runs the next time.",
  ]);
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
      const freeze = { id, ...freezeOf(home, id, new Date()) };
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
  const { opened } = resolveDecision(home, id);
  const names = registerNames(home);
  return () => {
    const standing = standingOf(home, opened, new Date());
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
  home: Home | undefined,
  flags: ObjectFlags,
): Promise<void> {
  const { kind } = paper;
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
  const view = viewOf(readProposal(bytes), new Date(), home);
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
  ]);
}
