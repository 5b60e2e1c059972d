import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../../test/support/places.ts";
import { toHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { isExclaveError } from "../errors.ts";
import type { LedgerEntry } from "./entry.ts";
import { Log } from "./log.ts";
import { logKeyFromSeed, verifierKeysOf } from "./log-key.ts";
import type { TreeHead } from "./tree-head.ts";
import { verifiedEntries } from "./verify.ts";

const key = logKeyFromSeed(new Uint8Array(32).fill(7), "exclave.example/belize/1");
const entryOf = (i: number): LedgerEntry => ({
  kind: "statement",
  envelope: toHex(sha256(utf8(`envelope ${i}`))),
});

async function readAll(
  head: TreeHead,
  files: ReadonlyMap<string, Uint8Array>,
): Promise<readonly (readonly [number, LedgerEntry])[]> {
  const read = [];
  const fetch = async (path: string): Promise<Uint8Array> =>
    files.get(path) ?? assert.fail(`${path} is not part of the tree`);
  for await (const one of verifiedEntries(head, fetch)) read.push(one);
  return read;
}

test("a whole ledger is read from its files, at every size around the edges of tiles", async (t) => {
  const log = Log.open(join(temporaryFolder(t), "log"), verifierKeysOf(key), key);
  t.after(() => log.close());
  const files = new Map<string, Uint8Array>();
  let size = 0;
  for (const to of [0, 1, 255, 256, 257, 512, 70_000]) {
    log.append(Array.from({ length: to - size }, (_, i) => entryOf(size + i)));
    for (const { path, bytes } of log.files(size, to)) files.set(path, bytes);
    size = to;
    const read = await readAll(log.head(), files);
    assert.equal(read.length, size);
    for (const i of [0, Math.floor(size / 2), size - 1].filter((i) => i >= 0 && i < size)) {
      assert.deepEqual(read[i], [i, entryOf(i)]);
    }
  }
});

test("no entry is given of a ledger of which a byte of any file is altered, swapped or missing", async (t) => {
  const log = Log.open(join(temporaryFolder(t), "log"), verifierKeysOf(key), key);
  t.after(() => log.close());
  log.append(Array.from({ length: 600 }, (_, i) => entryOf(i)));
  const good = new Map([...log.files(0, 600)].map(({ path, bytes }) => [path, bytes]));
  const head = log.head();
  const refused = async (files: ReadonlyMap<string, Uint8Array>, what: string): Promise<void> => {
    let given = 0;
    const fetch = async (path: string): Promise<Uint8Array> => files.get(path) ?? new Uint8Array();
    await assert.rejects(
      async () => {
        for await (const _ of verifiedEntries(head, fetch)) given++;
      },
      (error) => isExclaveError(error, "altered") || isExclaveError(error, "malformed"),
      what,
    );
    assert.equal(given, 0, what);
  };
  for (const [path, bytes] of good) {
    const flipped = Uint8Array.from(bytes);
    const at = Math.floor(flipped.length / 2);
    flipped[at] = (flipped[at] ?? 0) ^ 1;
    await refused(new Map([...good, [path, flipped]]), `${path} altered`);
    await refused(new Map([...good, [path, bytes.subarray(1)]]), `${path} cut short`);
    await refused(new Map([...good].filter(([one]) => one !== path)), `${path} missing`);
  }
  const [a, b] = ["tile/entries/000", "tile/entries/001"].map((path) => good.get(path)!);
  await refused(new Map([...good, ["tile/entries/000", b!], ["tile/entries/001", a!]]), "swapped");
  const other = { ...head, root: sha256(head.root) };
  await assert.rejects(readAll(other, good), (error) => isExclaveError(error, "altered"));
});

test("a file that is another when it is read again is found out", async (t) => {
  const log = Log.open(join(temporaryFolder(t), "log"), verifierKeysOf(key), key);
  t.after(() => log.close());
  log.append([entryOf(0)]);
  const files = new Map([...log.files(0, 1)].map(({ path, bytes }) => [path, bytes]));
  const log2 = Log.open(join(temporaryFolder(t), "log"), verifierKeysOf(key), key);
  t.after(() => log2.close());
  log2.append([entryOf(1)]);
  const lies = new Map([...log2.files(0, 1)].map(({ path, bytes }) => [path, bytes]));
  const asked = new Map<string, number>();
  const fetch = async (path: string): Promise<Uint8Array> => {
    const times = (asked.get(path) ?? 0) + 1;
    asked.set(path, times);
    return (times === 1 ? files : lies).get(path)!;
  };
  await assert.rejects(
    async () => {
      for await (const _ of verifiedEntries(log.head(), fetch)) assert.fail("nothing is believed");
    },
    (error) => isExclaveError(error, "altered"),
  );
});
