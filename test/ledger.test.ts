/** The ledger as people meet it: shown, verified, proven; forked, cut short, and written on by who may not. */
import assert from "node:assert/strict";
import { createHash, randomBytes as random } from "node:crypto";
import { cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { watch } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, type TestContext, test } from "node:test";
import { writeCharter } from "../src/charter/charter.ts";
import { fromHex } from "../src/crypto/bytes.ts";
import { splitSecret } from "../src/custody/share-set.ts";
import { decide } from "../src/governance/decide.ts";
import { publicPartOf } from "../src/governance/found.ts";
import { enter, openAllSites, publish } from "../src/governance/ledger-at-sites.ts";
import type { ShownEntry, ShownSite } from "../src/governance/show-ledger.ts";
import type { VerifyReport } from "../src/governance/verify-state.ts";
import { checkpointName, publishTo, type SignedHead } from "../src/ledger/at-sites.ts";
import { Log } from "../src/ledger/log.ts";
import { logKeyFromSeed } from "../src/ledger/log-key.ts";
import { openDirectorySite } from "../src/sites/directory.ts";
import type { Site } from "../src/sites/site.ts";
import { openStatement, signDocument } from "../src/vault/documents.ts";
import { Home } from "../src/vault/home.ts";
import { ledgerKeysOf } from "../src/vault/known-state.ts";
import { recoveryKeyFromSeed } from "../src/vault/recovery-key.ts";
import { ended, failed, good, type Outcome, run, shown, start } from "./support/cli.ts";
import { temporaryFolder } from "./support/places.ts";
import { randomBytes } from "./support/random.ts";
import { SITES, type SnapshotsReport, TestState } from "./support/state.ts";
import { assertSameTree, treeOf } from "./support/tree.ts";

type Aside = SnapshotsReport & {
  readonly setAside: readonly { readonly id: string; readonly why: string }[];
};
type Shown = {
  readonly state: string;
  readonly entries: readonly ShownEntry[];
  readonly sites: readonly ShownSite[];
};

const NOWHERE = "/nonexistent";

/** A State with two recovery points. */
async function withHistory(t: TestContext): Promise<TestState> {
  const state = await TestState.found(t);
  state.write("first", randomBytes("first", 30_000));
  good(await state.protect());
  state.write("second", randomBytes("second", 30_000));
  good(await state.protect());
  return state;
}

/** Verifies from the sites alone, as who has no home. */
async function verifyFrom(
  state: TestState,
  sites: readonly string[],
): Promise<Outcome<VerifyReport>> {
  const { state: id } = await state.good<Shown>("ledger", "show");
  const given = sites.flatMap((name) => ["--site", state.path(name)]);
  return run(NOWHERE, ["ledger", "verify", "--state", id, ...given]);
}

function bend(file: string): void {
  const bytes = readFileSync(file);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  writeFileSync(file, bytes);
}

/** Keeps the sites as they are now; `putBack` makes them so again. */
function keepSites(state: TestState, as: string): void {
  for (const name of state.siteNames) {
    cpSync(state.path(name), state.path(as, name), { recursive: true });
  }
}

function putBack(state: TestState, as: string): void {
  for (const name of state.siteNames) {
    rmSync(state.path(name), { recursive: true });
    cpSync(state.path(as, name), state.path(name), { recursive: true });
  }
}

/** Brings objects of these kinds from kept sites to the sites, as whoever can write there could. */
function plantKinds(state: TestState, as: string, kinds: readonly string[]): void {
  for (const name of state.siteNames) {
    for (const kind of kinds) {
      const from = state.path(as, name, kind);
      cpSync(from, state.path(name, kind), { recursive: true, force: false });
    }
  }
}

