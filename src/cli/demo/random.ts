/** Replayable randomness and calendar days for the invented registers. Nothing here is secret. */

export interface Random {
  /** The next 32 bits, as an unsigned number. */
  readonly word: () => number;
  /** A whole number from 0 to `bound` − 1; `bound` is at least 1 and far below 2^32. */
  readonly below: (bound: number) => number;
  /** A whole number from `low` to `high`, both included. */
  readonly between: (low: number, high: number) => number;
  /** True in `percent` of 100 cases. */
  readonly chance: (percent: number) => boolean;
  /** One of the list, which must not be empty. */
  readonly pick: <T>(list: readonly T[]) => T;
}

/**
 * The stream of numbers that belongs to a seed and a purpose: sfc32 (C. Doty-Humphrey, PractRand).
 * A purpose has a stream of its own so that more births do not change the land titles.
 */
export function randomOf(seed: number, purpose: string): Random {
  let hash = 0x811c9dc5; // FNV-1a
  for (let at = 0; at < purpose.length; at++) {
    hash = Math.imul(hash ^ purpose.charCodeAt(at), 0x01000193);
  }
  let a = seed | 0;
  let b = Math.floor(seed / 2 ** 32) | 0;
  let c = hash | 0;
  let counter = 1;
  const word = (): number => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  // The first rounds still show the seed.
  for (let round = 0; round < 15; round++) word();

  const below = (bound: number): number => Math.floor((word() / 2 ** 32) * bound);
  return {
    word,
    below,
    between: (low, high) => low + below(high - low + 1),
    chance: (percent) => below(100) < percent,
    pick: (list) => {
      const chosen = list[below(list.length)];
      if (chosen === undefined) throw new RangeError("nothing to pick from an empty list");
      return chosen;
    },
  };
}

const dayMs = 86_400_000;

/** A day as the count of days since 1970-01-01 (UTC). */
export function dayOf(date: string): number {
  return Date.parse(`${date}T00:00:00Z`) / dayMs;
}

/** YYYY-MM-DD of a day counted from 1970-01-01. */
export function dateOf(day: number): string {
  return new Date(day * dayMs).toISOString().slice(0, 10);
}

/** A number written with at least `digits` digits. */
export function padded(number: number, digits: number): string {
  return String(number).padStart(digits, "0");
}
