import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { hostileSite, namesWithoutEnd } from "../../test/support/hostile-site.ts";
import { emptyDirectory } from "../../test/support/remote-site.ts";
import { ExclaveError } from "../errors.ts";
import { breaking, isLeftAlone } from "./circuit.ts";
import { code, listed, objectName, readText, testSite, text } from "./conformance.ts";
import { type Fault, faulty } from "./fault.ts";
import type { Site } from "./site.ts";

const name = objectName("shard", "circuit");
const START = Date.parse("2026-01-05T10:00:00Z");
const UNAVAILABLE: Fault = { kind: "fail-before" };

/** A site whose reads last until they are aborted. */
function untilAborted(site: Site): Site {
  return {
    ...site,
    read: (_name, _offset, _into, { signal } = {}) =>
      new Promise((_, reject) => {
        const giveUp = (): void => reject(new ExclaveError("site-unavailable", "given up"));
        signal?.addEventListener("abort", giveUp, { once: true });
      }),
  };
}

/** A site behind a circuit of three failures and a minute, what it does next, and the calls that reached it. */
async function broken(t: TestContext, also: (site: Site) => Site = (site) => site) {
  const bare = await emptyDirectory(t);
  const state: { fault: Fault | undefined; seconds: number; calls: number } = {
    fault: UNAVAILABLE,
    seconds: 0,
    calls: 0,
  };
  const site = breaking(
    also(
      faulty(bare, () => {
        state.calls++;
        return state.fault;
      }),
    ),
    { failuresMax: 3, pauseMs: 60_000, now: () => new Date(START + state.seconds * 1000) },
  );
  return { bare, site, state };
}

async function failThrice(site: Site): Promise<void> {
  await assert.rejects(site.stat(name), code("site-unavailable"));
  await assert.rejects(site.put(name, []), code("site-unavailable"));
  await assert.rejects(listed(site, "shard"), code("site-unavailable"));
}

test("a site that failed so often one time after another is left alone, and it is said for how long", async (t) => {
  const { site, state } = await broken(t);
  await failThrice(site);
  assert.equal(state.calls, 3);
  state.fault = undefined;
  for (const call of [
    () => site.put(name, [text("x")]),
    () => site.read(name, 0, new Uint8Array(1)),
    () => site.stat(name),
    () => listed(site, "shard"),
  ]) {
    await assert.rejects(call, (error: Error) => {
      assert.equal(
        error.message,
        "site kn has not answered since 2026-01-05T10:00:00Z (3 calls one after another); it is not asked again before 2026-01-05T10:01:00Z",
      );
      return code("site-unavailable")(error);
    });
  }
  assert.equal(state.calls, 3);
});

test("after the pause one call tries; when it goes well all is as before", async (t) => {
  const { site, state } = await broken(t);
  await failThrice(site);
  const release = Promise.withResolvers<void>();
  state.fault = { kind: "hold", until: release.promise };
  state.seconds = 60;
  const trying = site.put(name, [text("x")]);
  await assert.rejects(site.stat(name), /not asked again/, "one, and no more");
  release.resolve();
  await trying;
  state.fault = undefined;
  assert.equal(await readText(site, name, 9), "x");
  assert.deepEqual(await listed(site, "shard"), [name]);
});

test("after the pause one call tries; when it fails the site is left alone once more", async (t) => {
  const { site, state } = await broken(t);
  await failThrice(site);
  state.seconds = 61;
  await assert.rejects(site.stat(name), /a fault that a test asked for/);
  await assert.rejects(site.stat(name), /since 2026-01-05T10:00:00Z .*before 2026-01-05T10:02:01Z/);
  assert.equal(state.calls, 4);
});

test("failures with an answer between them are not one after another", async (t) => {
  const { site, state } = await broken(t);
  for (let i = 0; i < 9; i++) {
    state.fault = i % 3 === 2 ? undefined : UNAVAILABLE;
    await site.stat(name).catch(() => undefined);
  }
  assert.equal(state.calls, 9);
});

test("an answer that is no good is an answer", async (t) => {
  const { site, state } = await broken(t);
  const errors = ["not-found", "exists", "refused", "disk-full"] as const;
  for (const one of [...errors, ...errors]) {
    state.fault = { kind: "fail-before", error: new ExclaveError(one, "no") };
    await assert.rejects(site.put(name, []), code(one));
  }
  assert.equal(state.calls, 8);
});

