/**
 * How much content shrinks, measured on a part of it: read, cut into chunks, compressed and sealed as `protect`
 * would, and thrown away. What is read is chosen by a seed, evenly over all of it, so the same seed on the same
 * content gives the same answer.
 */
import { createHash, hash } from "node:crypto";
import { closeSync, readSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { fromText } from "../platform/names.ts";
import { deriveEpochKeys } from "../vault/epoch-keys.ts";
import { idFromBytes } from "../vault/identifiers.ts";
import { KnownIds, newGeneration } from "../vault/known-ids.ts";
import { Sealer } from "../vault/sealer.ts";
import { contentOf, firstNames, type LookOptions, look, openToRead } from "./files/survey.ts";

/** What a sample found. */
export type Sample = {
  /** Repeats it. */
  readonly seed: string;
  /** All that there is, of which the sample was chosen. */
  readonly contentBytes: number;
  readonly readBytes: number;
  /** True when nothing was left out: not an estimate, then. */
  readonly complete: boolean;
  /** Of what was read: sealed, with the tables, before padding; what came twice within it counted once. */
  readonly storedBytes: number;
  /** Chunks that were cut of it, each counted once. */
  readonly chunks: number;
  /** Files, or parts of files, that could not be read. */
  readonly unreadable: number;
  readonly entries: number;
  /** Bytes of their names: the last part of each path. */
  readonly nameBytes: number;
  /** Files that have content, each counted once. */
  readonly filledFiles: number;
};

export type SampleRoot = LookOptions & { readonly path: string };

/** What is read at one place: about a frame's worth, with small files sharing it as they will. */
const BLOCK_BYTES = 1024 * 1024;
const ENTRIES_A_TURN = 256;
const BYTES_A_TURN = 16 * 1024 * 1024;

/**
 * @param contentBytes as the surveys of the roots found together
 * @param bytesMax what to read at most, in bytes; all is read when there is no more
 */
export async function sampleContent(
  roots: readonly SampleRoot[],
  options: {
    readonly contentBytes: number;
    readonly bytesMax: number;
    readonly seed: string;
    readonly onProgress: (readBytes: number) => void;
  },
): Promise<Sample> {
  const { contentBytes, bytesMax, seed } = options;
  const complete = contentBytes <= bytesMax;
  const chosen = new Chosen(complete ? EVERYTHING : choose(contentBytes, bytesMax, seed));
  const cutter = new Cutter(seed);
  let [entries, nameBytes, filledFiles, unreadable, at, turnBytes] = [0, 0, 0, 0, 0, 0];
  for (const root of roots) {
    const isFirstName = firstNames();
    for (const { path, full, stat } of look(fromText(root.path), root)) {
      entries++;
      nameBytes += path.length - path.lastIndexOf("/") - 1;
      if (entries % ENTRIES_A_TURN === 0 || cutter.readBytes - turnBytes > BYTES_A_TURN) {
        turnBytes = cutter.readBytes;
        options.onProgress(cutter.readBytes);
        await setImmediate();
      }
      if (stat.kind !== "file" || stat.size === 0 || !isFirstName(stat)) continue;
      filledFiles++;
      for (const { offset, length } of contentOf(full, stat, root.native)) {
        for (const { from, to } of chosen.within(at, at + length)) {
          if (!cutter.cut(full, offset + from - at, to - from)) unreadable++;
        }
        at += length;
      }
    }
  }
  return {
    seed,
    contentBytes: at,
    complete: complete && unreadable === 0,
    ...cutter.end(),
    unreadable,
    entries,
    nameBytes,
    filledFiles,
  };
}

/** A stretch of the content of all files, put one after another. */
type Block = { readonly from: number; readonly to: number };

const EVERYTHING: readonly Block[] = [{ from: 0, to: Number.POSITIVE_INFINITY }];

/** One block in each of as many equal stretches as blocks may be read, in order, where the seed puts it. */
function choose(contentBytes: number, bytesMax: number, seed: string): readonly Block[] {
  const count = Math.max(1, Math.floor(bytesMax / BLOCK_BYTES));
  const stretch = contentBytes / count;
  return Array.from({ length: count }, (_, i) => {
    const fraction = hash("sha256", `${seed}\0${i}`, "buffer").readUInt32LE() / 2 ** 32;
    const from = Math.floor(i * stretch + fraction * Math.max(0, stretch - BLOCK_BYTES));
    return { from, to: from + Math.min(BLOCK_BYTES, bytesMax) };
  });
}

/** Blocks in order, asked for in order. */
class Chosen {
  readonly #blocks: readonly Block[];
  #next = 0;

  constructor(blocks: readonly Block[]) {
    this.#blocks = blocks;
  }

  /** What of them lies from `from` to `to`, where the last question ended or later. */
  *within(from: number, to: number): Generator<Block, void, undefined> {
    for (; ; this.#next++) {
      const block = this.#blocks[this.#next];
      if (!block || block.from >= to) return;
      if (block.to > from) yield { from: Math.max(from, block.from), to: Math.min(to, block.to) };
      if (block.to > to) return;
    }
  }
}

/** Seals what it is given, counts, and forgets it. */
class Cutter {
  readBytes = 0;
  #storedBytes = 0;
  #chunks = 0;
  readonly #known = new KnownIds([newGeneration(65_536, 0)]);
  readonly #sealer: Sealer;

  constructor(seed: string) {
    const key = (what: string): Uint8Array =>
      createHash("sha256").update(`${what} ${seed}`).digest();
    const context = {
      state: idFromBytes("StateId", key("state")),
      register: idFromBytes("RegisterId", key("register").subarray(0, 16)),
      epoch: 1,
    };
    // A key that everyone may know: nothing that is sealed under it leaves this function.
    const keys = deriveEpochKeys(key("epoch"), context);
    this.#sealer = new Sealer({
      keys,
      known: this.#known,
      // Into one shard, which costs the least.
      k: 1,
      n: 1,
      store: ({ storedBytes }) => {
        this.#storedBytes += storedBytes;
      },
      awaitSlot: () => undefined,
    });
  }

  /** False when the stretch cannot be read to its end. */
  cut(path: string, offset: number, length: number): boolean {
    let fd: number;
    try {
      fd = openToRead(path);
    } catch {
      return false;
    }
    let [at, failed] = [offset, false];
    const end = offset + length;
    try {
      this.#sealer.seal(
        "data",
        (into) => {
          try {
            const got = readSync(fd, into, 0, Math.min(into.length, end - at), at);
            at += got;
            return got;
          } catch {
            failed = true;
            return 0;
          }
        },
        (_id, _bytes, pack) => {
          if (pack !== undefined) this.#chunks++;
        },
      );
    } finally {
      closeSync(fd);
    }
    this.#known.grow();
    this.readBytes += at - offset;
    return !failed && at === end;
  }

  end(): Pick<Sample, "readBytes" | "storedBytes" | "chunks"> {
    this.#sealer.flush();
    return { readBytes: this.readBytes, storedBytes: this.#storedBytes, chunks: this.#chunks };
  }
}
