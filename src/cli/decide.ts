import { readFile, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { stdin } from "node:process";
import { Command } from "commander";
import type { Freeze, Veto } from "../charter/decision.ts";
import { signPaper } from "../charter/decision.ts";
import { sentenceOf } from "../charter/sentences.ts";
import { KEY_FILE_BYTES_MAX } from "../crypto/key-file.ts";
import type { SigningKey } from "../crypto/signing.ts";
import { ExclaveError, invariant } from "../errors.ts";
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
  vetoingSeats,
} from "../governance/decide.ts";
import {
  openAllSites,
  publish,
  requireCurrent,
  requirePublished,
} from "../governance/ledger-at-sites.ts";
import {
  mergeProposals,
  newProposal,
  type Proposal,
  readProposal,
  signersOf,
  signProposal,
} from "../governance/proposal.ts";
import {
  isOpenedKeyFile,
  type KeyFileOpener,
  openSignatoryKey,
} from "../governance/signatory-key.ts";
import { writeDurably } from "../sites/durable.ts";
import type { Home } from "../vault/home.ts";
import { openHome, withState } from "./context.ts";
import { proposeCommand } from "./decide-propose.ts";
import { homeOf, isFile, proposalAtHome, proposalIn, resolveDecision } from "./decisions.ts";
import { formatTime, plural } from "./format.ts";
import type { MakeCommand } from "./main.ts";
import { paperLines, plainText, standingText, viewOf } from "./paper.ts";
import { confirmed, identityFrom, knownPassphrase } from "./passphrase.ts";
import { refuseRegisterNames, registerNames, writeProposal } from "./proposed.ts";
import type { Terminal } from "./terminal.ts";

/** Decisions that took effect, and entries that count for nothing, that `list` shows without --all. */
const LAST_SHOWN = 5;
const NAME_DIGITS = 12;
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
  addSign(decide, terminal);
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
  decide
    .command("list")
    .description("decisions that wait, what stops them, and the last ones that took effect")
    .option("--all", "all that there ever were", false)
    .action(async (flags: { readonly all: boolean }) => {
      const home = await openHome();
      const list = listOf(home, new Date(), flags.all);
      terminal.result(list, listLines(list));
    });
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

type KeyFlags = {
  readonly key?: string;
  readonly passphraseFile?: string;
  readonly identityFile?: string;
};

type ObjectFlags = KeyFlags & { readonly reason: string; readonly out?: string };

function addSign(decide: Command, terminal: Terminal): void {
  decide
    .command("sign")
    .argument("<file>", "a proposal; the signature is written into it")
    .description("read a decision, veto or freeze, and sign it")
    .requiredOption("--key <file>", "one's key file; - reads one that age has opened, from a pipe")
    .option("--passphrase-file <file>", "its passphrase; asked for when absent")
    .option("--identity-file <file>", "the age identity that opens it, in place of a passphrase")
    .option("--yes", "sign without asking, where there is no terminal", false)
    .action(
      async (file: string, flags: KeyFlags & { readonly key: string; readonly yes: boolean }) => {
        const now = new Date();
        const proposal = await proposalIn(file);
        const view = viewOf(proposal, now, await homeOf(proposal.state));
        for (const line of paperLines(view)) terminal.say(line);
        terminal.say("");
        if (view.standing?.status === "void" || view.standing?.status === "enacted") {
          throw new ExclaveError("usage", `it is not signed. ${view.stands} Nothing was changed`);
        }
        const without =
          "no terminal to ask at. Nothing was signed; read it with `exclave decide show`, then give --yes";
        if (!flags.yes && !(await confirmed('Type "yes" to sign it: ', without))) {
          throw new ExclaveError("interrupted", "it was not signed. Nothing was changed");
        }
        const key = await keyFrom(flags);
        const before = new Set(signersOf(proposal, now).seats.map(({ name }) => name));
        const signed = signProposal(proposal, key);
        await replaceFile(file, signed);
        const after = readProposal(signed);
        const { seats, joining } = signersOf(after, now);
        const isNew =
          seats.length > before.size || joining.length > signersOf(proposal, now).joining.length;
        if (!isNew) {
          terminal.notice(
            "this seat had signed before, or its time is over: a seat counts once, and this adds nothing",
          );
        }
        const next = viewOf(after, now, await homeOf(proposal.state));
        terminal.result({ signed: next, key: key.id, file: resolve(file), counts: isNew }, [
          `Signed: ${file} has ${plural(next.signed.length, "signature")} that count.`,
          next.stands,
          "Give the file back to who sent it; there, with the copies of the others:",
          `  exclave decide submit ${file}`,
        ]);
      },
    );
}

