/** The demo's way back: a bare machine, key holders with their kits, and the sites that are left. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type CheckReport, check } from "../../checks/check.ts";
import { combineKits, examineKit } from "../../custody/combine-kits.ts";
import { openShare } from "../../custody/kit.ts";
import { invariant } from "../../errors.ts";
import { protect } from "../../registers/protect.ts";
import { type RecoverReport, type RecoverySource, recover } from "../../registers/recover.ts";
import { Catalog } from "../../vault/catalog.ts";
import { Home } from "../../vault/home.ts";
import { sizeOfTree } from "../disk.ts";
import { formatCount, formatSeconds, formatTime, plural } from "../format.ts";
import { officesOf, type Refusal, refusalOf, sayRefusal } from "./decisions.ts";
import type { Losses } from "./disaster.ts";
import type { KeyHolder } from "./founding.ts";
import type { Host } from "./hosts.ts";
import { holdersLost, holdersNeeded } from "./people.ts";
import { registerNames, type Stage, showStep, sitePath, timed } from "./stage.ts";

const names = (list: readonly Host[]): string => list.map(({ country }) => country).join(" and ");

export type Recovered = {
  readonly home: Home;
  readonly report: RecoverReport;
  /** With one kit too few. */
  readonly refused: Refusal;
  /** Offices of those whose kits brought it back. */
  readonly holders: readonly string[];
  readonly ledgerGeneration: number;
  readonly checks: readonly CheckReport[];
  /** Damaged shards that `check` named at the damaged site. */
  readonly damageNamed: number;
  readonly seconds: number;
};

/** Chapter 9: a bare machine, key holders as they come, and the sites that are left. */
export async function recoverHome(
  stage: Stage,
  losses: Losses,
  all: readonly KeyHolder[],
): Promise<Recovered> {
  const { page } = stage;
  page.heading("9. A bare machine: the key holders and the sites that are left");
  const holders = all.filter(({ number }) => !holdersLost.includes(number)).slice(0, holdersNeeded);
  const early = holders.slice(0, holdersNeeded - 1);
  page.text(`${officesOf(early)} are there first:`);
  page.command(commandOf(losses, early));
  page.gap();
  const notices: string[] = [];
  const onNotice = (notice: string): void => {
    notices.push(notice);
  };
  showStep(stage, "trying with two kits");
  const { value: refused } = await timed(stage, "two kits: refused", () =>
    refusalOf("recovery with two kits", "not-enough-shards", () =>
      recoverWith(stage, losses, early, () => undefined),
    ),
  );
  sayRefusal(stage, refused);
  page.gap();
  page.text(`${officesOf(holders.slice(early.length))} arrives:`);
  page.command(commandOf(losses, holders));
  page.gap();
  showStep(stage, "recovering");
  const { value: report, seconds } = await timed(stage, "recover home", () =>
    recoverWith(stage, losses, holders, onNotice),
  );
  const { home, checkpoint } = report;
  const { generation } = home.charter.ledger;
  page.text(
    `${home.charter.name} has a home again after ${formatSeconds(seconds)}, from ` +
      `${plural(holders.length, "kit")} and ${report.sites.join(", ")}. It has a fresh agent key ` +
      `and is the sole writer, in term ${report.term}.`,
  );
  page.text(
    `The old ledger is closed after ${checkpoint.entries} entries, as ` +
      `${checkpoint.confirmedBy.join(", ")} confirm; generation ${generation} has begun, under ` +
      `new keys. Nobody decided that: enough key holders may, and it changes nothing of who decides.`,
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
  return {
    home,
    report,
    refused,
    holders: holders.map(({ office }) => office),
    ledgerGeneration: generation,
    checks,
    damageNamed,
    seconds,
  };
}

function commandOf(losses: Losses, holders: readonly KeyHolder[]): string {
  const kits = holders.map(({ number }) => `--kit ${number}.kit.json`).join(" ");
  return `exclave recover ${kits} ${losses.left.map(({ site }) => `--site sites/${site}`).join(" ")}`;
}

/** Recovers with these holders' kits, each read from its file and opened by its own passphrase. */
async function recoverWith(
  { paths }: Stage,
  losses: Losses,
  holders: readonly KeyHolder[],
  onNotice: (notice: string) => void,
): Promise<RecoverReport> {
  return recover({
    home: paths.newHome,
    key: await openKits(holders),
    sites: losses.left.map((host) => sitePath(paths, host)),
    acceptStale: false,
    now: new Date(),
    onNotice,
  });
}

async function openKits(holders: readonly KeyHolder[]): Promise<RecoverySource> {
  const opened = [];
  for (const { kit: file, passphrase } of holders) {
    const kit = examineKit(await readFile(file));
    opened.push({ kit, result: await openShare(kit, passphrase) });
  }
  const [first] = opened;
  invariant(first, "there are kits");
  const { state } = first.kit;
  const kits = opened.map(({ kit, result }) => ({ kit, share: result.share }));
  return {
    state,
    secretFor: (set) => combineKits(kits, { state, set }).secret,
    opened: opened.map(({ result }) => result),
  };
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

export type OldHome = {
  readonly refused: Refusal;
  /** What the sites hold more than before it was switched on. */
  readonly wroteBytes: number;
};

/** Chapter 12: the home that was thought lost is switched on, with every key that it had. */
export async function oldHomeReturns(stage: Stage): Promise<OldHome> {
  const { page, paths } = stage;
  const [register] = registerNames;
  page.heading("12. The old home returns");
  page.text(
    "The machine that was given up for lost is found, in whoever's hands, and switched on. It " +
      "has all that it had: its agent's key, the ledger's key, the way to every site.",
  );
  page.command(`exclave protect ${register}`);
  page.gap();
  const stored = (): number => sizeOfTree(join(paths.root, "sites")).bytes;
  const before = stored();
  const refused = await refusalOf("a write by the old home", "untrusted", async () => {
    const home = await Home.open(paths.oldHome);
    const catalog = new Catalog(home.catalogPath, home.state);
    try {
      await protect({ home, catalog, register, now: new Date() });
    } finally {
      catalog.close();
    }
  });
  const wroteBytes = stored() - before;
  sayRefusal(stage, refused);
  page.gap();
  page.text(
    wroteBytes === 0
      ? "At the sites there is not a byte more. Were it made to write all the same, nobody would " +
          "count it: the ledger it writes in is closed."
      : `IT WROTE ${formatCount(wroteBytes)} BYTES: this demo has failed.`,
  );
  return { refused, wroteBytes };
}
