/**
 * Reads a whole ledger from its published files (C2SP tlog-tiles) and believes none of it before all of
 * it gives the root that a checkpoint states: every entry bundle, and every tile that proofs are made of.
 */
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError } from "../errors.ts";
import { decodeLedgerEntry, type LedgerEntry } from "./entry.ts";
import { Frontier, HASH_BYTES, leafHash } from "./merkle.ts";
import {
  decodeEntryBundle,
  newEntryBundles,
  newTiles,
  TILE_HEIGHT,
  TILE_WIDTH,
  type Tile,
  tilePath,
} from "./tiles.ts";
import { shownHead, type TreeHead } from "./tree-head.ts";

/** The bytes of a published file; may throw `not-found`, and the error passes through. */
export type FetchFile = (path: string) => Promise<Uint8Array>;

/**
 * The entries of the tree, in order, each with its position. Every file is read once to find that all
 * give the head's root, and the bundles a second time for what they say; memory is a hash for each bundle.
 *
 * Throws `altered`, before the first entry, when they do not; `malformed` for a file that has not the
 * form of one.
 *
 * @param head of a checkpoint whose signatures the caller has verified
 * @param earlier heads, of no more entries, that others hold: each has to be a beginning of this tree, or
 *   the ledger has forked
 */
export async function* verifiedEntries(
  head: TreeHead,
  fetch: FetchFile,
  earlier: readonly TreeHead[] = [],
): AsyncGenerator<readonly [number, LedgerEntry], void, undefined> {
  const bundles = [...newEntryBundles(0, head.size)];
  const hashes = await verifyFiles(head, earlier, bundles, fetch);
  for (const [i, bundle] of bundles.entries()) {
    const bytes = await fetch(tilePath(bundle));
    if (Buffer.compare(sha256(bytes), hashes[i] ?? new Uint8Array()) !== 0) {
      throw differs(`${tilePath(bundle)} is not the same when it is read again`);
    }
    for (const [at, entry] of decodeEntryBundle(bytes, bundle.width).entries()) {
      yield [bundle.index * TILE_WIDTH + at, decodeLedgerEntry(entry)];
    }
  }
}

/** Holds all files to the root. Returns the SHA-256 of each bundle. */
async function verifyFiles(
  head: TreeHead,
  earlier: readonly TreeHead[],
  bundles: readonly Tile[],
  fetch: FetchFile,
): Promise<readonly Uint8Array[]> {
  const frontier = new Frontier();
  const tiles = new TileBuilder();
  const hashes: Uint8Array[] = [];
  const requireEarlier = (): void => {
    for (const one of earlier) {
      if (one.size !== frontier.size || Buffer.compare(one.root, frontier.root()) === 0) continue;
      throw differs(
        `it has forked: of two checkpoints, ${shownHead(one)} is no beginning of ${shownHead(head)}`,
      );
    }
  };
  requireEarlier();
  for (const bundle of bundles) {
    const bytes = await fetch(tilePath(bundle));
    hashes.push(sha256(bytes));
    for (const entry of decodeEntryBundle(bytes, bundle.width)) {
      for (const { level, hash } of frontier.append(leafHash(entry))) {
        if (level % TILE_HEIGHT !== 0) continue;
        const full = tiles.add(level / TILE_HEIGHT, hash);
        if (full) await requireTile({ level: level / TILE_HEIGHT, ...full }, fetch);
      }
      requireEarlier();
    }
  }
  if (Buffer.compare(frontier.root(), head.root) !== 0) {
    throw differs(`the entries do not give the root of the checkpoint of ${head.size} entries`);
  }
  for (const { level, index, width } of newTiles(0, head.size)) {
    if (width < TILE_WIDTH) await requireTile({ level, index, bytes: tiles.open(level) }, fetch);
  }
  return hashes;
}

async function requireTile(
  {
    level,
    index,
    bytes,
  }: { readonly level: number; readonly index: number; readonly bytes: Uint8Array },
  fetch: FetchFile,
): Promise<void> {
  const path = tilePath({ level, index, width: bytes.length / HASH_BYTES });
  if (Buffer.compare(await fetch(path), bytes) !== 0) {
    throw differs(`${path} does not hold the hashes of the entries`);
  }
}

/** The hashes of the tile of each level that is being filled: at most 8 KiB a level. */
class TileBuilder {
  readonly #levels: { index: number; used: number; readonly bytes: Uint8Array }[] = [];

  /** Adds the next hash of a level; returns the tile that it completes. */
  add(
    level: number,
    hash: Uint8Array,
  ): { readonly index: number; readonly bytes: Uint8Array } | undefined {
    this.#levels[level] ??= { index: 0, used: 0, bytes: new Uint8Array(TILE_WIDTH * HASH_BYTES) };
    const tile = this.#levels[level];
    tile.bytes.set(hash, tile.used);
    tile.used += HASH_BYTES;
    if (tile.used < tile.bytes.length) return undefined;
    tile.used = 0;
    return { index: tile.index++, bytes: Uint8Array.from(tile.bytes) };
  }

  /** What a level has of a tile that is not complete. */
  open(level: number): Uint8Array {
    const tile = this.#levels[level];
    return tile ? tile.bytes.slice(0, tile.used) : new Uint8Array();
  }
}

function differs(why: string): ExclaveError {
  return new ExclaveError("altered", `the published ledger is not what was signed: ${why}`);
}
