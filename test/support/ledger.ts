/** Trees and keys for the tests of src/ledger. */
import assert from "node:assert/strict";
import { concat, utf8 } from "../../src/crypto/bytes.ts";
import { isExclaveError } from "../../src/errors.ts";
import { type LedgerKey, logKeyFromSeed, witnessKeyFromSeed } from "../../src/ledger/log-key.ts";
import { Frontier, leafHash, type NodeReader, treeRoot } from "../../src/ledger/merkle.ts";
import type { HashTile } from "../../src/ledger/tiles.ts";
import type { TreeHead } from "../../src/ledger/tree-head.ts";

export const ORIGIN = "ledger.example/state";
export const logKey: LedgerKey = logKeyFromSeed(new Uint8Array(32).fill(1), ORIGIN);
export const otherLogKey: LedgerKey = logKeyFromSeed(new Uint8Array(32).fill(2), ORIGIN);
export const witnessKeys: readonly LedgerKey[] = ["a", "b", "c"].map((name, i) =>
  witnessKeyFromSeed(new Uint8Array(32).fill(10 + i), `witness.example/${name}`),
);

/** Every complete subtree of a tree in memory. */
export class MemoryTree {
  readonly entries: readonly Uint8Array[];
  readonly leaves: readonly Uint8Array[];
  readonly #nodes = new Map<string, Uint8Array>();

  constructor(entries: readonly Uint8Array[]) {
    this.entries = entries;
    this.leaves = entries.map(leafHash);
    const frontier = new Frontier();
    for (const leaf of this.leaves)
      for (const { level, index, hash } of frontier.append(leaf))
        this.#nodes.set(`${level}/${index}`, hash);
  }

  readonly node: NodeReader = (level, index) => {
    const hash = this.#nodes.get(`${level}/${index}`);
    assert.ok(hash, `the subtree ${level}/${index} is complete`);
    return hash;
  };

  head(size: number, origin: string = ORIGIN): TreeHead {
    return { origin, size, root: treeRoot(size, this.node) };
  }

  /** What lies in a tile: the definition of tlog-tiles. */
  tile({ level, index, width }: HashTile): Uint8Array {
    const hashes = Array.from({ length: width }, (_, i) => this.node(8 * level, index * 256 + i));
    return concat(...hashes);
  }
}

/** A tree of that many different entries. */
export function memoryTree(size: number): MemoryTree {
  return new MemoryTree(Array.from({ length: size }, (_, i) => utf8(`entry ${i}`)));
}

/** What a reader may throw at bytes from outside, and whether it did; anything else is a mistake of ours. */
export function survives(read: () => unknown): "read" | "refused" {
  try {
    read();
    return "read";
  } catch (error) {
    if (!isExclaveError(error) || !["malformed", "altered", "untrusted"].includes(error.code))
      throw error;
    return "refused";
  }
}

/** Tears and reorders lines, and alters, drops and repeats bytes, at places that the numbers choose. */
export function damage(bytes: Uint8Array, kind: number, at: number, value: number): Uint8Array {
  const place = at % (bytes.byteLength + 1);
  const lines = Buffer.from(bytes).toString("latin1").split("\n");
  const line = at % lines.length;
  const joined = (): Uint8Array => Uint8Array.from(Buffer.from(lines.join("\n"), "latin1"));
  switch (kind % 6) {
    case 0:
      return Uint8Array.from(bytes).fill(value, place, place + 1);
    case 1:
      return bytes.slice(0, place);
    case 2:
      return concat(bytes.subarray(0, place), Uint8Array.of(value), bytes.subarray(place));
    case 3:
      lines.splice(line, 1);
      return joined();
    case 4:
      lines.splice(value % lines.length, 0, lines[line] ?? "");
      return joined();
    default:
      lines.push(...lines.splice(line, 1));
      return joined();
  }
}
