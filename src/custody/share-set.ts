/**
 * Share sets: a 32-byte secret split k-of-n (Shamir, "How to share a secret", 1979), with public
 * commitments by which every share and the secret are known to be right before they are used. Sharing
 * by itself has no integrity: one altered share yields another secret, in silence.
 *
 *     context          = set id (16) || generation (4, big-endian) || k (1) || n (1)
 *     secretCommitment = HMAC-SHA-256(secret, "exclave/v1 secret commitment" || 0x00 || context)
 *     share commitment = HMAC-SHA-256(share, "exclave/v1 share commitment" || 0x00 || context || index (1))
 *
 * The State's id is not in the context, and cannot be: it is the hash of the founding charter, and the
 * first set's commitments stand in that charter. What ties the two is the set id, which is random and
 * so belongs to one set ever: the charter that carries the commitments binds them to its State. The
 * State's id is given to the shares once the charter is written (`ofState`), is sealed with them, and
 * is compared as what it is, a claim.
 *
 * What the commitments give away: nothing that can be computed with. The secret must be 32 *uniform*
 * bytes, and then each share is too (for k = 1 the share *is* the secret). To try a guess costs one
 * HMAC, and there are 2^256 guesses, 2^128 for a quantum computer: a salt would add nothing here,
 * as it does for passwords, and the random set id keeps guesses for one set from serving another. With
 * k = 1 the two kinds of commitment are two outputs of a PRF under one key, with different inputs.
 * What is given up: k-1 shares alone reveal nothing to anybody, ever; with the commitments beside them
 * that holds against whoever cannot search 2^256, no longer against unbounded means. Never commit so
 * to something that people chose.
 *
 * With k = 1 who has one share has all of them, and can pass for any holder; with k > 1 any k holders
 * together can. No commitment changes that.
 *
 * They bind: two shares (or secrets) with one commitment are a collision of SHA-256, as 32-byte HMAC
 * keys are all different keys. So who made a set cannot give two holders' shares two meanings either.
 */
import { z } from "zod";
import { concat, equalConstantTime, fromHex, toHex, utf8, wipe } from "../crypto/bytes.ts";
import { hmacSha256 } from "../crypto/hash.ts";
import { combine, split } from "../erasure/shamir.ts";
import { ExclaveError, invariant } from "../errors.ts";

export const SECRET_BYTES = 32;
export const HOLDERS_MAX = 32;
export const GENERATION_MAX = 0xffff_ffff;
const SET_ID_BYTES = 16;
/** Whoever comes with more has not got them from key holders. */
const SHARES_GIVEN_MAX = 8 * HOLDERS_MAX;

const SECRET_LABEL = concat(utf8("exclave/v1 secret commitment"), Uint8Array.of(0));
const SHARE_LABEL = concat(utf8("exclave/v1 share commitment"), Uint8Array.of(0));

const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));
export const stateIdSchema = hex(32);
export const setIdSchema = hex(SET_ID_BYTES);
export const generationSchema = z.int().min(1).max(GENERATION_MAX);
export const holderCountSchema = z.int().min(1).max(HOLDERS_MAX);
export const holderIndexSchema = z
  .int()
  .min(0)
  .max(HOLDERS_MAX - 1);

/** The public part, as it stands in the charter and in every kit. */
export const shareSetSchema = z
  .strictObject({
    /** 16 random bytes. */
    setId: setIdSchema,
    /** 1, 2, 3 …: each set that replaces another has the next one. */
    generation: generationSchema,
    k: holderCountSchema,
    n: holderCountSchema,
    secretCommitment: hex(32),
    /** In the order of index, n of them. */
    shareCommitments: z.array(hex(32)).max(HOLDERS_MAX).readonly(),
  })
  .refine(({ k, n, shareCommitments }) => k <= n && shareCommitments.length === n)
  .readonly();
export type ShareSetPublic = z.infer<typeof shareSetSchema>;

/** One share of a set; its State may not be founded yet. */
export interface Share {
  /** 32 hexadecimal digits. */
  readonly setId: string;
  readonly generation: number;
  /** 0 to n - 1; people read it one higher. */
  readonly index: number;
  readonly k: number;
  readonly n: number;
  /** 32 secret bytes. */
  readonly share: Uint8Array;
}

