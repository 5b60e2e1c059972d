/** `decide propose KIND`: an order in words that people use, as a decision for people to sign. */
import { readFile } from "node:fs/promises";
import { Command, Option } from "commander";
import type { Charter } from "../charter/charter.ts";
import { type Order, orderSchema } from "../charter/orders.ts";
import { constitutionOf } from "../charter/presets.ts";
import { sentenceOf } from "../charter/sentences.ts";
import { fromBase64 } from "../crypto/bytes.ts";
import { parseSigningPublicKey } from "../crypto/signing.ts";
import { parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError } from "../errors.ts";
import { digestOf, type People, peopleWhoJoin, personOf, sealAnnex } from "../governance/annex.ts";
import { give } from "../governance/carry-out.ts";
import { draftDecision, type Grounds, VALID_DAYS } from "../governance/decide.ts";
import { AGENT_QUOTA } from "../governance/found.ts";
import { inventoryOf } from "../governance/registers.ts";
import { seatsOfCards } from "../governance/signatory-key.ts";
import { witnessNeeds } from "../governance/witnessing.ts";
import { openSiteCard } from "../sites/site-card.ts";
import type { Home } from "../vault/home.ts";
import { openHome, withState } from "./context.ts";
import { isFile, resolveDecision } from "./decisions.ts";
import type { MakeCommand } from "./main.ts";
import { standingText } from "./paper.ts";
import { momentFlag, refuseRegisterNames, registerNames, sayProposed } from "./proposed.ts";
import { collect } from "./register.ts";
import { cardFrom } from "./signatory.ts";
import type { Terminal } from "./terminal.ts";

const SECTIONS_BYTES_MAX = 512 * 1024;

const HELP = `
A proposal is a file. It travels on a stick to each signatory, who reads it with
\`exclave decide show\`, signs it with \`exclave decide sign\`, and sends it back; with
enough signatures \`exclave decide submit\` hands it in. In a trial, where one person
decides, it is decided at once.

--reason and --citation are read by every host country, for ever: never name a register,
a person or a threat in them that should not be known abroad.

A new site is proposed by \`exclave site add\`, a new register by \`exclave register add\`.`;

const TWO_STEPS = `
It destroys, so it is decided twice. The first decision announces it, and does nothing
else; it waits, and can be vetoed. When it took effect, propose the same again with
--carries-out ID, within 90 days; that one waits too, and then it happens, once.`;

const NOTHING_REMOVED = `
A site that enforces removes the shards by itself, when its own delay has passed and no veto was
brought to it. At directories and buckets the decision is recorded, and whoever runs them acts on it.`;

const RELEASE = `
Where signatories are gone, the recovery key can sign it alone (\`decide sign --kit\`): it then waits
as long as the charter says for that, and any one seat that is left can veto it.`;

/** How each kind makes its order. */
type Ask = (home: Home, name: string, flags: Flags) => Promise<Plan> | Plan;
/** An order, and names that are to be sealed before it is given. */
type Plan = { readonly order: Order; readonly people?: People };

type Flags = {
  readonly reason: string;
  readonly citation: string;
  readonly validDays: number;
  readonly out?: string;
  readonly carriesOut?: string;
  readonly agent?: string;
  readonly suspectFrom?: string;
  readonly epochs?: readonly number[];
  readonly to?: "recovery" | "reader";
  readonly changes?: string;
  readonly preset?: "pilot" | "state";
  readonly homeCountry?: string;
  readonly seat?: readonly string[];
  readonly replace?: readonly string[];
  readonly witness?: readonly string[];
  readonly withoutWitness?: readonly string[];
  readonly quorum?: number;
  readonly review?: string;
};

