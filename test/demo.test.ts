/** The demo is the first thing that anyone runs, so it is run here as they run it, only smaller. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import type { StoryReport } from "../src/cli/demo/story.ts";

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
    assert.deepEqual(admitted, { decisions: 9, signatures: 27 });
  });

  test("expels a site by three signatures and not by two, and not before its time", () => {
    const { expulsion } = report;
    assert.equal(expulsion.refused.code, "usage");
    assert.match(expulsion.refused.message, /2 of the 3 signatures/);
    assert.equal(expulsion.signedBy.length, 3);
    assert.equal(expulsion.enactedEarly, 0);
    assert.equal(expulsion.site, "ca-west");
    assert.deepEqual(expulsion.sitesLeft, ["bb", "kn", "lu", "ee", "ca"]);
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
  });

  test("loses home and two of five host countries, and brings every record back", () => {
    const { registers, disaster, recovered, restored } = report;
    assert.deepEqual(disaster.lost, ["Barbados", "Saint Kitts and Nevis"]);
    assert.deepEqual(recovered.sites, ["lu", "ee", "ca"]);
    assert.equal(recovered.term, 2);
    assert.deepEqual(
      recovered.registers.map(({ recoveryPoints }) => recoveryPoints),
      [2, 2, 2],
    );
    const before = registers.reduce((sum, { records }) => sum + records, 0);
    assert.ok(restored.records > before, "the day's changes are there too");
    assert.deepEqual(restored.differences, []);
  });

  test("names every damaged shard of the third, and makes the wanted ones good", () => {
    const { disaster, recovered, restored } = report;
    assert.equal(disaster.damaged, "Luxembourg");
    assert.ok(disaster.shardsDamaged > 0);
    assert.equal(recovered.damageNamed, disaster.shardsDamaged);
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

  test("leaves nothing behind", () => {
    assert.deepEqual(readdirSync(join(folder, "tmp")), []);
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
    Array.from({ length: 13 }, (_, i) => i + 1),
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