/** One holder's share, with all that it says of itself; unproven until `examineShares` saw it. */
export interface HeldShare extends Share {
  /** 64 hexadecimal digits: the State that it claims to be of. */
  readonly state: string;
}

export type RefusalReason =
  | "of another State"
  | "of an older set"
  | "of a newer set"
  | "of another set"
  | "altered"
  | "given twice";

/** A share that was not used, and why. */
export interface RefusedShare {
  /** Where it stood in what was given. */
  readonly position: number;
  /** What it says its index is, 0 to n - 1 in good ones. */
  readonly index: number;
  readonly reason: RefusalReason;
}

export interface ShareSet {
  readonly publicPart: ShareSetPublic;
  /** n of them, in the order of index. The caller wipes their `share` bytes. */
  readonly shares: readonly Share[];
}

/**
 * Splits a secret into a new set. The secret is not kept; the caller wipes it.
 *
 * @param secret 32 uniformly random bytes (see above why it must be)
 * @param set.k 1 to n; how many are needed
 * @param set.n up to 32; how many there are
 * @param set.generation 1 for a State's first set, then one more than the set that it replaces
 * @param randomBytes returns that many uniform secret bytes; what it returned is wiped
 * @throws ExclaveError `usage` for a k, n or generation out of range; `bug` for another length of secret
 */
export function splitSecret(
  secret: Uint8Array,
  set: {
    readonly k: number;
    readonly n: number;
    readonly generation: number;
  },
  randomBytes: (count: number) => Uint8Array,
): ShareSet {
  const { k, n, generation } = set;
  invariant(secret.byteLength === SECRET_BYTES, "a shared secret is 32 bytes");
  if (
    !holderCountSchema.safeParse(k).success ||
    !holderCountSchema.safeParse(n).success ||
    k > n ||
    !generationSchema.safeParse(generation).success
  ) {
    throw new ExclaveError(
      "usage",
      `There are 1 to ${HOLDERS_MAX} key holders, and of these at least 1 and at most all are needed. Nothing was made.`,
    );
  }
  const setIdBytes = randomBytes(SET_ID_BYTES);
  invariant(setIdBytes.byteLength === SET_ID_BYTES, "too few random bytes");
  const setId = toHex(setIdBytes);
  const drawn: Uint8Array[] = [];
  try {
    const shares = split(secret, k, n, (count) => {
      const coefficients = randomBytes(count);
      drawn.push(coefficients);
      return coefficients;
    }).map((share, index) => ({ setId, generation, index, k, n, share }));
    const publicPart: ShareSetPublic = {
      setId,
      generation,
      k,
      n,
      secretCommitment: toHex(commitToSecret(secret, { setId, generation, k, n })),
      shareCommitments: shares.map((share) => toHex(commitToShare(share))),
    };
    return { publicPart, shares };
  } finally {
    wipe(...drawn);
  }
}

/** The shares of a set, now that their State has an id: as they are to be sealed. Their bytes are shared. */
export function ofState(shares: readonly Share[], state: string): readonly HeldShare[] {
  invariant(stateIdSchema.safeParse(state).success, "a State's id is 64 hexadecimal digits");
  return shares.map((share) => ({ ...share, state }));
}

/**
 * Tells the good shares from the others, without combining anything. Good ones fit the commitment of
 * their index, and each index is among them once.
 *
 * What a share says of State, set and generation is its own claim: reasons other than "altered" say
 * what it pretends to be. "of a newer set" is worth a warning: the public part may be outdated.
 *
 * @throws ExclaveError `malformed` when more than 256 shares are given
 */
export function examineShares(
  shares: readonly HeldShare[],
  publicPart: ShareSetPublic,
  state: string,
): { readonly good: readonly HeldShare[]; readonly refused: readonly RefusedShare[] } {
  if (shares.length > SHARES_GIVEN_MAX) {
    throw new ExclaveError("malformed", `more than ${SHARES_GIVEN_MAX} shares are given`);
  }
  const good: HeldShare[] = [];
  const refused: RefusedShare[] = [];
  const seen = new Set<number>();
  for (const [position, share] of shares.entries()) {
    const reason = fault(share, publicPart, state) ?? (seen.has(share.index) && "given twice");
    if (reason) {
      refused.push({ position, index: share.index, reason });
    } else {
      seen.add(share.index);
      good.push(share);
    }
  }
  return { good, refused };
}

