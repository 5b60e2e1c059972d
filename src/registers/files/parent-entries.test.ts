import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../../../test/support/places.ts";
import { noise } from "../../../test/support/vault.ts";
import { type Entry, EntryEncoder } from "../../vault/entries.ts";
import { ParentEntries, ParentEntriesWriter } from "./parent-entries.ts";

const plain: Entry = {
  path: "",
  kind: "directory",
  mode: 0o755,
  uid: 1,
  gid: 2,
  userName: "ana",
  groupName: "staff",
  mtimeSec: 1_600_000_000,
  mtimeNsec: 1,
  ctimeSec: 1_600_000_001,
  ctimeNsec: 2,
  ino: 77n,
  dev: 3,
  size: 0,
  linkTarget: "",
  rdevMajor: 0,
  rdevMinor: 0,
  xattrs: [],
};
const FILES = 5000;
const fileOf = (i: number): Entry => ({
  ...plain,
  path: `d/${String(i).padStart(6, "0")}`,
  kind: "file",
  size: i,
  xattrs: i % 7 === 0 ? [{ name: "user.a", value: noise(9, i) }] : [],
});
/** Several blocks of stream: content records that straddle them. */
const contentOf = (i: number): Uint8Array[] =>
  Array.from({ length: i % 3 }, (_, j) => noise(600 + (i % 11), i + j));

function written(file: string): void {
  const writer = new ParentEntriesWriter(file);
  const encoder = new EntryEncoder();
  encoder.entry(plain);
  encoder.entry({ ...plain, path: "d" });
  for (let i = 0; i < FILES; i++) {
    encoder.entry(fileOf(i));
    for (const items of contentOf(i)) encoder.content(items);
    if (encoder.out.length > 100_000) {
      writer.write(encoder.out.view());
      encoder.out.clear();
    }
  }
  writer.write(encoder.out.view());
  writer.end();
}

test("entries are found in order, with their content, and told from changed ones", (t) => {
  const file = join(temporaryFolder(t), "entries");
  written(file);
  assert.ok(readFileSync(file).length > 2_500_000, "more than two blocks");
  const entries = ParentEntries.open(file);
  assert.ok(entries);
  t.after(() => entries.close());
  assert.equal(entries.seek("")?.path, "");
  for (let i = 0; i < FILES; i += 1 + (i % 4)) {
    assert.equal(entries.seek(`d/${String(i).padStart(6, "0")}-`), undefined, "what is not there");
    const wanted = fileOf(i + 1);
    const found = entries.seek(wanted.path);
    if (i + 1 === FILES) break;
    assert.ok(found);
    assert.ok(found.isLike(wanted));
    assert.ok(!found.isLike({ ...wanted, mtimeNsec: 3 }) && !found.isLike({ ...wanted, gid: 5 }));
    assert.deepEqual(found.decode(), wanted);
    if (i % 2 === 0) continue;
    const content: Uint8Array[] = [];
    for (const items of entries.content()) content.push(Uint8Array.from(items));
    assert.deepEqual(content, contentOf(i + 1));
  }
  assert.equal(entries.seek("e"), undefined);
});

test("a stream that is missing, cut short or altered anywhere is none", (t) => {
  const file = join(temporaryFolder(t), "entries");
  assert.equal(ParentEntries.open(file), undefined);
  written(file);
  const good = readFileSync(file);
  for (const at of [0, 1000, good.length - 33, good.length - 1]) {
    const bad = Uint8Array.from(good);
    bad[at] = (bad[at] ?? 0) ^ 1;
    writeFileSync(file, bad);
    assert.equal(ParentEntries.open(file), undefined, `altered at ${at}`);
  }
  for (const length of [good.length - 1, 1_000_000, 31, 0]) {
    writeFileSync(file, good);
    truncateSync(file, length);
    assert.equal(ParentEntries.open(file), undefined, `cut to ${length}`);
  }
});

test("a stream that has ended is not closed again: its number may be another file's by then", (t) => {
  const folder = temporaryFolder(t);
  const writer = new ParentEntriesWriter(join(folder, "entries"));
  writer.end();
  const other = openSync(join(folder, "other"), "w");
  t.after(() => closeSync(other));
  writer.close();
  writeSync(other, "still open");
  assert.equal(readFileSync(join(folder, "other"), "utf8"), "still open");
});