/** So many reads that the site is late with, and that who asked gives up. */
async function giveUpReads(site: Site, count: number): Promise<void> {
  const late = Array.from({ length: count }, () => {
    const abort = new AbortController();
    const read = site.read(name, 0, new Uint8Array(1), { signal: abort.signal });
    return { abort, refused: assert.rejects(read, code("site-unavailable")) };
  });
  for (const { abort } of late) abort.abort();
  for (const { refused } of late) await refused;
}

test("late reads that are given up by who asked are no failures of the site", async (t) => {
  const { site, state } = await broken(t, untilAborted);
  await giveUpReads(site, 8);
  state.fault = undefined;
  assert.equal(await site.stat(name), undefined);
});

test("late reads that are given up by who asked are no answers of the site", async (t) => {
  const { site, state } = await broken(t, untilAborted);
  await assert.rejects(site.stat(name), code("site-unavailable"));
  await assert.rejects(site.stat(name), code("site-unavailable"));
  await giveUpReads(site, 8);
  await assert.rejects(site.stat(name), code("site-unavailable"));
  assert.equal(state.calls, 3);
  await assert.rejects(site.stat(name), isLeftAlone);
  assert.equal(state.calls, 3);
});

test("what goes well though it was given up is no answer that counts", async (t) => {
  const { bare, site, state } = await broken(t);
  await bare.put(name, [text("x")]);
  await assert.rejects(site.stat(name), code("site-unavailable"));
  await assert.rejects(site.stat(name), code("site-unavailable"));
  state.fault = undefined;
  const signal = AbortSignal.abort();
  assert.equal(await site.read(name, 0, new Uint8Array(1), { signal }), 1);
  state.fault = UNAVAILABLE;
  await assert.rejects(site.stat(name), code("site-unavailable"));
  await assert.rejects(site.stat(name), isLeftAlone);
});

test("when the call that tries after the pause is given up, the next one tries", async (t) => {
  const { site, state } = await broken(t, untilAborted);
  await failThrice(site);
  state.seconds = 60;
  await giveUpReads(site, 1);
  state.fault = undefined;
  assert.equal(await site.stat(name), undefined);
  assert.equal(await site.stat(name), undefined, "and all is as before");
});

test("a read that is the last resort is made also where a site is left alone", async (t) => {
  const { bare, site, state } = await broken(t);
  await bare.put(name, [text("x")]);
  await failThrice(site);
  const read = (): Promise<number> => site.read(name, 0, new Uint8Array(1), { isLastResort: true });
  await assert.rejects(read, (error) => !isLeftAlone(error));
  assert.equal(state.calls, 4);
  await assert.rejects(site.stat(name), isLeftAlone, "it failed, so the site is left alone");
  state.fault = undefined;
  assert.equal(await read(), 1);
  assert.equal((await site.stat(name))?.bytes, 1, "it went well, so the site is there");
});

testSite("a site behind a circuit", async (t) => {
  const site = await emptyDirectory(t);
  return { site: breaking(site), reopen: async () => breaking(site) };
});

test("a list that goes on and on is given up after half an hour of waiting, and what the reader takes is not counted", async () => {
  let minutes = 0;
  const slowly = function* (count: number): Generator<string> {
    for (const one of namesWithoutEnd(count)) {
      minutes++;
      yield one;
    }
  };
  const endless = hostileSite("kn", { names: () => slowly(Number.POSITIVE_INFINITY) });
  const clockMs = (): number => minutes * 60_000;
  const site = breaking(endless.site, { failuresMax: 3, pauseMs: 60_000, clockMs });
  let names = 0;
  await assert.rejects(async () => {
    for await (const _ of site.list("wrap")) names++;
  }, /site kn takes too long to name its objects of the kind wrap/);
  assert.equal(names, 30);

  const quick = hostileSite("kn", { names: () => namesWithoutEnd(100) });
  const other = breaking(quick.site, { failuresMax: 3, pauseMs: 60_000, clockMs });
  names = 0;
  for await (const _ of other.list("wrap")) {
    names++;
    minutes += 5;
  }
  assert.equal(names, 100);
});