export const proposeCommand: MakeCommand = (terminal) => {
  const propose = new Command("propose")
    .description("write a decision for people to sign")
    .addHelpText("after", HELP);
  const kind = (name: string, description: string, ask: Ask): Command => {
    const command = propose
      .command(name)
      .description(description)
      .requiredOption("--reason <text>", "why, in words that every host country may read")
      .requiredOption("--citation <text>", 'the law that allows it, such as "Act 7 of 2026, s. 3"')
      .option("--valid-days <n>", "how long there is for signing", days, VALID_DAYS)
      .option("--out <file>", "where to write it (default: decision-ID.json, here)");
    // Commander gives the argument first where there is one, then the flags.
    command.action(async (...given: readonly unknown[]) => {
      const [subject, flags] = typeof given[0] === "string" ? [given[0], given[1]] : ["", given[0]];
      await runPropose(terminal, ask, subject, flags as Flags);
    });
    return command;
  };

  kind("expel-site", "write to a site no more, and believe nothing that it says", (_, site) => ({
    order: { kind: "expel-site", site },
  })).argument("<site>");
  kind("retire-register", "stop protecting a register", (home, name) => ({
    order: { kind: "retire-register", register: registerId(home, name) },
  }))
    .argument("<register>")
    .addOption(carriesOut())
    .addHelpText("after", `${TWO_STEPS}\n\nIts recovery points stay.`);
  kind("rotate-epoch", "put what comes next of a register under new keys", (home, name) => ({
    order: { kind: "rotate-epoch", register: registerId(home, name) },
  })).argument("<register>");
  kind("revoke-agent", "take the right to write from a machine, from a date on", revokeAgent)
    .requiredOption("--suspect-from <date>", "what it wrote since then is set aside", momentFlag)
    .option("--agent <key-id>", "the beginning of its key's id; needed when there are several")
    .addHelpText(
      "after",
      "\nRecovery points since that date are shown as set aside, and not restored by default.\nIf it is the machine that writes now, nothing more is protected before another one takes over with `exclave recover`.",
    );
  kind(
    "release",
    "let the recovery key, or the reader key, open epochs of a register",
    (home, name, flags) => ({
      order: {
        kind: "release",
        register: registerId(home, name),
        epochs: [...(flags.epochs ?? [])],
        to: flags.to ?? "recovery",
      },
    }),
  )
    .argument("<register>")
    .addOption(epochsOption())
    .addOption(
      new Option("--to <key>", "which key can read them then")
        .choices(["recovery", "reader"])
        .makeOptionMandatory(),
    )
    .addHelpText("after", RELEASE);
  kind("destroy", "destroy epochs of a register, at every site, for good", (home, name, flags) => ({
    order: { kind: "destroy", register: registerId(home, name), epochs: [...(flags.epochs ?? [])] },
  }))
    .argument("<register>")
    .addOption(epochsOption())
    .addOption(carriesOut())
    .addHelpText("after", `${TWO_STEPS}\n${NOTHING_REMOVED}`);
  kind(
    "activate",
    "let another machine write from now on; the one before writes no more",
    activate,
  ).requiredOption("--agent <file>", 'its public key: {"signing": "BASE64"}, and quotas if any');
  kind("amend", "change the charter: seats, thresholds, key holders, witnesses, dates", amend)
    .option("--changes <file.json>", "sections of the charter as they are to be, each whole")
    .addOption(
      new Option("--preset <name>", "seats and thresholds of a kind").choices(["pilot", "state"]),
    )
    .option("--home-country <cc>", "with --preset: the State's own, any other is abroad")
    .option(
      "--seat <card,deputy…>",
      "with --preset: a seat's holder, then its deputies; once for each seat",
      collect,
      [],
    )
    .option("--replace <seat=card,…>", "give one seat to other people; several times", collect, [])
    .option(
      "--witness <card>",
      "add a witness, or give it other keys: a site's card, or NAME=KEY,KEY",
      collect,
      [],
    )
    .option("--without-witness <name>", "leave a witness out", collect, [])
    .option("--quorum <n>", "witnesses that must have seen what counts", count)
    .option("--review <date>", "when the charter is due for review", momentFlag)
    .addHelpText(
      "after",
      `
The seats in force sign, and so do the new ones: who is to decide has shown that they can.

  exclave decide propose amend --preset state --home-country BZ --seat a.card.json,b.card.json \\
    --seat … --reason "From trial to State" --citation "Act 7 of 2026"`,
    );
  return propose;
};

function epochsOption(): Option {
  return new Option("--epochs <list>", "which, such as 1,3-5")
    .argParser(epochList)
    .makeOptionMandatory();
}

function carriesOut(): Option {
  return new Option("--carries-out <id>", "the announcement that this decision carries out");
}

