/** The demo is the first thing that anyone runs, so it is run here as they run it, only smaller. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, describe, test } from "node:test";
import type { StoryReport } from "../src/cli/demo/story.ts";
import { cephMissing, startCeph } from "./support/ceph.ts";
import { newBucket } from "./support/s3.ts";

const bin = join(import.meta.dirname, "..", "bin", "exclave");
const folder = mkdtempSync(join(tmpdir(), "exclave-demo-test-"));
after(() => rmSync(folder, { recursive: true, force: true }));

function exclave(...args: readonly string[]) {
  // A temporary directory of its own shows what stays behind.
  const TMPDIR = join(folder, "tmp");
  mkdirSync(TMPDIR, { recursive: true });
  return spawnSync(process.execPath, [bin, ...args], {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, TMPDIR, NO_COLOR: "1" },
    maxBuffer: 64 * 1024 * 1024,
  });
}

/** Command lines of processes that have to do with a folder, where the system tells. */
function processesOf(path: string): readonly string[] {
  if (!existsSync("/proc/self/cmdline")) return [];
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      } catch {
        // It has ended meanwhile.
        return "";
      }
    })
    .filter((line) => line.includes(path));
}

describe("exclave demo --json", () => {
  const { status, stdout, stderr } = exclave("demo", "--json", "--scale", "0.02");
  const report = JSON.parse(stdout || "{}") as StoryReport;

  test("ends well, with one object on standard output", () => {
    assert.equal(status, 0, stderr);
    assert.equal(report.good, true);
    assert.equal(stdout.trimEnd().split("\n").length, 1);
  });

  test("is founded by five key holders and five seats, three of each needed", () => {
    const { state, founding, admitted } = report;
    assert.match(state.fingerprint, /^([0-9A-Z]{4}-){5}[0-9A-Z]{4}$/);
    assert.equal(founding.keyHolders.threshold, 3);
    assert.equal(founding.keyHolders.of, 5);
    assert.equal(founding.keyHolders.confirmed, 5);
    assert.equal(founding.seats.length, 5);
    assert.deepEqual(founding.timelock, { inLifeDays: 7, hereSeconds: 3 });
    assert.deepEqual(admitted, {
      decisions: 10,
      signatures: 30,
      witnesses: { names: ["bb", "gd", "lu", "ee", "ca"], quorum: 3 },
    });
  });

  test("expels a site by three signatures and not by two, and not before its time", () => {
    const { expulsion } = report;
    assert.equal(expulsion.refused.code, "usage");
    assert.match(expulsion.refused.message, /2 of the 3 signatures/);
    assert.equal(expulsion.signedBy.length, 3);
    assert.equal(expulsion.enactedEarly, 0);
    assert.equal(expulsion.site, "ca-west");
    assert.deepEqual(expulsion.sitesLeft, ["bb", "gd", "lu", "ee", "ca"]);
    assert.ok(Date.parse(expulsion.tookEffect) >= Date.parse(expulsion.waitsUntil));
  });

  test("comes back from three kits and not from two, under the next generation", () => {
    const { disaster, recovered } = report;
    assert.deepEqual(disaster.holdersLost, ["Registrar General", "Chief Justice"]);
    assert.equal(recovered.twoKits.code, "not-enough-shards");
    assert.match(recovered.twoKits.message, /2 good shares of the 3 needed/);
    assert.deepEqual(recovered.holders, disaster.holdersLeft);
    assert.equal(recovered.holders.length, 3);
    assert.equal(recovered.ledgerGeneration, 2);
    assert.deepEqual(recovered.checkpoint.confirmedBy, ["lu", "ee", "ca"]);
    assert.deepEqual(recovered.checkpoint.stale, []);
  });

  test("refuses the old home when it returns, before it writes anything", () => {
    const { oldHome } = report;
    assert.equal(oldHome.refused.code, "untrusted");
    assert.match(oldHome.refused.message, /superseded.*term 2/);
    assert.equal(oldHome.wroteBytes, 0);
    assert.equal(oldHome.site.code, "refused");
    assert.match(oldHome.site.message, /wrote in term 1, and it is term 2/);
    assert.deepEqual(oldHome.refusedAt, ["lu", "ee", "ca"]);
  });

  test("hosts another State in the same processes, and neither sees anything of the other", () => {
    const { neighbour, state } = report;
    assert.notEqual(neighbour.state, state.id);
    assert.equal(neighbour.same, true);
    assert.equal(neighbour.records, 240);
    const statuses = (answers: typeof neighbour.askedElsewhere) =>
      answers.map(({ status, code }) => `${status} ${code}`);
    assert.deepEqual(statuses(neighbour.askedOfTheOther), Array(6).fill("401 untrusted"));
    assert.deepEqual(statuses(neighbour.askedElsewhere), Array(2).fill("404 not-found"));
  });

  test('refuses every order of who has all of home\'s keys and wants to "delete all"', () => {
    const { attack } = report;
    assert.deepEqual(
      attack.orders.map(({ order, status, code }) => [order, status, code]),
      [
        ["Delete every shard", 400, "malformed"],
        ["Write zeros over every shard", 400, "malformed"],
        ["Write another statement over one that is there", 422, "altered"],
        ["Rewrite the ledger by one bit", 422, "altered"],
        ["Squat on the name of its next checkpoint", 400, "malformed"],
        ["Have another history cosigned, signed by the ledger's own keys", 409, ""],
        ["Decide to destroy, signed by home's agent", 401, "untrusted"],
      ],
    );
    for (const { requests, refused } of attack.orders) assert.equal(refused, requests);
    assert.ok(attack.requests > 100);
    assert.equal(attack.objectsAfter, attack.objectsBefore);
    assert.ok(attack.shardsVerified > 0);
  });

  test("gives a closed epoch to no captured key holders, before and after a delay that a veto ended", () => {
    const { captured } = report;
    assert.equal(captured.holders.length, 3);
    for (const { packs, asked, refused, mostOfOnePack, why } of [captured.before, captured.after]) {
      assert.ok(packs > 0);
      assert.equal(asked, 5 * packs);
      assert.equal(mostOfOnePack, captured.needed - 1);
      assert.equal(refused, asked - packs);
      assert.match(why, /is closed, and no release of it is ripe at this site/);
    }
    assert.equal(captured.vetoedBy, "Ambassador in Brussels");
    assert.deepEqual(captured.toldTo, ["bb", "gd", "lu", "ca"]);
    assert.equal(captured.tookEffectInLedger, true);
  });

  test("loses home and two of five host countries, and brings every record back", () => {
    const { registers, disaster, recovered, restored } = report;
    assert.deepEqual(disaster.lost, ["Barbados", "Grenada"]);
    assert.deepEqual(recovered.sites, ["lu", "ee", "ca"]);
    assert.equal(recovered.term, 2);
    const points = Object.fromEntries(
      recovered.registers.map(({ name, recoveryPoints }) => [name, recoveryPoints]),
    );
    // Of the closed epoch the sites give nothing without a release, not even to who recovers.
    assert.deepEqual(points, { "civil-status": 2, "national-identity": 1, "land-titles": 2 });
    assert.equal(recovered.stayClosed, 2);
    const before = registers.reduce((sum, { records }) => sum + records, 0);
    assert.ok(restored.records > before, "the day's changes are there too");
    assert.deepEqual(restored.differences, []);
  });

  test("names every damaged shard of the third, and makes the wanted ones good", () => {
    const { disaster, recovered, restored } = report;
    assert.equal(disaster.damaged, "Luxembourg");
    assert.ok(disaster.shardsDamaged > 0);
    assert.ok(recovered.damageNamed > 0);
    assert.equal(recovered.damageNamed + recovered.notShown, disaster.shardsDamaged);
    assert.equal(disaster.restarted, "Estonia");
    assert.ok(restored.shardsMadeGood > 0);
  });

  test("lets a host country find nothing, by a search that finds it at home", () => {
    const { hostView } = report;
    assert.ok(hostView.searches.length >= 3);
    for (const { text, foundAtHost, foundAtHome } of hostView.searches) {
      assert.equal(foundAtHost, 0, text);
      assert.ok(foundAtHome > 0, text);
    }
  });

  test("stores only what is new of the second day", () => {
    const { protected: first, protectedAgain: again } = report;
    assert.ok(again.newBytes < first.newBytes);
    assert.ok(again.siteBytes < first.siteBytes);
  });

  test("shows one record under a signature of the lost home's agent", () => {
    const { certificate } = report;
    assert.equal(certificate.same, true);
    assert.match(certificate.record.recordNumber, /^SB-1994-\d{6}$/);
    assert.match(certificate.statement, /^[0-9a-f]{64}$/);
    assert.equal(certificate.term, 1);
    assert.equal(certificate.sequence, 2);
  });

  test("leaves nothing behind, and no process", () => {
    assert.deepEqual(readdirSync(join(folder, "tmp")), []);
    assert.deepEqual(processesOf(join(folder, "tmp")), []);
  });
});

