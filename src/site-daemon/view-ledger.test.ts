/** A ledger of many files, followed in steps of all sizes. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { folder } from "../../test/support/attacks.ts";
import { emptyObjects, headsOf, overwrite } from "../../test/support/followed.ts";
import { logKey, otherLogKey, witnessKeys } from "../../test/support/ledger.ts";
import { toHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { checkpointName, fileName, publishTo } from "../ledger/at-sites.ts";
import { signCheckpoint } from "../ledger/checkpoint.ts";
import { cosign } from "../ledger/cosignature.ts";
import { encodeLedgerEntry, type LedgerEntry } from "../ledger/entry.ts";
import { Log } from "../ledger/log.ts";
import { verifierKeysOf } from "../ledger/log-key.ts";
import { formatSignatureLine } from "../ledger/note.ts";
import { encodeEntryBundle, parseTilePath } from "../ledger/tiles.ts";
import { FollowedLedger, type LedgerNotice, tileBytes, tileNamed } from "./view-ledger.ts";

const NO_WITNESSES = { witnesses: [], quorum: 0 };
const SIZES = [1, 2, 255, 256, 257, 511, 700, 1025] as const;

const entry = (i: number): LedgerEntry => ({
  kind: "statement",
  envelope: toHex(sha256(utf8(`statement ${i}`))),
});

/** A ledger that signed a checkpoint at each of these sizes, a minute after the one before. */
function ledgerOf(sizes: readonly number[], key = logKey): Log {
  const log = Log.open(join(folder(), "log.sqlite"), verifierKeysOf(key), key);
  for (const [minute, size] of sizes.entries()) {
    log.append(Array.from({ length: size - log.size }, (_, i) => entry(log.size + i)));
    log.sign(new Date(Date.UTC(2026, 0, 1, 0, minute)));
  }
  return log;
}

async function follower(): Promise<{
  readonly ledger: FollowedLedger;
  readonly directory: string;
  readonly objects: Awaited<ReturnType<typeof emptyObjects>>;
  readonly notices: LedgerNotice[];
}> {
  const directory = folder();
  const objects = await emptyObjects(directory);
  const notices: LedgerNotice[] = [];
  const log = Log.open(join(folder(), "log.sqlite"), verifierKeysOf(logKey));
  const ledger = new FollowedLedger(log, {
    objects,
    keep: async () => true,
    cosigners: () => witnessKeys.flatMap(verifierKeysOf),
    onNotice: (notice) => notices.push(notice),
  });
  ledger.believe(NO_WITNESSES);
  return { ledger, directory, objects, notices };
}

test("a ledger is followed from any size to any other, and each of its files is known by then", async () => {
  const log = ledgerOf(SIZES);
  const { ledger, objects, notices } = await follower();
  let held: Parameters<typeof publishTo>[3];
  for (const signed of headsOf(log)) {
    await publishTo(objects, log, signed, held);
    held = signed;
    assert.deepEqual(await ledger.follow(), { isNew: true, isDatedAnew: false });
    assert.equal(ledger.log.size, signed.head.size);
    assert.equal(ledger.countedSize(), signed.head.size);
    assert.deepEqual(await ledger.follow(), { isNew: false, isDatedAnew: false });
  }
  for (const [i, size] of [0, ...SIZES].entries()) {
    for (const { path, bytes } of log.files(size, SIZES[i] ?? log.size)) {
      const rest = path.replaceAll("/", ".");
      const tile = tileNamed(rest);
      assert.deepEqual(tile, parseTilePath(path));
      assert.ok(tile);
      assert.deepEqual(tileBytes(ledger.log, tile, ledger.log.size), bytes, path);
    }
  }
  for (const path of ["tile.0.004.p.2", "tile.1.000.p.5", "tile.2.000", "tile.entries.004.p.2"]) {
    const tile = tileNamed(path);
    assert.ok(tile);
    assert.equal(tileBytes(ledger.log, tile, ledger.log.size), undefined, path);
  }
  const once = await follower();
  await publishTo(once.objects, log, headsOf(log).at(-1) ?? assert.fail(), undefined);
  await once.ledger.follow();
  assert.deepEqual(once.ledger.log.head(), log.head());
  // Its time is that of the first checkpoint that covers it, however it came.
  for (const position of [0, 1, 2, 256, 700]) {
    const [one, other] = [once.ledger.log, ledger.log].map((copy) =>
      copy.coveredAt(position, NO_WITNESSES),
    );
    assert.deepEqual(one, other);
    assert.deepEqual(one, log.coveredAt(position, NO_WITNESSES));
  }
  assert.deepEqual([...notices, ...once.notices], []);
});

