/** The demo's story from end to end, and what it came to. Every figure is measured, every claim computed. */

import type { Home } from "../../vault/home.ts";
import { formatBytes, formatCount, formatSeconds } from "../format.ts";
import { alignTable } from "../page.ts";
import { type Admitted, admitSites } from "./admission.ts";
import {
  type Certificate,
  type Disaster,
  type Restored,
  restoreAndCompare,
  showCertificate,
  strike,
} from "./after.ts";
import { type Attack, orderDeleteAll } from "./attack.ts";
import { type OldHome, oldHomeReturns, type Recovered, recoverHome } from "./bare-machine.ts";
import {
  type HostFacts,
  type Invented,
  inventRegisters,
  lookFromOutside,
  type ProtectFacts,
  protectAgain,
  protectFirst,
} from "./before.ts";
import { type Captured, releaseByForce } from "./captured.ts";
import type { DayOfChanges } from "./changes.ts";
import { type Expulsion, expelSite } from "./decisions.ts";
import type { Losses } from "./disaster.ts";
import { type Founded, foundTheState } from "./founding.ts";
import { hosts, threshold } from "./hosts.ts";
import { stateName } from "./names.ts";
import { hostEachOther, type Neighbour } from "./neighbour.ts";
import { holdersLost, holdersNeeded } from "./people.ts";
import type { RegisterSizes } from "./registers.ts";
import { storedAt } from "./sites.ts";
import type { Stage } from "./stage.ts";

/** The link for which the demo reckons what the first night would take. */
const EXAMPLE_LINK_MBIT = 20;

export type StoryOptions = {
  readonly seed: number;
  readonly sizes: RegisterSizes;
  readonly chooseLosses: () => Promise<Losses>;
};

/** What `exclave demo --json` prints; docs/operations.md. */
export type StoryReport = ReturnType<typeof reportOf>;

export async function tellStory(stage: Stage, options: StoryOptions): Promise<StoryReport> {
  const startedMs = performance.now();
  const { page } = stage;
  const invented = await inventRegisters(stage, options.seed, options.sizes);
  const founded = await foundTheState(stage);
  const { home, holders } = founded;
  const admitted = await admitSites(stage, founded);
  const first = await protectFirst(stage, home);
  const { day, again } = await protectAgain(stage, home, admitted.witnessing, options.seed);
  const view = await lookFromOutside(stage, home, invented);
  const expulsion = await expelSite(stage, founded);
  const neighbour = await hostEachOther(stage, home);
  const attack = await orderDeleteAll(stage, home);
  const captured = await releaseByForce(stage, founded);
  const cost = await measureCost(stage, home);

  page.heading("11. The disaster: home, two key holders and two host countries");
  page.text(
    `Home is lost, ${holdersLost.length} key holders with it, and two of: ` +
      `${hosts.map(({ site, country }) => `${site} ${country}`).join(", ")}.`,
  );
  page.text(
    "At a third, the disk has gone bad, and nobody has noticed. At a fourth, the power fails.",
  );
  page.gap();
  const waitedFromMs = performance.now();
  const losses = await options.chooseLosses();
  const waitedSeconds = (performance.now() - waitedFromMs) / 1000;
  const disaster = await strike(stage, losses, home.state, holders);
  const recovered = await recoverHome(stage, losses, holders);
  const restored = await restoreAndCompare(stage, recovered.home, losses.damaged);
  const certificate = await showCertificate(stage, recovered.home, invented.generated);
  const oldHome = await oldHomeReturns(stage, recovered.home, losses);

  const seconds = (performance.now() - startedMs) / 1000 - waitedSeconds;
  const before = { invented, founded, admitted, first, day, again, view, expulsion, cost };
  const attacks = { neighbour, attack, captured };
  const after = { disaster, recovered, restored, certificate, oldHome };
  const report = reportOf({ ...before, ...attacks, ...after, stage, seconds });
  sayWhatItCameTo(stage, report);
  return report;
}