test("exclave demo reads well: sections in order, no line beyond 80 columns", () => {
  const directory = join(folder, "kept");
  const { status, stdout, stderr } = exclave(
    "demo",
    "--scale",
    "0.02",
    "--quiet",
    "--dir",
    directory,
  );
  assert.equal(status, 0, stderr);
  const lines = stdout.split("\n");
  const long = lines.filter((line) => line.length > 80 && !line.includes(directory));
  assert.deepEqual(long, []);
  const sections = lines
    .filter((line) => /^\d+\. /.test(line))
    .map((line) => Number.parseInt(line, 10));
  assert.deepEqual(
    sections,
    Array.from({ length: 16 }, (_, i) => i + 1),
  );
  assert.match(stdout, /Certificate of Birth/);
  assert.match(stdout, /Lost: nothing\./);
  assert.match(stdout, /7 days in life; 3 seconds here/);
  assert.match(stdout, /\$ exclave try DIRECTORY/);
  assert.ok(!stdout.includes("\x1b"), "no colours where nobody sees them");
  assert.ok(existsSync(join(directory, "bare-machine", "registers", "civil-status")));
  const kept = (...names: readonly string[]) => readdirSync(join(directory, ...names));
  assert.deepEqual(kept("key-holders"), ["3", "4", "5"]);
  assert.equal(kept("key-holders", "4").filter((name) => name.endsWith(".html")).length, 1);
  assert.deepEqual(kept("abroad"), ["transcript.txt", "watch.age"]);
  assert.deepEqual(processesOf(directory), [], "what is kept is not served any more");
  assert.ok(!existsSync(join(directory, "ceremony")), "what the ceremony lay on is destroyed");
});

