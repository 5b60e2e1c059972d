/** Reading packs with what is fetched ahead: the main thread's part is played here, at once or as late as it may be. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Arena, noise, tries } from "../../test/support/vault.ts";
import { GatheredPack, type ShardProblem } from "../vault/gather.ts";
import { type PackId, parseId } from "../vault/identifiers.ts";
import { AHEAD_MAX, aheadBytes, ReadAhead } from "../vault/read-ahead.ts";
import {
  FETCH_DONE,
  FETCH_LATE,
  FETCH_NOT_FOUND,
  FETCH_SLOT_WORDS,
  FETCH_SLOTS,
  type FetchMessage,
} from "./read-messages.ts";
import { ShardFetcher } from "./shard-fetcher.ts";

const SITES = 5;
const PACK_BYTES_MAX = 12 * 1024 * 1024;
const MIB = 1024 * 1024;
const AHEAD_BYTES = Math.max(...[1, 2, 3, 4, 5].map((k) => aheadBytes(k, SITES)));
const arena = new Arena(PACK_BYTES_MAX, SITES, AHEAD_MAX * AHEAD_BYTES);

/** A range that was asked for, and whether ahead. */
type Asked = {
  readonly id: string;
  readonly index: number;
  readonly bytes: number;
  ahead: boolean;
};

/** So many packs, a reader of them, and what it asks for. */
function reading(
  sizes: readonly number[],
  k: number,
  status: (asked: Asked) => number = () => FETCH_DONE,
  isFetched = false,
) {
  const packs = sizes.map((size, i) => {
    const id: PackId = parseId("PackId", String(i).padStart(32, "0"));
    const bytes = noise(size, size + i);
    return { bytes, ...arena.disperse(bytes, k, SITES, id) };
  });
  const control = new Int32Array(new SharedArrayBuffer(FETCH_SLOTS * FETCH_SLOT_WORDS * 4));
  const asked: Asked[] = [];
  const post = ({ slot, requests }: FetchMessage): void => {
    for (const [i, { id, index, offset, into }] of requests.entries()) {
      const one = { id, index, bytes: into.length, ahead: slot > 0 };
      asked.push(one);
      const shard = packs.find(({ ref }) => ref.id === id)?.shards[index];
      const got = shard?.subarray(offset, offset + into.length);
      const outcome = status(one);
      if (outcome === FETCH_DONE) {
        assert.equal(got?.length, into.length, "only what there is, is asked for");
        into.set(got);
      } else into.fill(0xa5);
      control[slot * FETCH_SLOT_WORDS + 1 + i] = outcome;
    }
    control[slot * FETCH_SLOT_WORDS] = 0;
  };
  const { kernel, memory, ahead } = arena;
  const view = (offset: number, bytes: number): Uint8Array => kernel.view(offset, bytes);
  const fetcher = new ShardFetcher({
    control,
    ahead: { offset: ahead.offset, bytes: AHEAD_BYTES },
    view,
    post,
  });
  const problems: ShardProblem[] = [];
  const options = {
    kernel,
    memory,
    fetch: fetcher.fetch,
    ahead: new ReadAhead({
      isFetched: () => isFetched,
      isBusy: (slot) => fetcher.isBusy(slot),
      fetch: (slot, ranges) => fetcher.fetchAhead(slot, ranges),
    }),
    onProblem: (problem: ShardProblem) => problems.push(problem),
    prefer: ({ n }: { readonly n: number }) => Array.from({ length: n }, (_, i) => i),
  };
  const open = (i: number): GatheredPack => new GatheredPack(packs[i]!.ref, options);
  return { packs, asked, problems, open };
}

function assertRange(
  pack: GatheredPack,
  bytes: Uint8Array,
  [offset, length, onward]: readonly [number, number, boolean],
): void {
  const got = Buffer.from(pack.range(offset, length, onward));
  assert.ok(got.equals(bytes.subarray(offset, offset + length)), `${length} bytes at ${offset}`);
}

