/** The demo's sites and registers, each by a decision that three seats signed, and the witnesses who date them. */
import { join } from "node:path";
import type { Decision } from "../../charter/decision.ts";
import type { Order } from "../../charter/orders.ts";
import { sentenceOf } from "../../charter/sentences.ts";
import { invariant } from "../../errors.ts";
import { give } from "../../governance/carry-out.ts";
import type { Decided } from "../../governance/decide.ts";
import { addRegister } from "../../governance/registers.ts";
import { addSite } from "../../governance/sites.ts";
import { requireLawfulPlacement } from "../../registers/protect.ts";
import type { Home } from "../../vault/home.ts";
import { formatSeconds, plural } from "../format.ts";
import { alignTable } from "../page.ts";
import { registerNames as namesAtHome } from "../proposed.ts";
import { decideWith, paperOf, sayDecision, usual } from "./decisions.ts";
import type { Founded, Signatory } from "./founding.ts";
import { type Host, hosts, soldSite, survive, threshold } from "./hosts.ts";
import { witnessQuorum } from "./people.ts";
import { type DemoSite, grant } from "./sites.ts";
import { type RegisterName, registerNames, type Stage, showStep, timed } from "./stage.ts";

export type Admitted = {
  readonly decisions: number;
  readonly signatures: number;
  readonly witnesses: { readonly names: readonly string[]; readonly quorum: number };
  /** The site that stores in an S3 engine, when there is one. */
  readonly engine?: string;
  /** The decision that makes them so, which waits. */
  readonly witnessing: Decided;
};

/** Chapter 3: six sites in five host countries, and the registers that are kept at five of them. */
export async function admitSites(stage: Stage, founded: Founded): Promise<Admitted> {
  const { page, sites } = stage;
  const { home } = founded;
  const all = [...hosts, soldSite];
  page.heading("3. Five host countries and three registers, by decision");
  page.text(
    "Each site is a process of its own, with keys of its own, run by people of the host country. " +
      "It follows the State's ledger by itself, and does what the charter says; not what home says.",
  );
  sayCommands(stage);
  showStep(stage, "waiting for the sites");
  await timed(stage, "start the sites", () => sites.ready);
  const signatories = usual(founded.signatories);
  const { value: decided, seconds } = await timed(stage, "admit sites, define registers", () =>
    decideAll(stage, home, signatories, all),
  );
  const { decisions, witnessing } = decided;
  page.text(
    `Each of these ${decisions} orders is a paper that counts for nothing until ` +
      `${signatories.length} seats have signed it, with no network if they like. One of them:`,
  );
  page.command("exclave decide sign decision.json --key brussels.age");
  page.command("exclave decide submit decision.json");
  page.gap();
  const newest = [...home.known.history.enacted].at(-1);
  invariant(newest, "the State has decided something");
  const [id, { decision, at }] = newest;
  const sentence = sentenceOf(decision.order, home.charter, namesAtHome(home));
  sayDecision(stage, sentence, signatories, { id, standing: { status: "enacted", at } });
  page.gap();
  const engine = all.find(({ site }) => sites.of(site).card.storage === "s3");
  page.lines(
    alignTable(
      all.map((host) => [
        host.site,
        host.country,
        host.hazardZone,
        host === engine ? "in an S3 engine" : "on a disk",
      ]),
      [1, 2, 3],
    ),
  );
  page.gap();
  page.text(
    `Any ${threshold} of the first ${hosts.length} sites bring everything back, so ` +
      `${hosts.length - threshold} may fail at once. One alone reads nothing, even with every ` +
      `key of the State stolen; ${threshold} together could, with those keys. (For a State we ` +
      `advise 3 of 5: three to read, two may fail. This demo is about to ruin three.)`,
  );
  page.text(
    `The last of these decisions changes the rules, so it waits, ${founded.timelockSeconds} seconds here: the ` +
      `${plural(hosts.length, "host country", "host countries")} become witnesses. From then on nothing counts ` +
      `before ${witnessQuorum} of them have signed that they saw it, and no clock at home ends a delay. ` +
      `Done in ${formatSeconds(seconds)}.`,
  );
  invariant(witnessing.standing.status === "waiting", "what changes the rules waits");
  return {
    decisions,
    signatures: decisions * signatories.length,
    witnesses: { names: hosts.map(({ site }) => site), quorum: witnessQuorum },
    ...(engine ? { engine: engine.site } : {}),
    witnessing,
  };
}

