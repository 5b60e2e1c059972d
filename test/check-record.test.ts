/** What a check found is in the ledger and at every site, and a check is as good where that cannot be. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  constants,
  cpSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { basename, join } from "node:path";
import { type TestContext, test } from "node:test";
import type { CheckReport } from "../src/checks/check.ts";
import { type CheckEntered, recordCheck, SAME_RESULT_SECONDS } from "../src/checks/record-check.ts";
import { signingKeyFromSeed } from "../src/crypto/signing.ts";
import { enter, openAllSites, publish } from "../src/governance/ledger-at-sites.ts";
import { openRecord, type RecordOf, recordsOf, signRecord } from "../src/governance/records.ts";
import type { ShownEntry, ShownSite } from "../src/governance/show-ledger.ts";
import type { VerifyReport } from "../src/governance/verify-state.ts";
import type { Home } from "../src/vault/home.ts";
import { ended, good, type Outcome, shown, start } from "./support/cli.ts";
import { randomBytes } from "./support/random.ts";
import { SITES, TestState } from "./support/state.ts";

type Checked = CheckReport & { readonly ledger: CheckEntered };
type Shown = { readonly entries: readonly ShownEntry[]; readonly sites: readonly ShownSite[] };

async function protectedState(t: TestContext): Promise<TestState> {
  const state = await TestState.found(t);
  state.write("file", randomBytes("check", 60_000));
  good(await state.protect());
  return state;
}

function check(state: TestState, ...args: readonly string[]): Promise<Outcome<Checked>> {
  return state.run(["check", "docs", ...args]);
}

/** Checks, and gives the id of the record that the ledger has of it. */
async function entered(state: TestState, code = 0, ...args: readonly string[]): Promise<string> {
  const { ledger } = good(await check(state, ...args), code);
  assert.ok(ledger.entered, JSON.stringify(ledger));
  return ledger.id;
}

/** Why a check is not in the ledger, of which nothing is anywhere then. */
async function leftOut(state: TestState, code: number): Promise<string> {
  const before = [await head(state), state.everyObject("check"), state.everyObject("checkpoint")];
  const { ledger } = good(await check(state), code);
  assert.ok(!ledger.entered, JSON.stringify(ledger));
  assert.deepEqual(
    [await head(state), state.everyObject("check"), state.everyObject("checkpoint")],
    before,
  );
  return ledger.why;
}

async function head(state: TestState): Promise<readonly [number, string]> {
  return (await state.openHome()).withLedger((log) => {
    const { size, root } = log.head();
    return [size, Buffer.from(root).toString("hex")];
  });
}

async function newest(state: TestState): Promise<ShownEntry> {
  const { entries } = await state.good<Shown>("ledger", "show", "--last", "1");
  assert.ok(entries[0]);
  return entries[0];
}

async function verified(state: TestState): Promise<VerifyReport> {
  const report = await state.good<VerifyReport>("ledger", "verify");
  assert.deepEqual([report.good, report.problems, report.missing], [true, [], []]);
  return report;
}

/** A record as a site has it, by somebody who believes the charter. */
function recordAt(state: TestState, site: string, id: string, home: Home): RecordOf<"check"> {
  const record = openRecord(state.read(site, "check", id.slice(0, 2), id), home.known);
  assert.ok(record.what === "check");
  return record;
}

test("a check is in the ledger and at every site, in a sentence, and the ledger verifies", async (t) => {
  const state = await protectedState(t);
  const checkpoints = state.everyObject("checkpoint").length;
  const [size] = await head(state);
  const report = good(await check(state));
  assert.ok(report.ledger.entered);
  const { id } = report.ledger;
  assert.deepEqual(Object.keys(report.ledger), ["entered", "id"], "every site has it");
  assert.deepEqual(
    state.everyObject("check"),
    SITES.map((site) => `${site} check/${id}`),
  );
  assert.equal((await head(state))[0], size + 1);
  assert.equal(state.everyObject("checkpoint").length, checkpoints + SITES.length, "one each");

  const entry = await newest(state);
  assert.deepEqual([entry.kind, entry.document], ["check", id]);
  assert.equal(
    entry.sentence,
    `A check of docs by sample, begun ${report.time}: good, 1 recovery point; any 2 more of the sites may be lost.`,
  );
  const all = await verified(state);
  assert.equal(all.documents.check, 1);
  assert.deepEqual(
    all.sites.map(({ entries }) => entries),
    SITES.map(() => size + 1),
  );

  const home = await state.openHome();
  const record = recordAt(state, "lu", id, home);
  assert.deepEqual([record.time, record.register], [report.time, home.register("docs").id]);
  assert.deepEqual(
    record.sites,
    report.sites.map(({ site, withheld, ...counts }) => {
      assert.equal(withheld, 0);
      return { name: site, ...counts, unavailable: false };
    }),
  );
  // Hosts read it: neither what the register is called nor where it lies is in it.
  for (const word of ["docs", state.folder]) assert.ok(!JSON.stringify(record).includes(word));
  const { registers } = await state.good<{ registers: { lastCheck: { time: string } }[] }>(
    "status",
  );
  assert.equal(registers[0]?.lastCheck.time, report.time);
});

