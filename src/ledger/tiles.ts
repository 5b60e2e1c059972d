/**
 * The ledger as static files (C2SP tlog-tiles): tiles of up to 256 hashes, a level of tiles for every
 * eight levels of the tree, and bundles of up to 256 entries beside the lowest.
 */
import { concat } from "../crypto/bytes.ts";
import { invariant } from "../errors.ts";
import { HASH_BYTES, type NodeId, type NodeReader, nodeHash } from "./merkle.ts";
import { malformed } from "./text.ts";

/** Hashes in a full tile, and entries in a full bundle. */
export const TILE_WIDTH = 256;
/** Levels of the tree that one level of tiles spans. */
export const TILE_HEIGHT = 8;
/** As far as tile paths go; trees of 2^53 - 1 leaves have levels 0 to 6. */
const TILE_LEVEL_MAX = 63;
/** "tile/entries/" and six elements of three digits: more than 2^53 needs. */
const TILE_PATH_MAX = 64;

/** An entry is prefixed with its length in 16 bits. */
export const ENTRY_BYTES_MAX = 65535;
const LENGTH_BYTES = 2;

/** Tiles that a reader of nodes keeps: 8 KiB each, and a proof touches at most two a level. */
const TILES_KEPT_MAX = 64;

/** Hashes `index * 256` up to, and without, `index * 256 + width` of the nodes at tree level 8 * level. */
export interface HashTile {
  readonly level: number;
  readonly index: number;
  /** 1 to 256; below 256 the tile is partial, and so is its name. */
  readonly width: number;
}

/** A tile, or the bundle of the entries whose hashes are in the tile of level 0 with that index. */
export type Tile = HashTile | (Omit<HashTile, "level"> & { readonly level: "entries" });

/** The tile's path below the ledger's prefix: `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`. */
export function tilePath(tile: Tile): string {
  const { level, index, width } = tile;
  invariant(
    level === "entries" || (Number.isInteger(level) && level >= 0 && level <= TILE_LEVEL_MAX),
    "a tile's level is 0 to 63",
  );
  invariant(Number.isSafeInteger(index) && index >= 0, "a tile's index is a whole number");
  invariant(Number.isInteger(width) && width > 0 && width <= TILE_WIDTH, "a tile is 1 to 256 wide");
  const digits = String(index).padStart(Math.ceil(String(index).length / 3) * 3, "0");
  const elements = digits.match(/.../g) ?? [];
  const path = elements.map((element, i) => (i < elements.length - 1 ? `x${element}` : element));
  return `tile/${level}/${path.join("/")}${width < TILE_WIDTH ? `.p/${width}` : ""}`;
}

/** The tile of a path. Throws `malformed` for all that `tilePath` would not have written. */
export function parseTilePath(path: string): Tile {
  const form = /^tile\/(entries|[0-9]{1,2})\/((?:x[0-9]{3}\/)*[0-9]{3})(?:\.p\/([0-9]{1,3}))?$/;
  const [, level, index, width] = (path.length <= TILE_PATH_MAX ? form.exec(path) : null) ?? [];
  if (level === undefined || index === undefined) throw malformed("a path does not name a tile");
  const place = {
    index: Number(index.replaceAll(/[x/]/g, "")),
    width: width === undefined ? TILE_WIDTH : Number(width),
  };
  if (
    !Number.isSafeInteger(place.index) ||
    place.width === 0 ||
    place.width > TILE_WIDTH ||
    Number(level) > TILE_LEVEL_MAX
  )
    throw malformed("a path names a tile that cannot be");
  const tile: Tile = level === "entries" ? { ...place, level } : { ...place, level: Number(level) };
  // One tile has one name: no leading zeros, no leading x000, no .p/256.
  if (tilePath(tile) !== path) throw malformed("a tile's path is not in its shortest form");
  return tile;
}

/**
 * The tiles of the tree of `to` leaves that the tree of `from` leaves has not, level by level, the
 * partial one of a level last. From 0, they are all tiles of the tree.
 */
export function* newTiles(from: number, to: number): Generator<HashTile> {
  checkGrowth(from, to);
  for (let level = 0; to >= TILE_WIDTH ** level; level++)
    for (const place of newPlaces(hashesAt(level, from), hashesAt(level, to)))
      yield { level, ...place };
}

/** As `newTiles`, for entry bundles. */
export function* newEntryBundles(from: number, to: number): Generator<Tile> {
  checkGrowth(from, to);
  for (const place of newPlaces(from, to)) yield { level: "entries", ...place };
}

