/** What a site, or whoever looks over a shoulder, must never see. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Outcome } from "./support/cli.ts";
import { good, run, shown } from "./support/cli.ts";
import { PASSPHRASE, SITES, TestState } from "./support/state.ts";

/** Every file below a folder. */
function filesOf(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** How a secret may be written: as it is, in hexadecimal, in base64, at any of its three phases. */
function spellings(secret: string | Buffer): readonly Buffer[] {
  const bytes = Buffer.from(secret as string);
  const base64 = [0, 1, 2].map((phase) => {
    const padded = Buffer.concat([Buffer.alloc(phase), bytes]).toString("base64");
    // Without the ends, which what is around it has a part in.
    return padded.slice(phase === 0 ? 0 : 4, -4);
  });
  return [bytes, Buffer.from(bytes.toString("hex")), ...base64.map((text) => Buffer.from(text))];
}

test("nothing of content, names, paths, settings or keys is at any site or in any output", async (t) => {
  const register = "witness-protection-programme";
  const state = await TestState.found(t, { register: false });
  mkdirSync(state.path("data", "Directory-Of-Informants"));
  const content = "Ermintrude Featherstonehaugh, born 1931-02-17";
  state.write("Directory-Of-Informants/Operation-Nightjar.csv", `${content}\n`.repeat(50));
  state.write("plain.txt", content);
  const outcomes: Outcome<unknown>[] = [];
  const exclave = async (...args: readonly string[]): Promise<void> => {
    for (const json of [true, false]) {
      // What makes a thing is run once.
      if (!json && args[0] === "register") continue;
      const to = args.includes("--to") ? [...args.slice(0, -1), `${args.at(-1)}-${json}`] : args;
      const outcome = await run(state.home, to, { json });
      assert.equal(outcome.code, 0, `${args.join(" ")}: ${shown(outcome)}`);
      outcomes.push(outcome);
    }
  };
  await exclave(
    ...["register", "add", register, "--kind", "files", "--path", state.path("data")],
    ...["--exclude", "Deniable-*.tmp", "--sites", SITES.join(","), "--threshold", "3"],
  );
  await exclave("protect", register);
  await exclave("check", register, "--full");
  await exclave("snapshots", register);
  await exclave("restore", register, "--to", state.path("out"));
  await exclave("status");
  await exclave("site", "list");
  const keys = filesOf(join(state.home, "keys")).map((file) =>
    Buffer.from((JSON.parse(readFileSync(file, "utf8")) as { secret: string }).secret, "hex"),
  );
  assert.equal(keys.length, 4, "the seeds of agent, ledger and seat, and an epoch's key");
  // What is in it need not be, behind a closed door.
  assert.equal(statSync(state.home).mode & 0o777, 0o700, "home is for its owner alone");
  state.lose("home");
  outcomes.push(await state.recover("new", SITES));
  good(await state.run(["protect", register]));
  assert.equal(outcomes.at(-1)?.code, 0);

  const unseen = [
    ...[register, "Directory-Of-Informants", "Operation-Nightjar", "Deniable-", "plain.txt"],
    ...[content.slice(0, 28), "1931-02-17", state.folder, PASSPHRASE],
    ...keys,
  ];
  for (const site of SITES) {
    for (const file of filesOf(state.path(site))) {
      const bytes = readFileSync(file);
      // A signed document's payload is base64 in JSON: look into it as well.
      const payload = /"payload":"([^"]*)"/.exec(bytes.toString("latin1"))?.[1];
      const all = payload ? Buffer.concat([bytes, Buffer.from(payload, "base64")]) : bytes;
      for (const secret of unseen) {
        for (const spelling of spellings(secret)) {
          assert.ok(!all.includes(spelling), `${file} holds ${secret.toString()}`);
        }
      }
    }
  }
  for (const { stdout, stderr } of outcomes) {
    for (const secret of [PASSPHRASE, ...keys]) {
      for (const spelling of spellings(secret)) {
        assert.ok(!Buffer.concat([stdout, Buffer.from(stderr)]).includes(spelling), "in an output");
      }
    }
  }
});

test("the search for secrets finds them, however they are written", () => {
  const secret = Buffer.from("a secret of some length");
  for (const hidden of [
    secret.toString(),
    secret.toString("hex"),
    ...[0, 1, 2, 3].map((phase) =>
      Buffer.concat([Buffer.alloc(phase, "x"), secret, Buffer.from("after")]).toString("base64"),
    ),
  ]) {
    const all = Buffer.from(`before ${hidden} behind`);
    assert.ok(
      spellings(secret).some((spelling) => all.includes(spelling)),
      hidden,
    );
  }
});

test("a passphrase that is too short, or not given, makes no State", async (t) => {
  const state = await TestState.found(t, { sites: [], register: false });
  const found = ["found", "--state", "X", "--recovery-key", state.path("other.age")];
  state.home = state.path("other");
  writeFileSync(state.path("short"), "1234567\n");
  for (const args of [
    [...found, "--passphrase-file", state.path("short")],
    [...found, "--passphrase-file", state.path("absent")],
    found,
  ]) {
    assert.equal((await state.run(args)).code, 2);
    assert.ok(!existsSync(state.path("other.age")) && !existsSync(state.path("other")));
  }
  // A key file that is there is never written over.
  const key = state.read("recovery.age");
  assert.equal(
    (
      await state.run([
        ...found.slice(0, -1),
        state.path("recovery.age"),
        "--passphrase-file",
        state.path("pw"),
      ])
    ).code,
    2,
  );
  assert.ok(state.read("recovery.age").equals(key));
});