describe("the ledger of a State", () => {
  test("is shown newest first, in sentences, with what each site holds", async (t) => {
    const state = await withHistory(t);
    const [point] = (await state.snapshots()).snapshots;
    const report = await state.good<Shown>("ledger", "show");
    assert.deepEqual(
      report.entries.map(({ position }) => position),
      report.entries.map((_, i) => report.entries.length - 1 - i),
    );
    const [first, , before] = report.entries;
    assert.equal(first?.kind, "statement");
    assert.match(
      first?.sentence ?? "",
      new RegExp(`recovery point ${point?.id.slice(0, 12)} of docs`),
    );
    assert.ok(before && Math.abs(Date.parse(before.time ?? "") - Date.now()) < 600_000);
    assert.match(report.entries.at(-1)?.sentence ?? "", /founding charter of Test State/);
    assert.ok(
      report.entries.some(({ sentence }) => /^Admit the site kn in .*enacted\)$/.test(sentence)),
    );
    assert.deepEqual(
      report.sites.map(({ site, relation }) => [site, relation]),
      SITES.map((site) => [site, "same"]),
    );
    const two = await state.good<Shown>("ledger", "show", "--last", "2");
    assert.equal(two.entries.length, 2);
    failed(await state.run(["ledger", "show", "--last", "0"]), "usage", 2);
  });

  test("is verified at home and, without one, from the sites alone, to the same", async (t) => {
    const state = await withHistory(t);
    const here = await state.good<VerifyReport>("ledger", "verify");
    const there = good(await verifyFrom(state, ["kn", "ee"]));
    for (const report of [here, there]) {
      assert.deepEqual([report.good, report.problems, report.missing], [true, [], []]);
      assert.equal(report.documents.statement, 2);
      assert.deepEqual(report.decisions, { enacted: 6 });
    }
    assert.deepEqual(there.generations[0]?.root, here.generations[0]?.root);
    assert.equal(there.entries, here.entries);
    assert.equal(there.charters, here.charters);

    const other = await TestState.found(t, { register: false, sites: ["bb"] });
    const { state: id } = await other.good<Shown>("ledger", "show");
    const foreign = ["ledger", "verify", "--state", id, "--site", state.path("kn")];
    failed(await run(NOWHERE, foreign), "foreign-state");
    failed(await run(NOWHERE, ["ledger", "verify", "--state", id]), "usage", 2);

    state.takeAway("lu");
    const away = good(await state.run<VerifyReport>(["ledger", "verify"]), 3);
    assert.equal(away.good, true);
    assert.match(away.missing.join(), /site lu did not answer/);
  });

  test("names what was altered: a statement, a published file, a document, an entry", async (t) => {
    const state = await withHistory(t);
    const verify = (): Promise<Outcome<VerifyReport>> => state.run(["ledger", "verify"]);
    keepSites(state, "whole");

    const [statement = ""] = state.objects("bb", "statement");
    const name = statement.split("/").at(-1) ?? "";
    for (const site of SITES) bend(state.path(site, "statement", name.slice(0, 2), name));
    const lost = good(await verify(), 4);
    assert.deepEqual([lost.good, lost.problemCount], [false, 1]);
    assert.match(lost.problems.join(), new RegExp(`no site has statement ${name}`));
    putBack(state, "whole");

    const bundle = state
      .objects("ee", "ledger")
      .filter((file) => file.includes("tile.entries"))
      .toSorted((a, b) => statSync(b).size - statSync(a).size)[0];
    bend(bundle ?? "");
    assert.match(good(await verify(), 4).problems.join(), /^site ee, generation 1: /);
    putBack(state, "whole");
    assert.equal(good(await verify()).good, true);

    // At home: a document that nobody reads any more, and then an entry under a checkpoint.
    const [document = ""] = readdirSync(join(state.home, "documents")).filter((file) =>
      file.startsWith("decision-"),
    );
    cpSync(state.home, state.path("kept"), { recursive: true });
    const path = join(state.home, "documents", document);
    writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.from(" ")]));
    assert.match(good(await verify(), 4).problems.join(), /other bytes than the ledger names/);
    state.lose("home");
    cpSync(state.path("kept"), state.home, { recursive: true });
    const home = await state.openHome();
    const { id, payload } = writeCharter({
      ...home.charter,
      version: home.charter.version + 1,
      previous: home.known.charterId,
      decision: "ab".repeat(32),
      retentionSeconds: 1,
    });
    await enter(home, [{ kind: "charter", id, bytes: payload }], new Date());
    assert.match(
      good(await verify(), 4).problems.join(),
      /entry \d+: the charter counts for nothing/,
    );
    state.lose("home");
    cpSync(state.path("kept"), state.home, { recursive: true });
    const db = new DatabaseSync(join(state.home, "ledger", "1.sqlite"));
    const entry = `exclave/v1 statement ${"ab".repeat(32)}\n`;
    const last = "(SELECT MAX(position) FROM entries) - 1";
    db.prepare(`UPDATE entries SET entry = ? WHERE position = ${last}`).run(Buffer.from(entry));
    db.close();
    const bent = good(await verify(), 4);
    assert.match(bent.problems.join(), /the checkpoint of \d+ entries .* is not of these entries/);
  });
});

