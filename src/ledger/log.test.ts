import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import fc from "fast-check";
import { temporaryFolder } from "../../test/support/places.ts";
import { toHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { isExclaveError } from "../errors.ts";
import { verifyCheckpoint } from "./checkpoint.ts";
import { decodeLedgerEntry, ENTRY_KINDS, encodeLedgerEntry, type LedgerEntry } from "./entry.ts";
import { Log } from "./log.ts";
import { logKeyFromSeed, verifierKeysOf } from "./log-key.ts";
import { leafHash, treeRoot, verifyConsistency } from "./merkle.ts";
import { formatVerifierKey } from "./note.ts";
import { parsePolicy } from "./policy.ts";
import { verifyProof } from "./proof.ts";
import { decodeEntryBundle, parseTilePath, tileNodes, tilePath } from "./tiles.ts";

const ORIGIN = "exclave.example/belize/1";
const key = logKeyFromSeed(new Uint8Array(32).fill(7), ORIGIN);
const policy = parsePolicy(
  utf8(
    `${verifierKeysOf(key)
      .map((one) => `log ${formatVerifierKey(one)}\n`)
      .join("")}quorum none\n`,
  ),
);
const NOW = new Date("2026-06-10T12:00:00Z");

const entryOf = (i: number): LedgerEntry => ({
  kind: ENTRY_KINDS[i % ENTRY_KINDS.length]!,
  envelope: toHex(sha256(utf8(`envelope ${i}`))),
});
const entries = (from: number, to: number): LedgerEntry[] =>
  Array.from({ length: to - from }, (_, i) => entryOf(from + i));

test("entries appended in any batches give one tree, whose every entry is proven offline", (t) => {
  const folder = temporaryFolder(t);
  let run = 0;
  fc.assert(
    fc.property(fc.array(fc.nat(90), { minLength: 1, maxLength: 6 }), (batches) => {
      const log = Log.open(join(folder, `log-${run++}`), key);
      try {
        let size = 0;
        for (const count of batches) {
          const positions = log.append(entries(size, size + count));
          assert.deepEqual(
            [...positions],
            Array.from({ length: count }, (_, i) => size + i),
          );
          size += count;
        }
        assert.equal(log.size, size);
        const level: Uint8Array[] = entries(0, size).map((one) => leafHash(encodeLedgerEntry(one)));
        // An independent tree: leaves alone, from which the reader makes what is above by itself.
        const naive = (height: number, index: number): Uint8Array =>
          height === 0
            ? level[index]!
            : sha256(
                Uint8Array.of(1),
                naive(height - 1, 2 * index),
                naive(height - 1, 2 * index + 1),
              );
        assert.deepEqual(log.head().root, treeRoot(size, naive));
        const checkpoint = log.sign(NOW);
        for (let i = 0; i < size; i += 1 + Math.floor(size / 7)) {
          const proven = verifyProof(
            log.prove(i, checkpoint),
            encodeLedgerEntry(entryOf(i)),
            policy,
          );
          assert.deepEqual([proven.index, proven.size, proven.origin], [i, size, ORIGIN]);
          assert.deepEqual(log.entry(i), entryOf(i));
          assert.equal(log.find(entryOf(i)), i);
        }
        assert.equal(log.find(entryOf(size)), undefined);
      } finally {
        log.close();
      }
    }),
    { numRuns: process.env.SLOW ? 200 : 25 },
  );
});

test("an entry that is there already is not appended again", (t) => {
  const log = Log.open(join(temporaryFolder(t), "log"), key);
  t.after(() => log.close());
  assert.deepEqual(log.append([entryOf(0), entryOf(1), entryOf(0)]), [0, 1, 0]);
  assert.deepEqual(log.append([entryOf(1), entryOf(2)]), [1, 2]);
  assert.equal(log.size, 3);
});

test("a size is signed once: the same checkpoint is given again, also by another process", (t) => {
  const path = join(temporaryFolder(t), "log");
  const log = Log.open(path, key);
  t.after(() => log.close());
  log.append(entries(0, 10));
  const first = log.sign(NOW);
  assert.deepEqual(log.sign(new Date(NOW.getTime() + 60_000)), first);
  const other = Log.open(path, key);
  t.after(() => other.close());
  assert.deepEqual(other.sign(new Date(0)), first);
  assert.deepEqual(other.latest(), { size: 10, checkpoint: first });
  other.append(entries(10, 11));
  const second = log.sign(NOW);
  const [a, b] = [first, second].map((note) => verifyCheckpoint(note, verifierKeysOf(key)).head);
  assert.ok(verifyConsistency(a!.size, a!.root, b!.size, b!.root, log.consistency(10, 11)));
});

test("another's head is told as the same, behind, ahead or a fork", (t) => {
  const folder = temporaryFolder(t);
  const [log, other] = ["a", "b"].map((name) => Log.open(join(folder, name), key));
  t.after(() => {
    for (const one of [log, other]) one!.close();
  });
  log!.append(entries(0, 20));
  other!.append(entries(0, 20));
  assert.equal(log!.relation(other!.head()), "same");
  assert.equal(log!.relation(other!.head(13)), "behind");
  assert.equal(log!.relation(other!.head(0)), "behind");
  other!.append(entries(30, 31));
  assert.equal(log!.relation(other!.head()), "ahead");
  log!.append(entries(20, 25));
  assert.equal(log!.relation(other!.head()), "fork");
  assert.equal(log!.relation(other!.head(20)), "behind");
});

test("a ledger that lost or changed what it signed is not opened", (t) => {
  const path = join(temporaryFolder(t), "log");
  const log = Log.open(path, key);
  log.append(entries(0, 300));
  log.sign(NOW);
  log.close();
  const refused = (sql: string, undo: string): void => {
    const db = new DatabaseSync(path);
    db.exec(sql);
    assert.throws(
      () => Log.open(path, key),
      (error) => isExclaveError(error, "altered"),
      sql,
    );
    db.exec(undo);
    db.close();
  };
  refused(
    "CREATE TABLE kept AS SELECT * FROM entries WHERE position = 299; DELETE FROM entries WHERE position = 299",
    "INSERT INTO entries SELECT * FROM kept; DROP TABLE kept",
  );
  refused(
    "CREATE TABLE kept AS SELECT * FROM nodes WHERE level = 8; UPDATE nodes SET hash = zeroblob(32) WHERE level = 8",
    "UPDATE nodes SET hash = (SELECT hash FROM kept) WHERE level = 8; DROP TABLE kept",
  );
  assert.throws(
    () => Log.open(path, logKeyFromSeed(new Uint8Array(32).fill(8), ORIGIN)),
    (error) => isExclaveError(error),
    "another key's ledger",
  );
  Log.open(path, key).close();
});

test("the published files alone give every entry and the root, and grow as the ledger grows", (t) => {
  const log = Log.open(join(temporaryFolder(t), "log"), key);
  t.after(() => log.close());
  const published = new Map<string, Uint8Array>();
  let size = 0;
  for (const to of [1, 255, 256, 257, 700]) {
    log.append(entries(size, to));
    for (const { path, bytes } of log.files(size, to)) {
      assert.ok(!published.has(path), `${path} is published once`);
      published.set(path, bytes);
    }
    size = to;
    const node = tileNodes(size, (tile) => published.get(tilePath(tile))!);
    assert.deepEqual(treeRoot(size, node), log.head().root);
  }
  const found = [...published]
    .filter(([path]) => path.startsWith("tile/entries/"))
    .flatMap(([path, bytes]) => {
      const { index, width } = parseTilePath(path);
      return decodeEntryBundle(bytes, width).map((entry, i) => [index * 256 + i, entry] as const);
    });
  const byPosition = new Map(found);
  assert.equal(byPosition.size, size);
  for (const [position, bytes] of byPosition) {
    assert.deepEqual(decodeLedgerEntry(bytes), entryOf(position));
  }
});

test("killed at any moment while it appends and signs, the ledger opens and goes on", async (t) => {
  const path = join(temporaryFolder(t), "log");
  const script = `
    import { Log } from ${JSON.stringify(new URL("./log.ts", import.meta.url).href)};
    import { logKeyFromSeed } from ${JSON.stringify(new URL("./log-key.ts", import.meta.url).href)};
    const key = logKeyFromSeed(new Uint8Array(32).fill(7), ${JSON.stringify(ORIGIN)});
    const log = Log.open(${JSON.stringify(path)}, key);
    for (let i = log.size; ; i += 3) {
      const envelopes = [i, i + 1, i + 2].map((one) => String(one).padStart(64, "0"));
      log.append(envelopes.map((envelope) => ({ kind: "statement", envelope })));
      log.sign(new Date());
      process.stdout.write(log.size + "\\n");
    }`;
  let told = 0;
  for (let run = 0; run < (process.env.SLOW ? 40 : 5); run++) {
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    let output = "";
    child.stdout.on("data", (data: Buffer) => {
      output += data.toString();
      if (output.length > 20 + run * 37) child.kill("SIGKILL");
    });
    await once(child, "close");
    const sizes = output.split("\n").slice(0, -1).map(Number);
    told = Math.max(told, ...sizes);
    const log = Log.open(path, key);
    assert.ok(log.size >= told, `${told} entries were told and ${log.size} are there`);
    assert.ok((log.latest()?.size ?? 0) >= told);
    for (let i = 0; i < log.size; i++) {
      assert.equal(log.entry(i).envelope, String(i).padStart(64, "0"));
    }
    log.close();
  }
  assert.ok(told > 0);
});

test("entries of unknown kinds and other forms are refused", () => {
  const good = Buffer.from(encodeLedgerEntry(entryOf(1))).toString();
  const bad = [
    "",
    good.slice(0, -1),
    `${good}\n`,
    good.toUpperCase(),
    good.replace("decision", "law"),
    good.replace("v1", "v2"),
    "x".repeat(200),
  ];
  for (const text of bad) {
    assert.throws(
      () => decodeLedgerEntry(utf8(text)),
      (error) => isExclaveError(error, "malformed"),
      text,
    );
  }
});