type Cost = {
  readonly countries: readonly {
    readonly country: string;
    readonly files: number;
    readonly bytes: number;
  }[];
  readonly bytes: number;
};

async function measureCost({ sites }: Stage, home: Home): Promise<Cost> {
  const countries = await Promise.all(
    hosts.map(async ({ site, country }) => ({
      country,
      ...(await storedAt(sites.of(site), home)),
    })),
  );
  return { countries, bytes: countries.reduce((sum, { bytes }) => sum + bytes, 0) };
}

function reportOf(facts: {
  readonly invented: Invented;
  readonly founded: Founded;
  readonly admitted: Admitted;
  readonly first: ProtectFacts;
  readonly day: DayOfChanges;
  readonly again: ProtectFacts;
  readonly view: HostFacts;
  readonly expulsion: Expulsion;
  readonly neighbour: Neighbour;
  readonly attack: Attack;
  readonly captured: Captured;
  readonly cost: Cost;
  readonly disaster: Disaster;
  readonly recovered: Recovered;
  readonly restored: Restored;
  readonly certificate: Certificate;
  readonly oldHome: OldHome;
  readonly stage: Stage;
  readonly seconds: number;
}) {
  const { invented, first, day, again, view, cost, disaster, recovered, restored } = facts;
  const { founded, expulsion, certificate, oldHome, stage, seconds } = facts;
  const { neighbour, attack, captured } = facts;
  const { witnessing: _, ...admitted } = facts.admitted;
  const damageFound = recovered.damageNamed + recovered.notShown === disaster.shardsDamaged;
  const ruled = expulsion.enactedEarly === 0 && !expulsion.sitesLeft.includes(expulsion.site);
  const oldIsOut = oldHome.wroteBytes === 0 && recovered.ledgerGeneration === 2;
  const withstood = neighbour.good && attack.good && captured.good;
  const cameBack = restored.good && certificate.same && damageFound;
  return {
    good: cameBack && withstood && view.seesNothing && ruled && oldIsOut,
    state: { name: stateName, id: recovered.home.state, fingerprint: founded.fingerprint },
    founding: {
      keyHolders: {
        threshold: holdersNeeded,
        of: founded.holders.length,
        confirmed: founded.confirmed,
        offices: founded.holders.map(({ office }) => office),
      },
      seats: founded.signatories.map(({ seat }) => seat),
      timelock: { inLifeDays: founded.timelockDays, hereSeconds: founded.timelockSeconds },
    },
    admitted,
    directory: stage.paths.root,
    registers: invented.registers,
    threshold,
    sites: hosts.map(({ site, country }) => ({ site, country })),
    protected: protectJson(first),
    day,
    protectedAgain: protectJson(again),
    hostView: {
      country: view.host,
      files: view.files,
      bytes: view.bytes,
      searches: view.searches.map(({ text, foundAtHost }, i) => ({
        text,
        foundAtHost,
        foundAtHome: view.foundAtHome[i]?.files ?? 0,
      })),
      seesNothing: view.seesNothing,
    },
    expulsion,
    neighbour,
    attack,
    captured,
    disaster,
    recovered: {
      twoKits: recovered.refused,
      stayClosed: recovered.stayClosed,
      holders: recovered.holders,
      sites: recovered.report.sites,
      term: recovered.report.term,
      ledgerGeneration: recovered.ledgerGeneration,
      checkpoint: recovered.report.checkpoint,
      registers: recovered.report.registers,
      damageNamed: recovered.damageNamed,
      notShown: recovered.notShown,
      seconds: recovered.seconds,
    },
    restored: {
      records: restored.records,
      bytes: restored.bytes,
      shardsMadeGood: restored.shardsMadeGood,
      differences: restored.comparisons.flatMap(({ differences }) => differences),
      good: restored.good,
    },
    certificate,
    oldHome,
    cost,
    timings: stage.timings,
    seconds,
  };
}