/** A signatory's key from its file, or from a pipe. */
async function keyFrom({ key = "", passphraseFile, identityFile }: KeyFlags): Promise<SigningKey> {
  const file = key === "-" ? await pipedKey() : await keyFile(key);
  return openSignatoryKey(file, await openerOf(file, passphraseFile, identityFile));
}

async function openerOf(
  file: Uint8Array,
  passphraseFile: string | undefined,
  identityFile: string | undefined,
): Promise<KeyFileOpener> {
  if (isOpenedKeyFile(file)) return { opened: true };
  if (identityFile === undefined) return { passphrase: await knownPassphrase(passphraseFile) };
  if (passphraseFile === undefined) return { identity: await identityFrom(identityFile) };
  throw new ExclaveError("usage", "give --passphrase-file or --identity-file, not both");
}

async function keyFile(path: string): Promise<Uint8Array> {
  return readFile(path).catch((cause: unknown) => {
    throw new ExclaveError("usage", `the key file ${path} cannot be read`, { cause });
  });
}

async function pipedKey(): Promise<Uint8Array> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of stdin as AsyncIterable<Buffer>) {
    bytes += part.byteLength;
    if (bytes > KEY_FILE_BYTES_MAX) {
      throw new ExclaveError(
        "bad-key",
        "what came through the pipe is no key. Nothing was changed",
      );
    }
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** Puts a file in the place of another at once, or leaves that as it was. */
async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  const file = resolve(path);
  const temporary = join(dirname(file), `.${basename(file)}.${process.pid}.tmp`);
  await rm(temporary, { force: true });
  await writeDurably(file, temporary, [bytes]).catch((cause: unknown) => {
    throw new ExclaveError("usage", `${path} cannot be written; it is as it was`, { cause });
  });
}

function addSubmit(decide: Command, terminal: Terminal): void {
  decide
    .command("submit")
    .argument("[files...]", "copies of one proposal, as they came back")
    .description("hand a proposal in; without files: let take effect what can by now")
    .action(async (files: readonly string[]) => {
      const proposals = await Promise.all(files.map(proposalIn));
      const envelope = files.length > 0 ? mergeProposals(proposals) : undefined;
      const [first] = proposals;
      const home = await openHome();
      const done = await takeIn(home, async (now) =>
        first && envelope ? handIn(home, first.kind, envelope, now) : settled(home, now),
      );
      terminal.result(done.object, done.lines);
    });
}

type Done = { readonly object: object; readonly lines: readonly string[] };

/** Under the State's lock, from a home that is the State's, and then to the sites. */
async function takeIn(home: Home, work: (now: Date) => Promise<Done>): Promise<Done> {
  return withState(home, async () => {
    const places = await openAllSites(home);
    await requireCurrent(home, places);
    const done = await work(new Date());
    requirePublished(home, await publish(home, places));
    return done;
  });
}

async function settled(home: Home, now: Date): Promise<Done> {
  const enacted = await enactRipe(home, now);
  return {
    object: { enacted },
    lines: [
      enacted === 0 ? "Nothing could take effect." : `${plural(enacted, "decision")} took effect.`,
    ],
  };
}