/**
 * The secret, from k or more good shares; others are left out and named. No wrong secret ever comes
 * out: each used share fits its commitment, all of them lie on one polynomial, and the secret fits its
 * own commitment (compared in constant time). The caller wipes it.
 *
 * @throws ExclaveError `foreign-state` when every given share is of another State; `not-enough-shards`
 *   when fewer than k are good, with the others named; `altered` when good shares give another secret,
 *   which only a public part that was never right can bring about
 */
export function combineShares(
  shares: readonly HeldShare[],
  publicPart: ShareSetPublic,
  state: string,
): { readonly secret: Uint8Array; readonly refused: readonly RefusedShare[] } {
  const { good, refused } = examineShares(shares, publicPart, state);
  if (good.length < publicPart.k)
    throw tooFewShares(good.length, publicPart.k, shares.length, refused);
  return { secret: combineGood(good, publicPart), refused };
}

/** What commitments are bound to: `context || index` above, 23 bytes. */
export function shareContext(share: Omit<Share, "share">): Uint8Array {
  return concat(setContext(share), Uint8Array.of(share.index));
}

function setContext(set: Pick<Share, "setId" | "generation" | "k" | "n">) {
  const numbers = new Uint8Array(6);
  const view = new DataView(numbers.buffer);
  view.setUint32(0, set.generation);
  view.setUint8(4, set.k);
  view.setUint8(5, set.n);
  return concat(fromHex(set.setId, SET_ID_BYTES), numbers);
}

function commitToSecret(
  secret: Uint8Array,
  set: Pick<Share, "setId" | "generation" | "k" | "n">,
): Uint8Array {
  return hmacSha256(secret, SECRET_LABEL, setContext(set));
}

function commitToShare(share: Share): Uint8Array {
  return hmacSha256(share.share, SHARE_LABEL, shareContext(share));
}

function fault(share: HeldShare, set: ShareSetPublic, state: string): RefusalReason | undefined {
  if (share.state !== state) return "of another State";
  if (share.setId !== set.setId) {
    if (share.generation < set.generation) return "of an older set";
    if (share.generation > set.generation) return "of a newer set";
    return "of another set";
  }
  const commitment = set.shareCommitments[share.index];
  if (
    commitment === undefined ||
    share.generation !== set.generation ||
    share.k !== set.k ||
    share.n !== set.n ||
    // A shorter key is padded with zeros by HMAC: without this, a share that ends in zeros would have
    // a second spelling.
    share.share.byteLength !== SECRET_BYTES ||
    !equalConstantTime(commitToShare(share), fromHex(commitment, 32))
  ) {
    return "altered";
  }
  return undefined;
}

function combineGood(good: readonly HeldShare[], publicPart: ShareSetPublic): Uint8Array {
  const wrong = (cause?: unknown) =>
    new ExclaveError(
      "altered",
      `The shares of key holders ${people(good.map(({ index }) => index))} fit what is published about each of them, and together do not give the secret that is. The published share set was never right; use another one.`,
      cause === undefined ? undefined : { cause },
    );
  let secret: Uint8Array;
  try {
    secret = combine(good, publicPart.k);
  } catch (cause) {
    throw wrong(cause);
  }
  const commitment = commitToSecret(secret, publicPart);
  if (equalConstantTime(commitment, fromHex(publicPart.secretCommitment, 32))) return secret;
  wipe(secret);
  throw wrong();
}

/** The error for fewer good shares than are needed, naming the others. */
export function tooFewShares(
  good: number,
  needed: number,
  given: number,
  refused: readonly RefusedShare[],
): ExclaveError {
  const named = refused
    .slice(0, HOLDERS_MAX)
    .map(({ index, reason }) => `that of key holder ${people([index])} is ${reason}`)
    .join("; ");
  const why = named === "" ? "" : ` Not used: ${named}.`;
  const foreign = refused.filter(({ reason }) => reason === "of another State").length;
  if (given > 0 && foreign === given) {
    return new ExclaveError(
      "foreign-state",
      `All the shares given are of another State.${why} Nothing was combined.`,
    );
  }
  return new ExclaveError(
    "not-enough-shards",
    `${good} good ${good === 1 ? "share" : "shares"} of the ${needed} needed.${why} Nothing was combined.`,
  );
}

/** Indices as people count them. */
function people(indices: readonly number[]): string {
  return indices.map((index) => index + 1).join(", ");
}
