/** Reading through workers from remote sites of which one is slow, or hangs. */
import assert from "node:assert/strict";
import type { IncomingMessage } from "node:http";
import { type TestContext, test } from "node:test";
import { startReadPool } from "../src/registers/epoch-reader.ts";
import { FETCH_REASONS, FETCH_UNAVAILABLE } from "../src/registers/read-messages.ts";
import { defaultWorkers } from "../src/registers/seal-session.ts";
import { breaking } from "../src/sites/circuit.ts";
import { code, objectName } from "../src/sites/conformance.ts";
import { faulty } from "../src/sites/fault.ts";
import type { Site } from "../src/sites/site.ts";
import type { ShardProblem } from "../src/vault/gather.ts";
import { MANIFEST_ROW_BYTES, writeManifestRow } from "../src/vault/manifest.ts";
import type { SitePlace } from "../src/vault/open-sites.ts";
import { QuorumWriter } from "../src/vault/quorum-writer.ts";
import { shardName } from "../src/vault/shard.ts";
import { emptyDirectory, remotePair } from "./support/remote-site.ts";
import type { Incoming } from "./support/site-server.ts";
import { Arena, noise, type Shards } from "./support/vault.ts";

const [K, N] = [2, 4];
const PACKS = 6;
const arena = new Arena(5 * 1024 * 1024);

/** Packs at four remote sites, of which the first does with its reads what it is told. */
async function remotePacks(t: TestContext, before: (incoming: Incoming) => boolean) {
  const packs = Array.from({ length: PACKS }, (_, i) => arena.disperse(noise(3_000_000, i), K, N));
  const pairs = await Promise.all(
    Array.from({ length: N }, (_, i) =>
      remotePair(t, {
        before: (incoming) => i === 0 && incoming.line.startsWith("GET") && before(incoming),
      }),
    ),
  );
  for (const { ref, shards } of packs) {
    for (const [i, shard] of shards.entries())
      await pairs[i]!.bare.put(shardName(ref.id, i), [shard]);
  }
  const places: SitePlace[] = pairs.map(({ site }, i) => ({ name: `s${i}`, site }));
  return { packs, places, servers: pairs.map(({ server }) => server) };
}

/** What was asked for, and how it is announced. */
function rangeOf({ headers }: IncomingMessage) {
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "") ?? [];
  const range = { "content-range": `bytes ${from}-${to}/99999999` };
  return { headers: range, length: Number(to) - Number(from) + 1 };
}

/** Has every pack's last shard made anew from others. */
async function rebuildLast(
  t: TestContext,
  packs: readonly Shards[],
  places: readonly SitePlace[],
): Promise<readonly ShardProblem[]> {
  const problems: ShardProblem[] = [];
  const pool = startReadPool({
    workers: Math.min(2, defaultWorkers()),
    places,
    shapes: [{ k: K, n: N }],
    numericOwner: true,
    onProblem: (problem) => problems.push(problem),
  });
  t.after(() => pool.close());
  for (const { ref, shards } of packs) {
    const row = Buffer.alloc(MANIFEST_ROW_BYTES);
    writeManifestRow(row, 0, ref);
    const { done } = await pool.submit({ type: "rebuild", row, indices: [N - 1] });
    const result = await done;
    assert.ok(result.type === "rebuilt");
    assert.ok(Buffer.concat(result.shards[0]!.parts).equals(shards[N - 1]!));
  }
  return problems;
}

test("a site that hangs in the middle of reading is left for others, and its shards are not called bad", async (t) => {
  let reads = 0;
  const { packs, places, servers } = await remotePacks(t, ({ request, response, count }) => {
    reads = count;
    // After the first answers it says how long one will be, and begins it.
    if (count <= 4) return false;
    response.writeHead(206, rangeOf(request).headers).write("half");
    return true;
  });
  assert.deepEqual(await rebuildLast(t, packs, places), []);
  assert.ok(reads > 4, "it did hang");
  const asked = servers.map(({ lines }) => lines.filter((line) => line.startsWith("GET /v1/s")));
  assert.ok(asked[0]!.length < asked[1]!.length);
});

