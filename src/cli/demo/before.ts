/** The demo's first half: the registers, two protects, and the look from outside. */
import { join } from "node:path";
import type { Decided } from "../../governance/decide.ts";
import { type ProtectReport, protect } from "../../registers/protect.ts";
import { Catalog } from "../../vault/catalog.ts";
import type { Home } from "../../vault/home.ts";
import { filesBelow, sizeOfTree } from "../disk.ts";
import { formatBytes, formatCount, formatSeconds, plural } from "../format.ts";
import { alignTable } from "../page.ts";
import { findBirthRecord } from "./birth-record.ts";
import { changeOneDay, type DayOfChanges } from "./changes.ts";
import { letTakeEffect } from "./decisions.ts";
import { filesWith, type HostView, lookInside } from "./host-view.ts";
import { hosts, survive, threshold } from "./hosts.ts";
import { stateName } from "./names.ts";
import { type GeneratedRegisters, generateRegisters, type RegisterSizes } from "./registers.ts";
import { storedAt } from "./sites.ts";
import {
  objectsPath,
  type RegisterName,
  registerNames,
  type Stage,
  showProtect,
  showStep,
  sitePath,
  timed,
} from "./stage.ts";

type RegisterFacts = {
  readonly name: RegisterName;
  readonly records: number;
  readonly files: number;
  readonly bytes: number;
};

export type Invented = {
  readonly generated: GeneratedRegisters;
  readonly registers: readonly RegisterFacts[];
};

/** Chapter 1: what there is to lose. */
export async function inventRegisters(
  stage: Stage,
  seed: number,
  sizes: RegisterSizes,
): Promise<Invented> {
  const { page, paths } = stage;
  page.heading("1. What there is to lose");
  page.text(
    `The ${stateName} is a small island State. It does not exist: every person, place and ` +
      `record here is invented (seed ${seed}).`,
  );
  showStep(stage, "inventing the registers");
  const { value: generated } = await timed(stage, "invent the registers", () =>
    generateRegisters(paths.registers, seed, sizes),
  );
  const registers = registerNames.map((name) => ({
    name,
    records: generated.records[name],
    ...sizeOfTree(join(paths.registers, name)),
  }));
  page.gap();
  page.lines(
    alignTable([
      ["register", "records", "files", "size"],
      ...registers.map((one) => [
        one.name,
        formatCount(one.records),
        formatCount(one.files),
        formatBytes(one.bytes),
      ]),
    ]),
  );
  return { generated, registers };
}

export type ProtectFacts = {
  readonly reports: readonly ProtectReport[];
  readonly files: number;
  readonly bytes: number;
  /** Plaintext that was new. */
  readonly newBytes: number;
  /** Sealed and padded, before dispersal. */
  readonly packBytes: number;
  /** What all sites together hold more than before. */
  readonly siteBytes: number;
  readonly seconds: number;
};

/** Chapter 4: the first recovery points. */
export async function protectFirst(stage: Stage, home: Home): Promise<ProtectFacts> {
  const { page } = stage;
  page.heading("4. Protect");
  for (const name of registerNames) page.command(`exclave protect ${name}`);
  page.gap();
  const facts = await protectAll(stage, home, "protect, first time");
  page.lines(protectTable(facts));
  page.gap();
  page.text(
    `${formatBytes(facts.bytes)} read, compressed and sealed to ` +
      `${formatBytes(facts.packBytes)}, dispersed over five countries as ` +
      `${formatBytes(facts.siteBytes)}, in ${formatSeconds(facts.seconds)}. A recovery point ` +
      `counts only when at least ${threshold + survive} sites have it safely on disk.`,
  );
  page.text(
    "(Scans are compressed already and keep their size. Sealed packs are padded to a few " +
      "fixed sizes, so that a host cannot tell what is in them.)",
  );
  return facts;
}

/** Chapter 5: a working day, and what is new of it. */
export async function protectAgain(
  stage: Stage,
  home: Home,
  witnessing: Decided,
  seed: number,
): Promise<{ readonly day: DayOfChanges; readonly again: ProtectFacts }> {
  const { page, paths } = stage;
  page.heading("5. A day passes. Protect again");
  await letTakeEffect(stage, home, witnessing, "wait for the witnesses");
  page.text(
    `Meanwhile the ${plural(home.charter.ledger.witnesses.length, "host country", "host countries")} have become ` +
      `witnesses: the charter's version ${home.charter.version} is in force.`,
  );
  const day = changeOneDay(paths.registers, seed);
  page.text(
    `${day.date}: ${plural(day.birthsAdded, "birth")} registered, ${day.birthsCorrected} ` +
      `corrected, ${plural(day.rowsAppended, "row")} added to the books and ${day.rowsEdited} ` +
      `changed, ${plural(day.scansAdded, "deed")} scanned, one withdrawn.`,
  );
  page.gap();
  const again = await protectAll(stage, home, "protect, after a day's changes");
  page.lines(protectTable(again));
  page.gap();
  page.text(
    `Of ${formatBytes(again.bytes)}, ${formatBytes(again.newBytes)} were new: ` +
      `${formatBytes(again.siteBytes)} went to the five countries together, in ` +
      `${formatSeconds(again.seconds)}. Yesterday's recovery points stay as they are.`,
  );
  return { day, again };
}