describe("a proof that a recovery point was in the ledger", () => {
  test("is one file, verified offline with nothing but the policy", async (t) => {
    const state = await withHistory(t);
    const [newestPoint, older] = (await state.snapshots()).snapshots;
    const [proof, policy, statement] = ["proof", "policy", "statement"].map((one) =>
      state.path(one),
    ) as [string, string, string];
    const made = await state.good<{ position: number; size: number }>(
      "ledger",
      "prove",
      "docs",
      older?.id.slice(0, 10) ?? "",
      "--out",
      proof,
      "--policy-out",
      policy,
      "--statement-out",
      statement,
    );
    assert.equal(made.position, made.size - 2, "under the newest checkpoint");
    state.lose("home", ...SITES);
    const verify = (...more: readonly string[]) =>
      run<{ statement: string; position: number; says: { sequence: number } }>(NOWHERE, [
        "ledger",
        "verify-proof",
        proof,
        "--policy",
        policy,
        ...more,
      ]);
    const proven = good(await verify());
    const digest = createHash("sha256").update(state.read("statement")).digest("hex");
    assert.deepEqual(
      [proven.statement, proven.position, proven.says.sequence],
      [digest, made.position, 1],
    );
    assert.equal(good(await verify("--statement", statement)).statement, digest);

    // Another statement, another hash, a cut checkpoint, a policy that names other keys.
    writeFileSync(state.path("other"), Buffer.concat([state.read("statement"), Buffer.from("\n")]));
    failed(await verify("--statement", state.path("other")), "altered");
    const text = state.read("proof").toString();
    const lines = text.split("\n");
    const at = lines.findIndex((line) => line.startsWith("index ")) + 1;
    writeFileSync(proof, lines.with(at, Buffer.alloc(32, 7).toString("base64")).join("\n"));
    failed(await verify(), "altered");
    writeFileSync(proof, lines.slice(0, -2).join("\n").concat("\n"));
    assert.notEqual((await verify()).code, 0, "one of the ledger's two signatures is not enough");
    writeFileSync(proof, text);
    const other = await TestState.found(t);
    good(await other.protect());
    const theirs = other.path("policy");
    await other.good("ledger", "prove", "docs", "--out", other.path("p"), "--policy-out", theirs);
    failed(await run(NOWHERE, ["ledger", "verify-proof", proof, "--policy", theirs]), "untrusted");
    good(await verify());
    assert.notEqual(newestPoint?.id, older?.id);
  });
});

describe("a recovery point that the ledger has not", () => {
  test("is set aside, listed with why, refused, and restored when exactly it is asked for", async (t) => {
    const state = await withHistory(t);
    const believed = (await state.snapshots()).snapshots.map(({ id }) => id);
    const data = treeOf(state.path("data"));
    cpSync(state.home, state.path("old"), { recursive: true });
    keepSites(state, "before");
    const { packs } = good(await state.check("--full"));
    // What the real agent writes when it is not seen: a whole run, of which only the ledger is kept back.
    state.write("poison", randomBytes("poison", 20_000));
    const poison = good(await state.protect()).snapshot;
    const poisoned = treeOf(state.path("data"));
    keepSites(state, "after");
    putBack(state, "before");

    state.lose("home");
    good(await state.recover("new", SITES));
    plantKinds(state, "after", ["shard", "manifest", "statement"]);
    // And such as call themselves the first of the epoch, under another key than all others of it.
    const old = await Home.open(state.path("old"));
    const [file = ""] = state.objects("kn", "statement");
    const { document } = openStatement(readFileSync(file), old.known);
    for (let i = 0; i < 12; i++) {
      const rival = {
        ...document,
        sequence: 1,
        epochKeyId: "ab".repeat(32),
        random: random(16).toString("hex"),
      };
      const { id, bytes } = signDocument(rival, [old.agent]);
      await (await siteOf(state, "bb")).put(`statement/${id}`, [bytes]);
    }
    const rebuilt = await state.run(["rebuild"]);
    assert.equal(rebuilt.code, 3, shown(rebuilt));
    assert.match(rebuilt.stderr, /set aside: the ledger does not have it/);
    await assertAside();

    // And for who recovers while it is there already.
    state.lose("new");
    const again = await state.recover("newer", SITES);
    assert.equal(good(again).registers[0]?.recoveryPoints, 2);
    await assertAside();
    const checked = good(await state.check("--full"));
    assert.deepEqual([checked.good, checked.packs], [true, packs]);
    state.write("poison", "harmless");
    assert.equal(good(await state.protect()).sequence, 3);

    async function assertAside(): Promise<void> {
      const listed = await state.good<Aside>("snapshots", "docs");
      assert.deepEqual(
        listed.snapshots.map(({ id }) => id),
        believed,
      );
      assert.deepEqual(
        listed.setAside.map(({ id, why }) => [id, why]),
        [[poison, "the ledger does not have it"]],
      );
      const people = await state.run(["snapshots", "docs"], { json: false });
      assert.match(people.stdout.toString(), new RegExp(`Set aside[^]*${poison.slice(0, 12)}`));
      good(await state.restore("newest"));
      assertSameTree(treeOf(state.path("newest")), data);
      assert.match(
        failed(await state.restore("no", "--snapshot", poison), "untrusted"),
        /set aside: the ledger does not have it/,
      );
      failed(await state.restore("no", "--quarantined"), "usage", 2);
      const one = believed[0] ?? "";
      failed(await state.restore("no", "--quarantined", "--snapshot", one), "unknown-name", 2);
      good(await state.restore("aside", "--quarantined", "--snapshot", poison));
      assertSameTree(treeOf(state.path("aside")), poisoned);
      state.lose("newest", "aside");
      failed(
        await state.run(["ledger", "prove", "docs", poison, "--out", state.path("none")]),
        "untrusted",
      );
    }
  });
});

