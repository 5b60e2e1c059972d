/** What a person, or a machine, meets before and around the work: the wrong Node, progress, a prompt. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { ended, good, start } from "./support/cli.ts";
import { temporaryFolder } from "./support/places.ts";
import { randomBytes } from "./support/random.ts";
import { PASSPHRASE, TestState } from "./support/state.ts";

const BIN = join(import.meta.dirname, "../bin/exclave");
const SCRIPT = "/usr/bin/script";

test("a Node that is too old, or whose OpenSSL lacks what is needed, is told so in one sentence", (t) => {
  const folder = temporaryFolder(t);
  const started = (preload: string) => {
    writeFileSync(join(folder, "preload.cjs"), preload);
    return spawnSync(process.execPath, ["--require", join(folder, "preload.cjs"), BIN, "status"], {
      encoding: "utf8",
    });
  };
  const old = started(
    `Object.defineProperty(process, "versions", { value: { ...process.versions, node: "20.9.0" } });`,
  );
  assert.equal(old.status, 1);
  assert.match(
    old.stderr,
    /^exclave: Node 24\.21 or newer is needed, and this Node 20\.9\.0 is too old.*\n$/,
  );
  const lacking = started(`
    const crypto = require("node:crypto");
    const real = crypto.generateKeyPairSync;
    crypto.generateKeyPairSync = (type, ...rest) => {
      if (type === "ml-dsa-87") throw new Error("unknown");
      return real(type, ...rest);
    };`);
  assert.equal(lacking.status, 1);
  assert.match(lacking.stderr, /^exclave: .* without ML-KEM-1024 and ML-DSA-87.*\n$/);
});

test("progress is JSON lines where there is no terminal, and none with --quiet", async (t) => {
  const register = ["dump", "--kind", "stream"];
  const state = await TestState.found(t, { register });
  const child = start(state.home, ["protect", "dump", "--stdin"]);
  const result = ended(child, undefined, false);
  // As long as it takes: a dump that goes on is what progress is for.
  let told = "";
  child.stderr?.on("data", (data: Buffer) => {
    told += data.toString();
  });
  for (let i = 0; !told.includes("\n"); i++) {
    if (!child.stdin?.write(randomBytes(`${i}`, 100_000))) await once(child.stdin!, "drain");
    await new Promise(setImmediate);
  }
  child.stdin?.end();
  good(await result);
  const [line = ""] = told.split("\n");
  const { progress } = JSON.parse(line) as { progress: Readonly<Record<string, unknown>> };
  assert.equal(progress.register, "dump");
  for (const field of ["files", "bytes", "newBytes", "storedBytes"]) {
    assert.equal(typeof progress[field], "number", field);
  }
  const quiet = await state.run(["protect", "dump", "--stdin", "--quiet"], {
    input: randomBytes("quiet", 200_000),
  });
  good(quiet);
  assert.doesNotMatch(quiet.stderr, /progress/);
});

test("without the native library one warning says what is not kept, and the rest is", async (t) => {
  const state = await TestState.found(t);
  state.write("a", "content");
  const preload = state.path("preload.cjs");
  writeFileSync(
    preload,
    `const { Module } = require("node:module");
    const load = Module._load;
    Module._load = (name, ...rest) => {
      if (name === "koffi") throw new Error("not here");
      return load(name, ...rest);
    };`,
  );
  const env = { ...process.env, EXCLAVE_HOME: state.home, NODE_OPTIONS: `--require ${preload}` };
  const exclave = (...args: readonly string[]) =>
    spawnSync(process.execPath, [BIN, ...args], { env, encoding: "utf8" });
  const { status, stderr } = exclave("protect", "docs");
  assert.equal(status, 0, stderr);
  assert.equal(stderr.match(/are not kept on this machine/g)?.length, 1, stderr);
  const restored = exclave("restore", "docs", "--to", state.path("out"));
  assert.equal(restored.status, 0, restored.stderr);
  assert.equal(state.read("out", "a").toString(), "content");
});

test("a passphrase that is asked for at a terminal is not shown", {
  skip: !existsSync(SCRIPT) && "there is no script(1) to make a terminal",
}, async (t) => {
  const state = await TestState.found(t);
  state.write("a", "content");
  good(await state.protect());
  const command = [
    process.execPath,
    BIN,
    "check",
    "docs",
    "--recovery-key",
    state.path("recovery.age"),
  ];
  const child = spawn(SCRIPT, ["-qec", command.join(" "), "/dev/null"], {
    env: { ...process.env, EXCLAVE_HOME: state.home },
  });
  let seen = "";
  let answered = false;
  child.stdout.on("data", (data: Buffer) => {
    seen += data.toString();
    if (answered || !/passphrase/i.test(seen)) return;
    answered = true;
    child.stdin.write(`${PASSPHRASE}\n`);
  });
  const [code] = (await once(child, "close")) as [number];
  assert.ok(answered, seen);
  assert.equal(code, 0, seen);
  assert.ok(!seen.includes(PASSPHRASE), seen);
});

test("the index stays a few objects, however many recovery points there are", async (t) => {
  const state = await TestState.found(t);
  const RUNS = 12;
  for (let i = 0; i < RUNS; i++) {
    state.write(`file-${i}`, randomBytes(`${i}`, 20_000));
    good(await state.protect());
  }
  const db = new DatabaseSync(join(state.home, "catalog.sqlite"), { readOnly: true });
  t.after(() => db.close());
  const roots = db.prepare("SELECT root FROM snapshots ORDER BY sequence").all();
  assert.equal(roots.length, RUNS);
  const segments = roots.map(
    ({ root }) => (JSON.parse(String(root)) as { index: unknown[] }).index.length,
  );
  const most = Math.max(...segments);
  assert.ok(most <= 1 + Math.log2(RUNS), `${segments.join(", ")} segments`);
});