test("a check that found damage says so, at once, and passes where the ledger is verified", async (t) => {
  const state = await protectedState(t);
  await entered(state, 0, "--full");
  const [shard = ""] = state.objects("kn", "shard");
  const [other = ""] = state.objects("ee", "shard");
  const whole = readFileSync(shard);
  writeFileSync(shard, Buffer.from(whole).fill(7, 5000, 5010));
  renameSync(other, state.path("aside"));
  const id = await entered(state, 4, "--full");
  const { document, sentence } = await newest(state);
  assert.equal(document, id);
  assert.match(
    sentence,
    /A check of docs in full, .*not all good: kn has 1 damaged, ee has 1 missing;/,
  );
  const record = recordAt(state, "kn", id, await state.openHome());
  assert.deepEqual([record.good, record.full, record.packs], [false, true, 3]);
  assert.equal((await verified(state)).documents.check, 2);

  writeFileSync(shard, whole);
  renameSync(state.path("aside"), other);
  await entered(state, 0, "--full");
  assert.match((await newest(state)).sentence, /: good, 1 recovery point/);
});

test("the same result is entered once an hour for each register, and another one at once", async (t) => {
  const state = await protectedState(t);
  await entered(state);
  assert.match(await leftOut(state, 0), /found the same as the one of 20.*once an hour/);
  const told = await state.run(["check", "docs"], { json: false });
  assert.equal(told.code, 0, shown(told));
  assert.doesNotMatch(told.stdout.toString(), /ledger/, "people need not know");
  const full = good(await check(state, "--full"));
  assert.equal(full.ledger.entered, true, "every byte is more than a sample");

  const home = await state.openHome();
  const after = (seconds: number): CheckReport => ({
    ...full,
    time: new Date(Date.parse(full.time) + seconds * 1000).toISOString(),
  });
  assert.equal((await recordCheck(home, after(SAME_RESULT_SECONDS - 1))).entered, false);
  const later = await recordCheck(home, after(SAME_RESULT_SECONDS));
  assert.equal(later.entered, true);
  assert.equal((await recordCheck(home, after(SAME_RESULT_SECONDS + 1))).entered, false);
  // The clock was ahead, and was set right: until then is no reason to be silent.
  assert.equal((await recordCheck(home, after(1))).entered, true);
  const { sites } = full;
  const read = { ...after(2), sites: sites.map((one) => ({ ...one, bytesRead: 1, verified: 1 })) };
  assert.equal(
    (await recordCheck(home, read)).entered,
    false,
    "it read others, and found the same",
  );
  const lacks = { ...after(2), sites: sites.map((one) => ({ ...one, missing: 1 })) };
  assert.equal((await recordCheck(home, lacks)).entered, true);
  await state.good(
    "register",
    "add",
    "other",
    "--kind",
    "stream",
    "--sites",
    SITES.join(),
    "--threshold",
    "3",
  );
  const other = { ...lacks, register: "other" };
  assert.equal((await recordCheck(await state.openHome(), other)).entered, true);
  await verified(state);
});

test("with a site away the others have it; when it is back the next check is good, and brings it there", async (t) => {
  const state = await protectedState(t);
  state.takeAway("ca");
  const away = good(await check(state), 4);
  assert.ok(away.ledger.entered);
  assert.deepEqual(Object.keys(away.ledger.failedSites ?? {}), ["ca"]);
  assert.match((await newest(state)).sentence, /not all good: ca could not be checked;/);
  state.bringBack("ca");
  const back = good(await check(state));
  assert.deepEqual([back.good, back.findingCount], [true, 0]);
  assert.ok(back.ledger.entered);
  const ids = [away.ledger.id, back.ledger.id].toSorted();
  assert.deepEqual(
    state
      .objects("ca", "check")
      .map((file) => basename(file))
      .toSorted(),
    ids,
  );
  await verified(state);
});

