import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { witnessKeys } from "../../test/support/ledger.ts";
import { temporaryFolder } from "../../test/support/places.ts";
import { toHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { type ErrorCode, ExclaveError, isExclaveError } from "../errors.ts";
import { verifyCheckpoint } from "./checkpoint.ts";
import { cosign } from "./cosignature.ts";
import type { Witnesses } from "./cosigned-time.ts";
import { decodeLedgerEntry, ENTRY_KINDS, encodeLedgerEntry, type LedgerEntry } from "./entry.ts";
import { Log } from "./log.ts";
import { logKeyFromSeed, verifierKeysOf } from "./log-key.ts";
import { leafHash, treeRoot, verifyConsistency } from "./merkle.ts";
import {
  formatNote,
  formatSignatureLine,
  formatVerifierKey,
  parseNote,
  type VerifierKey,
} from "./note.ts";
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
      const log = Log.open(join(folder, `log-${run++}`), verifierKeysOf(key), key);
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
  const log = Log.open(join(temporaryFolder(t), "log"), verifierKeysOf(key), key);
  t.after(() => log.close());
  assert.deepEqual(log.append([entryOf(0), entryOf(1), entryOf(0)]), [0, 1, 0]);
  assert.deepEqual(log.append([entryOf(1), entryOf(2)]), [1, 2]);
  assert.equal(log.size, 3);
});

test("a size is signed once: the same checkpoint is given again, also by another process", (t) => {
  const path = join(temporaryFolder(t), "log");
  const log = Log.open(path, verifierKeysOf(key), key);
  t.after(() => log.close());
  log.append(entries(0, 10));
  const first = log.sign(NOW);
  assert.deepEqual(log.sign(new Date(NOW.getTime() + 60_000)), first);
  const other = Log.open(path, verifierKeysOf(key), key);
  t.after(() => other.close());
  assert.deepEqual(other.sign(new Date(0)), first);
  assert.deepEqual(other.latest(), { size: 10, checkpoint: first });
  other.append(entries(10, 11));
  const second = log.sign(NOW);
  const [a, b] = [first, second].map((note) => verifyCheckpoint(note, verifierKeysOf(key)).head);
  assert.ok(verifyConsistency(a!.size, a!.root, b!.size, b!.root, log.consistency(10, 11)));
});

test("without its key a ledger is read and appended to, and never signed; another's key is refused", (t) => {
  const path = join(temporaryFolder(t), "log");
  const log = Log.open(path, verifierKeysOf(key));
  t.after(() => log.close());
  log.append(entries(0, 3));
  assert.equal(log.head().origin, ORIGIN);
  assert.throws(
    () => log.sign(NOW),
    (error) => isExclaveError(error, "usage"),
  );
  assert.equal(log.latest(), undefined);
  const signing = Log.open(path, verifierKeysOf(key), key);
  t.after(() => signing.close());
  const checkpoint = signing.sign(NOW);
  assert.equal(
    verifyProof(log.prove(1, checkpoint), encodeLedgerEntry(entryOf(1)), policy).size,
    3,
  );
  const seed = new Uint8Array(32).fill(7);
  for (const other of [
    logKeyFromSeed(new Uint8Array(32).fill(8), ORIGIN),
    logKeyFromSeed(seed, `${ORIGIN}0`),
    { ...key, mlDsa44: logKeyFromSeed(new Uint8Array(32).fill(8), ORIGIN).mlDsa44 },
  ]) {
    assert.throws(
      () => Log.open(path, verifierKeysOf(key), other),
      (error) => isExclaveError(error, "bad-key"),
    );
  }
});

test("a clock that is set back moves no checkpoint before the one before it", (t) => {
  const log = Log.open(join(temporaryFolder(t), "log"), verifierKeysOf(key), key);
  t.after(() => log.close());
  const seconds = (milliseconds: number): number => {
    log.append(entries(log.size, log.size + 1));
    const note = log.sign(new Date(NOW.getTime() + milliseconds));
    return verifyCheckpoint(note, verifierKeysOf(key)).seconds - NOW.getTime() / 1000;
  };
  assert.deepEqual([0, -86_400_000, 5999, -1, 7000].map(seconds), [0, 0, 5, 5, 7]);
});