/** What somebody with a ledger's key signs, and brings to a site. */
async function signAt(
  home: Home,
  site: Site,
  entries: number,
  from: "latest" | "before" = "latest",
): Promise<SignedHead> {
  return home.withLedger(async (log: Log) => {
    const latest = log.latest();
    assert.ok(latest);
    const held = { head: log.head(latest.size), checkpoint: latest.checkpoint };
    log.append(
      Array.from({ length: entries }, () => ({
        kind: "statement" as const,
        envelope: random(32).toString("hex"),
      })),
    );
    const signed = { head: log.head(), checkpoint: log.sign(new Date()) };
    if (from === "latest") await publishTo(site, log, signed, held);
    else await site.put(checkpointName(signed.head, signed.checkpoint), [signed.checkpoint]);
    return signed;
  });
}

/** A checkpoint of so many entries that never were, by the key of a home's ledger. */
async function earlyCheckpoint(
  state: TestState,
  home: string,
  entries: number,
): Promise<SignedHead> {
  const { secret } = JSON.parse(readFileSync(join(home, "keys", "ledger.json"), "utf8"));
  const [ledger] = (await Home.open(home)).config.ledgers;
  const keys = ledgerKeysOf(ledger ?? { keys: [] });
  const signer = logKeyFromSeed(fromHex(secret, 32), keys[0].name);
  const log = Log.open(state.path("early.sqlite"), keys, signer);
  try {
    log.append(
      Array.from({ length: entries }, () => ({
        kind: "veto" as const,
        envelope: random(32).toString("hex"),
      })),
    );
    return { checkpoint: log.sign(new Date()), head: log.head() };
  } finally {
    log.close();
  }
}

function siteOf(state: TestState, name: string): Promise<Site> {
  const identity = { name, country: "?", operator: "?", hazardZone: "?" };
  return openDirectorySite(state.path(name), identity);
}