test("whatever is read on, aside or again, of whichever pack, is what was stored", () => {
  const size = fc.integer({ min: 1, max: PACK_BYTES_MAX });
  const read = fc.record({
    pack: fc.nat(),
    at: fc.nat(),
    length: fc.integer({ min: 1, max: 1_100_000 }),
    goesOn: fc.boolean(),
    count: fc.integer({ min: 1, max: 8 }),
  });
  const plan = fc.record({
    sizes: fc.array(size, { minLength: 1, maxLength: 3 }),
    k: fc.integer({ min: 1, max: SITES }),
    reads: fc.array(read, { minLength: 1, maxLength: 12 }),
    faults: fc.array(fc.constantFrom(FETCH_DONE, FETCH_DONE, FETCH_LATE), { maxLength: 8 }),
  });
  let ahead = 0;
  fc.assert(
    fc.property(plan, ({ sizes, k, reads, faults }) => {
      let calls = 0;
      // What may not be late is not: at least k sites are always good.
      const faulty = (one: Asked): number =>
        one.index < SITES - k
          ? (faults[calls++ % Math.max(faults.length, 1)] ?? FETCH_DONE)
          : FETCH_DONE;
      const { packs, asked, open } = reading(sizes, k, faulty);
      const opened = packs.map((_, i) => open(i));
      const next = packs.map(() => 0);
      for (const { pack: any, at, length, goesOn, count } of reads) {
        const i = any % packs.length;
        const [pack, bytes] = [opened[i]!, packs[i]!.bytes];
        for (let times = 0; times < count; times++) {
          const offset = goesOn ? next[i]! : at % bytes.length;
          const most = Math.min(length, bytes.length - offset);
          assertRange(pack, bytes, [offset, most, goesOn]);
          if (goesOn) next[i] = (offset + most) % bytes.length;
        }
      }
      ahead += asked.filter((one) => one.ahead).length;
    }),
    tries(60),
  );
  assert.ok(ahead > 0, "something was fetched ahead");
});

test("what is read on is fetched once, and ahead from its second window on", () => {
  const k = 2;
  const sizes = [8 * MIB, 8 * MIB - 70_000];
  const { packs, asked, open } = reading(sizes, k);
  for (const [i, { bytes }] of packs.entries()) {
    const pack = open(i);
    // As a reader does: the header, the table behind, the frames.
    assertRange(pack, bytes, [0, 100, true]);
    assertRange(pack, bytes, [bytes.length - 40_000, 40_000, false]);
    for (let at = 0; at < bytes.length; at += 250_000) {
      assertRange(pack, bytes, [at, Math.min(250_000, bytes.length - at), true]);
    }
  }
  const moved = asked.reduce((sum, { bytes }) => sum + bytes, 0);
  const needed = packs.reduce((sum, { shards }) => sum + k * shards[0]!.length, 0);
  assert.ok(moved < needed * 1.02, `${moved} bytes were fetched for ${needed}`);
  const windows = asked.filter((one) => one.bytes >= MIB / 2);
  assert.equal(windows.filter((one) => !one.ahead).length, 2 * k, "the first of each pack");
});

test("what somebody else has fetched is not fetched ahead", () => {
  const { packs, asked, open } = reading([8 * MIB], 2, undefined, true);
  const pack = open(0);
  for (let at = 0; at < 8 * MIB; at += MIB) {
    assertRange(pack, packs[0]!.bytes, [at, MIB, true]);
  }
  assert.ok(asked.length > 0);
  assert.ok(asked.every((one) => !one.ahead));
});

test("who reads here and there has little fetched ahead", () => {
  const { packs, asked, open } = reading([12 * MIB], 2);
  const pack = open(0);
  for (const at of [9, 2, 7, 4, 11, 1]) {
    assertRange(pack, packs[0]!.bytes, [at * MIB, 1000, true]);
  }
  assert.deepEqual(
    asked.filter((one) => one.ahead),
    [],
  );
});

test("what failed ahead is told once, and good elsewhere", () => {
  const gone = (one: Asked): number =>
    one.ahead && one.index === 0 ? FETCH_NOT_FOUND : FETCH_DONE;
  const { packs, problems, open } = reading([8 * MIB], 2, gone);
  const pack = open(0);
  for (let at = 0; at < 8 * MIB; at += MIB / 2) {
    assertRange(pack, packs[0]!.bytes, [at, MIB / 2, true]);
  }
  assert.deepEqual(
    problems.map(({ index }) => index),
    [0],
  );
});
