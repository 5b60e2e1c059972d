/** The demo's sites and registers, each by a decision that three seats signed. */
import { join } from "node:path";
import type { Decision } from "../../charter/decision.ts";
import { sentenceOf } from "../../charter/sentences.ts";
import { invariant } from "../../errors.ts";
import { addRegister } from "../../governance/registers.ts";
import { addSite } from "../../governance/sites.ts";
import { requireLawfulPlacement } from "../../registers/protect.ts";
import type { Home } from "../../vault/home.ts";
import { formatSeconds } from "../format.ts";
import { alignTable } from "../page.ts";
import { registerNames as namesAtHome } from "../proposed.ts";
import { decideWith, paperOf, sayDecision, usual } from "./decisions.ts";
import type { Founded, Signatory } from "./founding.ts";
import { type Host, hosts, soldSite, survive, threshold } from "./hosts.ts";
import {
  type RegisterName,
  registerNames,
  type Stage,
  showStep,
  sitePath,
  timed,
} from "./stage.ts";

export type Admitted = { readonly decisions: number; readonly signatures: number };

/** Chapter 3: six sites in five host countries, and the registers that are kept at five of them. */
export async function admitSites(stage: Stage, founded: Founded): Promise<Admitted> {
  const { page } = stage;
  const { home } = founded;
  const all = [...hosts, soldSite];
  page.heading("3. Five host countries and three registers, by decision");
  for (const { site, code } of all) {
    page.command(`exclave site add ${site} --country ${code} --directory sites/${site}`);
  }
  const sites = hosts.map(({ site }) => site).join(",");
  for (const name of registerNames) {
    page.command(
      `exclave register add ${name} --kind files --path registers/${name} --sites ${sites} ` +
        `--threshold ${threshold}`,
    );
  }
  page.gap();
  const signatories = usual(founded.signatories);
  const { value: decisions, seconds } = await timed(stage, "admit sites, define registers", () =>
    decideAll(stage, home, signatories, all),
  );
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
  page.lines(
    alignTable(
      all.map((host) => [host.site, host.country, host.hazardZone]),
      [1, 2],
    ),
  );
  page.gap();
  page.text(
    `Any ${threshold} of the first ${hosts.length} sites bring everything back, so ` +
      `${hosts.length - threshold} may fail at once. One alone reads nothing, even with every ` +
      `key of the State stolen; ${threshold} together could, with those keys. (For a State we ` +
      `advise 3 of 5: three to read, two may fail. This demo is about to ruin three.) ` +
      `Done in ${formatSeconds(seconds)}.`,
  );
  return { decisions, signatures: decisions * signatories.length };
}

/** Signs in two sittings: the registers' places must be sites first. Returns how many decisions it took. */
async function decideAll(
  stage: Stage,
  home: Home,
  signatories: readonly Signatory[],
  admitted: readonly Host[],
): Promise<number> {
  const admissions: Decision[] = [];
  for (const host of admitted) {
    const { site: name, code: country, operator, hazardZone } = host;
    const at = sitePath(stage.paths, host);
    const site = { name, country, operator, hazardZone, at };
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
  return admissions.length + definitions.length;
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
