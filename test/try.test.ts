/** How an engineer begins: `exclave try`, and what it stored kept as a State. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { compareRecords } from "../src/cli/demo/compare.ts";
import type { TrialReport } from "../src/cli/trial/print.ts";

const bin = join(import.meta.dirname, "..", "bin", "exclave");
const folder = mkdtempSync(join(tmpdir(), "exclave-try-test-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const data = join(folder, "data");
const trial = join(folder, "exclave-trial");
const home = join(folder, "home");
const trialPassphrase = join(folder, "trial-passphrase");
const passphrase = join(folder, "passphrase");

function exclaveIn(exclaveHome: string, ...args: readonly string[]) {
  return spawnSync(process.execPath, [bin, ...args], {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, EXCLAVE_HOME: exclaveHome, NO_COLOR: "1" },
    maxBuffer: 64 * 1024 * 1024,
  });
}
const exclave = (...args: readonly string[]) => exclaveIn(home, ...args);

function json<T>({ status, stdout, stderr }: ReturnType<typeof exclave>): T {
  assert.equal(status, 0, stderr + stdout);
  return JSON.parse(stdout) as T;
}

before(() => {
  writeFileSync(trialPassphrase, "only for a trial\n");
  writeFileSync(passphrase, "for the State itself\n");
  mkdirSync(join(data, "births", "1994"), { recursive: true });
  for (let i = 0; i < 200; i++) {
    writeFileSync(join(data, "births", "1994", `${i}.json`), JSON.stringify({ record: i }));
  }
  writeFileSync(join(data, "people.csv"), `name,born\n${"Ana Ical,1994-03-28\n".repeat(20_000)}`);
  writeFileSync(join(data, "read-only"), "sealed");
  chmodSync(join(data, "read-only"), 0o440);
  linkSync(join(data, "people.csv"), join(data, "births", "people.csv"));
  symlinkSync("../people.csv", join(data, "births", "link.csv"));
  utimesSync(join(data, "births", "1994"), 1_000_000_000, 764_812_800);
});

describe("exclave try", () => {
  test("protects, loses two sites, restores, and finds no difference", () => {
    const report = json<TrialReport>(
      exclave("try", data, "--json", "--link", "20mbit", "--passphrase-file", trialPassphrase),
    );
    assert.equal(report.good, true);
    assert.equal(report.trial, trial);
    assert.deepEqual(report.lost, ["site-1", "site-2"]);
    assert.equal(report.compared.differenceCount, 0);
    assert.equal(report.compared.files, 203);
    assert.equal(report.input.symlinks, 1);
    assert.equal(report.sites.length, 5);
    assert.equal(report.passphrase, undefined);
    assert.equal(report.upload.seconds, (report.totalBytes * 8) / 20e6);
    assert.ok(report.commands.includes("exclave protect data"));
  });

  test("keeps the trial, and not the restored copy", () => {
    assert.deepEqual(readdirSync(trial).sort(), ["home", "recovery-key.age", "sites"]);
    assert.equal(readdirSync(join(trial, "sites")).length, 5);
  });

  test("does not write over an earlier trial, nor into what it tries", () => {
    const again = exclave("try", data, "--passphrase-file", trialPassphrase);
    assert.equal(again.status, 2);
    assert.match(again.stderr, /exists already/);
    const within = exclave("try", data, "--into", join(data, "t"));
    assert.equal(within.status, 2);
    assert.match(within.stderr, /lies in/);
    assert.ok(!existsSync(join(data, "t")));
  });

  test("makes and shows a passphrase when there is nobody to ask, and reads well", () => {
    const into = join(folder, "second");
    const { status, stdout, stderr } = exclave("try", data, "--into", into, "--quiet");
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^ +([0-9a-z]{4}-){6}[0-9a-z]{4}$/m);
    const long = stdout.split("\n").filter((line) => line.length > 80 && !line.includes(folder));
    assert.deepEqual(long, []);
    rmSync(into, { recursive: true });
  });

  test("leaves nothing behind when it is stopped", async () => {
    const into = join(folder, "stopped");
    const child = spawn(process.execPath, [bin, "try", data, "--into", into], { stdio: "ignore" });
    // The recovery key is one of the first things made, and takes about a second.
    while (!existsSync(into)) await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill("SIGINT");
    const [, signal] = await once(child, "exit");
    assert.equal(signal, "SIGINT");
    assert.ok(!existsSync(into));
  });
});

describe("exclave found --from-trial", () => {
  const recoveryKey = join(folder, "recovery-key.age");
  const found = (exclaveHome: string, key: string, trialFile: string) =>
    exclaveIn(
      exclaveHome,
      "found",
      "--json",
      "--state",
      "Saint Brendan",
      "--recovery-key",
      key,
      "--passphrase-file",
      passphrase,
      "--trial-passphrase-file",
      trialFile,
      "--reader-key",
      `${key}.reader`,
      "--from-trial",
      trial,
    );

  test("refuses a wrong passphrase, and changes nothing", () => {
    const { status, stdout } = found(home, recoveryKey, passphrase);
    assert.equal(status, 1);
    assert.equal(JSON.parse(stdout).error.code, "wrong-passphrase");
    assert.ok(!existsSync(home));
    assert.ok(!existsSync(recoveryKey));
  });

  test("keeps what the trial stored, under the State's name", () => {
    const kept = json<{ name: string; home: string; registers: string[] }>(
      found(home, recoveryKey, trialPassphrase),
    );
    assert.equal(kept.name, "Saint Brendan");
    assert.deepEqual(kept.registers, ["data"]);
    const { snapshots } = json<{ snapshots: { id: string }[] }>(
      exclave("snapshots", "data", "--json"),
    );
    assert.equal(snapshots.length, 1);
    assert.equal(json<{ state: string }>(exclave("status", "--json")).state, "Saint Brendan");
  });

  test("goes on where the trial stopped: an unchanged register costs almost nothing", () => {
    const report = json<{ unchangedFiles: number; sequence: number; stored: { rawBytes: number } }>(
      exclave("protect", "data", "--json"),
    );
    assert.equal(report.sequence, 2);
    assert.ok(report.unchangedFiles >= 200);
    assert.ok(report.stored.rawBytes < 64 * 1024);
  });

  test("leaves the trial's own home unable to write, and is not done twice", () => {
    const { status, stdout } = exclaveIn(join(trial, "home"), "protect", "data", "--json");
    assert.equal(status, 1);
    assert.equal(JSON.parse(stdout).error.code, "untrusted");
    const twice = found(join(folder, "other"), join(folder, "other.age"), trialPassphrase);
    assert.equal(twice.status, 2);
    assert.match(JSON.parse(twice.stdout).error.message, /keeps this trial already/);
    assert.ok(!existsSync(join(folder, "other")));
  });

  test("recovers from the new key and three of the sites, and restores every byte", () => {
    for (const lost of [
      home,
      join(trial, "home"),
      ...["site-2", "site-4"].map((name) => join(trial, "sites", name)),
    ]) {
      rmSync(lost, { recursive: true });
    }
    const bare = join(folder, "bare");
    const sites = ["site-1", "site-3", "site-5"].flatMap((name) => [
      "--site",
      join(trial, "sites", name),
    ]);
    const recovered = json<{ registers: { name: string; recoveryPoints: number }[] }>(
      exclaveIn(
        bare,
        "recover",
        "--json",
        "--key",
        recoveryKey,
        "--passphrase-file",
        passphrase,
        ...sites,
      ),
    );
    assert.equal(recovered.registers[0]?.recoveryPoints, 2);
    const out = join(folder, "out");
    json(exclaveIn(bare, "restore", "data", "--json", "--to", out));
    rmSync(join(data, "births", "link.csv"));
    rmSync(join(out, "births", "link.csv"));
    assert.deepEqual(compareRecords(data, out).differences, []);
    assert.equal(
      json<{ state: string }>(exclaveIn(bare, "status", "--json")).state,
      "Saint Brendan",
    );
  });
});