test("entries of some kinds are given in their order, each once", (t) => {
  const log = Log.open(join(temporaryFolder(t), "log"), verifierKeysOf(key), key);
  t.after(() => log.close());
  const all = entries(0, 120);
  log.append(all);
  const placed = all.map((one, position) => ({ position, ...one }));
  for (const kinds of [[], ["veto"], ["check", "charter", "check"], ENTRY_KINDS] as const) {
    const of: readonly string[] = kinds;
    assert.deepEqual(
      [...log.entriesOf(kinds)],
      placed.filter(({ kind }) => of.includes(kind)),
    );
  }
});

const WITNESSES: Witnesses = {
  witnesses: witnessKeys.map((one) => ({ name: one.name, keys: verifierKeysOf(one) })),
  quorum: 2,
};
const AT = NOW.getTime() / 1000;

/** A witness cosigns the checkpoint of that size, so many seconds after the first was signed. */
function cosigned(log: Log, size: number, witness: number, seconds: number): Uint8Array {
  const by = witnessKeys[witness]!;
  const lines = cosign(by, log.head(size), AT + seconds).map(formatSignatureLine);
  return log.addCosignatures(size, utf8(lines.join("")), verifierKeysOf(by));
}

test("an entry counts from when the quorum had cosigned the first checkpoint that covers it", (t) => {
  const log = Log.open(join(temporaryFolder(t), "log"), verifierKeysOf(key), key);
  t.after(() => log.close());
  const covered = (position: number, quorum: number): number | undefined => {
    const at = log.coveredAt(position, { ...WITNESSES, quorum });
    return at && at.getTime() / 1000 - AT;
  };
  const sign = (size: number, seconds: number): void => {
    log.append(entries(log.size, size));
    log.sign(new Date(NOW.getTime() + seconds * 1000));
  };
  log.append(entries(0, 5));
  assert.equal(covered(0, 0), undefined);
  sign(5, 0);
  sign(8, 100);
  sign(9, 200);
  assert.deepEqual(
    [0, 4, 5, 7, 8, 9].map((position) => covered(position, 0)),
    [0, 0, 100, 100, 200, undefined],
  );
  // One witness of two at 5; two at 8, of which one's clock is behind the log's; at 9 three.
  cosigned(log, 5, 0, 10);
  cosigned(log, 8, 0, 50);
  assert.equal(covered(0, 2), undefined);
  assert.equal(covered(0, 1), 10);
  cosigned(log, 8, 2, 130);
  for (const [witness, seconds] of [230, 250, 210].entries()) cosigned(log, 9, witness, seconds);
  assert.deepEqual(
    [0, 5, 8].map((position) => covered(position, 2)),
    [130, 130, 230],
  );
  assert.deepEqual(
    [1, 2, 3].map((quorum) => covered(8, quorum)),
    [210, 230, 250],
  );
  assert.equal(covered(5, 1), 100, "not before the log's own time, minutes later");
  assert.equal(covered(0, 3), 250);
  assert.throws(
    () => covered(0, -1),
    (error) => isExclaveError(error, "bug"),
  );
});

test("a witness's later answer moves no time, and another's takes no cosignature away", (t) => {
  const path = join(temporaryFolder(t), "log");
  const log = Log.open(path, verifierKeysOf(key), key);
  log.append(entries(0, 5));
  log.sign(NOW);
  cosigned(log, 5, 0, 10);
  cosigned(log, 5, 1, 20);
  const again = cosigned(log, 5, 0, 500);
  assert.deepEqual(log.checkpoint(5), again);
  assert.equal(log.coveredAt(4, WITNESSES)?.getTime(), NOW.getTime() + 20_000);
  cosigned(log, 5, 0, 5);
  assert.equal(log.coveredAt(4, { ...WITNESSES, quorum: 1 })?.getTime(), NOW.getTime() + 5000);
  assert.throws(
    () => cosigned(log, 4, 0, 5),
    (error) => isExclaveError(error, "not-found"),
  );
  assert.throws(
    () => log.addCosignatures(5, utf8("nothing"), verifierKeysOf(witnessKeys[0]!)),
    (error) => isExclaveError(error, "malformed"),
  );
  const kept = log.checkpoint(5);
  log.close();
  const reopened = Log.open(path, verifierKeysOf(key));
  t.after(() => reopened.close());
  assert.deepEqual(reopened.checkpoint(5), kept);
  assert.equal(reopened.checkpoint(4), undefined);
});