async function protectAll(stage: Stage, home: Home, part: string): Promise<ProtectFacts> {
  const { terminal } = stage;
  const before = await storedAbroad(stage, home);
  const catalog = new Catalog(home.catalogPath, home.state);
  const reports: ProtectReport[] = [];
  try {
    const { seconds } = await timed(stage, part, async () => {
      for (const register of registerNames) {
        const onProgress = showProtect(stage, register);
        reports.push(await protect({ home, catalog, register, now: new Date(), onProgress }));
      }
    });
    terminal.endProgress();
    const sum = (of: (report: ProtectReport) => number): number =>
      reports.reduce((total, report) => total + of(report), 0);
    return {
      reports,
      files: sum(({ files }) => files),
      bytes: sum(({ bytes }) => bytes),
      newBytes: sum(({ stored }) => stored.rawBytes),
      packBytes: sum(({ stored }) => stored.packBytes),
      siteBytes: (await storedAbroad(stage, home)) - before,
      seconds,
    };
  } finally {
    catalog.close();
  }
}

/** Bytes of the State's objects at all sites where its registers are. */
async function storedAbroad({ sites }: Stage, home: Home): Promise<number> {
  const stored = await Promise.all(hosts.map(({ site }) => storedAt(sites.of(site), home)));
  return stored.reduce((sum, { bytes }) => sum + bytes, 0);
}

function protectTable({ reports }: ProtectFacts): readonly string[] {
  return alignTable([
    ["register", "recovery point", "files", "read", "new", "sealed", "time"],
    ...reports.map((report) => [
      report.register,
      report.snapshot.slice(0, 12),
      formatCount(report.files),
      formatBytes(report.bytes),
      formatBytes(report.stored.rawBytes),
      formatBytes(report.stored.packBytes),
      formatSeconds(report.seconds),
    ]),
  ]);
}

export type HostFacts = HostView & {
  readonly host: string;
  /** In how many files of the registers the same search finds each text: the proof that it can. */
  readonly foundAtHome: readonly { readonly text: string; readonly files: number }[];
  readonly seesNothing: boolean;
};

/** Chapter 6: what the first host country sees. */
export async function lookFromOutside(
  stage: Stage,
  { state }: Home,
  { generated }: Invented,
): Promise<HostFacts> {
  const { page, paths } = stage;
  const [host] = hosts;
  const { recordNumber } = generated.sought;
  const { child } = findBirthRecord(paths.registers, recordNumber);
  // Names as the record has them, between quotation marks: short ones alone could occur by chance.
  const texts = [
    JSON.stringify(child.forenames),
    JSON.stringify(child.surname),
    recordNumber,
    "civil-status",
  ];
  page.heading(`6. ${host.country} looks inside its own site`);
  const { value: view, seconds } = await timed(stage, `${host.country} looks inside`, () =>
    lookInside(sitePath(paths, host), objectsPath(paths, host, state), texts),
  );
  page.lines([
    ...alignTable(view.listing.map(({ path, bytes }) => [shorten(path), formatBytes(bytes)])),
    `… ${plural(view.files, "file")}, ${formatBytes(view.bytes)} in all, with the site's own`,
  ]);
  if (view.hexdump) {
    page.gap();
    page.text("Sixteen bytes from the middle of its largest file:");
    page.lines([view.hexdump.line]);
  }
  page.gap();
  const foundAtHome = view.searches.map(({ text }) => ({ text, files: filesAtHome(stage, text) }));
  page.text(
    "It searches every byte of it: what it stores, its keys, its index, its log. The same search " +
      "at home, before:",
  );
  page.lines(
    alignTable(
      [
        ["", `in ${host.country}`, "at home"],
        ...view.searches.map(({ text, foundAtHost }, i) => [
          text,
          foundAtHost === 0 ? "not found" : plural(foundAtHost, "file"),
          plural(foundAtHome[i]?.files ?? 0, "file"),
        ]),
      ],
      [],
    ),
  );
  page.gap();
  const seesNothing = view.searches.every(({ foundAtHost }) => foundAtHost === 0);
  page.text(
    seesNothing
      ? `So ${host.country} sees that it serves the ${view.stateName ?? "State"}, how ` +
          `many shards there are, how large, and when they came; and the State's charter and ` +
          `decisions, with offices in them. No name, no record, not even what the registers are ` +
          `called. (${formatSeconds(seconds)})`
      : `${host.country} can read what it should not: this demo has failed.`,
  );
  return { ...view, host: host.country, foundAtHome, seesNothing };
}

/** Files of the registers that hold the text, or, for the name of a register, that lie in it. */
function filesAtHome({ paths }: Stage, text: string): number {
  const inContent = filesWith(filesBelow(paths.registers), text);
  if (inContent > 0) return inContent;
  return [...filesBelow(paths.registers)].filter((path) => path.includes(`/${text}/`)).length;
}

/** A path with its long hexadecimal names cut short. */
function shorten(path: string): string {
  return path.replace(/([0-9a-f]{16})[0-9a-f]{48}/, "$1…");
}
