/** Reading a pack from sites of which some are slow. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Arena, altered, noise, tries } from "../../test/support/vault.ts";
import { isExclaveError } from "../errors.ts";
import { GatheredPack, LATE, type ShardProblem, type ShardRequest } from "./gather.ts";

const arena = new Arena(5 * 1024 * 1024);
const PACK_BYTES = 4_500_000;
const bytes = noise(PACK_BYTES, 1);

type Trouble = "good" | "slow" | "bad" | "absent";

/** A pack whose shards' sites are each in some trouble, and what was asked of them. */
function gathered(k: number, troubles: readonly Trouble[]) {
  const { ref, shards } = arena.disperse(bytes, k, troubles.length);
  const fetch = arena.fetch((index) => {
    const shard = shards[index];
    if (troubles[index] === "bad" && shard) return altered(shard, 40);
    return troubles[index] === "absent" ? undefined : shard;
  });
  const asked: ShardRequest[] = [];
  const problems: ShardProblem[] = [];
  const pack = new GatheredPack(ref, {
    kernel: arena.kernel,
    memory: arena.memory,
    fetch: (requests) => {
      asked.push(...requests);
      return requests.map((request) => {
        // What was given up has left something in the memory, or not.
        const [answer = LATE] = fetch([request]);
        return troubles[request.index] === "slow" && request.mayBeLate ? LATE : answer;
      });
    },
    onProblem: (problem) => problems.push(problem),
    prefer: ({ n }) => Array.from({ length: n }, (_, i) => i),
  });
  const indices = (): readonly number[] => asked.splice(0).map(({ index }) => index);
  return { pack, problems, asked, indices };
}

const hex = (some: Uint8Array): string => Buffer.from(some).toString("hex");

test("a slow site is given up for another, once a pack, and nothing is wrong with its shard", () => {
  const { pack, problems, indices } = gathered(2, ["slow", "good", "good", "good"]);
  assert.equal(hex(pack.range(0, 100)), hex(bytes.subarray(0, 100)));
  assert.equal(indices().filter((index) => index === 0).length, 1);
  assert.equal(hex(pack.range(2_000_000, 100)), hex(bytes.subarray(2_000_000, 2_000_100)));
  assert.ok(!indices().includes(0));
  assert.deepEqual(problems, []);
});

test("where nobody else has it, a slow site is waited for", () => {
  const { pack, problems, asked } = gathered(2, ["slow", "good", "bad", "absent"]);
  assert.equal(hex(pack.range(0, 2_000_000)), hex(bytes.subarray(0, 2_000_000)));
  assert.deepEqual(
    problems.map(({ index }) => index).sort((a, b) => a - b),
    [2, 3],
  );
  const waited = asked.filter(({ index, mayBeLate }) => index === 0 && mayBeLate === false);
  assert.ok(waited.length > 0 && waited.every(({ isLastResort }) => isLastResort));
  assert.ok(asked.every(({ mayBeLate, isLastResort }) => mayBeLate !== isLastResort));
});

test("with as many shards as it takes and no more, nobody is given up", () => {
  const { pack, asked } = gathered(2, ["slow", "slow"]);
  assert.equal(hex(pack.range(0, PACK_BYTES)), hex(bytes));
  assert.ok(asked.every(({ mayBeLate }) => !mayBeLate));
});

test("whatever is slow, bad or absent: with k that are not bad it is read, and only what is bad is named", () => {
  const trouble = fc.constantFrom<Trouble>("good", "good", "slow", "bad", "absent");
  const cases = fc
    .array(trouble, { minLength: 1, maxLength: 7 })
    .chain((troubles) =>
      fc.tuple(fc.constant(troubles), fc.integer({ min: 1, max: troubles.length })),
    );
  fc.assert(
    fc.property(cases, ([troubles, k]) => {
      const { pack, problems } = gathered(k, troubles);
      const isLost = (one: Trouble | undefined): boolean => one === "bad" || one === "absent";
      const left = troubles.filter((one) => !isLost(one)).length;
      if (left >= k) {
        assert.equal(hex(pack.range(1_000_000, 9)), hex(bytes.subarray(1_000_000, 1_000_009)));
      } else {
        assert.throws(
          () => pack.range(0, 9),
          (error) => isExclaveError(error, "not-enough-shards"),
        );
      }
      assert.ok(problems.every(({ index }) => isLost(troubles[index])));
    }),
    tries(60),
  );
});

test("a site that lies costs one more round, and is not asked again", () => {
  const { pack, indices, problems } = gathered(2, ["bad", "good", "good", "good"]);
  pack.range(0, 100);
  assert.equal(indices().filter((index) => index === 0).length, 1);
  pack.range(2_000_000, 100);
  assert.ok(!indices().includes(0));
  assert.equal(problems.length, 1);
});
