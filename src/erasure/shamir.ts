/**
 * Secret sharing (Shamir, "How to share a secret", 1979) over the field of field.ts, byte by byte.
 *
 * Share i (0 to n-1) of a byte is the value at x = i + 1 of a polynomial of degree k-1 whose constant
 * term is the secret byte. Any k shares give the secret and every other share; k-1 give nothing.
 * Sharing has no integrity of its own: an altered share yields another secret, so a caller must
 * know its shares to be good (shards are named by their hashes) or check the secret that comes out.
 *
 * Secret bytes and shares pass only through XOR and `multiply`, which neither branches on them nor
 * looks anything up by them; only indices, which are public, are inverted.
 */
import { ExclaveError, invariant } from "../errors.ts";
import { divide, multiply } from "./field.ts";

/** The most shares of one secret: the field has 255 points besides 0. */
export const SHARES_MAX = 255;

export interface Share {
  /** 0 to 254. */
  readonly index: number;
  /** As many bytes as the secret. */
  readonly share: Uint8Array;
}

/**
 * Splits a secret of at least one byte into n shares of its length, any k of which recover it.
 * `randomBytes(count)` must return `count` uniform secret bytes; it is called once with (k - 1) *
 * secret.length: the coefficients of x for all bytes of the secret, then those of x^2, and so on.
 * Throws `bug` unless 1 <= k <= n <= 255.
 */
export function split(
  secret: Uint8Array,
  k: number,
  n: number,
  randomBytes: (count: number) => Uint8Array,
): Uint8Array[] {
  checkThreshold(k);
  invariant(Number.isInteger(n) && k <= n && n <= SHARES_MAX, `${k} of ${n} shares`);
  const length = secret.length;
  invariant(length > 0, "an empty secret");
  const coefficients = randomBytes((k - 1) * length);
  invariant(coefficients.length === (k - 1) * length, "too few random bytes");

  return Array.from({ length: n }, (_, index) => {
    const share = new Uint8Array(length);
    for (let degree = k - 1; degree >= 0; degree--) {
      const terms =
        degree === 0 ? secret : coefficients.subarray((degree - 1) * length, degree * length);
      terms.forEach((term, i) => {
        share[i] = multiply(share[i] ?? 0, index + 1) ^ term;
      });
    }
    return share;
  });
}

/**
 * The secret, from k or more shares. Throws `not-enough-shards` below k; `malformed` when two
 * shares have one index, an index is out of range or lengths differ; `altered` when there are more than
 * k shares and they do not all lie on one polynomial.
 */
export function combine(shares: readonly Share[], k: number): Uint8Array {
  const used = checkShares(shares, k);
  const secret = interpolate(used, 0);
  for (const extra of shares.slice(k)) {
    const difference = interpolate(used, extra.index + 1).reduce(
      (bits, byte, i) => bits | (byte ^ (extra.share[i] ?? 0)),
      0,
    );
    if (difference !== 0) {
      throw new ExclaveError("altered", "the shares do not belong together; one or more are wrong");
    }
  }
  return secret;
}

/**
 * The share at `index`, bit for bit as `split` made it, from k others (or itself among them); more
 * than k are not used. Throws as `combine` does.
 */
export function derive(shares: readonly Share[], k: number, index: number): Uint8Array {
  invariant(isIndex(index), `share ${index}`);
  return interpolate(checkShares(shares, k), index + 1);
}

/** The polynomial through all the shares, evaluated at x, in Lagrange's form. */
function interpolate(shares: readonly Share[], x: number): Uint8Array {
  const result = new Uint8Array(shares[0]?.share.length ?? 0);
  for (const { index, share } of shares) {
    let numerator = 1;
    let denominator = 1;
    for (const other of shares) {
      if (other.index === index) continue;
      numerator = multiply(numerator, x ^ (other.index + 1));
      denominator = multiply(denominator, (index + 1) ^ (other.index + 1));
    }
    const weight = divide(numerator, denominator);
    share.forEach((byte, i) => {
      result[i] = (result[i] ?? 0) ^ multiply(byte, weight);
    });
  }
  return result;
}

/** The first k shares, after all of them were found well-formed. */
function checkShares(shares: readonly Share[], k: number): readonly Share[] {
  checkThreshold(k);
  if (shares.length < k) {
    throw new ExclaveError("not-enough-shards", `${shares.length} shares of the ${k} needed`);
  }
  const length = shares[0]?.share.length ?? 0;
  const seen = new Set<number>();
  for (const { index, share } of shares) {
    if (!isIndex(index)) throw new ExclaveError("malformed", `a share has the index ${index}`);
    if (seen.has(index)) throw new ExclaveError("malformed", `share ${index} is given twice`);
    if (share.length !== length || length === 0) {
      throw new ExclaveError("malformed", `share ${index} has ${share.length} bytes`);
    }
    seen.add(index);
  }
  return shares.slice(0, k);
}

function checkThreshold(k: number): void {
  invariant(Number.isInteger(k) && k >= 1 && k <= SHARES_MAX, `a threshold of ${k} shares`);
}

function isIndex(index: number): boolean {
  return Number.isInteger(index) && index >= 0 && index < SHARES_MAX;
}
