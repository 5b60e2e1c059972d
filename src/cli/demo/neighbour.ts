/** Two States that host each other: Grenada keeps this State's shards, and this State keeps Grenada's. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { found } from "../../governance/found.ts";
import { addRegister } from "../../governance/registers.ts";
import { addSite } from "../../governance/sites.ts";
import { protect } from "../../registers/protect.ts";
import { homeAsSource, restore } from "../../registers/restore.ts";
import { listPath, objectPath, statePath } from "../../sites/wire.ts";
import { Catalog } from "../../vault/catalog.ts";
import type { Home } from "../../vault/home.ts";
import { formatBytes, formatCount, formatSeconds, plural } from "../format.ts";
import { alignTable } from "../page.ts";
import { type Answered, send } from "./any-request.ts";
import { compareRecords } from "./compare.ts";
import { hosts, neighbourSites, ownSite } from "./hosts.ts";
import { type DemoSite, grant, storedAt } from "./sites.ts";
import { type Stage, showStep, timed } from "./stage.ts";

const NAME = "Grenada";
const REGISTER = "fishing-licences";
const BOATS = 240;
const PARISHES = ["Carriacou", "Saint Andrew", "Saint David", "Saint John", "Saint Mark"];

/** HTTP statuses: of a key that a State's charter does not name, and of a State that a site does not serve. */
const UNKNOWN_KEY = 401;
const NOT_SERVED = 404;

export type Neighbour = {
  readonly state: string;
  readonly sites: readonly string[];
  readonly records: number;
  readonly same: boolean;
  /** Where both are served: what each asked of the other's, and how it was refused. */
  readonly askedOfTheOther: readonly Answered[];
  /** Where only one is served: how a State that is not looks. */
  readonly askedElsewhere: readonly Answered[];
  /** It came back, and everything was refused that had to be. */
  readonly good: boolean;
};

/** Chapter 8: the State that hosts here has a register of its own to lose. */
export async function hostEachOther(stage: Stage, home: Home): Promise<Neighbour> {
  const { page, sites } = stage;
  const at = neighbourSites.map(sites.of);
  page.heading(`8. Two States host each other: ${NAME} keeps ours, and we keep theirs`);
  page.text(
    `${NAME} is a State too, with registers of its own to lose. It stores them at a site that ` +
      `${ownSite.country}'s technicians run, and at two of the sites that keep ours: the same processes serve both.`,
  );
  for (const { card } of at)
    page.command(`exclave site grant ${NAME.toLowerCase()}.json --folder ${card.name}`);
  page.command(
    `exclave register add ${REGISTER} --sites ${neighbourSites.join(",")} --threshold 2`,
  );
  page.command(`exclave protect ${REGISTER}`);
  page.gap();
  showStep(stage, `founding ${NAME}`);
  const { value, seconds } = await timed(stage, `${NAME} is hosted too`, async () => {
    const theirs = await foundNeighbour(stage, at);
    return { theirs, ...(await protectAndRestore(stage, theirs)) };
  });
  const { theirs, records, same } = value;
  const rows = await Promise.all(
    at.map(async (site) => [
      site.card.name,
      await keptFor(site, theirs),
      site.card.name === ownSite.site ? "nothing" : await keptFor(site, home),
    ]),
  );
  page.lines(alignTable([["site", `of ${NAME}`, "of this State"], ...rows], [1, 2]));
  page.gap();
  page.text(
    `${same ? `Their ${plural(records, "licence")} came back byte for byte` : "THEIR LICENCES DID NOT COME BACK"}, ` +
      `from the sites alone. (${formatSeconds(seconds)})`,
  );
  const askedOfTheOther = await askTheOther(stage, home, theirs);
  const askedElsewhere = await askElsewhere(stage, home, theirs);
  return {
    state: theirs.state,
    sites: neighbourSites,
    records,
    same,
    askedOfTheOther,
    askedElsewhere,
    good:
      same &&
      askedOfTheOther.every(({ status }) => status === UNKNOWN_KEY) &&
      askedElsewhere.every(({ status }) => status === NOT_SERVED),
  };
}

async function keptFor(site: DemoSite, home: Home): Promise<string> {
  const { files, bytes } = await storedAt(site, home);
  return `${formatCount(files)} objects, ${formatBytes(bytes)}`;
}

