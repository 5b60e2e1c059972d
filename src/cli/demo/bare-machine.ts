/** The demo's way back: a bare machine, key holders with their kits, and the sites that are left. */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { type CheckReport, check } from "../../checks/check.ts";
import { toHex } from "../../crypto/bytes.ts";
import { combineKits, examineKit } from "../../custody/combine-kits.ts";
import { openShare } from "../../custody/kit.ts";
import { invariant } from "../../errors.ts";
import { protect } from "../../registers/protect.ts";
import { type RecoverReport, type RecoverySource, recover } from "../../registers/recover.ts";
import { Catalog } from "../../vault/catalog.ts";
import { Home } from "../../vault/home.ts";
import { formatCount, formatSeconds, formatTime, plural } from "../format.ts";
import { officesOf, type Refusal, refusalOf, sayRefusal } from "./decisions.ts";
import type { Losses } from "./disaster.ts";
import type { KeyHolder } from "./founding.ts";
import type { Host } from "./hosts.ts";
import { holdersLost, holdersNeeded } from "./people.ts";
import { asking, storedAt } from "./sites.ts";
import { type RegisterName, registerNames, type Stage, showStep, timed } from "./stage.ts";

/** What a notice about a recovery point says when sites keep its epoch closed. */
const CLOSED_EPOCH = "exclave decide propose release";

const names = (list: readonly Host[]): string => list.map(({ country }) => country).join(" and ");

export type Recovered = {
  readonly home: Home;
  readonly report: RecoverReport;
  /** With one kit too few. */
  readonly refused: Refusal;
  /** Recovery points of closed epochs, which the sites did not open for that. */
  readonly stayClosed: number;
  /** Offices of those whose kits brought it back. */
  readonly holders: readonly string[];
  readonly ledgerGeneration: number;
  readonly checks: readonly CheckReport[];
  /** Damaged shards that `check` named at the damaged site, and shards of closed epochs that it was not shown there. */
  readonly damageNamed: number;
  readonly notShown: number;
  readonly seconds: number;
};

/** Chapter 12: a bare machine, key holders as they come, and the sites that are left. */
export async function recoverHome(
  stage: Stage,
  losses: Losses,
  all: readonly KeyHolder[],
): Promise<Recovered> {
  const { page } = stage;
  page.heading("12. A bare machine: the key holders and the sites that are left");
  const holders = all.filter(({ number }) => !holdersLost.includes(number)).slice(0, holdersNeeded);
  const early = holders.slice(0, holdersNeeded - 1);
  page.text(`${officesOf(early)} are there first:`);
  page.command(commandOf(stage, losses, early));
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
  page.command(commandOf(stage, losses, holders));
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
  const closed = notices.filter((notice) => notice.includes(CLOSED_EPOCH));
  for (const notice of notices) if (!closed.includes(notice)) page.text(`note: ${notice}`);
  page.lines(
    report.registers
      .toSorted((a, b) => order(a.name) - order(b.name))
      .map(
        ({ name, recoveryPoints, newest }) =>
          `${name}: ${plural(recoveryPoints, "recovery point")}, the newest of ` +
          `${formatTime(newest)}`,
      ),
  );
  if (closed.length > 0) {
    page.text(
      `(${plural(closed.length, "recovery point")} of the closed epoch ${closed.length === 1 ? "stays" : "stay"} closed: ` +
        "the sites open them when that is decided. The newest ones need nobody's leave.)",
    );
  }
  page.gap();
  for (const name of registerNames) page.command(`exclave check ${name} --full`);
  page.gap();
  const checks = await checkAll(stage, home, "check every byte that is left");
  const there = checks
    .flatMap((one) => one.sites)
    .filter(({ site }) => site === losses.damaged.site);
  const damageNamed = there.reduce((sum, { damaged }) => sum + damaged, 0);
  const notShown = there.reduce((sum, { withheld }) => sum + withheld, 0);
  const example = checks
    .flatMap(({ findings }) => findings)
    .find(({ site, object }) => site === losses.damaged.site && object.startsWith("shard/"));
  page.text(
    `Every byte was read and held against its name: ${plural(damageNamed, "shard")} of ` +
      `${losses.damaged.country} ${damageNamed === 1 ? "is" : "are"} damaged and named, none of ` +
      `${names(losses.left.slice(1))}.` +
      (notShown === 0
        ? ""
        : ` (${plural(notShown, "shard")} there ${notShown === 1 ? "is" : "are"} of the closed epoch, of which an ` +
          "auditor is shown one in five; the next auditor is shown others.)"),
  );
  if (example) page.text(`${example.site}: ${example.object.slice(0, 28)}…: ${example.why}`);
  return {
    home,
    report,
    refused,
    stayClosed: closed.length,
    holders: holders.map(({ office }) => office),
    ledgerGeneration: generation,
    checks,
    damageNamed,
    notShown,
    seconds,
  };
}