function protectJson({ reports, ...facts }: ProtectFacts) {
  return {
    ...facts,
    registers: reports.map(({ register, snapshot, seconds }) => ({ register, snapshot, seconds })),
  };
}

function sayWhatItCameTo({ page }: Stage, report: StoryReport): void {
  const { restored, certificate, cost, recovered, protectedAgain } = report;
  page.heading("16. What it came to");
  page.text(
    report.good
      ? `Lost: nothing. ${formatCount(restored.records)} records, ` +
          `${formatBytes(restored.bytes)}, are back as they were at the last recovery point; what ` +
          `comes after one is lost with home, so protect often.`
      : "Lost: see above. THE DEMO HAS FAILED; this is a fault in Exclave, please report it.",
  );
  page.text(
    `From a bare machine to the first certificate: ` +
      `${formatSeconds(recovered.seconds + certificate.seconds)}.`,
  );
  page.gap();
  sayWhatWasShown(page, report);
  page.gap();
  page.text(
    `Cost: ${formatBytes(cost.bytes)} abroad in all, ` +
      `${(cost.bytes / restored.bytes).toFixed(1)} times the registers; that day added ` +
      `${formatBytes(protectedAgain.siteBytes)}.`,
  );
  page.lines(
    alignTable(
      cost.countries.map(({ country, files, bytes }) => [
        country,
        formatBytes(bytes),
        `${formatCount(files)} files`,
      ]),
    ),
  );
  page.gap();
  page.text("How long each part took:");
  page.lines(
    alignTable([
      ...report.timings.map(({ part, seconds }) => [part, formatSeconds(seconds)]),
      ["all of it, without waiting for you", formatSeconds(report.seconds)],
    ]),
  );

  const linkSeconds = (cost.bytes * 8) / (EXAMPLE_LINK_MBIT * 1e6);
  page.heading("What this demo cannot show");
  page.text(
    `Your link: here five countries are five processes on one machine. Over ` +
      `${EXAMPLE_LINK_MBIT} Mbit/s, sending this much abroad takes ` +
      `${formatSeconds(linkSeconds)}.`,
  );
  page.text(
    "Your servers: nobody else ran these sites, no disk of theirs was slow, no network failed.",
  );
  page.text(
    "Your people: here one program played them all. Whether five key holders keep five kits " +
      "apart, and come when they are called, a drill shows.",
  );
  page.text(
    "Your law: whether this class of data may lie in that country, and what its courts can " +
      "order, no program can tell you.",
  );

  page.heading("What to type next");
  page.command("exclave try DIRECTORY");
  page.text("what your own data would cost, and whether it restores; nothing leaves the machine.");
  page.gap();
}

/** Each claim with what it rests on. */
function sayWhatWasShown(page: Stage["page"], report: StoryReport): void {
  const { expulsion, recovered, founding, hostView } = report;
  const { threshold: needed, of } = founding.keyHolders;
  page.text("What was shown:");
  page.lines(
    alignTable(
      [
        [
          "nobody alone brings it back",
          `${needed - 1} kits: refused; ${needed} of ${of}: home again`,
        ],
        [
          "nobody alone decides",
          `2 signatures: refused; ${expulsion.signedBy.length}: it waited, then held`,
        ],
        [
          "a host country reads nothing",
          `${hostView.searches.length} searches there found nothing`,
        ],
        ["what is lost comes back", `from ${recovered.sites.length} sites, one of them damaged`],
        [
          "nobody deletes",
          `${formatCount(report.attack.refused)} orders with all of home's keys: refused`,
        ],
        [
          "captured key holders wait",
          `${report.captured.holders.length} kits in one hand, and one veto: nothing given`,
        ],
        ["two States share sites", "and one is not there for the other"],
        ["the old home is out", `refused; the State writes in term ${recovered.term}`],
      ],
      [1],
    ),
  );
}
