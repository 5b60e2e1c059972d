/** The demo's second half: the disaster, the bare machine, the comparison, one person's certificate. */
import { mkdirSync, readFileSync, renameSync } from "node:fs";
import { join, relative } from "node:path";
import { type CheckReport, check } from "../../checks/check.ts";
import { keySource, type RecoverReport, recover } from "../../registers/recover.ts";
import { type RestoreReport, restore } from "../../registers/restore.ts";
import { chooseSnapshot } from "../../registers/snapshots.ts";
import { Catalog } from "../../vault/catalog.ts";
import { openStatement } from "../../vault/documents.ts";
import type { Home } from "../../vault/home.ts";
import { openKey } from "../../vault/recovery-key.ts";
import { removeTree } from "../clean-up.ts";
import { formatBytes, formatCount, formatSeconds, formatTime, plural } from "../format.ts";
import { alignTable } from "../page.ts";
import { type BirthRecord, findBirthRecord, formatBirthRecord } from "./birth-record.ts";
import { type Comparison, compareRecords } from "./compare.ts";
import { damageShards, type Losses } from "./disaster.ts";
import { type Host, hosts, threshold } from "./hosts.ts";
import type { GeneratedRegisters } from "./registers.ts";
import {
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
  readonly left: readonly string[];
};

const names = (list: readonly Host[]): string => list.map(({ country }) => country).join(" and ");

/** Chapter 6, when it is known which sites are lost: home and two sites go, a third is damaged. */
export async function strike(stage: Stage, { lost, damaged, left }: Losses): Promise<Disaster> {
  const { page, paths } = stage;
  // For the comparison alone: nothing that follows reads them before that.
  mkdirSync(paths.originals, { recursive: true });
  renameSync(paths.registers, join(paths.originals, "registers"));
  removeTree(join(paths.root, "capital"));
  for (const host of lost) removeTree(sitePath(paths, host));
  const shardsDamaged = damageShards(sitePath(paths, damaged));
  page.lines(
    alignTable(
      [
        ["home", "gone: the machine, its keys, its catalog, the registers"],
        ...hosts.map((host) => [
          host.country,
          lost.includes(host)
            ? "gone"
            : host === damaged
              ? `a byte altered in each of its ${formatCount(shardsDamaged)} shards`
              : "untouched",
        ]),
      ],
      [1],
    ),
  );
  page.gap();
  page.text(
    "(The originals were moved aside, where nothing looks until the comparison. The recovery " +
      "key lies in the embassy's safe.)",
  );
  return {
    lost: lost.map(({ country }) => country),
    damaged: damaged.country,
    shardsDamaged,
    left: left.map(({ country }) => country),
  };
}

export type Recovered = {
  readonly home: Home;
  readonly report: RecoverReport;
  readonly checks: readonly CheckReport[];
  /** Damaged shards that `check` named at the damaged site. */
  readonly damageNamed: number;
  readonly seconds: number;
};

/** Chapter 7: a bare machine, the recovery key, and the sites that are left. */
export async function recoverHome(
  stage: Stage,
  losses: Losses,
  passphrase: string,
): Promise<Recovered> {
  const { page, paths } = stage;
  page.heading("7. A bare machine: the recovery key and the sites that are left");
  const sites = losses.left.map(({ site }) => `--site sites/${site}`).join(" ");
  page.command(`exclave recover --key recovery-key.age ${sites}`);
  page.gap();
  showStep(stage, "recovering");
  const notices: string[] = [];
  const { value: report, seconds } = await timed(stage, "recover home", async () =>
    recover({
      home: paths.newHome,
      key: keySource(await openKey("recovery-key", readFileSync(paths.recoveryKey), passphrase)),
      directories: losses.left.map((host) => sitePath(paths, host)),
      acceptStale: false,
      now: new Date(),
      onNotice: (notice) => notices.push(notice),
    }),
  );
  const { home } = report;
  page.text(
    `${home.charter.name} has a home again after ${formatSeconds(seconds)}, from ` +
      `${report.sites.join(", ")}. It has a fresh agent key and is the sole writer, in term ` +
      `${report.term}.`,
  );
  for (const notice of notices) page.text(`note: ${notice}`);
  page.lines(
    report.registers
      .toSorted((a, b) => order(a.name) - order(b.name))
      .map(
        ({ name, recoveryPoints, newest }) =>
          `${name}: ${plural(recoveryPoints, "recovery point")}, the newest of ` +
          `${formatTime(newest)}`,
      ),
  );
  page.gap();
  for (const name of registerNames) page.command(`exclave check ${name} --full`);
  page.gap();
  const checks = await checkAll(stage, home);
  const damageNamed = checks
    .flatMap((one) => one.sites)
    .filter(({ site }) => site === losses.damaged.site)
    .reduce((sum, { damaged }) => sum + damaged, 0);
  const example = checks
    .flatMap(({ findings }) => findings)
    .find(({ site, object }) => site === losses.damaged.site && object.startsWith("shard/"));
  page.text(
    `Every byte was read and held against its name: ${plural(damageNamed, "shard")} of ` +
      `${losses.damaged.country} ${damageNamed === 1 ? "is" : "are"} damaged and named, none of ` +
      `${names(losses.left.slice(1))}.`,
  );
  if (example) page.text(`${example.site}: ${example.object.slice(0, 28)}…: ${example.why}`);
  return { home, report, checks, damageNamed, seconds };
}

function order(name: string): number {
  return (registerNames as readonly string[]).indexOf(name);
}

async function checkAll(stage: Stage, home: Home): Promise<readonly CheckReport[]> {
  const catalog = new Catalog(home.catalogPath, home.state);
  const checks: CheckReport[] = [];
  try {
    await timed(stage, "check every byte that is left", async () => {
      for (const register of registerNames) {
        showStep(stage, `checking ${register}`);
        checks.push(await check({ home, catalog, register, full: true, now: new Date() }));
      }
    });
  } finally {
    catalog.close();
  }
  return checks;
}

export type Restored = {
  readonly reports: readonly RestoreReport[];
  readonly comparisons: readonly (Comparison & { readonly register: RegisterName })[];
  readonly records: number;
  readonly bytes: number;
  readonly shardsMadeGood: number;
  readonly good: boolean;
};

/** Chapter 8: everything restored, and every record compared with the originals. */
export async function restoreAndCompare(
  stage: Stage,
  home: Home,
  damaged: Host,
): Promise<Restored> {
  const { page, paths } = stage;
  page.heading("8. Restore everything, compare every record");
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
          home,
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

/** Chapter 9: one person's birth record, fetched alone, with the recovery point's signature checked. */
export async function showCertificate(
  stage: Stage,
  home: Home,
  { sought }: GeneratedRegisters,
): Promise<Certificate> {
  const { page, paths } = stage;
  const register = "civil-status";
  const within = relative(register, sought.path);
  page.heading(`9. At the counter: ${sought.name} asks for a birth certificate`);
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
        home,
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