function commandOf({ sites }: Stage, { left }: Losses, holders: readonly KeyHolder[]): string {
  const kits = holders.map(({ number }) => `--kit ${number}.kit.json`).join(" ");
  return `exclave recover ${kits} ${left.map(({ site }) => `--site ${sites.of(site).card.url}`).join(" ")}`;
}

/** Recovers with these holders' kits, each read from its file and opened by its own passphrase. */
async function recoverWith(
  { paths, sites }: Stage,
  losses: Losses,
  holders: readonly KeyHolder[],
  onNotice: (notice: string) => void,
): Promise<RecoverReport> {
  return recover({
    home: paths.newHome,
    key: await openKits(holders),
    sites: losses.left.map(({ site }) => sites.of(site).card.url),
    acceptStale: false,
    now: new Date(),
    onNotice,
  });
}

export async function openKits(holders: readonly KeyHolder[]): Promise<RecoverySource> {
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

/** Reads every byte of every register at the sites. */
export async function checkAll(
  stage: Stage,
  home: Home,
  part: string,
): Promise<readonly CheckReport[]> {
  showStep(stage, "checking every byte");
  const { value } = await timed(stage, part, () =>
    Promise.all(registerNames.map((register) => checkOne(home, register))),
  );
  return value;
}

async function checkOne(home: Home, register: RegisterName): Promise<CheckReport> {
  const catalog = new Catalog(home.catalogPath, home.state);
  try {
    return await check({ home, catalog, register, full: true, now: new Date() });
  } finally {
    catalog.close();
  }
}

export type OldHome = {
  readonly refused: Refusal;
  /** What the sites hold more than before it was switched on. */
  readonly wroteBytes: number;
  /** Sites that refused its key all the same, and how the first of them said it. */
  readonly refusedAt: readonly string[];
  readonly site: Refusal;
};

/** Chapter 15: the home that was thought lost is switched on, with every key that it had. */
export async function oldHomeReturns(stage: Stage, home: Home, { left }: Losses): Promise<OldHome> {
  const { page, paths } = stage;
  const [register] = registerNames;
  page.heading("15. The old home returns");
  page.text(
    "The machine that was given up for lost is found, in whoever's hands, and switched on. It " +
      "has all that it had: its agent's key, the ledger's key, the way to every site.",
  );
  page.command(`exclave protect ${register}`);
  page.gap();
  const sites = left.map(({ site }) => stage.sites.of(site));
  const stored = async (): Promise<number> =>
    (await Promise.all(sites.map((site) => storedAt(site, home)))).reduce(
      (sum, { bytes }) => sum + bytes,
      0,
    );
  const before = await stored();
  const old = await Home.open(paths.oldHome);
  const refused = await refusalOf("a write by the old home", "untrusted", async () => {
    const catalog = new Catalog(old.catalogPath, old.state);
    try {
      await protect({ home: old, catalog, register, now: new Date() });
    } finally {
      catalog.close();
    }
  });
  sayRefusal(stage, refused);
  page.gap();
  const refusals = await Promise.all(
    sites.map((site) =>
      refusalOf("a shard by the old home", "refused", () =>
        asking(site, { state: old.state, signer: old.agent }, (remote) =>
          remote.put(`shard/${toHex(randomBytes(32))}.00`, [new Uint8Array(1)]),
        ),
      ),
    ),
  );
  const [first] = refusals;
  invariant(first, "there are sites");
  page.text("Made to write all the same, by other software with its key, it is refused there:");
  sayRefusal(stage, first);
  const wroteBytes = (await stored()) - before;
  page.gap();
  page.text(
    wroteBytes === 0
      ? `At the ${plural(sites.length, "site")} there is not a byte more.`
      : `IT WROTE ${formatCount(wroteBytes)} BYTES: this demo has failed.`,
  );
  return { refused, wroteBytes, refusedAt: left.map(({ site }) => site), site: first };
}
