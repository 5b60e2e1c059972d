/** A State with sites that enforce, from its founding to the loss of home: real commands, processes and sockets. */
import assert from "node:assert/strict";
import { readFileSync, renameSync } from "node:fs";
import { watch } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Receipted } from "../src/registers/site-receipts.ts";
import { openSiteReceipt } from "../src/sites/site-receipt.ts";
import { ABROAD, type Abroad, clockAhead, foundAbroad } from "./support/abroad.ts";
import { ended, failed, good, type Outcome, start } from "./support/cli.ts";
import { randomBytes } from "./support/random.ts";
import type { RecoverReport } from "./support/state.ts";
import { assertSameTree, treeOf } from "./support/tree.ts";

const MIB = 1024 * 1024;
/** Far less than a limited run takes, and a bound from below: a busy machine cannot break it. */
const LIMITED_SECONDS_MIN = 2;

type SiteList = {
  readonly sites: readonly {
    readonly name: string;
    readonly enforces: boolean;
    readonly answers: boolean;
    readonly problem?: string;
    readonly bandwidth?: string;
  }[];
};
type Status = {
  readonly needs: readonly string[];
  readonly debts: readonly { readonly site: string; readonly shards: number }[];
  readonly registers: readonly {
    readonly enforcing: number;
    readonly survives?: number;
    readonly sitesAnswering: number;
  }[];
};

/** Who signed the receipts that lie at a site, and for which objects; each verified by the key of who gave it. */
function receiptsAt({ id, sites, site }: Abroad, name: string) {
  return [...site(name).stored(id, "site-receipt").values()].map((file) => {
    const bytes = readFileSync(file);
    const { payload } = JSON.parse(bytes.toString()) as { readonly payload: string };
    const said = JSON.parse(Buffer.from(payload, "base64").toString()) as { readonly site: string };
    const giver = sites.find(({ key }) => key.id === said.site);
    assert.ok(giver, "a receipt is of one of the sites");
    const { objects, missing } = openSiteReceipt(bytes, giver.key, id);
    return { giver: giver.name, objects: objects.map(([object]) => object), missing };
  });
}

async function assertRestores({ state }: Abroad, to: string, ...flags: readonly string[]) {
  good(await state.restore(to, ...flags));
  assertSameTree(treeOf(state.path(to)), treeOf(state.path("data")));
}

function fill({ state }: Abroad, bytes = MIB): void {
  state.write("births", randomBytes("births", bytes));
  state.write("deaths", "none\n");
}

const wholeFrom = (receipts: readonly Receipted[]): readonly string[] =>
  receipts.filter(({ problem }) => problem === undefined).map(({ site }) => site);

/** Resolves when a site has stored some shards, or at once when it has. */
async function storesShards(abroad: Abroad, name: string, count: number): Promise<void> {
  const site = abroad.site(name);
  const stop = new AbortController();
  const objects = join(site.folder, "states", abroad.id, "objects");
  const changes = watch(objects, { recursive: true, signal: stop.signal });
  const enough = (): boolean => site.stored(abroad.id, "shard").size >= count;
  if (!enough()) for await (const _ of changes) if (enough()) break;
  stop.abort();
}

test("sites that enforce take a recovery point, sign for it at every site, and bring it back", async (t) => {
  const abroad = await foundAbroad(t);
  const { state, id, site } = abroad;
  fill(abroad);
  const report = good(await state.protect());
  assert.deepEqual(report.failedSites, {});
  assert.deepEqual(wholeFrom(report.receipts), ABROAD);
  assert.deepEqual(report.durableAt, { enforcing: 3, storing: 0 });
  for (const name of ABROAD) {
    const receipts = receiptsAt(abroad, name);
    assert.deepEqual(receipts.map(({ giver }) => giver).toSorted(), ABROAD.toSorted());
    for (const { giver, objects, missing } of receipts) {
      const shards = [...site(giver).stored(id, "shard").keys()].map((one) => `shard/${one}`);
      assert.deepEqual(missing, []);
      assert.deepEqual(
        objects.filter((one) => one.startsWith("shard/")).toSorted(),
        shards.toSorted(),
      );
      assert.ok(objects.some((one) => one.startsWith("statement/")));
    }
  }
  const { sites } = await state.good<SiteList>("site", "list");
  assert.deepEqual(
    sites.map(({ name, enforces, answers }) => [name, enforces, answers]),
    ABROAD.map((name) => [name, true, true]),
  );
  assert.equal(good(await state.check("--full")).findingCount, 0);
  const { registers, debts } = await state.good<Status>("status");
  assert.deepEqual(debts, []);
  const [docs] = registers;
  assert.deepEqual([docs?.enforcing, docs?.survives, docs?.sitesAnswering], [3, 1, 3]);
  const ledger = await state.good<{ good: boolean; sites: readonly object[] }>("ledger", "verify");
  assert.equal(ledger.good, true);
  assert.equal(ledger.sites.length, 3);
  await assertRestores(abroad, "out");
});

