/** Writing to several sites of which some fail, in every way that sites do. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { ExclaveError, isExclaveError } from "../src/errors.ts";
import { objectName, readText, text } from "../src/sites/conformance.ts";
import { createDirectorySite, openDirectorySite } from "../src/sites/directory.ts";
import { type Fault, faulty } from "../src/sites/fault.ts";
import type { Site } from "../src/sites/site.ts";
import type { SitePlace } from "../src/vault/open-sites.ts";
import { QuorumWriter } from "../src/vault/quorum-writer.ts";
import { temporaryFolder } from "./support/places.ts";

type Trouble = Fault | "closed" | undefined;
type Place = { readonly bare: Site; readonly place: SitePlace };

/** Sites in folders, each with its trouble at every put. */
async function placesWith(t: TestContext, troubles: readonly Trouble[]): Promise<readonly Place[]> {
  const folder = temporaryFolder(t);
  return Promise.all(
    troubles.map(async (trouble, i) => {
      const name = `s${i}`;
      await createDirectorySite(join(folder, name), text("marker"));
      const identity = { name, country: "XX", operator: name, hazardZone: name };
      const bare = await openDirectorySite(join(folder, name), identity);
      if (trouble === "closed") return { bare, place: { name, problem: "it is closed" } };
      return { bare, place: { name, site: faulty(bare, () => trouble) } };
    }),
  );
}

const name = objectName("statement", "of the quorum");
const writer = (places: readonly Place[], quorum: number): QuorumWriter =>
  new QuorumWriter(
    places.map(({ place }) => place),
    quorum,
  );

test("a write counts exactly when as many sites as the quorum confirmed it", async (t) => {
  const trouble = fc.constantFrom<Trouble>(
    undefined,
    undefined,
    "closed",
    { kind: "fail-before" },
    { kind: "fail-during" },
    { kind: "fail-after" },
  );
  const cases = fc
    .array(trouble, { minLength: 1, maxLength: 6 })
    .chain((troubles) =>
      fc.tuple(fc.constant(troubles), fc.integer({ min: 1, max: troubles.length })),
    );
  await fc.assert(
    fc.asyncProperty(cases, async ([troubles, quorum]) => {
      const places = await placesWith(t, troubles);
      const good = troubles.filter((one) => one === undefined).length;
      const write = async (): Promise<readonly number[]> =>
        writer(places, quorum).putEach(() => ({ name, parts: [text("whole")] }));
      if (good < quorum) {
        await assert.rejects(write, (error) => isExclaveError(error, "write-quorum"));
      } else {
        const missing = await write();
        assert.deepEqual(
          missing,
          troubles.flatMap((one, i) => (one === undefined ? [] : [i])),
        );
      }
      // What was confirmed is there; so is what failed after it took effect, which harms nobody.
      for (const [i, one] of troubles.entries()) {
        const { bare } = places[i]!;
        if (one === undefined && good >= quorum)
          assert.equal(await readText(bare, name, 9), "whole");
      }
    }),
    { numRuns: process.env.SLOW ? 300 : 25 },
  );
});

test("too few open sites are refused before anything is written", async (t) => {
  const places = await placesWith(t, [undefined, "closed", "closed"]);
  assert.throws(() => writer(places, 2), /1 of 3 sites can store, and 2 must .*it is closed/);
  assert.equal(await places[0]!.bare.stat(name), undefined);
});

test("a site that failed once is not asked again in the run, and is named with its reason", async (t) => {
  const calls: number[] = [];
  const [first, second, third] = await placesWith(t, [undefined, undefined, undefined]);
  const flaky = faulty(second!.bare, ({ count }) => {
    calls.push(count);
    return count === 2 ? { kind: "fail-before" } : undefined;
  });
  const places = [first!.place, { name: "s1", site: flaky }, third!.place];
  const quorum = new QuorumWriter(places, 2);
  const missing: (readonly number[])[] = [];
  for (const seed of ["a", "b", "c"]) {
    const object = { name: objectName("shard", seed), parts: [text(seed)] };
    missing.push(await quorum.putEach(() => object));
  }
  assert.deepEqual(missing, [[], [1], [1]]);
  assert.deepEqual(calls, [1, 2]);
  assert.deepEqual([...quorum.failedSites], [["s1", "a fault that a test asked for"]]);
});