/** The tile, of a tree of `size` leaves, whose hashes are or make up that of a complete subtree. */
export function tileOf({ level, index }: NodeId, size: number): HashTile {
  invariant((index + 1) * 2 ** level <= size, "a node that is read is complete in its tree");
  const tileLevel = Math.floor(level / TILE_HEIGHT);
  const tileIndex = Math.floor((index * 2 ** (level % TILE_HEIGHT)) / TILE_WIDTH);
  const width = Math.min(TILE_WIDTH, hashesAt(tileLevel, size) - tileIndex * TILE_WIDTH);
  return { level: tileLevel, index: tileIndex, width };
}

/** The tiles, each once, that nodes of a tree of `size` leaves lie in: what to fetch before reading them. */
export function tilesOf(nodes: readonly NodeId[], size: number): HashTile[] {
  const tiles = new Map<string, HashTile>();
  for (const node of nodes) {
    const tile = tileOf(node, size);
    tiles.set(tilePath(tile), tile);
  }
  return [...tiles.values()];
}

/**
 * Reads the nodes of a tree of `size` leaves from its tiles; the last few are kept. What `fetch` gives
 * is believed, so whoever has the tiles from others checks the root or proof that comes of them.
 *
 * Throws `malformed` when a tile has not `width` hashes; what `fetch` throws passes through.
 */
export function tileNodes(
  size: number,
  fetch: (tile: HashTile) => Uint8Array,
  tilesMax: number = TILES_KEPT_MAX,
): NodeReader {
  const kept = new Map<string, Uint8Array>();
  const read = (tile: HashTile): Uint8Array => {
    const path = tilePath(tile);
    const bytes = kept.get(path) ?? fetch(tile);
    if (bytes.byteLength !== tile.width * HASH_BYTES)
      throw malformed(`${path} does not hold ${tile.width} hashes`);
    // A map keeps the order of insertion, so the first is the one that was not used for longest.
    kept.delete(path);
    kept.set(path, bytes);
    const [oldest] = kept.keys();
    if (kept.size > tilesMax && oldest !== undefined) kept.delete(oldest);
    return bytes;
  };
  return (level, index) => {
    const bytes = read(tileOf({ level, index }, size));
    const count = 2 ** (level % TILE_HEIGHT);
    return hashOf(bytes, (index * count) % TILE_WIDTH, count);
  };
}

/** Entries as a bundle: each after its length in two bytes, big-endian. 1 to 256 entries of at most 65535 bytes. */
export function encodeEntryBundle(entries: readonly Uint8Array[]): Uint8Array {
  invariant(entries.length > 0 && entries.length <= TILE_WIDTH, "a bundle holds 1 to 256 entries");
  const parts = entries.flatMap((entry) => {
    invariant(entry.byteLength <= ENTRY_BYTES_MAX, "an entry has at most 65535 bytes");
    return [Uint8Array.of(Math.floor(entry.byteLength / 256), entry.byteLength % 256), entry];
  });
  return concat(...parts);
}

/**
 * The entries of a bundle, as views of its bytes. Throws `malformed` when it does not consist of exactly
 * `width` entries. That they are the ledger's is told by their leaf hashes alone.
 */
export function decodeEntryBundle(bytes: Uint8Array, width: number): Uint8Array[] {
  const entries: Uint8Array[] = [];
  let at = 0;
  while (at < bytes.byteLength && entries.length < width) {
    const start = at + LENGTH_BYTES;
    const end = start + (bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0);
    entries.push(bytes.subarray(start, end));
    at = end;
  }
  // Past the end when it breaks off within an entry.
  if (at !== bytes.byteLength || entries.length !== width)
    throw malformed(`an entry bundle does not hold ${width} entries`);
  return entries;
}

/** Hashes at a level of tiles in a tree of `size` leaves. */
function hashesAt(level: number, size: number): number {
  return Math.floor(size / TILE_WIDTH ** level);
}

/** The tiles over `to` hashes that there were not over `from`. */
function* newPlaces(from: number, to: number): Generator<Omit<HashTile, "level">> {
  if (from === to) return;
  const full = Math.floor(to / TILE_WIDTH);
  for (let index = Math.floor(from / TILE_WIDTH); index < full; index++)
    yield { index, width: TILE_WIDTH };
  const width = to % TILE_WIDTH;
  if (width > 0) yield { index: full, width };
}

/** The hash over `count` hashes of a tile, a power of two, from the first-th on. */
function hashOf(tile: Uint8Array, first: number, count: number): Uint8Array {
  if (count === 1) return tile.slice(first * HASH_BYTES, (first + 1) * HASH_BYTES);
  return nodeHash(hashOf(tile, first, count / 2), hashOf(tile, first + count / 2, count / 2));
}

function checkGrowth(from: number, to: number): void {
  invariant(
    Number.isSafeInteger(from) && Number.isSafeInteger(to) && from >= 0 && from <= to,
    "a tree grows from one size to another, both up to 2^53 - 1",
  );
}
