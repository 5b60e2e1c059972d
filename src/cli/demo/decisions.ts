/** How the demo's State decides: every signatory signs a copy of the proposal, and home counts. */
import { readFile } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";
import type { Decision } from "../../charter/decision.ts";
import { sentenceOf } from "../../charter/sentences.ts";
import { type ErrorCode, ExclaveError, invariant, isExclaveError } from "../../errors.ts";
import { carryOut, type Given, give } from "../../governance/carry-out.ts";
import { type Decided, enactRipe, standingOfId, submit } from "../../governance/decide.ts";
import {
  mergeProposals,
  newProposal,
  readProposal,
  signProposal,
} from "../../governance/proposal.ts";
import { openSignatoryKey } from "../../governance/signatory-key.ts";
import type { Home } from "../../vault/home.ts";
import { withState } from "../context.ts";
import { formatSeconds, plural } from "../format.ts";
import { alignTable } from "../page.ts";
import { standingText } from "../paper.ts";
import type { Founded, Signatory } from "./founding.ts";
import { soldSite } from "./hosts.ts";
import { usualSignatories } from "./people.ts";
import { type Stage, showStep, timed } from "./stage.ts";

/** What the demo was refused, as `--json` has it. */
export type Refusal = { readonly code: ErrorCode; readonly message: string };

/** How `work` is refused; that it must be, and by this code, is the story. Throws `bug` when it is not refused. */
export async function refusalOf(
  what: string,
  code: ErrorCode,
  work: () => Promise<unknown>,
): Promise<Refusal> {
  try {
    await work();
  } catch (error) {
    if (!isExclaveError(error, code)) throw error;
    return { code: error.code, message: error.message };
  }
  throw new ExclaveError("bug", `${what} should have been refused, and was not`);
}

/** A refusal as the command would say it. */
export function sayRefusal({ page }: Stage, { code, message }: Refusal): void {
  page.text(`exclave: ${message}`);
  page.text(`(error code: ${code})`);
}

/** The paper of an order that home cannot give alone, which in this State is every order. */
export function paperOf(given: Given | undefined): Decision {
  invariant(given?.status === "proposed", "every decision of this State needs signatures");
  return given.decision;
}

/**
 * Hands decisions in with the signatures of these seats, each under a copy of its own. Returns where the first
 * of them stands.
 */
export async function decideWith(
  home: Home,
  decisions: readonly Decision[],
  signatories: readonly Signatory[],
): Promise<Decided> {
  const current = home.known.history.history.at(-1);
  invariant(current, "a State has a charter");
  const blanks = decisions.map((decision) =>
    readProposal(newProposal("decision", decision, current.payload)),
  );
  const signed: Uint8Array[][] = blanks.map(() => []);
  for (const { keyFile, passphrase } of signatories) {
    const key = await openSignatoryKey(await readFile(keyFile), { passphrase });
    for (const [i, blank] of blanks.entries()) signed[i]?.push(signProposal(blank, key));
  }
  const envelopes = signed.map((copies) => mergeProposals(copies.map(readProposal)));
  const { id } = await withPublished(home, () => submit(home, envelopes, new Date()));
  // By now the sites have it, and the witnesses have said when they saw it.
  const standing = standingOfId(home.known, id, new Date());
  invariant(standing, "the ledger has what was handed in");
  return { id, standing };
}

/** Waits until a decision may take effect, and lets it. Returns when it did, and how long the wait was. */
export async function letTakeEffect(
  stage: Stage,
  home: Home,
  { id, standing }: Decided,
  part: string,
): Promise<{ readonly at: Date; readonly seconds: number }> {
  invariant(standing.status === "waiting", "what changes the rules waits for its timelock");
  showStep(stage, "waiting for the timelock");
  const { seconds } = await timed(stage, part, () =>
    setTimeout(Math.max(0, standing.until.getTime() - Date.now())),
  );
  await withPublished(home, () => enactRipe(home, new Date()));
  const enacted = home.known.history.enacted.get(id);
  invariant(enacted, "a decision takes effect when its time has come");
  return { at: enacted.at, seconds };
}

