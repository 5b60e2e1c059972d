import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { code, listed, objectName } from "./conformance.ts";
import { limited } from "./limit.ts";
import type { Site } from "./site.ts";

type Started = { readonly what: string; readonly end: PromiseWithResolvers<void> };

/** A site whose calls last until they are told to end; it knows which have started. */
function slowSite(): { readonly site: Site; readonly started: Started[] } {
  const started: Started[] = [];
  const begin = (what: string): Promise<void> => {
    const end = Promise.withResolvers<void>();
    started.push({ what, end });
    return end.promise;
  };
  const site: Site = {
    identity: { name: "kn", country: "KN", operator: "post", hazardZone: "KN" },
    put: (name) => begin(`put ${name}`),
    read: async (name) => {
      await begin(`read ${name}`);
      return 7;
    },
    stat: async (name) => {
      await begin(`stat ${name}`);
      return { name, bytes: 7 };
    },
    async *list(kind) {
      yield `${kind}/aa`;
    },
  };
  return { site, started };
}

test("calls begin in the order they came, no more at once than allowed", async () => {
  const { site, started } = slowSite();
  const slow = limited(site, 2);
  const names = Array.from({ length: 7 }, (_, i) => objectName("shard", `${i}`));
  const done = names.map((name) => slow.put(name, []));
  for (let ended = 0; ended < names.length; ended++) {
    await turn();
    const begun = Math.min(names.length, ended + 2);
    assert.deepEqual(
      started.map(({ what }) => what),
      names.slice(0, begun).map((name) => `put ${name}`),
    );
    started[ended]!.end.resolve();
  }
  await Promise.all(done);
});

test("puts, reads and stats share the places", async () => {
  const { site, started } = slowSite();
  const slow = limited(site, 1);
  const calls = [slow.put("p", []), slow.read("r", 0, new Uint8Array(1)), slow.stat("s")];
  for (const what of ["put p", "read r", "stat s"]) {
    await turn();
    assert.equal(started.at(-1)?.what, what);
    started.at(-1)!.end.resolve();
  }
  assert.deepEqual(await Promise.all(calls), [undefined, 7, { name: "s", bytes: 7 }]);
});

test("a call that fails gives its place to the next", async () => {
  const { site, started } = slowSite();
  const slow = limited(site, 1);
  const [first, second, third] = [slow.put("1", []), slow.put("2", []), slow.put("3", [])];
  for (const [i, call] of [first, second].entries()) {
    await turn();
    assert.equal(started.length, i + 1);
    started[i]!.end.reject(new Error(`number ${i}`));
    await assert.rejects(call, new Error(`number ${i}`));
  }
  await turn();
  started[2]!.end.resolve();
  await third;
});

test("a call that throws at once gives its place to the next", async () => {
  const { site } = slowSite();
  const throwing: Site = {
    ...site,
    stat: () => {
      throw new Error("at once");
    },
  };
  const slow = limited(throwing, 1);
  for (let i = 0; i < 3; i++) await assert.rejects(slow.stat("x"), new Error("at once"));
});

test("listing takes no place", async () => {
  const { site, started } = slowSite();
  const slow = limited(site, 1);
  const put = slow.put("p", []);
  assert.deepEqual(await listed(slow, "shard"), ["shard/aa"]);
  started[0]!.end.resolve();
  await put;
});

test("however calls end, the bound holds, none is lost and the places come back", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 5 }),
      fc.array(fc.boolean(), { maxLength: 40 }),
      fc.infiniteStream(fc.nat()),
      async (most, outcomes, choices) => {
        const { site, started } = slowSite();
        const slow = limited(site, most);
        const done = Promise.allSettled(outcomes.map((_, i) => slow.put(`${i}`, [])));
        const open = new Set<number>();
        let seen = 0;
        for (let ended = 0; ended < outcomes.length; ended++) {
          await turn();
          for (; seen < started.length; seen++) open.add(seen);
          assert.equal(open.size, Math.min(most, outcomes.length - ended), "no place idles");
          const at = [...open][choices.next().value! % open.size]!;
          open.delete(at);
          if (outcomes[at]) started[at]!.end.resolve();
          else started[at]!.end.reject(new Error("failed"));
        }
        const results = await done;
        assert.deepEqual(
          results.map(({ status }) => status === "fulfilled"),
          outcomes,
        );
      },
    ),
    { numRuns: process.env.SLOW ? 2000 : 50 },
  );
});

test("a call that is given up while it waits its turn leaves the queue, and the others keep theirs", async () => {
  const { site, started } = slowSite();
  const slow = limited(site, 1);
  const abort = new AbortController();
  const { signal } = abort;
  const first = slow.put("first", []);
  const given = [
    slow.put("given up", [], { signal }),
    slow.read("given up", 0, new Uint8Array(1), { signal }),
  ];
  const last = slow.put("last", []);
  abort.abort();
  for (const one of given) await assert.rejects(one, code("site-unavailable"));
  for (const _ of ["first", "last"]) {
    started.at(-1)?.end.resolve();
    await turn();
  }
  await Promise.all([first, last]);
  assert.deepEqual(
    started.map(({ what }) => what),
    ["put first", "put last"],
  );
});
