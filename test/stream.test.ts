/** Registers that a dump tool writes. */
import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import type { ProtectReport } from "../src/registers/protect.ts";
import { ended, failed, good, start } from "./support/cli.ts";
import { randomBytes } from "./support/random.ts";
import { TestState } from "./support/state.ts";

const STREAM = ["docs", "--kind", "stream"];

/** A dump as a database tool writes it, with `more` rows at the middle. */
function dump(rows: number, more = 0): Buffer {
  const lines = Array.from({ length: rows }, (_, i) => {
    const middle = i === rows >> 1 ? Array.from({ length: more }, (_, j) => line(rows + j)) : [];
    return [...middle, line(i)].join("");
  });
  return Buffer.from(lines.join(""));
  function line(i: number): string {
    return `INSERT INTO births VALUES (${i}, '${randomBytes(`${i}`, 24).toString("hex")}');\n`;
  }
}

describe("a stream", () => {
  test("what comes on standard input goes to standard output again, byte for byte", async (t) => {
    const state = await TestState.found(t, { register: STREAM });
    const content = dump(20_000);
    const report = good(
      await state.run<ProtectReport>(["protect", "docs", "--stdin"], { input: content }),
    );
    const out = await state.run(["restore", "docs", "--stdout"], { json: false });
    assert.equal(out.code, 0, out.stderr);
    assert.ok(out.stdout.equals(content));
    assert.deepEqual([report.files, report.bytes, report.complete], [1, content.length, true]);
  });

  test("what comes on standard input goes to a file of the register's name", async (t) => {
    const state = await TestState.found(t, { register: STREAM });
    const content = dump(20_000);
    good(await state.run(["protect", "docs", "--stdin"], { input: content }));
    good(await state.restore("out"));
    assert.ok(state.read("out", "docs").equals(content));
  });

  test("a second dump with a few more rows stores little more than those", async (t) => {
    const state = await TestState.found(t, { register: STREAM });
    const protect = async (input: Buffer): Promise<ProtectReport> =>
      good(await state.run<ProtectReport>(["protect", "docs", "--stdin"], { input }));
    const first = await protect(dump(40_000));
    const second = await protect(dump(40_000, 20));
    assert.ok(
      second.stored.rawBytes * 5 < first.stored.rawBytes,
      `${second.stored.rawBytes} of ${first.stored.rawBytes}`,
    );
    for (const [id, content] of [
      [first.snapshot, dump(40_000)],
      [second.snapshot, dump(40_000, 20)],
    ] as const) {
      const out = await state.run(["restore", "docs", "--stdout", "--snapshot", id], {
        json: false,
      });
      assert.ok(out.stdout.equals(content));
    }
  });

  test("an empty stream is a recovery point of nothing", async (t) => {
    const state = await TestState.found(t, { register: STREAM });
    good(await state.run(["protect", "docs", "--stdin"]));
    const out = await state.run(["restore", "docs", "--stdout"], { json: false });
    assert.deepEqual([out.code, out.stdout.length], [0, 0]);
  });

  test("the output of a command is protected, whatever its arguments look like", async (t) => {
    const state = await TestState.found(t, { register: STREAM });
    const script = "process.stdout.write(process.argv.slice(1).join('|'))";
    const args = ["--json", "--stdin", "a b", "$HOME"];
    good(await state.run(["protect", "docs", "--", process.execPath, "-e", script, "--", ...args]));
    const out = await state.run(["restore", "docs", "--stdout"], { json: false });
    assert.equal(out.stdout.toString(), args.join("|"));
  });

  test("a command that ends before anyone could read is protected all the same", async (t) => {
    const state = await TestState.found(t, { register: STREAM });
    writeFileSync(state.path("dump"), "7 bytes".repeat(7500));
    for (const { command, bytes } of [
      { command: ["/bin/echo", "quick"], bytes: 6 },
      { command: ["/bin/cat", state.path("dump")], bytes: 52_500 },
    ]) {
      good(await state.run(["protect", "docs", "--", ...command]));
      const out = await state.run(["restore", "docs", "--stdout"], { json: false });
      assert.equal(out.stdout.length, bytes, command.join(" "));
    }
  });

  test("a command is not run when its output could not be stored", async (t) => {
    const state = await TestState.found(t, { register: STREAM });
    state.lose("bb", "kn");
    failed(
      await state.run([
        "protect",
        "docs",
        "--",
        "/bin/sh",
        "-c",
        `echo ran > ${state.path("ran")}`,
      ]),
      "write-quorum",
    );
    assert.ok(!existsSync(state.path("ran")));
  });

  test("a command is stopped when the run that wants its output fails", async (t) => {
    const state = await TestState.found(t, { register: STREAM });
    // It would write for ever; the sites go away meanwhile.
    const child = start(state.home, ["protect", "docs", "--", "/bin/cat", "/dev/urandom"]);
    const outcome = ended(child);
    await state.shards(1);
    state.lose("bb", "kn");
    failed(await outcome, "write-quorum");
  });

  for (const { name, script, says } of [
    {
      name: "that ends with an error",
      script: "console.log('half'); process.exit(7)",
      says: /exit code 7/,
    },
    {
      name: "that is killed",
      script: "console.log('half'); process.kill(process.pid, 9)",
      says: /SIGKILL/,
    },
    {
      name: "that fails after much output",
      script: "process.stdout.write(Buffer.alloc(5e6, 'dump'), () => process.exit(1))",
      says: /exit code 1/,
    },
  ]) {
    test(`a command ${name} is not committed`, async (t) => {
      const state = await TestState.found(t, { register: STREAM });
      good(await state.run(["protect", "docs", "--stdin"], { input: Buffer.from("yesterday") }));
      const outcome = await state.run(["protect", "docs", "--", process.execPath, "-e", script]);
      assert.match(failed(outcome, "command-failed"), says);
      assert.equal((await state.snapshots()).snapshots.length, 1);
      const out = await state.run(["restore", "docs", "--stdout"], { json: false });
      assert.equal(out.stdout.toString(), "yesterday");
    });
  }

  test("a command that is not there is not committed, and named", async (t) => {
    const state = await TestState.found(t, { register: STREAM });
    const outcome = await state.run(["protect", "docs", "--", "/no/such/pg_dump", "births"]);
    assert.match(failed(outcome, "command-failed"), /\/no\/such\/pg_dump could not be run: ENOENT/);
    assert.equal((await state.snapshots()).snapshots.length, 0);
  });

  test("a stream needs exactly one source, and a register of files takes none", async (t) => {
    const state = await TestState.found(t, { register: STREAM });
    failed(await state.run(["protect", "docs"]), "usage", 2);
    failed(await state.run(["protect", "docs", "--stdin", "--", "true"]), "usage", 2);
    const withPath = ["register", "add", "x", "--kind", "stream", "--path", "/"];
    const where = ["--sites", state.siteNames.join(","), "--threshold", "3"];
    failed(await state.run([...withPath, ...where]), "usage", 2);
    await state.good(
      ...["register", "add", "files", "--kind", "files", "--path", state.path("data")],
      ...where,
    );
    failed(await state.run(["protect", "files", "--stdin"]), "usage", 2);
    failed(await state.run(["protect", "files", "--", "true"]), "usage", 2);
    await state.good("protect", "files");
    failed(await state.run(["restore", "files", "--stdout"]), "usage", 2);
  });

  test("a reader of standard output who goes away ends the restore quietly", async (t) => {
    const state = await TestState.found(t, { register: STREAM });
    good(await state.run(["protect", "docs", "--stdin"], { input: randomBytes("x", 6_000_000) }));
    const child = start(state.home, ["restore", "docs", "--stdout"], { json: false });
    child.stdout?.once("data", () => child.stdout?.destroy());
    const outcome = await ended(child);
    assert.notEqual(outcome.signal, "SIGABRT");
    assert.doesNotMatch(outcome.stderr, /should not|EPIPE|at .*\.ts/);
  });
});
