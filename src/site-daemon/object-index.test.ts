import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryFolder } from "../../test/support/places.ts";
import { type IndexRow, ObjectIndex } from "./object-index.ts";

const STATE = "ab".repeat(32);
const LONG_AGO = new Date(0);
const LATER = new Date(1_900_000_000_000);

function rowOf(digit: string): IndexRow {
  return {
    name: `manifest/${digit.repeat(64)}`,
    bytes: 100,
    storedAt: new Date(1_800_000_000_000),
    owner: "cd".repeat(32),
    retainUntil: LONG_AGO,
    shard: undefined,
  };
}

function openIndex(t: TestContext): ObjectIndex {
  const index = ObjectIndex.open(join(temporaryFolder(t), "index.sqlite"), STATE);
  t.after(() => index.close());
  return index;
}

test("a row is found as it is now, however often it was found before", (t) => {
  const index = openIndex(t);
  const row = rowOf("1");
  const { name } = row;
  assert.equal(index.find(name), undefined);
  index.add(row);
  assert.deepEqual(index.find(name), row);
  index.resize(name, 200);
  assert.equal(index.find(name)?.bytes, 200);
  index.retain(name, LATER);
  assert.deepEqual(index.find(name)?.retainUntil, LATER);
  index.heal(name, 200);
  assert.deepEqual(index.find(name), { ...row, bytes: 200 });
  index.remove(name);
  assert.equal(index.find(name), undefined);
});

test("what a fill does not find is not found after it", async (t) => {
  const index = openIndex(t);
  const [stays, goes] = [rowOf("1"), rowOf("2")];
  for (const row of [stays, goes]) {
    index.add(row);
    assert.ok(index.find(row.name));
  }
  async function* names(): AsyncIterable<string> {
    yield stays.name;
  }
  assert.deepEqual(await index.fill(names(), async () => undefined), { added: 0, gone: 1 });
  assert.deepEqual(index.find(stays.name), stays);
  assert.equal(index.find(goes.name), undefined);
});

test("of more rows than are kept at hand each is found", (t) => {
  const index = openIndex(t);
  const names = Array.from({ length: 1100 }, (_, i) => {
    const row = { ...rowOf("1"), name: `manifest/${String(i).padStart(64, "0")}`, bytes: i };
    index.add(row);
    return row.name;
  });
  for (let round = 0; round < 2; round++) {
    for (const [i, name] of names.entries()) assert.equal(index.find(name)?.bytes, i);
  }
});
