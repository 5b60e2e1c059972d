/** What users install is tested, not only the sources: the packed package, and its first sentence. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { after, before, describe, test } from "node:test";

const root = join(import.meta.dirname, "..");
const { version }: { version: string } = JSON.parse(
  readFileSync(join(root, "package.json"), "utf8"),
);

/** A fresh temporary folder, removed when the enclosing suite is done. */
function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "exclave-package-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

describe("the packed package", () => {
  const folder = temporaryFolder();
  const exclave = (...args: string[]) =>
    spawnSync(process.execPath, [join(folder, "node_modules/.bin/exclave"), ...args], {
      cwd: folder,
      encoding: "utf8",
    });

  before(() => {
    const npm = (cwd: string, ...args: string[]) =>
      execFileSync("npm", args, { cwd, stdio: ["ignore", "ignore", "pipe"] });
    npm(root, "pack", "--pack-destination", folder);
    const tarball = join(folder, `exclave-${version}.tgz`);
    npm(folder, "install", "--omit=dev", "--prefer-offline", "--no-audit", "--no-fund", tarball);
  });

  test("runs and knows its version", () => {
    const { status, stdout, stderr } = exclave("--version");
    assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: `${version}\n`, stderr: "" });
  });

  test("explains itself", () => {
    const { status, stdout } = exclave("--help");
    assert.equal(status, 0);
    assert.match(stdout, /Usage: exclave/);
  });

  test("brings the kernel, and neither sources nor tests", () => {
    const installed = join(folder, "node_modules/exclave");
    assert.ok(existsSync(join(installed, "dist/erasure/kernel.wasm")));
    assert.ok(!existsSync(join(installed, "src")));
    assert.ok(!existsSync(join(installed, "dist/erasure/kernel.test.js")));
  });
});

/** A Node on PATH, outside node_modules, that is older than what Exclave needs. */
function oldNode(): string | undefined {
  return (process.env.PATH ?? "")
    .split(delimiter)
    .filter((folder) => !folder.includes("node_modules"))
    .map((folder) => join(folder, "node"))
    .filter((path) => existsSync(path))
    .find((path) => /^v(\d|1\d|2[0-3])\./.test(spawnSync(path, ["--version"]).stdout.toString()));
}

describe("what cannot run says so in one sentence", () => {
  const folder = temporaryFolder();
  cpSync(join(root, "bin"), join(folder, "bin"), { recursive: true });
  cpSync(join(root, "package.json"), join(folder, "package.json"));
  mkdirSync(join(folder, "src"));

  const old = oldNode();
  const cases: readonly { name: string; node: string | undefined; says: RegExp }[] = [
    { name: "an old Node", node: old, says: /^exclave: Node 24\.21 or newer [^\n]+\.\n$/ },
    {
      name: "a checkout without node_modules",
      node: process.execPath,
      says: /^exclave: [^\n]+`npm start`[^\n]+\.\n$/,
    },
  ];
  for (const { name, node, says } of cases) {
    test(name, { skip: node === undefined && "no Node older than 24 on PATH" }, () => {
      const { status, stdout, stderr } = spawnSync(node!, ["bin/exclave", "--version"], {
        cwd: folder,
        encoding: "utf8",
      });
      assert.match(stderr, says);
      assert.deepEqual({ status, stdout }, { status: 1, stdout: "" });
    });
  }
});