test("exclave demo --dir refuses a directory that is not empty, and touches nothing", () => {
  const directory = join(folder, "full");
  mkdirSync(directory);
  writeFileSync(join(directory, "mine.txt"), "mine");
  const { status, stderr } = exclave("demo", "--dir", directory);
  assert.equal(status, 2);
  assert.match(stderr, /is not empty/);
  assert.deepEqual(readdirSync(directory), ["mine.txt"]);
});

/** The demo as somebody watches it, with other settings of the environment. */
function watched(env: Readonly<Record<string, string>>, ...args: readonly string[]) {
  const TMPDIR = join(folder, "watched");
  mkdirSync(TMPDIR, { recursive: true });
  const child = spawn(process.execPath, [bin, "demo", "--quiet", "--scale", "0.02", ...args], {
    cwd: folder,
    env: { ...process.env, TMPDIR, NO_COLOR: "1", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  return { child, TMPDIR };
}

test("exclave demo that is stopped in the middle ends its sites and clears up", async () => {
  const { child, TMPDIR } = watched({});
  const ended = once(child, "exit");
  let said = "";
  for await (const piece of child.stdout) {
    said += String(piece);
    if (!/^4\. /m.test(said) || child.killed) continue;
    assert.equal(processesOf(TMPDIR).length, 7);
    child.kill("SIGINT");
  }
  assert.deepEqual(await ended, [null, "SIGINT"]);
  assert.deepEqual(readdirSync(TMPDIR), []);
  assert.deepEqual(processesOf(TMPDIR), []);
});

test("exclave demo has a host country store in an engine", { skip: cephMissing() }, async (t) => {
  const ceph = await startCeph();
  t.after(() => ceph.stop());
  const file = join(folder, "engine.json");
  writeFileSync(file, JSON.stringify(await newBucket(t, ceph)), { mode: 0o600 });
  const { child } = watched({ EXCLAVE_DEMO_S3: file }, "--json");
  const [said, errors, [status]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "exit"),
  ]);
  assert.equal(status, 0, errors);
  const { good, admitted } = JSON.parse(said) as StoryReport;
  assert.equal(good, true);
  assert.equal(admitted.engine, "ca");
});