test("a site that dies in the middle of a protect is owed what it lacks, and repair pays it", async (t) => {
  const abroad = await foundAbroad(t);
  const { state, site } = abroad;
  fill(abroad, 60 * MIB);
  const protecting = ended<Awaited<ReturnType<typeof state.protect>>["report"]>(
    start(state.home, ["protect", "docs"]),
  );
  await storesShards(abroad, "ca", 1);
  await site("ca").end("SIGKILL");
  const report = good(await protecting);
  assert.deepEqual(Object.keys(report.failedSites), ["ca"]);
  assert.deepEqual(report.durableAt, { enforcing: 2, storing: 0 });
  assert.deepEqual(wholeFrom(report.receipts), ["lu", "ee"]);
  const away = await state.good<Status>("status");
  assert.deepEqual(
    away.debts.map((debt) => debt.site),
    ["ca"],
  );
  assert.deepEqual([away.registers[0]?.survives, away.registers[0]?.sitesAnswering], [0, 2]);
  assert.ok(away.needs.some((need) => /^site ca lacks \d+ shards? /.test(need)));
  await assertRestores(abroad, "without-ca");

  await site("ca").serve();
  const back = await state.good<Status>("status");
  assert.deepEqual([back.registers[0]?.survives, back.registers[0]?.sitesAnswering], [0, 3]);
  const repaired = await state.good<{ repaired: Record<string, { shards: number }> }>(
    "repair",
    "docs",
  );
  // What it stored without living to say so is owed by home's books alone.
  const owed = away.debts[0]?.shards ?? 0;
  const { shards: made = 0 } = repaired.repaired.ca ?? {};
  assert.ok(made > 0 && made <= owed, `${made} of ${owed} are made anew`);
  const paid = await state.good<Status>("status");
  assert.deepEqual([paid.debts, paid.registers[0]?.survives], [[], 1]);
  assert.equal(good(await state.check("--full")).findingCount, 0);
  await site("lu").end("SIGKILL");
  await assertRestores(abroad, "without-lu");
});

test("sites that are witnesses make what is decided count, and too few of them are named", async (t) => {
  const abroad = await foundAbroad(t);
  const { state, site, sites } = abroad;
  fill(abroad);
  const witnesses = sites.flatMap(({ card }) => ["--witness", card]);
  assert.equal((await amend(abroad, ...witnesses, "--quorum", "2")).status, "enacted");
  const first = await state.protect();
  good(first);
  assert.deepEqual(first.notices, []);
  assert.equal((await state.good<Verified>("ledger", "verify")).good, true);

  await site("ca").end("SIGKILL");
  const withTwo = await state.protect();
  good(withTwo);
  assert.deepEqual(
    withTwo.notices.filter((notice) => notice.includes("witness")),
    [],
  );
  const { good: isGood, missing } = good(await state.run<Verified>(["ledger", "verify"]), 3);
  assert.deepEqual([isGood, missing.length], [true, 1]);
  assert.match(missing[0] ?? "", /^site ca did not answer/);

  await site("ee").end("SIGKILL");
  const alone = failed(await state.protect(), "write-quorum");
  assert.match(
    alone,
    /^1 of 3 sites can store, and 2 must \(ee: .*; ca: .*\)\. Nothing was committed/,
  );
  assert.match(alone, /earlier recovery points are untouched.*Mend a site and run it again$/);

  // As many as there are must see what counts from now on.
  await Promise.all([site("ee").serve(), site("ca").serve()]);
  assert.equal((await amend(abroad, "--quorum", "3")).status, "enacted");
  await site("ca").end("SIGKILL");
  const unseen = await state.protect();
  good(unseen);
  const sentence =
    /^2 of the 3 witnesses that must have cosigned the newest of the ledger \(ca did not\)/;
  assert.ok(unseen.notices.some((notice) => sentence.test(notice)));
  assert.ok((await state.status()).needs.some((need) => sentence.test(need)));
  await assertRestores(abroad, "unseen");
  assert.equal((await amend(abroad, "--quorum", "2")).status, "signed");
  await site("ca").serve();
  good(await state.protect());
  good(await state.protect());
  const { enacted } = await state.good<{ enacted: readonly object[] }>("decide", "list", "--all");
  assert.equal(enacted.length, 4 + 3, "it took effect as soon as enough had seen it");
  assert.ok((await state.status()).needs.every((need) => !need.includes("witness")));
});

type Verified = { readonly good: boolean; readonly missing: readonly string[] };

/** Changes the charter of a trial, and where the decision stands then. */
async function amend({ state }: Abroad, ...flags: readonly string[]) {
  const grounds = ["--reason", "No clock at home counts", "--citation", "none"];
  const { decision } = await state.good<{
    readonly decision: { readonly standing: { readonly status: string } };
  }>("decide", "propose", "amend", ...flags, ...grounds);
  return decision.standing;
}

