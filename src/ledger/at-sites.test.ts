import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { witnessKeys } from "../../test/support/ledger.ts";
import { temporaryFolder } from "../../test/support/places.ts";
import { toHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { isExclaveError } from "../errors.ts";
import { createDirectorySite, openDirectorySite } from "../sites/directory.ts";
import { parseObjectName, type Site } from "../sites/site.ts";
import {
  checkpointName,
  fetchFrom,
  fileName,
  newestAt,
  publishTo,
  relationOf,
  type SignedHead,
} from "./at-sites.ts";
import { verifyCheckpoint } from "./checkpoint.ts";
import { cosign } from "./cosignature.ts";
import type { LedgerEntry } from "./entry.ts";
import { Log } from "./log.ts";
import { logKeyFromSeed, verifierKeysOf } from "./log-key.ts";
import { formatSignatureLine } from "./note.ts";
import { verifiedEntries } from "./verify.ts";

const ORIGIN = "exclave.example/belize/1";
const key = logKeyFromSeed(new Uint8Array(32).fill(7), ORIGIN);
const keys = verifierKeysOf(key);
const entryOf = (i: number): LedgerEntry => ({
  kind: "statement",
  envelope: toHex(sha256(utf8(`envelope ${i}`))),
});
const entries = (from: number, to: number): LedgerEntry[] =>
  Array.from({ length: to - from }, (_, i) => entryOf(from + i));

async function siteIn(folder: string, name: string): Promise<Site> {
  await createDirectorySite(join(folder, name), utf8(name));
  const identity = { name, country: "BB", operator: name, hazardZone: name };
  return openDirectorySite(join(folder, name), identity);
}

function logIn(t: TestContext, folder: string, name = "log"): Log {
  const log = Log.open(join(folder, name), verifierKeysOf(key), key);
  t.after(() => log.close());
  return log;
}

/** Appends up to that size, and signs. */
function signed(log: Log, size: number): SignedHead {
  log.append(entries(log.size, size));
  const checkpoint = log.sign(new Date());
  return { head: verifyCheckpoint(checkpoint, keys).head, checkpoint };
}

const brings = async (site: Site, log: Log, to: SignedHead): Promise<void> =>
  publishTo(site, log, to, await newestAt(site, keys));

/** A site that takes so many objects and then fails. */
function stoppingAfter(site: Site, puts: number): Site {
  let taken = 0;
  return {
    identity: site.identity,
    read: (name, offset, into) => site.read(name, offset, into),
    stat: (name) => site.stat(name),
    list: (kind) => site.list(kind),
    put: async (name, parts) => {
      if (taken++ >= puts) throw new Error("stopped");
      await site.put(name, parts);
    },
  };
}

async function positions(site: Site, { head }: SignedHead): Promise<number> {
  let count = 0;
  for await (const [position, entry] of verifiedEntries(head, fetchFrom([site], ORIGIN))) {
    assert.deepEqual(entry, entryOf(position));
    assert.equal(position, count++);
  }
  return count;
}

test("a site is brought from checkpoint to checkpoint, and what it holds is the whole ledger", async (t) => {
  const folder = temporaryFolder(t);
  const [site, log] = [await siteIn(folder, "bb"), logIn(t, folder)];
  assert.equal(await newestAt(site, keys), undefined);
  for (const size of [0, 1, 200, 256, 300, 700]) {
    const head = signed(log, size);
    await brings(site, log, head);
    assert.deepEqual((await newestAt(site, keys))?.head, head.head);
    assert.equal(await positions(site, head), size);
    await brings(site, log, head);
  }
  // One that has never seen it is brought up at once.
  const late = await siteIn(folder, "kn");
  await brings(late, log, signed(log, 700));
  assert.equal(await positions(late, signed(log, 700)), 700);
});

test("a site that comes late has every checkpoint, and is whole wherever it is stopped", async (t) => {
  const folder = temporaryFolder(t);
  const [site, log] = [await siteIn(folder, "bb"), logIn(t, folder)];
  const sizes = [1, 200, 256, 300, 700];
  const heads = sizes.map((size) => signed(log, size));
  const last = heads.at(-1)!;
  for (let puts = 1; ; puts++) {
    try {
      await brings(stoppingAfter(site, puts), log, last);
      break;
    } catch (error) {
      assert.match(String(error), /stopped/);
    }
    const held = await newestAt(site, keys);
    if (held) assert.equal(await positions(site, held), held.head.size);
  }
  const names: string[] = [];
  for await (const name of site.list("checkpoint")) names.push(name);
  assert.deepEqual(
    names.toSorted(),
    heads.map(({ head, checkpoint }) => checkpointName(head, checkpoint)).toSorted(),
  );
});

test("cosignatures that come after a checkpoint was published are published too", async (t) => {
  const folder = temporaryFolder(t);
  const [site, log] = [await siteIn(folder, "bb"), logIn(t, folder)];
  const before = signed(log, 5);
  await brings(site, log, before);
  const answer = cosign(witnessKeys[0]!, before.head, 2_000_000_000).map(formatSignatureLine);
  const late = log.addCosignatures(5, utf8(answer.join("")), verifierKeysOf(witnessKeys[0]!));
  await publishTo(site, log, { ...before, checkpoint: late }, before);
  assert.ok(await site.stat(checkpointName(before.head, late)));
  // Also when the next was signed in between.
  const other = await siteIn(folder, "kn");
  await publishTo(other, log, before, undefined);
  await publishTo(other, log, signed(log, 8), before);
  assert.ok(await other.stat(checkpointName(before.head, late)));
});

test("stopped anywhere, a site holds the checkpoint before, and is brought up by the next run", async (t) => {
  const folder = temporaryFolder(t);
  const [whole, log] = [await siteIn(folder, "bb"), logIn(t, folder)];
  const before = signed(log, 250);
  await brings(whole, log, before);
  const after = signed(log, 600);
  const count = [...log.files(250, 600)].length + 1;
  for (let failing = 0; failing < count; failing++) {
    const stopping = stoppingAfter(whole, failing);
    await assert.rejects(brings(stopping, log, after), /stopped/);
    assert.deepEqual((await newestAt(whole, keys))?.head, before.head);
    assert.equal(await positions(whole, before), 250);
  }
  await brings(whole, log, after);
  assert.equal(await positions(whole, after), 600);
});

test("what is named as a checkpoint and is none is passed over", async (t) => {
  const folder = temporaryFolder(t);
  const [site, log] = [await siteIn(folder, "bb"), logIn(t, folder)];
  const head = signed(log, 5);
  await brings(site, log, head);
  const squat = async (size: number, bytes: Uint8Array): Promise<void> =>
    site.put(checkpointName({ ...head.head, size }, bytes), [bytes]);
  await squat(9_007_199_254_740_991, utf8("not a note"));
  await squat(900, head.checkpoint);
  const other = logKeyFromSeed(new Uint8Array(32), ORIGIN);
  const stranger = Log.open(join(folder, "stranger"), verifierKeysOf(other), other);
  t.after(() => stranger.close());
  stranger.append(entries(0, 50));
  await squat(50, stranger.sign(new Date()));
  const [text, ...lines] = Buffer.from(head.checkpoint).toString().split("\n\n");
  const one = utf8(`${text}\n\n${lines.join("\n\n").split("\n")[0]}\n`);
  await squat(6, one);
  assert.deepEqual(await newestAt(site, keys), head);
});

test("heads that cannot be one ledger are named, and nothing is signed over a site that is ahead", async (t) => {
  const folder = temporaryFolder(t);
  const [ours, theirs] = [logIn(t, folder, "ours"), logIn(t, folder, "theirs")];
  const held = (log: Log, size: number) => ({ site: "bb", signed: signed(log, size) });
  signed(ours, 10);
  assert.equal(relationOf(ours, [held(theirs, 4)]), "behind");
  assert.equal(relationOf(ours, [held(theirs, 10)]), "same");
  assert.equal(relationOf(ours, [held(theirs, 10), { site: "kn", signed: undefined }]), "behind");
  theirs.append([entryOf(99)]);
  assert.equal(relationOf(ours, [held(theirs, 11)]), "ahead");
  signed(ours, 12);
  assert.throws(
    () => relationOf(ours, [held(theirs, 11)]),
    (error) =>
      isExclaveError(error, "altered") &&
      /bb holds 11 entries with root [0-9a-f]{64}, and home 11 entries with root/.test(
        error.message,
      ),
  );
});

test("a damaged file of one site is found out, and had from another", async (t) => {
  const folder = temporaryFolder(t);
  const sites = [await siteIn(folder, "bb"), await siteIn(folder, "kn")];
  const log = logIn(t, folder);
  const head = signed(log, 300);
  for (const site of sites) await brings(site, log, head);
  const ledger = join(folder, "bb", "ledger");
  const [fan] = readdirSync(ledger);
  const file = join(ledger, fan!, fileName(ORIGIN, "tile/entries/000").slice("ledger/".length));
  const bytes = readFileSync(file);
  bytes[70] = (bytes[70] ?? 0) ^ 1;
  writeFileSync(file, bytes);
  await assert.rejects(positions(sites[0]!, head), (error) => isExclaveError(error));
  assert.equal(await positions(sites[1]!, head), 300);
  truncateSync(file, 0);
  await assert.rejects(positions(sites[0]!, head), (error) => isExclaveError(error));
  rmSync(file);
  let count = 0;
  for await (const _ of verifiedEntries(head.head, fetchFrom(sites, ORIGIN))) count++;
  assert.equal(count, 300);
});

test("every name is one that a site takes", (t) => {
  const log = logIn(t, temporaryFolder(t));
  log.append(entries(0, 300));
  for (const { path } of log.files(0, 300))
    assert.ok(parseObjectName(fileName(ORIGIN, path)), path);
  assert.ok(parseObjectName(fileName(ORIGIN, "tile/entries/x999/x999/x999/x999/x999/999.p/255")));
  const head = { ...log.head(), size: Number.MAX_SAFE_INTEGER };
  assert.ok(parseObjectName(checkpointName(head, new Uint8Array())));
});