test("checkpoints between two sizes are given, both included, smallest first", (t) => {
  const log = Log.open(join(temporaryFolder(t), "log"), verifierKeysOf(key), key);
  t.after(() => log.close());
  for (const size of [2, 3, 7, 9]) {
    log.append(entries(log.size, size));
    log.sign(NOW);
  }
  const sizes = (from: number, to: number): readonly number[] =>
    [...log.checkpointsBetween(from, to)].map(({ size }) => size);
  assert.deepEqual(sizes(0, 100), [2, 3, 7, 9]);
  assert.deepEqual(sizes(3, 7), [3, 7]);
  assert.deepEqual(sizes(4, 6), []);
  const [two] = log.checkpointsBetween(2, 2);
  assert.deepEqual(two?.checkpoint, log.checkpoint(2));
});

/** A log of 300 entries with checkpoints of 100, 200 and 300, for others to adopt. */
function publishedLog(t: TestContext, folder: string): { log: Log; notes: readonly Uint8Array[] } {
  const log = Log.open(join(folder, "published"), verifierKeysOf(key), key);
  t.after(() => log.close());
  const notes = [100, 200, 300].map((size) => {
    log.append(entries(log.size, size));
    return log.sign(NOW);
  });
  return { log, notes };
}

test("a log takes over what was published, from nothing or from where it was, and goes on", async (t) => {
  const folder = temporaryFolder(t);
  const { log, notes } = publishedLog(t, folder);
  for (const [i, start, here] of [
    [0, 0, 0],
    [1, 0, 150],
    [2, 150, 150],
    [3, 120, 150],
    [4, 300, 300],
  ] as const) {
    const path = join(folder, `adopting-${i}`);
    const adopting = Log.open(path, verifierKeysOf(key));
    adopting.append(entries(0, here));
    assert.equal(await adopting.adopt(start, entries(start, 300), notes), 300 - here);
    adopting.close();
    const next = Log.open(path, verifierKeysOf(key), key);
    assert.deepEqual(next.head(), log.head());
    assert.deepEqual([...next.checkpointsBetween(0, 300)], [...log.checkpointsBetween(0, 300)]);
    assert.deepEqual(next.sign(new Date(0)), notes[2]);
    next.append(entries(300, 301));
    assert.equal(verifyCheckpoint(next.sign(NOW), next.keys).head.size, 301);
    next.close();
  }
});

test("entries beyond the newest checkpoint stay where published checkpoints are of what is before them", async (t) => {
  const folder = temporaryFolder(t);
  const { notes } = publishedLog(t, folder);
  const adopting = Log.open(join(folder, "adopting"), verifierKeysOf(key));
  t.after(() => adopting.close());
  adopting.append(entries(0, 250));
  assert.equal(await adopting.adopt(250, [], notes.slice(0, 2)), 0);
  assert.deepEqual([adopting.size, adopting.latest()?.size], [250, 200]);
});

test("what does not give the published roots is not taken over, and nothing changes", async (t) => {
  const folder = temporaryFolder(t);
  const { notes } = publishedLog(t, folder);
  const adopting = Log.open(join(folder, "adopting"), verifierKeysOf(key), key);
  t.after(() => adopting.close());
  adopting.append(entries(0, 50));
  const own = adopting.sign(NOW);
  const before = adopting.head();
  const forked = Log.open(join(folder, "forked"), verifierKeysOf(key), key);
  t.after(() => forked.close());
  forked.append([...entries(0, 60), ...entries(900, 940)]);
  const fork = forked.sign(NOW);
  async function* breakingOff(): AsyncGenerator<LedgerEntry> {
    yield* entries(50, 299);
    throw new ExclaveError("site-unavailable", "it burnt down");
  }
  const cases: [
    string,
    number,
    AsyncIterable<LedgerEntry> | LedgerEntry[],
    Uint8Array[],
    ErrorCode,
  ][] = [
    ["too few", 50, entries(50, 299), [notes[2]!], "altered"],
    ["too many", 50, entries(50, 301), [notes[2]!], "altered"],
    ["another last", 50, [...entries(50, 299), entryOf(500)], [notes[2]!], "altered"],
    ["one twice", 50, [...entries(50, 299), entryOf(60)], [notes[2]!], "altered"],
    ["another here", 49, [entryOf(500), ...entries(50, 300)], [notes[2]!], "altered"],
    ["a fork among smaller ones", 50, entries(50, 300), [fork, notes[2]!], "altered"],
    ["half a signature", 50, entries(50, 300), [notes[2]!.slice(0, -4000)], "malformed"],
    ["it breaks off", 50, breakingOff(), [notes[2]!], "site-unavailable"],
    ["a gap", 51, entries(51, 300), [notes[2]!], "bug"],
    ["no checkpoint", 50, entries(50, 300), [], "bug"],
  ];
  for (const [what, start, given, checkpoints, code] of cases) {
    await assert.rejects(
      adopting.adopt(start, given, checkpoints),
      (error) => isExclaveError(error, code),
      what,
    );
    assert.deepEqual(adopting.head(), before, what);
    assert.deepEqual(
      [...adopting.checkpointsBetween(0, 1000)],
      [{ size: 50, checkpoint: own }],
      what,
    );
  }
  const stranger = logKeyFromSeed(new Uint8Array(32).fill(9), ORIGIN);
  const theirs = Log.open(join(folder, "stranger"), verifierKeysOf(stranger), stranger);
  t.after(() => theirs.close());
  theirs.append(entries(0, 300));
  await assert.rejects(adopting.adopt(50, entries(50, 300), [theirs.sign(NOW)]), (error) =>
    isExclaveError(error, "untrusted"),
  );
  assert.equal(await adopting.adopt(50, entries(50, 300), [...notes]), 250);
});