describe("who still has the key of a ledger that was closed", () => {
  test("forks it and writes on at sites, and the State is read as it was closed", async (t) => {
    const state = await TestState.found(t);
    state.write("first", randomBytes("first", 30_000));
    good(await state.protect());
    for (const copy of ["forking", "equal"]) {
      cpSync(state.home, state.path(copy), { recursive: true });
    }
    state.write("second", randomBytes("second", 30_000));
    good(await state.protect());
    cpSync(state.home, state.path("extending"), { recursive: true });
    state.lose("home");
    good(await state.recover("new", SITES));
    good(await state.protect());
    const before = (await state.snapshots()).snapshots.map(({ id }) => id);
    const verified = await state.good<VerifyReport>("ledger", "verify");
    const root = verified.generations[0]?.root;

    const longer = await signAt(
      await Home.open(state.path("extending")),
      await siteOf(state, "kn"),
      3,
    );
    const fork = await signAt(await Home.open(state.path("forking")), await siteOf(state, "lu"), 7);
    // Of the same size as the ledger that counts, and without anything behind it.
    const equal = await signAt(
      await Home.open(state.path("equal")),
      await siteOf(state, "ee"),
      1,
      "before",
    );
    assert.equal(equal.head.size, verified.generations[0]?.entries);
    // And where a decision came into force: the checkpoint that tells when.
    const early = await earlyCheckpoint(state, state.path("equal"), 3);
    await (await siteOf(state, "ca")).put(checkpointName(early.head, early.checkpoint), [
      early.checkpoint,
    ]);

    const noted = await state.good<VerifyReport>("ledger", "verify");
    assert.match(noted.notes.join(), /site kn, generation 1: it goes on there/);
    assert.match(noted.notes.join(), /site lu, generation 1: .*it has forked/);
    // Also where no site has the ledger that counts as its newest, nor one that begins with it.
    for (const sites of [
      ["lu", "kn", "ee", "bb"],
      ["lu", "ee"],
    ]) {
      const there = good(await verifyFrom(state, sites));
      assert.deepEqual(
        there.generations.map((one) => one.root),
        verified.generations.map((one) => one.root),
      );
    }

    state.lose("new");
    const outcome = await state.recover("newer", SITES);
    const report = good(outcome);
    assert.equal(report.term, 3);
    assert.deepEqual(
      outcome.notices.filter((notice) => /did not take the succession/.test(notice)),
      [],
    );
    for (const { head } of [longer, fork]) {
      const what = `${head.size} entries with root ${Buffer.from(head.root).toString("hex")}`;
      assert.ok(outcome.notices.some((notice) => notice.includes(`${what}) counts for nothing`)));
    }
    assert.deepEqual(
      (await state.snapshots()).snapshots.map(({ id }) => id),
      before,
    );
    const after = await state.good<VerifyReport>("ledger", "verify");
    assert.deepEqual(
      [after.good, after.generations[0]?.root, after.generations.length],
      [true, root, 3],
    );
    good(await state.protect());
    good(await state.restore("out"));
    assertSameTree(treeOf(state.path("out")), treeOf(state.path("data")));
  });

  test("forks the newest one, and nothing is believed: both heads are named", async (t) => {
    const state = await withHistory(t);
    cpSync(state.home, state.path("copy"), { recursive: true });
    good(await state.protect());
    const { head } = await signAt(
      await Home.open(state.path("copy")),
      await siteOf(state, "lu"),
      4,
    );
    const { generations } = good(await state.run<VerifyReport>(["ledger", "verify"]), 4);
    const ours = generations[0];
    const outcome = good(await verifyFrom(state, SITES), 4);
    for (const report of [good(await state.run<VerifyReport>(["ledger", "verify"]), 4), outcome]) {
      const [problem = ""] = report.problems;
      assert.match(problem, /fork/);
      assert.ok(problem.includes(Buffer.from(head.root).toString("hex")), problem);
    }
    assert.ok(outcome.problems.join().includes(ours?.root ?? "?"), outcome.problems.join());
    state.lose("home");
    assert.match(failed(await state.recover("new", SITES), "altered"), /fork/);
  });

  test("goes back to before a recovery key was replaced, and its succession counts for nothing", async (t) => {
    const state = await withHistory(t);
    keepSites(state, "before");
    // The thief of the old key, on sites as they were.
    const stolen = await run(state.path("thief"), [
      "recover",
      "--key",
      state.path("recovery.age"),
      "--passphrase-file",
      state.path("pw"),
      ...SITES.flatMap((name) => ["--site", state.path("before", name)]),
    ]);
    good(stolen);
    const home = await state.openHome();
    const key = recoveryKeyFromSeed(random(32));
    const { publicPart } = splitSecret(key.seed, { k: 1, n: 1, generation: 2 }, random);
    const { recovery } = home.charter;
    const shares = { ...publicPart, shareCommitments: [...publicPart.shareCommitments] };
    const grounds = { reason: "The recovery key was stolen", citation: "Test" };
    await decide(
      home,
      { kind: "amend", recovery: { ...recovery, ...publicPartOf(key), shares } },
      grounds,
      new Date(),
    );
    assert.equal((await publish(home, await openAllSites(home))).size, 0);
    plantKinds(state, "before", ["succession", "charter", "decision", "ledger", "checkpoint"]);
    const outcome = await verifyFrom(state, SITES);
    assert.equal(good(outcome).generations.length, 1);
    assert.ok(
      outcome.notices.some((notice) => /recovery key that signed it was replaced/.test(notice)),
    );
    // The old key is refused, and says why.
    state.lose("home");
    assert.match(failed(await state.recover("new", SITES), "untrusted"), /was replaced/);
  });
});

