/** Reading through a spool: sites in memory that answer as they are told, in a time of their own. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { ExclaveError } from "../../src/errors.ts";
import { FETCH_DONE } from "../../src/registers/read-messages.ts";
import { PAGE_BYTES } from "../../src/registers/shard-pages.ts";
import { type How, ShardSource } from "../../src/registers/shard-source.ts";
import { ShardSpeeds } from "../../src/registers/shard-speeds.ts";
import { ShardSpool, type SpoolLimits } from "../../src/registers/shard-spool.ts";
import type { Site } from "../../src/sites/site.ts";
import type { DispersedRef } from "../../src/vault/gather.ts";
import { parseId } from "../../src/vault/identifiers.ts";
import { parseShardName, shardBytes } from "../../src/vault/shard.ts";
import { simulatedTime } from "./clock.ts";
import { temporaryFolder } from "./places.ts";
import { noise } from "./vault.ts";

export const MIB = 1024 * 1024;
export const REQUEST_BYTES_MAX = 17 * PAGE_BYTES;
export const UNDER_WAY_MAX = 32 * MIB;
export const MAY_BE_LATE: How = { mayBeLate: true, isLastResort: false };
export const LAST_RESORT: How = { mayBeLate: false, isLastResort: true };
export const WHOLE = { bytes: 2 * MIB, start: 0, end: 1 };
/** Longer than anything may take. */
export const VERY_LONG_MS = 1e9;
/** After which nothing is expected to come any more; nothing takes a hundredth of it. */
const PATIENCE_MS = 30_000;
export const LIMITS: SpoolLimits = { bytesMax: 64 * MIB, bytesMin: 0, diskShare: 1 };

/** One call to a site. */
type Ask = {
  readonly id: string;
  readonly index: number;
  readonly offset: number;
  readonly bytes: number;
  readonly signal: AbortSignal | undefined;
};

/** Resolves when the site is to answer; rejects with what it says. */
export type Behaviour = (ask: Ask) => Promise<void>;

export const answers: Behaviour = async () => undefined;
export const lacksIt: Behaviour = async () =>
  Promise.reject(new ExclaveError("not-found", "no shard"));
export const isDown: Behaviour = async () => Promise.reject(unavailable());

export function unavailable(): ExclaveError {
  return new ExclaveError("site-unavailable", "no answer");
}

export const hangs: Behaviour = ({ signal }) =>
  new Promise((_, reject) => {
    if (signal?.aborted) reject(unavailable());
    signal?.addEventListener("abort", () => reject(unavailable()));
  });

/** Waits until it is let go, or aborted. */
export function gate(): { readonly waits: Behaviour; readonly open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { waits: (ask) => Promise.race([promise, hangs(ask)]), open: resolve };
}

export function packOf(number: number, packBytes: number, k: number, n: number): DispersedRef {
  const hex = number.toString(16);
  return {
    pack: parseId("PackId", hex.padStart(32, "0")),
    id: parseId("DispersalId", hex.padStart(64, "0")),
    k,
    n,
    packBytes,
  };
}

/** A shard's bytes, none of which is like that of another. */
function shardOf(ref: DispersedRef, index: number): Uint8Array {
  return noise(shardBytes(ref), Number.parseInt(ref.id, 16) * 100 + index);
}

/** Sites, and what was asked of them. */
class Sites {
  readonly asked: Ask[] = [];
  /** By site; what is not here answers at once. */
  readonly behaviours = new Map<number, Behaviour>();
  readonly underWay = new Set<Ask>();
  readonly most = { bytes: 0, calls: new Map<number, number>() };
  readonly #shards = new Map<string, Uint8Array>();

  add(ref: DispersedRef): void {
    for (let index = 0; index < ref.n; index++) {
      this.#shards.set(`${ref.id} ${index}`, shardOf(ref, index));
    }
  }

  shard(ref: DispersedRef, index: number): Uint8Array {
    return this.#shards.get(`${ref.id} ${index}`) ?? assert.fail("a shard that was added");
  }

  site(place: number): Site {
    const not = (): never => assert.fail("shards are read only");
    return {
      identity: { name: `s${place}`, country: "KN", operator: "o", hazardZone: "z" },
      put: not,
      stat: not,
      list: not,
      read: async (name, offset, into, { signal } = {}) => {
        const { id, index } = parseShardName(name);
        const shard = this.#shards.get(`${id} ${index}`) ?? assert.fail(`${name} is not known`);
        assert.ok(offset + into.length <= shard.length, "only what there is, is asked for");
        const ask: Ask = { id, index, offset, bytes: into.length, signal };
        this.#enter(ask);
        try {
          await (this.behaviours.get(place) ?? answers)(ask);
          into.set(shard.subarray(offset, offset + into.length));
          return into.length;
        } finally {
          this.underWay.delete(ask);
        }
      },
    };
  }

