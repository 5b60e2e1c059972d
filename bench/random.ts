/**
 * Replayable randomness: xoshiro128** (Blackman and Vigna, 2018), seeded by splitmix32. Not for keys.
 *
 * Each file of a corpus has a generator of its own, seeded by the corpus seed and the file's name, so
 * a file's bytes do not depend on which files were written before it.
 */
export class Random {
  readonly #state = new Uint32Array(4);

  constructor(seed: number, name: string) {
    let hash = seed | 0;
    for (let i = 0; i < name.length; i++) {
      hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193) ^ (hash >>> 15);
    }
    for (let i = 0; i < 4; i++) {
      hash = (hash + 0x9e3779b9) | 0;
      let mixed = Math.imul(hash ^ (hash >>> 16), 0x21f0aaad);
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
      this.#state[i] = mixed ^ (mixed >>> 15);
    }
  }

  /** A whole number from 0 to 2^32 - 1. */
  next(): number {
    const state = this.#state;
    const [s0 = 0, s1 = 0, s2 = 0, s3 = 0] = [state[0], state[1], state[2], state[3]];
    const result = Math.imul(rotate(Math.imul(s1, 5), 7), 9) >>> 0;
    const x2 = s2 ^ s0;
    const x3 = s3 ^ s1;
    state[1] = s1 ^ x2;
    state[0] = s0 ^ x3;
    state[2] = x2 ^ (s1 << 9);
    state[3] = rotate(x3, 11);
    return result;
  }

  /** A number from 0 up to, and without, 1. */
  unit(): number {
    return this.next() / 4294967296;
  }

  /** A whole number from 0 up to, and without, `limit`. */
  below(limit: number): number {
    return Math.floor(this.unit() * limit);
  }

  /** A whole number from `low` up to and with `high`. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** One of the list, each as likely as any other. */
  pick<T>(list: readonly [T, ...T[]]): T {
    return list[this.below(list.length)] ?? list[0];
  }

  /** One of the list, those at its front far likelier, as with names and words. */
  pickCommon<T>(list: readonly [T, ...T[]]): T {
    const at = this.unit();
    return list[Math.floor(at * at * at * list.length)] ?? list[0];
  }

  /** From a normal distribution with mean 0 and deviation 1 (Box and Muller, 1958). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.unit())) * Math.cos(2 * Math.PI * this.unit());
  }

  /** Fills with random bytes. */
  fill(bytes: Uint8Array): void {
    const words = new Uint32Array(Math.ceil(bytes.length / 4));
    let [s0 = 0, s1 = 0, s2 = 0, s3 = 0] = this.#state;
    for (let i = 0; i < words.length; i++) {
      words[i] = Math.imul(rotate(Math.imul(s1, 5), 7), 9);
      const shifted = s1 << 9;
      s2 ^= s0;
      s3 ^= s1;
      s1 ^= s2;
      s0 ^= s3;
      s2 ^= shifted;
      s3 = rotate(s3, 11);
    }
    this.#state.set([s0, s1, s2, s3]);
    bytes.set(new Uint8Array(words.buffer, 0, bytes.length));
  }
}

function rotate(word: number, by: number): number {
  return (word << by) | (word >>> (32 - by));
}
