import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { logKey, memoryTree, ORIGIN, witnessKeys } from "../../test/support/ledger.ts";
import { signCheckpoint, verifyCheckpoint } from "./checkpoint.ts";
import { verifierKeysOf } from "./log-key.ts";
import { consistencyProof } from "./merkle.ts";
import { isSameTreeHead } from "./tree-head.ts";
import { addCheckpoint, formatAddCheckpoint, type WitnessedHead } from "./witness.ts";
import { SqliteWitnessStore } from "./witness-store.ts";

const tree = memoryTree(20);
const witnessed = (size: number): WitnessedHead => ({
  head: tree.head(size),
  checkpoint: signCheckpoint(logKey, tree.head(size), 1),
});

function place(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "exclave-witness-"));
  t.after(() => rmSync(directory, { recursive: true }));
  return join(directory, "witness.sqlite");
}

test("what was kept is there after opening again, and for everybody who has it open", (t) => {
  const path = place(t);
  const one = new SqliteWitnessStore(path);
  const two = new SqliteWitnessStore(path);
  assert.equal(one.latest(ORIGIN), undefined);
  assert.ok(one.replace(undefined, witnessed(3)));
  assert.ok(isSameTreeHead(two.latest(ORIGIN)!.head, tree.head(3)));
  one.close();
  two.close();
  const again = new SqliteWitnessStore(path);
  assert.ok(isSameTreeHead(again.latest(ORIGIN)!.head, tree.head(3)));
  const { checkpoint } = again.latest(ORIGIN)!;
  assert.equal(verifyCheckpoint(checkpoint, verifierKeysOf(logKey)).head.size, 3);
  assert.equal(again.latest("other"), undefined);
  again.close();
});

test("only one of two that expect the same head replaces it", (t) => {
  const path = place(t);
  const one = new SqliteWitnessStore(path);
  const two = new SqliteWitnessStore(path);
  assert.equal(one.replace(undefined, witnessed(1)), true);
  assert.equal(two.replace(undefined, witnessed(2)), false);
  assert.equal(two.replace(tree.head(1), witnessed(5)), true);
  assert.equal(one.replace(tree.head(1), witnessed(3)), false);
  assert.equal(one.replace({ ...tree.head(5), root: tree.head(4).root }, witnessed(6)), false);
  assert.equal(one.latest(ORIGIN)!.head.size, 5);
  assert.equal(one.replace(tree.head(5), witnessed(5)), true);
  one.close();
  two.close();
});

test("while another process writes, heads are read, and a replacement fails that waited in vain", (t) => {
  const path = place(t);
  const store = new SqliteWitnessStore(path, 1);
  assert.ok(store.replace(undefined, witnessed(1)));
  const other = new DatabaseSync(path);
  other.exec("BEGIN IMMEDIATE");
  assert.throws(() => store.replace(tree.head(1), witnessed(2)), /locked/);
  assert.equal(store.latest(ORIGIN)!.head.size, 1);
  other.exec("ROLLBACK");
  assert.ok(store.replace(tree.head(1), witnessed(2)));
  other.close();
  store.close();
});

test("a file that is no database is refused, and so is a row that contradicts itself", (t) => {
  const path = place(t);
  const store = new SqliteWitnessStore(path);
  assert.ok(store.replace(undefined, witnessed(4)));
  store.close();
  const db = new DatabaseSync(path);
  db.exec("UPDATE heads SET size = 2");
  db.close();
  const damaged = new SqliteWitnessStore(path);
  assert.throws(() => damaged.latest(ORIGIN), { code: "malformed" });
  assert.throws(() => damaged.replace(tree.head(4), witnessed(5)), { code: "malformed" });
  // The transaction was ended all the same.
  assert.throws(() => damaged.replace(tree.head(4), witnessed(5)), { code: "malformed" });
  damaged.close();
  const text = `${path}.txt`;
  writeFileSync(
    text,
    "this is no database, and is longer than a header of one hundred bytes. ".repeat(3),
  );
  assert.throws(() => new SqliteWitnessStore(text), { code: "malformed" });
});

test("a witness that is restarted goes on where it was, and cosigns no fork", (t) => {
  const path = place(t);
  const logs = new Map([[ORIGIN, verifierKeysOf(logKey)]]);
  const answer = (from: number, to: number, head = tree.head(to)): number => {
    const store = new SqliteWitnessStore(path);
    const proof = consistencyProof(from, to, tree.node);
    const checkpoint = signCheckpoint(logKey, head, 1);
    const body = formatAddCheckpoint({ oldSize: from, proof, checkpoint });
    const { status } = addCheckpoint({ key: witnessKeys[0]!, logs, store }, body, 2);
    store.close();
    return status;
  };
  assert.equal(answer(0, 7), 200);
  assert.equal(answer(0, 7), 409);
  assert.equal(answer(7, 7), 200);
  assert.equal(answer(7, 7, { ...tree.head(7), root: tree.head(8).root }), 409);
  assert.equal(answer(7, 12, { ...tree.head(12), root: tree.head(8).root }), 422);
  assert.equal(answer(7, 12), 200);
});