  #enter(ask: Ask): void {
    this.asked.push(ask);
    this.underWay.add(ask);
    const all = [...this.underWay];
    const bytes = all.reduce((sum, one) => sum + one.bytes, 0);
    this.most.bytes = Math.max(this.most.bytes, bytes);
    const calls = all.filter(({ index }) => index === ask.index).length;
    this.most.calls.set(ask.index, Math.max(this.most.calls.get(ask.index) ?? 0, calls));
  }

  /** Bytes that were asked for of a shard, or of all those of an index, or of all. */
  bytes(ref?: DispersedRef, index?: number): number {
    return this.asked
      .filter((ask) => (!ref || ask.id === ref.id) && (index ?? ask.index) === ask.index)
      .reduce((sum, ask) => sum + ask.bytes, 0);
  }
}

type Spooling = {
  readonly sites: Sites;
  readonly spool: ShardSpool;
  readonly pass: (ms: number) => void;
  readonly timers: ReadonlySet<unknown>;
};

/** A spool before so many sites, that knows these packs by their place in the list. */
export function spooling(
  path: string,
  packs: readonly DispersedRef[],
  { limits = LIMITS, indices = 5, wrap = (site: Site): Site => site } = {},
): Spooling {
  const sites = new Sites();
  for (const ref of packs) sites.add(ref);
  const { pass, timers, ...time } = simulatedTime();
  const speeds = new ShardSpeeds(indices, time);
  const places = Array.from({ length: indices }, (_, i) => ({
    name: `s${i}`,
    site: wrap(sites.site(i)),
  }));
  const source = new ShardSource(places, true, speeds);
  const spool = ShardSpool.make(source, path, indices, limits);
  assert.ok(spool);
  spool.chosen = new Int32Array(new SharedArrayBuffer(Math.max(packs.length, 1) * 4));
  return { sites, spool, pass, timers };
}

export function started(
  t: TestContext,
  packs: readonly DispersedRef[],
  options?: Parameters<typeof spooling>[2],
): Spooling {
  const all = spooling(join(temporaryFolder(t), "spool"), packs, options);
  t.after(() => all.spool.close());
  return all;
}

export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Waits for it; fails where that is in vain. */
export async function until(holds: () => boolean): Promise<void> {
  const began = performance.now();
  while (!holds()) {
    assert.ok(performance.now() - began < PATIENCE_MS, "what is waited for never came");
    await turn();
  }
}

/** Long enough for anything to be asked for that would be without any more help. */
export async function rest(sites: Sites): Promise<void> {
  let asked = -1;
  while (asked !== sites.asked.length) {
    asked = sites.asked.length;
    for (let i = 0; i < 50; i++) await turn();
  }
}

/** What a read gives; of what is done, the bytes are compared. */
export async function reads(
  { spool, sites }: Spooling,
  ref: DispersedRef,
  [index, offset, length]: readonly [number, number, number],
  how = MAY_BE_LATE,
): Promise<number | undefined> {
  const into = new Uint8Array(length);
  const outcome = await spool.read({ id: ref.id, index, offset }, into, how);
  if (outcome === FETCH_DONE) {
    const right = sites.shard(ref, index).subarray(offset, offset + length);
    assert.ok(Buffer.from(into).equals(right), `${length} bytes at ${offset} of shard ${index}`);
  }
  return outcome;
}

export async function assertReadsAll(
  spooled: Spooling,
  ref: DispersedRef,
  indices: readonly number[],
  step = 300_000,
): Promise<void> {
  for (let offset = 0; offset < shardBytes(ref); offset += step) {
    const length = Math.min(step, shardBytes(ref) - offset);
    const all = indices.map((index) => reads(spooled, ref, [index, offset, length]));
    assert.deepEqual(new Set(await Promise.all(all)), new Set([FETCH_DONE]));
  }
}

export function chosenOf({ spool }: Spooling, ordinal: number): readonly number[] {
  const bits = spool.chosen[ordinal] ?? 0;
  return Array.from({ length: 32 }, (_, i) => i).filter((i) => (bits >>> i) & 1);
}

/** Plans all, and waits until what is chosen of them is here. */
export async function fetched(spooled: Spooling, packs: readonly DispersedRef[]): Promise<void> {
  for (const [ordinal, ref] of packs.entries()) spooled.spool.plan(ref, ordinal, WHOLE);
  const bytes = packs.reduce((sum, ref) => sum + ref.k * shardBytes(ref), 0);
  await until(() => spooled.sites.bytes() === bytes && spooled.sites.underWay.size === 0);
}
