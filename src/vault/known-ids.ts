/**
 * The one table that grows with a register: which chunk ids are known, shared without locks by all
 * workers. Open addressing in SharedArrayBuffers; a slot is a state word, 128 bits of the id and,
 * in tables that need it, a value. "We have it already" is never decided on fewer than 128 bits.
 *
 * A full table is not rehashed under the workers' hands: the owner adds a generation twice as large and
 * hands it out. Ids are looked up in every generation and inserted into the newest. Two workers that
 * see different generations may both store a chunk; that costs bytes, never correctness.
 */
import { invariant } from "../errors.ts";

const EMPTY = 0;
const WRITING = 1;
const READY = 2;

const ID_WORDS = 4;
const SLOT_WORDS = 1 + ID_WORDS;
/** Beyond this load an insertion is refused; looking up would become slow. */
const LOAD_MAX = 0.85;
/** At this load the owner should add a generation. */
const LOAD_GROW = 0.6;

/** One generation. Words: [0] number of ids, [1] slots; then slots of `SLOT_WORDS + valueWords`. */
export type KnownIdsGeneration = {
  readonly words: Int32Array<SharedArrayBuffer>;
  readonly valueWords: number;
};

const HEAD_WORDS = 2;

/** A new generation with room for about `capacity` ids. */
export function newGeneration(capacity: number, valueWords: number): KnownIdsGeneration {
  const slots = 2 ** Math.ceil(Math.log2(Math.max(1024, capacity / LOAD_GROW)));
  const words = new Int32Array(
    new SharedArrayBuffer((HEAD_WORDS + slots * (SLOT_WORDS + valueWords)) * 4),
  );
  words[1] = slots;
  return { words, valueWords };
}

function countOf(generation: KnownIdsGeneration): number {
  return Atomics.load(generation.words, 0);
}

function slotsOf(generation: KnownIdsGeneration): number {
  return generation.words[1] ?? 0;
}

/** One thread's view of the table. */
export class KnownIds {
  readonly #generations: KnownIdsGeneration[];

  constructor(generations: readonly KnownIdsGeneration[]) {
    this.#generations = [...generations];
  }

  get generations(): readonly KnownIdsGeneration[] {
    return this.#generations;
  }

  /** Ids in all generations. */
  get size(): number {
    return this.#generations.reduce((sum, generation) => sum + countOf(generation), 0);
  }

  addGeneration(generation: KnownIdsGeneration): void {
    this.#generations.push(generation);
  }

  /** Adds a generation when the newest is filling up, and returns it for the other threads. */
  grow(): KnownIdsGeneration | undefined {
    const newest = this.#newest();
    if (countOf(newest) < slotsOf(newest) * LOAD_GROW) return undefined;
    const next = newGeneration(slotsOf(newest) * 2 * LOAD_GROW, newest.valueWords);
    this.addGeneration(next);
    return next;
  }

  has(id: Uint8Array): boolean {
    return this.#generations.some((generation) => probe(generation, id) >= 0);
  }

  /** The two value words stored with the id; undefined when the id is unknown. */
  value(id: Uint8Array): readonly [number, number] | undefined {
    for (const generation of this.#generations) {
      const at = probe(generation, id);
      if (at >= 0) {
        const { words } = generation;
        return [words[at + SLOT_WORDS] ?? 0, words[at + SLOT_WORDS + 1] ?? 0];
      }
    }
    return undefined;
  }

  /**
   * Adds the id unless it is known. True when this call added it: the caller must store the chunk.
   * When the newest generation is full, true without adding: the chunk is stored, though perhaps again.
   */
  claim(id: Uint8Array, value: readonly [number, number] = [0, 0]): boolean {
    const newest = this.#newest();
    for (const older of this.#generations) {
      if (older !== newest && probe(older, id) >= 0) return false;
    }
    return insert(newest, id, value);
  }

  #newest(): KnownIdsGeneration {
    const newest = this.#generations.at(-1);
    invariant(newest, "the table has a generation");
    return newest;
  }
}

function word(id: Uint8Array, at: number): number {
  return (
    (id[at] ?? 0) | ((id[at + 1] ?? 0) << 8) | ((id[at + 2] ?? 0) << 16) | ((id[at + 3] ?? 0) << 24)
  );
}

/** Where the slot of this id begins; or, when it is absent, `~` of where its free slot begins. */
function probe(generation: KnownIdsGeneration, id: Uint8Array): number {
  const { words, valueWords } = generation;
  const slots = slotsOf(generation);
  const [w0, w1, w2, w3] = [word(id, 0), word(id, 4), word(id, 8), word(id, 12)];
  for (let slot = w0 & (slots - 1); ; slot = (slot + 1) & (slots - 1)) {
    const at = HEAD_WORDS + slot * (SLOT_WORDS + valueWords);
    let state = Atomics.load(words, at);
    if (state === EMPTY) return ~at;
    // The writer is a few instructions from READY; it cannot be waiting for us.
    while (state === WRITING) state = Atomics.load(words, at);
    if (
      words[at + 1] === w0 &&
      words[at + 2] === w1 &&
      words[at + 3] === w2 &&
      words[at + 4] === w3
    ) {
      return at;
    }
  }
}

function insert(
  generation: KnownIdsGeneration,
  id: Uint8Array,
  value: readonly [number, number],
): boolean {
  const { words, valueWords } = generation;
  for (;;) {
    const found = probe(generation, id);
    if (found >= 0) return false;
    if (countOf(generation) >= slotsOf(generation) * LOAD_MAX) return true;
    const at = ~found;
    // Lost to another thread: it may have inserted this very id, so look again.
    if (Atomics.compareExchange(words, at, EMPTY, WRITING) !== EMPTY) continue;
    for (let i = 0; i < ID_WORDS; i++) words[at + 1 + i] = word(id, i * 4);
    if (valueWords > 0) [words[at + SLOT_WORDS], words[at + SLOT_WORDS + 1]] = value;
    // Sequentially consistent: whoever sees READY sees the words above.
    Atomics.store(words, at, READY);
    Atomics.add(words, 0, 1);
    return true;
  }
}
