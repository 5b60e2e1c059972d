/** The demo's second half: the disaster, the comparison, one person's certificate. */
import { mkdirSync, readFileSync, renameSync } from "node:fs";
import { join, relative } from "node:path";
import { homeAsSource, type RestoreReport, restore } from "../../registers/restore.ts";
import { chooseSnapshot } from "../../registers/snapshots.ts";
import { Catalog } from "../../vault/catalog.ts";
import { openStatement } from "../../vault/documents.ts";
import type { Home } from "../../vault/home.ts";
import { removeTree } from "../clean-up.ts";
import { formatBytes, formatCount, formatSeconds, formatTime, plural } from "../format.ts";
import { alignTable } from "../page.ts";
import { type BirthRecord, findBirthRecord, formatBirthRecord } from "./birth-record.ts";
import { type Comparison, compareRecords } from "./compare.ts";
import { damageShards, type Losses } from "./disaster.ts";
import type { KeyHolder } from "./founding.ts";
import { type Host, hosts, threshold } from "./hosts.ts";
import { holdersLost } from "./people.ts";
import type { GeneratedRegisters } from "./registers.ts";
import {
  objectsPath,
  type RegisterName,
  registerNames,
  type Stage,
  showRestore,
  showStep,
  sitePath,
  timed,
} from "./stage.ts";

export type Disaster = {
  readonly lost: readonly string[];
  readonly damaged: string;
  readonly shardsDamaged: number;
  /** Killed, and started again on the same disk. */
  readonly restarted: string;
  readonly left: readonly string[];
  /** Offices of key holders. */
  readonly holdersLost: readonly string[];
  readonly holdersLeft: readonly string[];
};

/**
 * Chapter 11, when it is known which sites are lost: home goes, and two sites and two key holders; a third site is
 * damaged, and a fourth has a power cut.
 */
export async function strike(
  stage: Stage,
  { lost, damaged, restarted, left }: Losses,
  state: string,
  holders: readonly KeyHolder[],
): Promise<Disaster> {
  const { page, paths, processes } = stage;
  // For the comparison alone: nothing that follows reads them before that.
  mkdirSync(paths.originals, { recursive: true });
  renameSync(paths.registers, join(paths.originals, "registers"));
  renameSync(paths.home, paths.oldHome);
  removeTree(join(paths.root, "capital"));
  const isLost = ({ number }: KeyHolder): boolean => holdersLost.includes(number);
  for (const { number } of holders.filter(isLost)) {
    removeTree(join(paths.keyHolders, `${number}`));
  }
  const pids = new Map(hosts.map(({ site }) => [site, processes.pidOf(site)]));
  await Promise.all([...lost, restarted].map(({ site }) => processes.kill(site)));
  for (const host of lost) removeTree(sitePath(paths, host));
  const shardsDamaged = damageShards(objectsPath(paths, damaged, state));
  showStep(stage, "starting a site again");
  await processes.start(restarted.site, sitePath(paths, restarted));
  const becameOf = (host: Host): string => {
    if (lost.includes(host)) return `process ${pids.get(host.site)} killed, and its disk gone`;
    if (host === restarted) return `process ${pids.get(host.site)} killed, and started again`;
    if (host !== damaged) return "untouched";
    return `runs on, with a byte altered in each of ${plural(shardsDamaged, "shard")}`;
  };
  page.lines(
    alignTable(
      [
        ["home", "gone, with keys, catalog and registers"],
        ...hosts.map((host) => [host.country, becameOf(host)]),
        ...holders.map((holder) => [
          holder.office,
          isLost(holder) ? "lost, and the kit too" : "abroad, with the kit",
        ]),
      ],
      [1],
    ),
  );
  page.gap();
  page.text(
    "(Moved aside, where nothing looks: the originals, until the comparison, and home's disk, " +
      "which turns up again in the end.)",
  );
  return {
    lost: lost.map(({ country }) => country),
    damaged: damaged.country,
    shardsDamaged,
    restarted: restarted.country,
    left: left.map(({ country }) => country),
    holdersLost: holders.filter(isLost).map(({ office }) => office),
    holdersLeft: holders.filter((holder) => !isLost(holder)).map(({ office }) => office),
  };
}

export type Restored = {
  readonly reports: readonly RestoreReport[];
  readonly comparisons: readonly (Comparison & { readonly register: RegisterName })[];
  readonly records: number;
  readonly bytes: number;
  readonly shardsMadeGood: number;
  readonly good: boolean;
};