test("it waits for every site to be done with the bytes, also when the quorum is reached", async (t) => {
  const release = Promise.withResolvers<void>();
  const places = await placesWith(t, [
    undefined,
    undefined,
    { kind: "hold", until: release.promise },
  ]);
  let settled = false;
  const done = writer(places, 2)
    .putEverywhere(name, text("whole"))
    .then(() => {
      settled = true;
    });
  while (!(await places[0]!.bare.stat(name)) || !(await places[1]!.bare.stat(name)));
  assert.equal(settled, false);
  release.resolve();
  await done;
  assert.equal(await readText(places[2]!.bare, name, 9), "whole");
});

/** A site that takes a put and never says that it is done, until it is aborted. */
function endless(bare: Site, puts: string[]): Site {
  return {
    identity: bare.identity,
    put: (object, _parts, { signal } = {}) =>
      new Promise((_, reject) => {
        puts.push(object);
        const abort = (): void => reject(new ExclaveError("site-unavailable", "given up"));
        if (signal?.aborted) abort();
        signal?.addEventListener("abort", abort);
      }),
    read: (object, offset, into) => bare.read(object, offset, into),
    stat: (object) => bare.stat(object),
    list: (kind) => bare.list(kind),
  };
}

test("a site that is late, long after the quorum, is given up and is owed what it lacks from then on", async (t) => {
  const [first, second, third] = await placesWith(t, [undefined, undefined, undefined]);
  const puts: string[] = [];
  const slow = { name: "s2", site: endless(third!.bare, puts) };
  const places = [first!.place, second!.place, slow];
  const quorum = new QuorumWriter(places, 2, { graceMsMin: 1, graceFactor: 0 });
  const missing: (readonly number[])[] = [];
  for (const seed of ["a", "b"]) {
    const object = { name: objectName("shard", seed), parts: [text(seed)] };
    missing.push(await quorum.putEach(() => object));
  }
  assert.deepEqual(missing, [[2], [2]]);
  assert.deepEqual([...quorum.failedSites], [["s2", "late: given up"]]);
  assert.deepEqual(puts, [objectName("shard", "a")]);
});

test("a site that is late with a write of several steps is given up in the one it is at", async (t) => {
  const [first, second] = await placesWith(t, [undefined, undefined]);
  const puts: string[] = [];
  const places = [first!.place, { name: "s1", site: endless(second!.bare, puts) }];
  const quorum = new QuorumWriter(places, 1, { graceMsMin: 1, graceFactor: 0 });
  const steps = [objectName("wrap", "a"), objectName("wrap", "b")];
  const missing = await quorum.each(async (site) => {
    for (const step of steps) await site.put(step, [text("x")]);
  });
  assert.deepEqual(missing, [1]);
  assert.deepEqual(puts, steps.slice(0, 1));
});

test("nobody is late before the quorum has confirmed", async (t) => {
  const release = Promise.withResolvers<void>();
  const hold: Fault = { kind: "hold", until: release.promise };
  const [first, second, third] = await placesWith(t, [undefined, hold, undefined]);
  const puts: string[] = [];
  const places = [first!.place, second!.place, { name: "s2", site: endless(third!.bare, puts) }];
  const quorum = new QuorumWriter(places, 2, { graceMsMin: 1, graceFactor: 0 });
  let settled = false;
  const done = quorum.putEverywhere(name, text("whole")).then(() => {
    settled = true;
  });
  while (!(await first!.bare.stat(name)));
  assert.equal(settled, false);
  release.resolve();
  await done;
  assert.deepEqual([...quorum.failedSites], [["s2", "late: given up"]]);
});

test("a site that cannot abort is waited for beyond its grace, and is not late when it is done", async (t) => {
  const release = Promise.withResolvers<void>();
  const hold: Fault = { kind: "hold", until: release.promise };
  const [first, second] = await placesWith(t, [undefined, hold]);
  const aborted = Promise.withResolvers<void>();
  const watched: Site = {
    ...(second!.place as { readonly site: Site }).site,
    put: (object, parts, options) => {
      options?.signal?.addEventListener("abort", () => aborted.resolve());
      return (second!.place as { readonly site: Site }).site.put(object, parts);
    },
  };
  const quorum = new QuorumWriter([first!.place, { name: "s1", site: watched }], 1, {
    graceMsMin: 1,
    graceFactor: 0,
  });
  const done = quorum.putEverywhere(name, text("whole"));
  await aborted.promise;
  release.resolve();
  await done;
  assert.deepEqual([...quorum.failedSites], []);
  assert.equal(await readText(second!.bare, name, 9), "whole");
});