async function runPropose(terminal: Terminal, ask: Ask, subject: string, flags: Flags) {
  const home = await openHome();
  refuseRegisterNames(home, flags.reason, flags.citation);
  const now = new Date();
  const { order, given } = await withState(home, async () => {
    const { order: asked, people } = await ask(home, subject, flags);
    const grounds = { ...groundsOf(home, asked, flags), validDays: flags.validDays };
    // Before anything is touched: an order that no charter could follow is refused.
    await draftDecision(home, asked, grounds, now);
    if (people) {
      const { state, agent, charter } = home;
      const by = { agent, time: now };
      await home.saveAnnex(sealAnnex(people, { state, recovery: charter.recovery }, by));
    }
    return { order: asked, given: await give(home, asked, grounds, now) };
  });
  const isFirstStep =
    (order.kind === "destroy" || order.kind === "retire-register") &&
    flags.carriesOut === undefined;
  if (given.status === "proposed") {
    if (isFirstStep) terminal.notice("this announces; a second decision carries it out");
    return sayProposed(terminal, home, given, { order }, flags.out);
  }
  for (const need of await witnessNeeds(home)) terminal.notice(need);
  const again = `To carry it out: the same again, with --carries-out ${given.id}`;
  terminal.result({ decision: given, order }, [
    `Decided: ${sentenceOf(order, home.charter, registerNames(home))}`,
    "",
    `  decision   ${given.id}`,
    `  stands     ${standingText(given.standing)}`,
    ...(isFirstStep ? ["", "It is announced, and nothing else has happened.", again] : []),
  ]);
}

function groundsOf(home: Home, order: Order, flags: Flags): Grounds {
  const { reason, citation } = flags;
  if (flags.carriesOut === undefined) return { reason, citation };
  const { id, opened } = resolveDecision(home.known, flags.carriesOut);
  const announced = home.known.history.enacted.get(id);
  if (!announced || announced.decision.carriesOut !== undefined) {
    throw new ExclaveError(
      "usage",
      `decision ${id} is no announcement that took effect. Nothing was changed; \`exclave decide list\` shows where it stands`,
    );
  }
  if (JSON.stringify(opened.paper.order) !== JSON.stringify(order)) {
    throw new ExclaveError(
      "usage",
      `decision ${id} announced something else. Nothing was changed; give the same register and epochs`,
    );
  }
  return { reason, citation, carriesOut: id };
}

function registerId(home: Home, name: string): string {
  const id = inventoryOf(home, name)?.id ?? name;
  if (home.charter.registers.some((register) => register.id === id)) return id;
  const names = home.config.inventory.map((details) => details.name).join(", ") || "none yet";
  throw new ExclaveError("unknown-name", `there is no register "${name}"; there are: ${names}`);
}

function revokeAgent(home: Home, _: string, { agent = "", suspectFrom = "" }: Flags): Plan {
  const agents = home.charter.agents.map(({ signing, term }) => ({
    signing,
    term,
    id: parseSigningPublicKey(fromBase64(signing)).id,
  }));
  const matches = agents.filter(({ id }) => id.startsWith(agent.toLowerCase()));
  const [match] = matches;
  if (match && matches.length === 1) {
    return { order: { kind: "revoke-agent", signing: match.signing, suspectFrom } };
  }
  const listed = agents.map(({ id, term }) => `${id.slice(0, 16)} (term ${term})`).join(", ");
  throw new ExclaveError(
    "unknown-name",
    `say which machine, with --agent and the beginning of its key's id; there are: ${listed}`,
  );
}

async function activate(home: Home, _: string, { agent = "" }: Flags): Promise<Plan> {
  const said = await sectionsIn(agent);
  const term = home.charter.term + 1;
  return { order: orderOf({ kind: "activate", agent: { ...withQuota(said), term } }) };
}

function withQuota(said: object): object {
  return { registers: [], ...AGENT_QUOTA, ...said };
}

async function amend(home: Home, _: string, flags: Flags): Promise<Plan> {
  const { charter } = home;
  const { changes, review } = flags;
  const said = changes === undefined ? {} : await sectionsIn(changes);
  const seating = await seatingOf(charter, flags);
  const ledger = await ledgerOf(charter, flags);
  const order = orderOf({
    ...said,
    kind: "amend",
    ...(seating ? { constitution: seating.constitution, annex: digestOf(seating.people) } : {}),
    ...(ledger ? { ledger } : {}),
    ...(review === undefined ? {} : { review }),
  });
  return { order, ...(seating ? { people: seating.people } : {}) };
}