test("a site that hangs from the first byte on, and is asked first, stops nothing", async (t) => {
  const { packs, places } = await remotePacks(t, () => true);
  assert.deepEqual(await rebuildLast(t, packs, places), []);
});

test("a site that hangs while it is written to is late, and what it was sent is free again", async (t) => {
  const pairs = await Promise.all(
    [0, 1, 2].map((i) =>
      remotePair(t, { before: ({ line }) => i === 2 && line.startsWith("PUT") }),
    ),
  );
  const places = pairs.map(({ site }, i) => ({ name: `s${i}`, site }));
  const writer = new QuorumWriter(places, 2, { graceMsMin: 1, graceFactor: 0 });
  const buffer = new Uint8Array(new SharedArrayBuffer(6_000_000));
  const names = ["a", "b", "c"].map((seed) => objectName("shard", seed));
  for (const [i, name] of names.entries()) {
    buffer.fill(i + 1);
    // The same memory is filled anew as soon as it is free.
    assert.deepEqual(await writer.putEach(() => ({ name, parts: [buffer] })), [2]);
  }
  assert.deepEqual(
    [...writer.failedSites],
    [["s2", "late: site kn was not waited for any longer"]],
  );
  for (const { bare } of pairs.slice(0, 2)) {
    for (const [i, name] of names.entries()) {
      const into = new Uint8Array(buffer.length);
      assert.equal(await bare.read(name, 0, into), into.length);
      assert.ok(into.every((byte) => byte === i + 1));
    }
  }
  assert.equal(await pairs[2]!.bare.stat(names[0]!), undefined);
});

test("a site that lies is found out, named, and put last", async (t) => {
  const { packs, places, servers } = await remotePacks(t, ({ request, response }) => {
    const { headers, length } = rangeOf(request);
    response.writeHead(206, headers).end(Buffer.alloc(length, 1));
    return true;
  });
  const problems = await rebuildLast(t, packs, places);
  assert.ok(problems.length > 0 && problems.every(({ index }) => index === 0));
  const lies = servers[0]!.lines.filter((line) => line.startsWith("GET /v1/s")).length;
  assert.ok(lies <= 2, `${lies}: one a worker`);
});

/** A site that failed once, is there again, and is left alone for an hour. */
async function leftAlone(bare: Site): Promise<Site> {
  let isDown = true;
  const site = breaking(
    faulty(bare, () => (isDown ? { kind: "fail-before" } : undefined)),
    { failuresMax: 1, pauseMs: 3_600_000 },
  );
  await assert.rejects(site.stat(objectName("shard", "any")), code("site-unavailable"));
  isDown = false;
  return site;
}

test("a site that is left alone is asked when too many others have failed", async (t) => {
  const pack = arena.disperse(noise(3_000_000, 1), K, N);
  const bare = await Promise.all(Array.from({ length: N }, () => emptyDirectory(t)));
  for (const [i, shard] of pack.shards.entries()) {
    // The second site has lost its own.
    if (i !== 1) await bare[i]!.put(shardName(pack.ref.id, i), [shard]);
  }
  const sites = [await leftAlone(bare[0]!), ...bare.slice(1)];
  const problems = await rebuildLast(
    t,
    [pack],
    sites.map((site, i) => ({ name: `s${i}`, site })),
  );
  assert.ok(
    problems.every(({ index }) => index === 1),
    "nothing is wrong with the first site's shard",
  );
});

test("who checks a site that is left alone is told that it does not answer", async (t) => {
  const { ref, shards } = arena.disperse(noise(100_000, 1), K, N);
  const bare = await emptyDirectory(t);
  await bare.put(shardName(ref.id, 0), [shards[0]!]);
  const pool = startReadPool({
    workers: 1,
    places: [{ name: "s0", site: await leftAlone(bare) }],
    shapes: [{ k: K, n: N }],
    strict: true,
    numericOwner: true,
    onProblem: () => undefined,
  });
  t.after(() => pool.close());
  const { done } = await pool.submit({ type: "verify", shards: [{ id: ref.id, index: 0 }] });
  const result = await done;
  assert.ok(result.type === "verified");
  assert.equal(result.shards[0]?.problem, FETCH_REASONS[FETCH_UNAVAILABLE]);
});
