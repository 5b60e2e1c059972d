/**
 * The rehearsal at the ceremony: every choice of k shares that could one day come together is combined,
 * while the secret can still be split anew.
 */
import { wipe } from "../crypto/bytes.ts";
import { invariant } from "../errors.ts";
import {
  combineShares,
  examineShares,
  type HeldShare,
  type ShareSetPublic,
  tooFewShares,
} from "./share-set.ts";

/** Above it, a sample is tested; less than a second's work. */
export const SUBSETS_TESTED_MAX = 5_000;
/** So often a choice is drawn in search of one not yet tried; a poor generator ends the search. */
const DRAWS_MAX = 20 * SUBSETS_TESTED_MAX;

/** What `testEverySubset` tried. */
export interface SubsetTest {
  /** How many different choices of k shares there are. */
  readonly subsets: number;
  /** How many of them were combined, all different. */
  readonly tested: number;
  /** Whether these were all. */
  readonly complete: boolean;
}

/**
 * Tests, before the secret is destroyed, that every choice of k of all n shares gives it: all choices
 * up to `SUBSETS_TESTED_MAX`, beyond that so many random ones, each share in several of them. (For a
 * large set, too, all n are first found to lie on one polynomial, which implies every choice; the
 * combining itself is what a rehearsal is for.)
 *
 * @param randomBytes chooses the sample; not secret
 * @throws ExclaveError `not-enough-shards` unless all n shares are given once and good; `altered` when some
 *   choice gives another secret, naming its holders
 */
export function testEverySubset(
  shares: readonly HeldShare[],
  publicPart: ShareSetPublic,
  state: string,
  randomBytes: (count: number) => Uint8Array,
): SubsetTest {
  const { k, n } = publicPart;
  const { good, refused } = examineShares(shares, publicPart, state);
  if (good.length < n) throw tooFewShares(good.length, n, shares.length, refused);
  wipe(combineShares(good, publicPart, state).secret);
  const byIndex = good.toSorted((a, b) => a.index - b.index);
  const subsets = binomial(n, k);
  const complete = subsets <= SUBSETS_TESTED_MAX;
  let tested = 0;
  for (const chosen of complete ? allSubsets(n, k) : randomSubsets(n, k, randomBytes)) {
    const subset = byIndex.filter(({ index }) => chosen.includes(index));
    wipe(combineShares(subset, publicPart, state).secret);
    tested++;
  }
  return { subsets, tested, complete };
}

/** How many choices of k among n there are; exact for n up to 32. */
function binomial(n: number, k: number): number {
  let count = 1;
  for (let i = 1; i <= k; i++) count = (count * (n - k + i)) / i;
  return count;
}

function* allSubsets(n: number, k: number, from = 0): Generator<readonly number[]> {
  if (k === 0) {
    yield [];
    return;
  }
  for (let first = from; first <= n - k; first++) {
    for (const rest of allSubsets(n, k - 1, first + 1)) yield [first, ...rest];
  }
}

/**
 * `SUBSETS_TESTED_MAX` different random choices. Each round deals all shares out in random order, k at a
 * time and the last hand filled up from the first, so that after the first round each was dealt.
 */
function* randomSubsets(
  n: number,
  k: number,
  randomBytes: (count: number) => Uint8Array,
): Generator<readonly number[]> {
  const seen = new Set<string>();
  for (let draws = 0; draws < DRAWS_MAX; ) {
    const order = shuffled(n, randomBytes);
    for (let at = 0; at < n; at += k, draws++) {
      if (seen.size === SUBSETS_TESTED_MAX) return;
      const hand = Array.from({ length: k }, (_, i) => order[(at + i) % n] ?? 0);
      const name = hand.toSorted((a, b) => a - b).join(",");
      if (seen.has(name)) continue;
      seen.add(name);
      yield hand;
    }
  }
}

/** 0 to n - 1 in random order, by sorting on random keys. */
function shuffled(n: number, randomBytes: (count: number) => Uint8Array): readonly number[] {
  const random = randomBytes(4 * n);
  invariant(random.byteLength === 4 * n, "too few random bytes");
  const view = new DataView(random.buffer, random.byteOffset, random.byteLength);
  return Array.from({ length: n }, (_, index) => ({ index, key: view.getUint32(4 * index) }))
    .sort((a, b) => a.key - b.key)
    .map(({ index }) => index);
}