async function handIn(
  home: Home,
  kind: Proposal["kind"],
  envelope: Uint8Array,
  now: Date,
): Promise<Done> {
  if (kind === "veto") {
    const veto = await takeVeto(home, envelope, now);
    const by = veto.seats.length === 0 ? "no seat" : veto.seats.join(", ");
    return {
      object: { veto },
      lines: [
        `The ledger has the veto. By now the decision is vetoed by ${by}.`,
        veto.standing
          ? `The decision: ${standingText(veto.standing)}`
          : "The ledger does not have the decision yet; the veto counts when it comes.",
      ],
    };
  }
  if (kind === "freeze") {
    const freeze = await takeFreeze(home, envelope, now);
    return {
      object: { freeze },
      lines: [
        freeze.until
          ? `Decisions are frozen until ${formatTime(freeze.until.toISOString())}, everyday ones aside.`
          : `The ledger has the freeze, by ${freeze.seats.length} of the ${freeze.needed} seats that it needs, or they have spent their days; nothing is frozen yet.`,
      ],
    };
  }
  const before = home.charter;
  const { id, standing } = await submit(home, [envelope], now);
  const { opened } = resolveDecision(home, id);
  const names = registerNames(home);
  return {
    object: { decision: { id, standing } },
    lines: [
      sentenceOf(opened.paper.order, before, names),
      "",
      `  decision   ${id}`,
      `  stands     ${standingText(standing)}`,
    ],
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
  const file = await writeProposal(
    bytes,
    flags.out ?? `${kind}-${view.id.slice(0, NAME_DIGITS)}.json`,
  );
  terminal.result({ proposed: { id: view.id, file }, signed: view.signed }, [
    ...paperLines(view),
    "",
    `It is written to ${file}, and counts for nothing before it is handed in.`,
    `Have it signed:    exclave decide sign ${file} --key KEY`,
    `Then hand it in:   exclave decide submit ${file}`,
  ]);
}

type Listed = {
  readonly id: string;
  readonly sentence: string;
  readonly signed: readonly string[];
  readonly vetoedBy: readonly string[];
  readonly standing: ReturnType<typeof standingOf>;
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
  readonly quarantined: Home["known"]["history"]["quarantined"];
};

function listOf(home: Home, now: Date, all: boolean): List {
  const { history } = home.known;
  const ids = new Set(history.decisions.map(({ opened }) => opened.id));
  const listed = [...ids].map((id): Listed => {
    const proposal = proposalAtHome(home, id);
    const { opened } = resolveDecision(home, id);
    const { seats, joining } = signersOf(proposal, now);
    return {
      id,
      sentence: sentenceOf(opened.paper.order, proposal.charter, registerNames(home)),
      signed: [...seats, ...joining].map(({ name }) => name),
      vetoedBy: vetoingSeats(home, id, now),
      standing: standingOf(home, opened, now),
    };
  });
  const standing = (...statuses: readonly string[]): readonly Listed[] =>
    listed.filter((one) => statuses.includes(one.standing.status));
  const last = <T>(items: readonly T[]): readonly T[] => (all ? items : items.slice(-LAST_SHOWN));
  const freezes = [...new Map(history.freezes.map(({ opened }) => [opened.id, opened])).values()]
    .filter(({ paper }) => all || Date.parse(paper.until) > now.getTime())
    .map(({ id, paper }) => ({
      id,
      ...freezeOf(home, id, now),
      until: paper.until,
      reason: paper.reason,
    }));
  const frozen = history.freezes[0] && freezeOf(home, history.freezes[0].opened.id, now).until;
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
      `  ${one.id.slice(0, NAME_DIGITS)}  ${one.sentence}`,
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
        `  freeze ${id.slice(0, NAME_DIGITS)} to ${formatTime(until)} by ${seats.join(", ") || "no seat"}: ${plainText(reason)}`,
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
      `  ${id.slice(0, NAME_DIGITS)}  ${sentence}`,
      `    ${standingText(standing)}`,
    ]),
  ];
}