/** Chapter 13: everything restored, and every record compared with the originals. */
export async function restoreAndCompare(
  stage: Stage,
  home: Home,
  damaged: Host,
): Promise<Restored> {
  const { page, paths } = stage;
  page.heading("13. Restore everything, compare every record");
  for (const name of registerNames) page.command(`exclave restore ${name} --to registers/${name}`);
  page.gap();
  const { value: reports, seconds } = await timed(stage, "restore everything", () =>
    restoreAll(stage, home),
  );
  showStep(stage, "comparing every byte");
  const { value: comparisons } = await timed(stage, "compare every record", () =>
    registerNames.map((register) => ({
      register,
      ...compareRecords(
        join(paths.originals, "registers", register),
        join(paths.restored, register),
      ),
    })),
  );
  page.lines(
    alignTable([
      ["register", "records compared", "files", "size", "different"],
      ...comparisons.map((one) => [
        one.register,
        formatCount(one.records),
        formatCount(one.files),
        formatBytes(one.bytes),
        formatCount(one.differences.length),
      ]),
    ]),
  );
  page.gap();
  const sum = (of: (one: Comparison) => number): number =>
    comparisons.reduce((total, one) => total + of(one), 0);
  const [records, bytes] = [sum((one) => one.records), sum((one) => one.bytes)];
  const differing = sum((one) => one.differences.length);
  const shardsMadeGood = reports
    .flatMap(({ shardProblems }) => shardProblems)
    .filter(({ site }) => site === damaged.site).length;
  const complete = reports.every(({ problemCount }) => problemCount === 0);
  page.text(
    `Restored in ${formatSeconds(seconds)} ` +
      `(${formatBytes(bytes / Math.max(seconds, 0.001))}/s). ${plural(shardsMadeGood, "shard")} ` +
      `of ${damaged.country} ${shardsMadeGood === 1 ? "was" : "were"} refused on the way and ` +
      `made good from the others.`,
  );
  const good = differing === 0 && complete;
  page.text(
    good
      ? `All ${formatCount(records)} records are byte for byte what they were.`
      : "THE RESTORED REGISTERS DIFFER FROM THE ORIGINALS:",
  );
  if (!good) {
    for (const one of comparisons) page.lines(one.differences.slice(0, 10));
    for (const { problems } of reports)
      page.lines(problems.map(({ shown, why }) => `${shown}: ${why}`).slice(0, 10));
  }
  return { reports, comparisons, records, bytes, shardsMadeGood, good };
}

async function restoreAll(stage: Stage, home: Home): Promise<readonly RestoreReport[]> {
  const catalog = new Catalog(home.catalogPath, home.state);
  const reports: RestoreReport[] = [];
  try {
    for (const register of registerNames) {
      reports.push(
        await restore({
          ...restoreDefaults,
          source: homeAsSource(home),
          catalog,
          register,
          target: join(stage.paths.restored, register),
          onProgress: showRestore(stage, register),
        }),
      );
    }
  } finally {
    catalog.close();
  }
  stage.terminal.endProgress();
  return reports;
}

const restoreDefaults = {
  choice: {},
  paths: [],
  overwrite: false,
  keepGoing: false,
  numericOwner: false,
} as const;

export type Certificate = {
  readonly record: BirthRecord;
  readonly same: boolean;
  readonly statement: string;
  readonly time: string;
  readonly sequence: number;
  readonly term: number;
  readonly agent: string;
  /** In force when it was shown: SHA-256 of its payload. */
  readonly charter: string;
  /** From the recovered home to the record alone, without the rest of its register. */
  readonly seconds: number;
};

/** Chapter 14: one person's birth record, fetched alone, with the recovery point's signature checked. */
export async function showCertificate(
  stage: Stage,
  home: Home,
  { sought }: GeneratedRegisters,
): Promise<Certificate> {
  const { page, paths } = stage;
  const register = "civil-status";
  const within = relative(register, sought.path);
  page.heading(`14. At the counter: ${sought.name} asks for a birth certificate`);
  page.command(`exclave restore ${register} --path /${within} --to desk`);
  page.gap();
  const { value: statement, seconds } = await timed(stage, "fetch one birth record", async () => {
    const catalog = new Catalog(home.catalogPath, home.state);
    try {
      // Verifies the signature again, from the bytes that came from the sites.
      const row = chooseSnapshot(catalog, home.register(register), {});
      const opened = openStatement(row.envelope, home.known);
      await restore({
        ...restoreDefaults,
        source: homeAsSource(home),
        catalog,
        register,
        paths: [`/${within}`],
        target: join(paths.desk, register),
      });
      return opened;
    } finally {
      catalog.close();
    }
  });
  const record = findBirthRecord(paths.desk, sought.recordNumber);
  const bytesOf = (root: string): Buffer => readFileSync(join(root, sought.path));
  const same = bytesOf(paths.desk).equals(bytesOf(join(paths.originals, "registers")));
  page.lines(formatBirthRecord(record).split("\n"));
  page.gap();
  const { document, id } = statement;
  const { charter } = home;
  page.lines(
    alignTable(
      [
        ["recovery point", `${id.slice(0, 16)}…  (statement ${document.sequence} of ${register})`],
        ["made", `${formatTime(document.time)}, epoch ${document.epoch}, term ${document.term}`],
        ["signed by", `agent ${document.agent.slice(0, 16)}…  (Ed25519 and ML-DSA-87: valid)`],
        ["agent named by", `the State's charter, version ${charter.version}`],
        ["record", same ? "the same bytes as the original" : "DIFFERS FROM THE ORIGINAL"],
      ],
      [1],
    ),
  );
  page.gap();
  page.text(
    `Fetched alone, from ${threshold} good sites, in ${formatSeconds(seconds)}; the rest of ` +
      `the register was not needed.`,
  );
  return {
    record,
    same,
    statement: id,
    time: document.time,
    sequence: document.sequence,
    term: document.term,
    agent: document.agent,
    charter: home.known.charterId,
    seconds,
  };
}