test("a file with other entries than were signed is waited for, and is no fork", async () => {
  const log = ledgerOf([3, 10]);
  const { ledger, directory, objects, notices } = await follower();
  const [first, second] = headsOf(log);
  assert.ok(first && second);
  await publishTo(objects, log, first, undefined);
  await ledger.follow();
  await publishTo(objects, log, second, first);
  const entries = Array.from({ length: 10 }, (_, i) =>
    encodeLedgerEntry(entry(i < 3 ? i : 90 + i)),
  );
  const name = fileName(log.origin, "tile/entries/000.p/10");
  overwrite(directory, name, encodeEntryBundle(entries));
  assert.equal((await ledger.follow()).isNew, false);
  assert.deepEqual(
    notices.map(({ code }) => code),
    ["waits"],
  );
  const files = new Map([...log.files(3, 10)].map(({ path, bytes }) => [path, bytes]));
  overwrite(directory, name, files.get("tile/entries/000.p/10") ?? assert.fail());
  assert.equal((await ledger.follow()).isNew, true);
  assert.deepEqual(ledger.log.head(), log.head());
});

test("a small checkpoint of another history that comes later is found too", async () => {
  const log = ledgerOf([3, 10]);
  const { ledger, directory, objects, notices } = await follower();
  await publishTo(objects, log, headsOf(log).at(-1) ?? assert.fail(), undefined);
  await ledger.follow();
  const forged = { ...log.head(3), root: sha256(utf8("another history")) };
  const checkpoint = signCheckpoint(logKey, forged, 1_767_225_600);
  overwrite(directory, checkpointName(forged, checkpoint), checkpoint);
  assert.equal((await ledger.follow()).isNew, false);
  assert.deepEqual(
    notices.map(({ code }) => code),
    ["fork"],
  );
  // One by another key is nothing.
  const strange = signCheckpoint(otherLogKey, forged, 1_767_225_600);
  overwrite(directory, checkpointName({ ...forged, size: 4 }, strange), strange);
  await ledger.follow();
  assert.equal(notices.length, 1);
});

test("a cosignature that comes late is taken in, and counts what it covers anew", async () => {
  const [witness] = witnessKeys;
  assert.ok(witness);
  const log = ledgerOf([3, 10]);
  const { ledger, directory, objects } = await follower();
  const witnesses = [{ name: "a", keys: verifierKeysOf(witness) }];
  ledger.believe({ witnesses, quorum: 1 });
  await publishTo(objects, log, headsOf(log).at(-1) ?? assert.fail(), undefined);
  await ledger.follow();
  assert.equal(ledger.countedSize(), 0);
  const cosigned = async (size: number, seconds: number) => {
    const lines = cosign(witness, log.head(size), seconds).map(formatSignatureLine).join("");
    const checkpoint = log.addCosignatures(size, utf8(lines), verifierKeysOf(witness));
    overwrite(directory, checkpointName(log.head(size), checkpoint), checkpoint);
    return ledger.follow();
  };
  assert.deepEqual(await cosigned(10, 1_767_300_000), { isNew: true, isDatedAnew: false });
  assert.equal(ledger.countedSize(), 10);
  const time = ledger.log.coveredAt(0, { witnesses, quorum: 1 });
  assert.deepEqual(time, new Date(1_767_300_000_000));
  assert.deepEqual(await cosigned(3, 1_767_200_000), { isNew: true, isDatedAnew: true });
  assert.notDeepEqual(ledger.log.coveredAt(0, { witnesses, quorum: 1 }), time);
});

test("names that are no files of a ledger are none", () => {
  const names =
    "tile tile.0 tile.0.1 tile.64.000 tile.0.x000.001 tile.0.000.p.256 tile.0.000.p.0 tile.x.000 checkpoint tile/0/000";
  for (const name of ["", "tile.0.000.p.1.p.1", ...names.split(" ")]) {
    assert.equal(tileNamed(name), undefined, name);
  }
  const tile = { level: 0, index: 1067, width: 8 };
  assert.deepEqual(tileNamed("tile.0.x001.067.p.8"), tile);
});