/** A small State: one person decides, and at once. */
async function foundNeighbour({ paths }: Stage, at: readonly DemoSite[]): Promise<Home> {
  mkdirSync(join(paths.neighbour, "registers"), { recursive: true });
  const home = await found({
    home: join(paths.neighbour, "home"),
    stateName: NAME,
    passphrase: "as in a trial, one person's",
    recoveryKeyFile: join(paths.neighbour, "recovery-key.age"),
    now: new Date(),
    workFactor: 10,
  });
  await grant(at, home);
  for (const { card } of at) {
    const { name, country, operator, hazardZone, url, signing } = card;
    await addSite(home, { name, country, operator, hazardZone, at: url, signing }, new Date());
  }
  const path = join(paths.neighbour, "registers");
  for (const parish of PARISHES) writeFileSync(join(path, `${parish}.csv`), licencesOf(parish));
  const part = { name: REGISTER, kind: "files" as const, path, excludes: [], oneFileSystem: false };
  const terms = { name: REGISTER, parts: [part], sites: [...neighbourSites], k: 2, survive: 1 };
  await addRegister(home, terms, new Date());
  return home;
}

function licencesOf(parish: string): string {
  const boats = Array.from(
    { length: BOATS / PARISHES.length },
    (_, i) => `${parish.slice(-4)}-${1000 + i},open boat,${4 + (i % 5)} m,${2020 + (i % 6)}`,
  );
  return `${["licence,kind,length,since", ...boats].join("\n")}\n`;
}

async function protectAndRestore({ paths }: Stage, home: Home) {
  const catalog = new Catalog(home.catalogPath, home.state);
  const target = join(paths.neighbour, "restored");
  try {
    await protect({ home, catalog, register: REGISTER, now: new Date() });
    await restore({
      source: homeAsSource(home),
      catalog,
      register: REGISTER,
      choice: {},
      target,
      paths: [],
      overwrite: false,
      keepGoing: false,
      numericOwner: false,
    });
  } finally {
    catalog.close();
  }
  const { records, differences } = compareRecords(join(paths.neighbour, "registers"), target);
  return { records, same: differences.length === 0 };
}

/** Each asks for what the other has, at a site that serves both, with the key that opens its own door there. */
async function askTheOther(stage: Stage, ours: Home, theirs: Home): Promise<readonly Answered[]> {
  const site = stage.sites.of("lu");
  const askers = [
    { signer: ours.agent, of: theirs.state },
    { signer: theirs.agent, of: ours.state },
  ];
  const answers: Answered[] = [];
  for (const { signer, of } of askers) {
    const put = objectPath(of, `shard/${"0".repeat(64)}.00`);
    answers.push(
      await send(site, { method: "GET", target: listPath(of, "shard", undefined), signer }),
      await send(site, { method: "GET", target: `${statePath(of)}/status`, signer }),
      await send(site, { method: "PUT", target: put, body: new Uint8Array(1), signer }),
    );
  }
  stage.page.text(
    `${countryOf(site.card.name)} serves both. Each asks there, with its own key, for the other's shards, for the ` +
      `other's status, and to store in the other's place. ${refusedText(answers, UNKNOWN_KEY)}`,
  );
  return answers;
}

/** Where a State is not served, its own key opens nothing, and nobody is told whether it ever was there. */
async function askElsewhere(stage: Stage, ours: Home, theirs: Home): Promise<readonly Answered[]> {
  const own = stage.sites.of(ownSite.site);
  const barbados = stage.sites.of(hosts[0].site);
  const answers = [
    await send(own, {
      method: "GET",
      target: `${statePath(ours.state)}/status`,
      signer: ours.agent,
    }),
    await send(barbados, {
      method: "GET",
      target: `${statePath(theirs.state)}/status`,
      signer: theirs.agent,
    }),
  ];
  stage.page.text(
    `Where only one of them is served, the other was never there. ${refusedText(answers, NOT_SERVED)}`,
  );
  return answers;
}

/** How requests were answered that must all have been refused, with this status. */
function refusedText(answers: readonly Answered[], status: number): string {
  const [first] = answers;
  return answers.every((one) => one.status === status)
    ? `${plural(answers.length, "request")}: ${status}, "${first?.message ?? ""}".`
    : `NOT EVERYTHING WAS REFUSED (${answers.map((one) => one.status).join(", ")}): this demo has failed.`;
}

function countryOf(name: string): string {
  return hosts.find(({ site }) => site === name)?.country ?? name;
}