/** The seats that cards bring, with the names that are sealed for them. */
async function seatingOf(charter: Charter, flags: Flags) {
  const { preset, seat = [], replace = [], homeCountry } = flags;
  if (preset === undefined && seat.length > 0) {
    throw new ExclaveError("usage", "--seat goes with --preset; --replace changes one seat");
  }
  if (preset === undefined && replace.length === 0) return undefined;
  if (preset !== undefined && replace.length > 0) {
    throw new ExclaveError("usage", "--preset brings all seats, and --replace one; give either");
  }
  const given = preset === undefined ? replace.map(splitPair) : seat.map((cards) => ["", cards]);
  const groups = await Promise.all(
    given.map(([, cards = ""]) => Promise.all(cards.split(",").map(cardFrom))),
  );
  const names = groups.flat().map(({ card }) => card.name);
  const people = peopleWhoJoin(names, charter.annex);
  const seats = seatsOfCards(groups, (name) => personOf(people.salt, name));
  if (preset !== undefined) {
    if (homeCountry === undefined) {
      throw new ExclaveError("usage", "--preset needs --home-country, such as BZ");
    }
    return { constitution: constitutionOf(preset, seats, homeCountry.toUpperCase()), people };
  }
  const byName = new Map(given.map(([name = ""], i) => [name, seats[i]]));
  for (const name of byName.keys()) {
    if (charter.constitution.seats.some((one) => one.name === name)) continue;
    const there = charter.constitution.seats.map((one) => one.name).join(", ");
    throw new ExclaveError("unknown-name", `there is no seat "${name}"; there are: ${there}`);
  }
  const replaced = charter.constitution.seats.map((one) => {
    const next = byName.get(one.name);
    return next ? { ...next, name: one.name } : one;
  });
  return { constitution: { ...charter.constitution, seats: replaced }, people };
}

async function ledgerOf(charter: Charter, flags: Flags): Promise<Charter["ledger"] | undefined> {
  const { witness = [], withoutWitness = [], quorum } = flags;
  if (witness.length === 0 && withoutWitness.length === 0 && quorum === undefined) return undefined;
  const added = await Promise.all(
    witness.map(async (text) => {
      if (await isFile(text)) {
        const { card } = openSiteCard(await readFile(text));
        return { name: card.name, keys: [...card.witness] };
      }
      const [name, keys] = splitPair(text);
      return { name, keys: keys.split(",") };
    }),
  );
  const named = new Set([...withoutWitness, ...added.map(({ name }) => name)]);
  for (const name of withoutWitness) {
    if (charter.ledger.witnesses.some((one) => one.name === name)) continue;
    throw new ExclaveError("unknown-name", `there is no witness "${name}"`);
  }
  const stay = charter.ledger.witnesses.filter(({ name }) => !named.has(name));
  const witnesses = [...stay, ...added];
  return { ...charter.ledger, witnesses, quorum: quorum ?? charter.ledger.quorum };
}

function splitPair(text: string): readonly [string, string] {
  const at = text.indexOf("=");
  if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
  throw new ExclaveError("usage", `${text} is not NAME=VALUE`);
}

/** What a file of JSON says, as one object. */
async function sectionsIn(file: string): Promise<object> {
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new ExclaveError("usage", `${file} cannot be read`, { cause });
  });
  const value = parseStrictJson(bytes, { bytesMax: SECTIONS_BYTES_MAX });
  if (typeof value === "object" && !Array.isArray(value)) return value;
  throw new ExclaveError("usage", `${file} does not hold a JSON object`);
}

function orderOf(value: object): Order {
  const parsed = orderSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new ExclaveError(
    "usage",
    `no decision can order this (${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}). Nothing was changed`,
    { cause: parsed.error },
  );
}

function days(text: string): number {
  const number = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (number >= 1 && number <= 366) return number;
  throw new ExclaveError("usage", `${text} is not a number of days from 1 to 366`);
}

function count(text: string): number {
  if (/^\d{1,2}$/.test(text)) return Number(text);
  throw new ExclaveError("usage", `${text} is not a number from 0 to 32`);
}

const EPOCHS_MAX = 4096;

/** "1,3-5" as numbers, in order, each once. */
function epochList(text: string): readonly number[] {
  const epochs = new Set<number>();
  for (const part of text.split(",")) {
    const [, from, to] = /^(\d{1,10})(?:-(\d{1,10}))?$/.exec(part.trim()) ?? [];
    const [first, last] = [Number(from), Number(to ?? from)];
    if (!(first >= 1 && last >= first && last - first < EPOCHS_MAX)) {
      throw new ExclaveError("usage", `${text} is not a list of epochs: write 1,3-5`);
    }
    for (let epoch = first; epoch <= last; epoch++) epochs.add(epoch);
  }
  return [...epochs].toSorted((a, b) => a - b);
}