function sayCommands({ page, sites }: Stage): void {
  const [{ site, code, operator }] = hosts;
  const { url } = sites.of(site).card;
  page.gap();
  page.text("At home:");
  page.command("exclave site request --out request.json");
  page.text(`In ${hosts[0].country}, and likewise at the five other sites:`);
  page.command(
    `exclave site init --name ${site} --country ${code} --operator "${operator}" --url ${url}`,
  );
  page.command("exclave site grant request.json");
  page.command("exclave site serve");
  page.text("At home, with what came back:");
  page.command(`exclave site add --card ${site}.card.json`);
  const names = hosts.map((host) => host.site).join(",");
  for (const name of registerNames) {
    page.command(
      `exclave register add ${name} --kind files --path registers/${name} --sites ${names} ` +
        `--threshold ${threshold}`,
    );
  }
  page.command(
    `exclave decide propose amend --witness ${site}=KEYS --witness … --quorum ${witnessQuorum} --reason "…"`,
  );
  page.gap();
}

/**
 * Signs in three sittings: the registers' places must be sites first, and witnesses are asked for what comes after
 * they are some. Returns how many decisions it took, and where the last of them stands.
 */
async function decideAll(
  stage: Stage,
  home: Home,
  signatories: readonly Signatory[],
  admitted: readonly Host[],
): Promise<{ readonly decisions: number; readonly witnessing: Decided }> {
  const cards = admitted.map(({ site }) => stage.sites.of(site));
  showStep(stage, "granting the State its place");
  await grant(cards, home);
  const admissions: Decision[] = [];
  for (const { card } of cards) {
    const { name, country, operator, hazardZone, url: at, signing } = card;
    const site = { name, country, operator, hazardZone, at, signing };
    admissions.push(paperOf(await addSite(home, site, new Date())));
  }
  showStep(stage, "admitting sites");
  await decideWith(home, admissions, signatories);
  const sites = hosts.map(({ site }) => site);
  requireLawfulPlacement(home, { sites, k: threshold }, []);
  const definitions: Decision[] = [];
  for (const name of registerNames) {
    const { given } = await addRegister(home, { ...registerOf(stage, name), sites }, new Date());
    definitions.push(paperOf(given));
  }
  showStep(stage, "defining registers");
  await decideWith(home, definitions, signatories);
  const grounds = {
    reason: "No clock at home is to end a delay",
    citation: "Data Embassy Act, s. 9",
  };
  const order = witnessOrder(home, sites.map(stage.sites.of));
  const amendment = paperOf(await give(home, order, grounds, new Date()));
  const witnessing = await decideWith(home, [amendment], signatories);
  return { decisions: admissions.length + definitions.length + 1, witnessing };
}

/** Makes sites witnesses, each under its own name. */
function witnessOrder({ charter }: Home, sites: readonly DemoSite[]): Order {
  const witnesses = sites.map(({ card: { name, witness } }) => ({ name, keys: [...witness] }));
  return { kind: "amend", ledger: { ...charter.ledger, witnesses, quorum: witnessQuorum } };
}

function registerOf({ paths }: Stage, name: RegisterName) {
  const part = {
    name,
    kind: "files" as const,
    path: join(paths.registers, name),
    excludes: [],
    oneFileSystem: false,
  };
  return { name, parts: [part], k: threshold, survive };
}
