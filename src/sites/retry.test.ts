import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryFolder } from "../../test/support/places.ts";
import { type ErrorCode, ExclaveError } from "../errors.ts";
import { code, listed, objectName, readText, text } from "./conformance.ts";
import { createDirectorySite, openDirectorySite } from "./directory.ts";
import { type Call, type FaultPlan, faulty, inTurn } from "./fault.ts";
import { retrying } from "./retry.ts";
import type { Site } from "./site.ts";

const name = objectName("shard", "retried");

/** A directory site behind a plan of faults, behind retry; and the calls that reached it. */
async function retried(
  t: TestContext,
  plan: FaultPlan,
): Promise<{ readonly site: Site; readonly bare: Site; readonly calls: readonly Call[] }> {
  const path = join(temporaryFolder(t), "site");
  await createDirectorySite(path, text("marker"));
  const identity = { name: "kn", country: "KN", operator: "post", hazardZone: "KN" };
  const bare = await openDirectorySite(path, identity);
  const calls: Call[] = [];
  const site = faulty(bare, (call) => {
    calls.push(call);
    return plan(call);
  });
  return { site: retrying(site, { attemptsMax: 3, firstDelayMs: 1 }), bare, calls };
}

for (const kind of ["fail-before", "fail-after"] as const) {
  test(`a put that failed is tried again (${kind})`, async (t) => {
    const { site, bare, calls } = await retried(t, inTurn("put", [{ kind }, { kind }]));
    await site.put(name, [text("whole")]);
    assert.equal(await readText(bare, name, 10), "whole");
    assert.equal(calls.length, 3);
  });

  test(`a put that keeps failing fails in the end, after so many attempts (${kind})`, async (t) => {
    const { site, calls } = await retried(
      t,
      inTurn(
        "put",
        Array.from({ length: 9 }, () => ({ kind })),
      ),
    );
    await assert.rejects(site.put(name, [text("whole")]), code("site-unavailable"));
    assert.equal(calls.length, 3);
  });
}

test("what a site stored in part is not taken for the object when it is tried again", async (t) => {
  const { site, bare, calls } = await retried(t, inTurn("put", [{ kind: "fail-during" }]));
  await assert.rejects(site.put(name, [text("whole and more")]), code("exists"));
  assert.equal(calls.length, 2);
  assert.equal(await readText(bare, name, 99), "whole a");
});

for (const kind of ["fail-before", "fail-during", "fail-after"] as const) {
  test(`a read that failed is tried again, and none of its bytes are kept (${kind})`, async (t) => {
    const { site, bare } = await retried(t, inTurn("read", [{ kind }, { kind }]));
    await bare.put(name, [text("right bytes")]);
    assert.equal(await readText(site, name, 99), "right bytes");
  });

  test(`a stat that failed is asked again (${kind})`, async (t) => {
    const { site, bare } = await retried(t, inTurn("stat", [{ kind }, { kind }]));
    await bare.put(name, [text("12345")]);
    assert.deepEqual(await site.stat(name), { name, bytes: 5 });
  });
}

const FINAL: readonly ErrorCode[] = ["disk-full", "exists", "not-found", "malformed", "bug"];

for (const final of FINAL) {
  test(`an error that will not pass is not tried again (${final})`, async (t) => {
    const error = new ExclaveError(final, "for good");
    const { site, calls } = await retried(t, () => ({ kind: "fail-before", error }));
    await assert.rejects(site.put(name, [text("x")]), code(final));
    await assert.rejects(site.read(name, 0, new Uint8Array(1)), code(final));
    await assert.rejects(site.stat(name), code(final));
    assert.deepEqual(
      calls.map(({ method }) => method),
      ["put", "read", "stat"],
    );
  });
}

test("an error that is none of ours is not tried again", async (t) => {
  const error = new TypeError("a mistake");
  const { site, calls } = await retried(t, () => ({ kind: "fail-before", error }));
  await assert.rejects(site.stat(name), error);
  assert.equal(calls.length, 1);
});

test("an absent object is found absent at the first call", async (t) => {
  const { site, calls } = await retried(t, () => undefined);
  assert.equal(await site.stat(name), undefined);
  await assert.rejects(site.read(name, 0, new Uint8Array(1)), code("not-found"));
  assert.equal(calls.length, 2);
});

test("each attempt waits twice as long as the one before", async (t) => {
  const { site: faultySite, calls } = await retried(t, () => ({ kind: "fail-before" }));
  const waits: number[] = [];
  const site = retrying(faultySite, {
    attemptsMax: 4,
    firstDelayMs: 50,
    wait: async (ms) => {
      waits.push(ms);
    },
  });
  await assert.rejects(site.stat(name), code("site-unavailable"));
  assert.deepEqual(waits, [50, 100, 200]);
  // Each of these was three calls, by the retry inside.
  assert.equal(calls.length, 4 * 3);
});

test("a listing is passed on as it is, with its end and its error", async (t) => {
  const { site, bare } = await retried(t, inTurn("list", [undefined, { kind: "fail-during" }]));
  const names = ["a", "b", "c", "d"].map((seed) => objectName("shard", seed));
  for (const one of names) await bare.put(one, [text("x")]);
  assert.deepEqual(await listed(site, "shard"), names.toSorted());
  await assert.rejects(listed(site, "shard"), code("site-unavailable"));
});

test("a call that was given up is not tried again", async (t) => {
  const { site, calls } = await retried(t, () => ({ kind: "fail-before" }));
  const how = { signal: AbortSignal.abort() };
  await assert.rejects(site.put(name, [text("x")], how), code("site-unavailable"));
  await assert.rejects(site.read(name, 0, new Uint8Array(1), how), code("site-unavailable"));
  assert.equal(calls.length, 2);
});

test("a call that is given up while it waits to be tried again is not", async (t) => {
  const { site: faultySite, calls } = await retried(t, () => ({ kind: "fail-before" }));
  const abort = new AbortController();
  const site = retrying(faultySite, {
    attemptsMax: 2,
    firstDelayMs: 1,
    wait: async () => abort.abort(),
  });
  const how = { signal: abort.signal };
  await assert.rejects(site.put(name, [text("x")], how), code("site-unavailable"));
  // By the retry inside.
  assert.equal(calls.length, 3);
});