describe("a run that protects and is stopped", () => {
  test("between the statement and its entry, or the entry and the sites, is finished by the next", async (t) => {
    const state = await withHistory(t);
    cpSync(state.home, state.path("home.before"), { recursive: true });
    keepSites(state, "before");
    state.write("third", randomBytes("third", 20_000));
    const third = good(await state.protect()).snapshot;
    cpSync(state.home, state.path("home.after"), { recursive: true });
    keepSites(state, "after");
    const kinds = ["shard", "manifest", "statement"];
    // What home had when it stopped, and what the sites had.
    for (const [home, planted] of [
      ["home.before", kinds],
      ["home.after", kinds],
      ["home.before", [...kinds, "ledger", "checkpoint"]],
    ] as const) {
      putBack(state, "before");
      plantKinds(state, "after", planted);
      state.lose("home");
      cpSync(state.path(home), state.home, { recursive: true });
      const next = good(await state.protect());
      const points = await state.good<Aside>("snapshots", "docs");
      assert.deepEqual(
        points.snapshots.map(({ sequence }) => sequence),
        [4, 3, 2, 1],
      );
      assert.deepEqual(
        [points.snapshots[0]?.id, points.snapshots[1]?.id, points.setAside],
        [next.snapshot, third, []],
      );
      const report = await state.good<VerifyReport>("ledger", "verify");
      assert.deepEqual([report.good, report.documents.statement], [true, 4]);
      assert.ok(
        report.sites.every((site) => site.behind === undefined),
        "every site has all of it",
      );
      assert.equal((await verifyFrom(state, ["bb", "ca"])).code, 0);
    }
  });

  test("by a kill as its statement arrives, leaves a ledger that holds", async (t) => {
    const state = await withHistory(t);
    let killed = 0;
    for (let round = 0; round < (process.env.SLOW ? 20 : 3); round++) {
      state.write(`round-${round}`, randomBytes(`${round}`, 5000));
      const before = state.objects("bb", "statement").length;
      const child = start(state.home, ["protect", "docs"]);
      const end = ended(child);
      const stop = new AbortController();
      const arrived = (async () => {
        // A statement is written beside its place first, so the folder of new files tells every change.
        for await (const _ of watch(state.path("bb", "tmp"), { signal: stop.signal })) {
          if (state.objects("bb", "statement").length > before) return child.kill("SIGKILL");
        }
        return false;
      })().catch(() => false);
      if ((await end).signal === "SIGKILL") killed++;
      stop.abort();
      await arrived;
    }
    t.diagnostic(`${killed} runs were killed`);
    good(await state.protect());
    const points = await state.good<Aside>("snapshots", "docs");
    assert.deepEqual(points.setAside, []);
    const report = await state.good<VerifyReport>("ledger", "verify");
    assert.deepEqual([report.good, report.documents.statement], [true, points.snapshots.length]);
    assert.equal(state.objects("bb", "statement").length, points.snapshots.length);
    good(await state.restore("out"));
    assertSameTree(treeOf(state.path("out")), treeOf(state.path("data")));
  });
});

test("one home put back twice forks the ledger; once the sites meet, neither signs any more", async (t) => {
  const folder = temporaryFolder(t);
  const register = ["docs", "--kind", "files", "--path", join(folder, "data")];
  const accept = ["BB", "KN", "bb", "kn"].flatMap((name) => ["--accept", name]);
  const state = await TestState.found(t, {
    folder,
    sites: ["bb", "kn"],
    threshold: 1,
    register: [...register, ...accept],
  });
  good(await state.protect());
  for (const [copy, away] of [
    ["one", "kn"],
    ["other", "bb"],
  ] as const) {
    cpSync(state.path("home"), state.path(copy), { recursive: true });
    state.home = state.path(copy);
    state.takeAway(away);
    state.write("news", copy);
    good(await state.protect());
    state.bringBack(away);
    // `bringBack` has it as it was; what the other run stored is at the other site.
  }
  const objects = state.everyObject("checkpoint");
  for (const copy of ["one", "other"]) {
    state.home = state.path(copy);
    const message = failed(await state.protect(), "altered");
    const heads = message.match(/\d+ entries with root [0-9a-f]{64}/g) ?? [];
    assert.equal(new Set(heads).size, 2, message);
  }
  assert.deepEqual(state.everyObject("checkpoint"), objects, "nothing was signed");
});