async function recover(
  { state, sites }: Abroad,
  as: string,
  names: readonly string[] = ABROAD,
): Promise<Outcome<RecoverReport>> {
  const key = ["--key", state.path("recovery.age"), "--passphrase-file", state.path("pw")];
  const urls = sites.filter(({ name }) => names.includes(name)).map(({ url }) => url);
  state.home = state.path(as);
  return state.run(["recover", ...key, ...urls.flatMap((url) => ["--site", url])]);
}

test("home lost twice comes back from its sites, which give closed epochs to nobody before a release", async (t) => {
  const abroad = await foundAbroad(t);
  const { state, site } = abroad;
  fill(abroad);
  const first = good(await state.protect());
  renameSync(state.path("home"), state.path("lost"));
  const recovered = good(await recover(abroad, "second"));
  assert.deepEqual([recovered.term, recovered.sites.toSorted()], [2, ABROAD.toSorted()]);
  await assertRestores(abroad, "newest");

  // The machine that was thought lost turns up again.
  state.home = state.path("lost");
  assert.match(failed(await state.protect(), "untrusted"), /^this home has been superseded: since/);
  assert.match(
    failed(await state.restore("for-the-old-home"), "not-enough-shards"),
    /another home has taken over from this one/,
  );
  state.home = state.path("second");

  // What the first home wrote is closed from here on.
  const before = treeOf(state.path("data"));
  state.write("marriages", "one\n");
  const second = good(await state.protect());
  assert.ok(second.epoch > first.epoch);
  await assertRestores(abroad, "after");
  const old = ["--snapshot", first.snapshot];
  assert.match(
    failed(await state.restore("closed", ...old), "not-enough-shards"),
    /needs 2 good shards of its 3 .*: its epoch is closed, and exclave decide propose release opens it/,
  );
  const checked = good(await state.check("--full"));
  assert.deepEqual([checked.good, checked.findingCount, checked.survives], [true, 0, 1]);
  // Of three shards of each of its packs home is shown one.
  const withheld = checked.sites.reduce((sum, one) => sum + one.withheld, 0);
  const shown = checked.sites.reduce((sum, one) => sum + one.verified, 0);
  assert.deepEqual([withheld, withheld + shown], [2 * 3, 3 * checked.packs]);
  good(await state.run(["repair", "docs"]));
  await state.good(
    "decide",
    "propose",
    "release",
    "docs",
    "--epochs",
    `${first.epoch}`,
    "--to",
    "recovery",
    "--reason",
    "The births of before are asked for",
    "--citation",
    "none",
  );
  good(await state.restore("released", ...old));
  assertSameTree(treeOf(state.path("released")), before);

  renameSync(state.path("second"), state.path("lost-too"));
  await site("lu").end("SIGKILL");
  const again = good(await recover(abroad, "third", ["ee", "ca"]));
  assert.deepEqual([again.term, again.sites.toSorted()], [3, ["ca", "ee"]]);
  await assertRestores(abroad, "newest-of-two");
  state.write("divorces", "none\n");
  const third = good(await state.protect());
  assert.match(third.failedSites.lu ?? "", /exclave site add lu .*--card FILE/);
  // It was away when the third home took over, and hears of that from it.
  await site("lu").serve();
  await state.good("site", "add", "--card", site("lu").card, "--url", site("lu").url);
  good(await state.run(["repair", "docs"]));
  await site("ca").end("SIGKILL");
  await assertRestores(abroad, "without-ca");
});

test("a home that was idle for days is known again by its next checkpoint, and nobody is alarmed", async (t) => {
  const abroad = await foundAbroad(t);
  const { state, sites } = abroad;
  fill(abroad);
  good(await state.protect());
  for (const site of sites) await site.end("SIGTERM");
  clockAhead(t, 5);
  for (const site of sites) await site.serve();
  state.write("marriages", randomBytes("marriages", MIB));
  const outcome = await state.protect();
  const report = good(outcome);
  assert.deepEqual(outcome.notices, []);
  assert.deepEqual(wholeFrom(report.receipts), ABROAD);
  for (const site of sites) assert.match(site.log, /objects that were set aside are taken in/);
  await assertRestores(abroad, "out");
  assert.equal(good(await state.check("--full")).findingCount, 0);
});

test("how much of the link a site may take is kept, and is what a run takes", async (t) => {
  const abroad = await foundAbroad(t);
  const { state } = abroad;
  fill(abroad);
  await state.good("site", "limit", "ca", "1mbit");
  const { sites } = await state.good<SiteList>("site", "list");
  assert.deepEqual(
    sites.map(({ name, bandwidth }) => [name, bandwidth]),
    [
      ["lu", undefined],
      ["ee", undefined],
      ["ca", "1mbit"],
    ],
  );
  // Half of the data is a shard's, and an eighth of a megabyte goes in a second: only a limit takes so long.
  const { seconds, failedSites } = good(await state.protect());
  assert.deepEqual(failedSites, {});
  assert.ok(seconds > LIMITED_SECONDS_MIN, `it took ${seconds} s`);
  await assertRestores(abroad, "out");
  failed(await state.run(["site", "limit", "ca", "fast"]), "usage", 2);
});