test("a home that is cut off checks, and signs nothing that could fork the ledger", async (t) => {
  const state = await protectedState(t);
  cpSync(state.home, state.path("backup"), { recursive: true });
  state.takeAway("ca");
  state.write("more", "more");
  good(await state.protect());
  state.bringBack("ca");
  // From a backup, and the one site that answers has nothing of what came after it.
  state.lose("home");
  renameSync(state.path("backup"), state.home);
  for (const site of ["bb", "kn", "lu", "ee"]) state.takeAway(site);
  const before = await head(state);
  const outcome = await check(state);
  const { ledger, sites } = good(outcome, 4);
  assert.equal(sites.filter(({ unavailable }) => unavailable === undefined).length, 1);
  assert.deepEqual(ledger, {
    entered: false,
    why: "1 of 5 sites say how far the ledger is, and 3 must",
  });
  const told = await state.run(["check", "docs"], { json: false });
  assert.equal(told.code, 4);
  assert.match(
    told.stdout.toString(),
    /^This check is not in the ledger: 1 of 5 sites say how far the ledger is, and 3 must\.$/m,
  );
  state.takeAway("ca");
  assert.match(await leftOut(state, 4), /^0 of 5 sites/);
  for (const site of SITES) state.bringBack(site);
  assert.deepEqual(await head(state), before);
  // What it checked is not all that there is, as it learns now.
  const learnt = good(await check(state)).ledger;
  assert.ok(!learnt.entered);
  const [size] = before;
  assert.match(
    learnt.why,
    new RegExp(`from ${size} entries, .* have ${size + 1}, .* check again$`),
  );
  assert.equal((await head(state))[0], size + 1);
  await state.good("rebuild");
  await entered(state, 4);
  assert.match((await newest(state)).sentence, /not all good: ca has \d+ missing/);
  await verified(state);
});

test("a superseded home's check gives its result, and the home that took over has the one before", async (t) => {
  const state = await protectedState(t);
  const id = await entered(state);
  cpSync(state.home, state.path("old"), { recursive: true });
  state.lose("home");
  good(await state.recover("new", SITES));
  const { entries } = await state.good<Shown>("ledger", "show");
  const kept = entries.find(({ document }) => document === id);
  assert.match(kept?.sentence ?? "", /^A check of docs by sample, .*: good, 1 recovery point/);
  // Of the register's check before, the new home knows too.
  assert.match(await leftOut(state, 0), /found the same/);
  state.home = state.path("old");
  const why = await leftOut(state, 0);
  assert.match(why, /^this home has been superseded: since .* from another home \(term 2\)$/);
  const told = await state.run(["check", "docs"], { json: false });
  assert.equal(told.code, 0, shown(told));
  assert.match(
    told.stdout.toString(),
    /^This check is not in the ledger: this home has been superseded.*\.$/m,
  );
});

test("a home that cannot write, checks all the same", async (t) => {
  const state = await protectedState(t);
  rmSync(join(state.home, "tmp"), { recursive: true });
  writeFileSync(join(state.home, "tmp"), "in the way");
  assert.match(await leftOut(state, 0), /^home could not be written to \(ENOTDIR\)$/);
  rmSync(join(state.home, "tmp"));
});

test("a record that another key signed is not shown as a check, and keeps no check out", async (t) => {
  const state = await protectedState(t);
  const report = good(await check(state));
  const home = await state.openHome();
  const agent = signingKeyFromSeed(randomBytes("thief", 32));
  const [mine] = await recordsOf(home, "check");
  assert.ok(mine);
  const { kind: _k, format: _f, state: _s, time: _t, random: _r, what: _w, ...said } = mine;
  const now = new Date();
  const forged = signRecord("check", { ...said, full: true }, { state: home.state, agent, now });
  // Who has the ledger's key can name anything in it.
  await enter(home, [forged], now);
  assert.deepEqual([...(await publish(home, await openAllSites(home)))], []);
  const entry = await newest(state);
  assert.equal(entry.document, forged.id);
  assert.match(
    entry.sentence,
    /^A record that counts for nothing: .*not signed by any trusted key/,
  );
  assert.doesNotMatch(entry.sentence, /check/i);
  assert.match(await leftOut(state, 0), new RegExp(`the one of ${report.time}`), "the true one");
  await entered(state, 0, "--full");
});

test("a check that is stopped writes nothing", async (t) => {
  const state = await protectedState(t);
  const [size] = await head(state);
  // A pipe in the place of a shard: whoever reads it waits, and opening it tells that somebody does.
  const [shard = ""] = state.objects("lu", "shard");
  rmSync(shard);
  execFileSync("mkfifo", [shard]);
  const child = start(state.home, ["check", "docs", "--full"]);
  const outcome = ended(child).then(async (one) => {
    // One that never came to read it would leave this test waiting for a reader.
    await (await open(shard, constants.O_RDONLY | constants.O_NONBLOCK)).close();
    return one;
  });
  const pipe = await open(shard, "w");
  child.kill("SIGINT");
  const { signal, stdout } = await outcome;
  await pipe.close();
  assert.deepEqual([signal, stdout.length], ["SIGINT", 0]);
  assert.equal((await head(state))[0], size);
  assert.deepEqual(state.everyObject("check"), []);
  assert.ok(!readdirSync(join(state.home, "documents")).some((name) => name.startsWith("check-")));
});
