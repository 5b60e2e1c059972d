import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryFolder } from "../../test/support/places.ts";
import { IDENTITY, STATE } from "../../test/support/site-daemon.ts";
import { code } from "../sites/conformance.ts";
import { Book } from "./book.ts";
import { openDirectoryStorage } from "./storage.ts";
import { ObjectStore, type VerifiedObject } from "./store.ts";

const NAME = `charter/${"ab".repeat(32)}`;
const now = (): Date => new Date("2026-01-01T00:00:00Z");

async function open(t: TestContext, folder = temporaryFolder(t)) {
  mkdirSync(folder, { recursive: true });
  const objects = join(folder, "objects");
  const storage = await openDirectoryStorage(objects, STATE, IDENTITY);
  const store = await ObjectStore.open({ folder, state: STATE, storage, now });
  return { store, folder, objects };
}

const object = (text: string, changes: Partial<VerifiedObject> = {}): VerifiedObject => ({
  name: NAME,
  kind: "charter",
  bytes: Buffer.from(text),
  shard: undefined,
  owner: "a",
  quarantine: false,
  isNamedByHash: true,
  ...changes,
});

const read = async (store: ObjectStore, name: string): Promise<string> => {
  const into = Buffer.alloc(store.find(name)?.bytes ?? 0);
  return into.subarray(0, await store.read(name, 0, into)).toString();
};

test("a copy that has gone bad is healed by the bytes that its name says", async (t) => {
  const { store, objects } = await open(t);
  assert.equal((await store.put(object("right"))).isNew, true);
  assert.equal(await read(store, NAME), "right");
  writeFileSync(join(objects, "charter", "ab", "ab".repeat(32)), "wrong");
  const outcome = await store.put(object("right"));
  assert.deepEqual(outcome, { isNew: false, quarantined: false, healed: true });
  assert.equal(await read(store, NAME), "right");
  const other = { isNamedByHash: false };
  await assert.rejects(store.put(object("other", other)), code("exists"));
  assert.equal(store.bytes, 5);
  store.close();
});

test("what is set aside stays so over a crash and without its index, until somebody takes it in", async (t) => {
  const first = await open(t);
  const outcome = await first.store.put(object("unsure", { quarantine: true }));
  assert.deepEqual([outcome.isNew, outcome.quarantined], [true, true]);
  assert.equal((await first.store.put(object("unsure", { quarantine: true }))).quarantined, true);
  first.store.book.close();
  first.store.index.abandon();
  writeFileSync(
    join(first.folder, "index.sqlite"),
    "no database at all, and long enough to be seen as none",
  );
  const { store } = await open(t, first.folder);
  assert.equal(store.find(NAME)?.bytes, 6);
  assert.ok(store.isAside(NAME));
  assert.deepEqual(store.book.aside("", 10), [{ name: NAME, owner: "a" }]);
  assert.equal((await store.put(object("unsure"))).quarantined, false);
  assert.ok(!store.isAside(NAME));
  store.close();
});

test("a file of the ledger is the newest until it is covered, and then the ledger's", async (t) => {
  const { store } = await open(t);
  const name = "ledger/1f2e3d4c.tile.0.000.p.1";
  const file = (text: string) => object(text, { name, kind: "ledger" });
  const covered = { bytes: undefined as Uint8Array | undefined };
  const put = (text: string) => store.putLedgerFile(file(text), () => covered.bytes);
  await put("squatted");
  await put("home's");
  assert.equal(await read(store, name), "home's");
  await put("squatted again");
  covered.bytes = Buffer.from("home's");
  await assert.rejects(put("another"), code("altered"));
  assert.equal(await store.mendLedgerFile(name, covered.bytes), true);
  assert.equal(await store.mendLedgerFile(name, covered.bytes), false);
  assert.equal(await read(store, name), "home's");
  assert.equal(store.bytes, "home's".length);
  store.close();
});

test("two that put one name at once both get it, and it is counted once", async (t) => {
  const { store } = await open(t);
  const outcomes = await Promise.all(Array.from({ length: 10 }, () => store.put(object("same"))));
  assert.equal(outcomes.filter(({ isNew }) => isNew).length, 1);
  assert.equal(store.bytes, 4);
  store.close();
});

test("what an agent used of its day is not forgotten by a crash, and never counted short", (t) => {
  const path = join(temporaryFolder(t), "book.sqlite");
  const allowed = { bytes: 6400, objects: 640 };
  const before = new Book(path);
  for (let i = 0; i < 30; i++) before.spend("a", "2026-01-01", 100, allowed);
  before.giveBack("a", "2026-01-01", 100);
  before.spend("a", "2026-01-01", 100, allowed);
  assert.deepEqual(before.used("a", "2026-01-01"), { bytes: 3000, objects: 30 });
  const after = new Book(path);
  const used = after.used("a", "2026-01-01");
  assert.ok(used.bytes >= 3000 && used.bytes <= 3000 + 200, `${used.bytes}`);
  for (let i = 0; i < 33; i++) after.spend("a", "2026-01-01", 100, allowed);
  assert.throws(() => after.spend("a", "2026-01-01", 101, allowed), code("refused"));
  after.spend("a", "2026-01-02", 6400, allowed);
  after.spend("b", "2026-01-01", 6400, allowed);
  after.close();
  before.close();
});

test("a promise is written down, survives, and is never shortened", (t) => {
  const path = join(temporaryFolder(t), "book.sqlite");
  const epoch = { register: "11".repeat(16), epoch: 1 };
  const first = new Book(path);
  const until = new Date("2027-01-01T00:00:00Z");
  first.promise([epoch], until);
  first.promise([epoch], new Date("2026-06-01T00:00:00Z"));
  first.close();
  const again = new Book(path);
  assert.ok((again.promisedUntil(epoch) ?? 0) >= until);
  assert.equal(again.promisedUntil({ ...epoch, epoch: 2 }), undefined);
  again.close();
});
