/** The program as one file, on a machine that has nothing but Node and no network. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { installedPackages } from "../src/site-daemon/installed-packages.ts";
import { type PackedProgram, packProgram } from "../src/site-daemon/program.ts";
import { tarOf } from "../src/site-daemon/tar.ts";
import { temporaryFolder } from "./support/places.ts";

const root = join(import.meta.dirname, "..");

/** Runs a command, cut off from the network where the system lets us. */
const CUT_OFF = spawnSync("unshare", ["--net", "true"]).status === 0 ? ["unshare", "--net"] : [];

describe("the packed program", () => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "exclave-program-")));
  after(() => rmSync(folder, { recursive: true, force: true }));
  const dist = join(folder, "dist");
  let packed: PackedProgram;
  let unpacked = "";
  const exclave = (...args: readonly string[]) => {
    const command = [...CUT_OFF, process.execPath, join(unpacked, "bin/exclave"), ...args];
    return spawnSync("env", command, {
      cwd: folder,
      encoding: "utf8",
      env: { PATH: process.env.PATH, HOME: folder },
    });
  };

  before(() => {
    // Into a folder of its own: other tests may be making the release's.
    const tsc = join(root, "node_modules/.bin/tsc");
    const args = ["-p", "tsconfig.build.json", "--outDir", dist];
    const { status, stdout } = spawnSync(tsc, args, { cwd: root, encoding: "utf8" });
    assert.equal(status, 0, stdout);
    copyFileSync(join(root, "src/erasure/kernel.wasm"), join(dist, "erasure/kernel.wasm"));
    packed = packProgram({ root, dist });
    const file = join(folder, "exclave.tgz");
    writeFileSync(file, packed.bytes);
    const tar = spawnSync("tar", ["-xf", file], { cwd: folder, encoding: "utf8" });
    assert.deepEqual({ status: tar.status, stderr: tar.stderr }, { status: 0, stderr: "" });
    unpacked = join(folder, `exclave-${packed.version}`);
  });

  test("runs elsewhere, without repository and network", () => {
    const version = exclave("--version");
    assert.equal(version.stdout, `${packed.version}\n`, version.stderr);
    assert.equal(version.status, 0);
    const help = exclave("recover", "--help");
    assert.equal(help.status, 0, help.stderr);
    assert.match(help.stdout, /Usage: exclave recover/);
    // A command that loads and uses what it needs of packages.
    const site = join(folder, "site");
    const made = exclave(
      ...["site", "init", "--folder", site, "--name", "lu", "--country", "LU"],
      ...["--operator", "Luxembourg State", "--url", "https://exclave.example.lu", "--json"],
    );
    assert.equal(made.status, 0, made.stderr);
  });

  test("brings the pages that say what its bytes mean, and no sources, tests or declarations", () => {
    for (const path of ["docs/format.md", "docs/site-protocol.md", "LICENSE", "bin/package.json"]) {
      assert.ok(existsSync(join(unpacked, path)), path);
    }
    assert.ok(existsSync(join(unpacked, "dist/erasure/kernel.wasm")));
    assert.ok(!existsSync(join(unpacked, "src")));
    const files = readdirSync(unpacked, { recursive: true, encoding: "utf8" });
    assert.deepEqual(
      files.filter((path) => /\.d\.ts$|\.map$|^dist\/.*\.test\.js$/.test(path)),
      [],
    );
    // What only builds and tests is not needed on a bare machine.
    for (const name of ["typescript", "fast-check", "node", "@aws-sdk"]) {
      assert.ok(!existsSync(join(unpacked, "node_modules", name)), name);
    }
    assert.equal(statSync(join(unpacked, "bin/exclave")).mode & 0o111, 0o111);
  });

  test("is the same bytes when it is packed again, by itself too", () => {
    assert.equal(packProgram({ root: unpacked }).sha256, packed.sha256);
    const again = exclave("site", "program", "--out", "again.tgz", "--json");
    assert.equal(again.status, 0, again.stdout);
    assert.equal((JSON.parse(again.stdout) as { sha256: string }).sha256, packed.sha256);
    assert.ok(readFileSync(join(folder, "again.tgz")).equals(packed.bytes));
  });
});

test("a program that is not built, or older than its sources, is not packed", (t) => {
  const at = temporaryFolder(t);
  for (const name of ["package.json", "bin"]) {
    cpSync(join(root, name), join(at, name), { recursive: true });
  }
  assert.throws(() => packProgram({ root: at }), { code: "usage", message: /no compiled program/ });
  for (const folder of ["dist/cli", "src/cli"]) mkdirSync(join(at, folder), { recursive: true });
  writeFileSync(join(at, "dist/cli/main.js"), "");
  writeFileSync(join(at, "src/cli/main.ts"), "");
  utimesSync(join(at, "dist/cli/main.js"), 1e9, 1e9);
  assert.throws(() => packProgram({ root: at }), {
    code: "usage",
    message: /older than its sources/,
  });
});

test("each package finds the version of another that it found where it was installed", (t) => {
  const at = temporaryFolder(t);
  const install = (path: string, dependencies: object = {}, optionalDependencies: object = {}) => {
    mkdirSync(join(at, path), { recursive: true });
    writeFileSync(
      join(at, path, "package.json"),
      JSON.stringify({ dependencies, optionalDependencies }),
    );
  };
  // The program itself is installed below another folder, as npm has it.
  install("node_modules/own", { a: "1", c: "1" }, { absent: "1" });
  install("node_modules/a", { b: "1" });
  install("node_modules/a/node_modules/b", { d: "1" });
  install("node_modules/b");
  install("node_modules/c", { b: "2" });
  install("node_modules/d", { b: "2" });
  install("node_modules/never");
  const places = installedPackages(join(at, "node_modules/own")).map(({ from, to }) => [
    to,
    from.slice(at.length + 1),
  ]);
  assert.deepEqual(places, [
    ["node_modules/a", "node_modules/a"],
    ["node_modules/b", "node_modules/a/node_modules/b"],
    ["node_modules/c", "node_modules/c"],
    ["node_modules/c/node_modules/b", "node_modules/b"],
    ["node_modules/d", "node_modules/d"],
    ["node_modules/d/node_modules/b", "node_modules/b"],
  ]);
  install("node_modules/c", { gone: "1" });
  assert.throws(() => installedPackages(join(at, "node_modules/own")), { code: "usage" });
});

test("an archive's bytes do not depend on the order of its files, and tar reads them", (t) => {
  const at = temporaryFolder(t);
  const long = `${"folder/".repeat(20)}${"x".repeat(60)}`;
  const files = ["b/ü", "a", long].map((path) => ({
    path,
    bytes: Buffer.from(`content of ${path}`),
    isExecutable: path === "a",
  }));
  const tar = tarOf(files);
  assert.deepEqual(tarOf(files.toReversed()), tar);
  writeFileSync(join(at, "x.tar"), tar);
  const { status, stderr } = spawnSync("tar", ["-xf", "x.tar"], { cwd: at, encoding: "utf8" });
  assert.deepEqual({ status, stderr }, { status: 0, stderr: "" });
  for (const { path } of files) {
    assert.equal(readFileSync(join(at, path), "utf8"), `content of ${path}`);
  }
  assert.throws(
    () => tarOf([{ path: "y".repeat(101), bytes: new Uint8Array(), isExecutable: false }]),
    { code: "bug" },
  );
});