test("of an adopted checkpoint only signatures that verify are kept, and none that were here are lost", async (t) => {
  const folder = temporaryFolder(t);
  const { log, notes } = publishedLog(t, folder);
  const adopting = Log.open(join(folder, "adopting"), verifierKeysOf(key));
  t.after(() => adopting.close());
  const keysOf = (...witnesses: number[]): VerifierKey[] =>
    witnesses.flatMap((i) => [...verifierKeysOf(witnessKeys[i]!)]);
  cosigned(log, 100, 0, 10);
  const both = parseNote(cosigned(log, 100, 1, 20));
  const bad = both.signatures.map((one) =>
    one.name === witnessKeys[0]!.name ? { ...one, signature: new Uint8Array(72) } : one,
  );
  const forged = formatNote({ text: both.text, signatures: bad });
  const names = (): string[] =>
    parseNote(adopting.checkpoint(100)!).signatures.map(({ name }) => name);
  await adopting.adopt(0, entries(0, 100), [log.checkpoint(100)!]);
  assert.deepEqual(names(), [ORIGIN, ORIGIN]);
  await adopting.adopt(100, entries(100, 300), [forged, ...notes], keysOf(0, 1));
  assert.deepEqual(names(), [ORIGIN, ORIGIN, witnessKeys[1]!.name, witnessKeys[1]!.name]);
  await adopting.adopt(300, [], [log.checkpoint(100)!], keysOf(0));
  assert.equal(adopting.coveredAt(0, WITNESSES)?.getTime(), NOW.getTime() + 20_000);
  await adopting.adopt(300, [], [notes[0]!], keysOf(0, 1, 2));
  assert.equal(names().length, 6);
});

test("another's head is told as the same, behind, ahead or a fork", (t) => {
  const folder = temporaryFolder(t);
  const [log, other] = ["a", "b"].map((name) =>
    Log.open(join(folder, name), verifierKeysOf(key), key),
  );
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
  const log = Log.open(path, verifierKeysOf(key), key);
  log.append(entries(0, 300));
  log.sign(NOW);
  log.close();
  const refused = (sql: string, undo: string): void => {
    const db = new DatabaseSync(path);
    db.exec(sql);
    assert.throws(
      () => Log.open(path, verifierKeysOf(key), key),
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
    () => Log.open(path, verifierKeysOf(logKeyFromSeed(new Uint8Array(32).fill(8), ORIGIN))),
    (error) => isExclaveError(error, "untrusted"),
    "another key's ledger",
  );
  Log.open(path, verifierKeysOf(key), key).close();
});

test("the published files alone give every entry and the root, and grow as the ledger grows", (t) => {
  const log = Log.open(join(temporaryFolder(t), "log"), verifierKeysOf(key), key);
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
    import { logKeyFromSeed, verifierKeysOf } from ${JSON.stringify(new URL("./log-key.ts", import.meta.url).href)};
    const key = logKeyFromSeed(new Uint8Array(32).fill(7), ${JSON.stringify(ORIGIN)});
    const log = Log.open(${JSON.stringify(path)}, verifierKeysOf(key), key);
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
    const log = Log.open(path, verifierKeysOf(key), key);
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