/** What people hand in at home, brought to the sites and before the witnesses. */
export async function withPublished<T>(home: Home, work: () => Promise<T>): Promise<T> {
  return withState(home, () => carryOut(home, new Date(), work));
}

/** The seats whose people sign what nobody disputes. */
export function usual(signatories: readonly Signatory[]): readonly Signatory[] {
  return signatories.filter(({ seat }) => usualSignatories.includes(seat));
}

export type Expulsion = {
  readonly site: string;
  readonly decision: string;
  /** With two signatures. */
  readonly refused: Refusal;
  /** With three: when it is to take effect, what home could bring forward, and when it did. */
  readonly waitsUntil: string;
  readonly enactedEarly: number;
  readonly tookEffect: string;
  readonly signedBy: readonly string[];
  readonly sitesLeft: readonly string[];
  readonly charterVersion: number;
};

/** Chapter 7: a site is to go. Two cannot, three can, and not at once. */
export async function expelSite(stage: Stage, founded: Founded): Promise<Expulsion> {
  const { page } = stage;
  const { home, signatories } = founded;
  const { site } = soldSite;
  page.heading("7. A site is to go: two signatures, then three");
  page.command(`exclave decide propose expel-site ${site} --reason "…" --citation "…"`);
  page.gap();
  const order = { kind: "expel-site", site } as const;
  const grounds = {
    reason: "The data centre was sold to a company under another law",
    citation: "Data Embassy Act, section 12",
  };
  const decision = paperOf(await give(home, order, grounds, new Date()));
  page.text(sentenceOf(order, home.charter));
  page.text(`Why: ${grounds.reason}.`);
  page.gap();

  const all = usual(signatories);
  const two = all.filter((_, i) => i < 2);
  page.text(`${officesOf(two)} sign it:`);
  const refused = await refusalOf("an expulsion with two signatures", "usage", () =>
    decideWith(home, [decision], two),
  );
  sayRefusal(stage, refused);
  page.gap();

  page.text(`${officesOf(all.slice(2))} signs it too:`);
  const decided = await decideWith(home, [decision], all);
  const { id, standing } = decided;
  invariant(standing.status === "waiting", "an expulsion waits for its timelock");
  page.text(standingText(standing));
  page.text(
    `(Waiting: ${plural(founded.timelockDays, "day")} in life; ${founded.timelockSeconds} seconds here.)`,
  );
  page.gap();
  const enactedEarly = await enactRipe(home, new Date());
  page.text(
    enactedEarly === 0
      ? "Home tries to let it take effect at once: nothing could take effect."
      : "HOME COULD LET IT TAKE EFFECT AT ONCE: this demo has failed.",
  );
  const { at, seconds } = await letTakeEffect(stage, home, decided, "wait for the expulsion");
  // Nobody asks anything of it any more; what it holds it keeps, and cannot read.
  await stage.processes.stop(site);
  const sitesLeft = home.charter.sites.map(({ name }) => name);
  page.text(
    `${formatSeconds(seconds)} later it holds: version ${home.charter.version} of the charter ` +
      `has ${plural(sitesLeft.length, "site")}: ${sitesLeft.join(", ")}.`,
  );
  return {
    site,
    decision: id,
    refused,
    waitsUntil: standing.until.toISOString(),
    enactedEarly,
    tookEffect: at.toISOString(),
    signedBy: all.map(({ seat }) => seat),
    sitesLeft,
    charterVersion: home.charter.version,
  };
}

/** "The Prime Minister, the Chief Justice and the Leader of the Opposition". */
export function officesOf(people: readonly { readonly office: string }[]): string {
  const offices = people.map(({ office }) => `the ${office}`);
  const text = [offices.slice(0, -1).join(", "), ...offices.slice(-1)]
    .filter((part) => part !== "")
    .join(" and ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** The order of a decision in a sentence, who signed it, where it stands. */
export function sayDecision(
  { page }: Stage,
  sentence: string,
  signatories: readonly Signatory[],
  { id, standing }: Decided,
): void {
  page.text(sentence);
  page.lines(
    alignTable(
      [
        ["decision", `${id.slice(0, 16)}…`],
        ["signed by", signatories.map(({ office }) => office).join(", ")],
        ["stands", standingText(standing)],
      ],
      [1],
    ),
  );
}
