/**
 * The Merkle tree of the ledger: RFC 6962, section 2.1, over SHA-256. Hashes are `Uint8Array`s of 32
 * bytes, sizes and indexes whole numbers up to 2^53 - 1, which is why nothing here shifts bits: a
 * shift in JavaScript sees 32 of them.
 *
 * A tree is read through its complete subtrees alone, the ones that never change again: whoever stores
 * them, as tiles or otherwise, can prove every tree that the log ever had.
 */
import { concat } from "../crypto/bytes.ts";
import { SHA256_BYTES, sha256 } from "../crypto/hash.ts";
import { invariant } from "../errors.ts";

export const HASH_BYTES = SHA256_BYTES;

const LEAF_PREFIX = Uint8Array.of(0x00);
const NODE_PREFIX = Uint8Array.of(0x01);

/** The root of the tree without leaves: SHA-256 of nothing. */
export const EMPTY_ROOT: Uint8Array = sha256(new Uint8Array());

/** No tree of 2^53 - 1 leaves or fewer has a complete subtree above this level. */
const LEVEL_MAX = 52;

/** A complete subtree: of 2^level leaves, and the index-th of its level, from the left, from 0. */
export interface NodeId {
  readonly level: number;
  readonly index: number;
}

/** A complete subtree and its hash. */
export interface Subtree extends NodeId {
  readonly hash: Uint8Array;
}

/**
 * MTH(D[index * 2^level : (index + 1) * 2^level]), 32 bytes. Only asked for subtrees that are complete
 * in the tree of the size that the caller names; may throw, and the error passes through.
 */
export type NodeReader = (level: number, index: number) => Uint8Array;

/** The leaves from `start` up to, and without, `end`; `start` is a multiple of a power of two that holds them all. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/** The hash of a leaf: SHA-256(0x00 || entry). */
export function leafHash(entry: Uint8Array): Uint8Array {
  return sha256(LEAF_PREFIX, entry);
}

/** The hash of an inner node: SHA-256(0x01 || left || right). */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha256(concat(NODE_PREFIX, left, right));
}

/** The root of the tree of the first `size` leaves; `EMPTY_ROOT` for none. */
export function treeRoot(size: number, node: NodeReader): Uint8Array {
  checkSize(size);
  return size === 0 ? EMPTY_ROOT : rangeHash({ start: 0, end: size }, node);
}

/**
 * PATH(index, D[0:size]) of RFC 6962, section 2.1.1: from the leaf's sibling up to the root's child, at
 * most 53 hashes. Throws `bug` for an index outside the tree.
 */
export function inclusionProof(index: number, size: number, node: NodeReader): Uint8Array[] {
  return inclusionRanges(index, size).map((range) => rangeHash(range, node));
}

/**
 * PROOF(oldSize, D[0:newSize]) of RFC 6962, section 2.1.2; empty for equal sizes and, as C2SP has it,
 * from the empty tree. Throws `bug` when the old tree is the larger one.
 */
export function consistencyProof(oldSize: number, newSize: number, node: NodeReader): Uint8Array[] {
  return consistencyRanges(oldSize, newSize).map((range) => rangeHash(range, node));
}

/** What `treeRoot` will read, so that a caller whose nodes are far away can fetch them all at once before. */
export function rootNodes(size: number): NodeId[] {
  checkSize(size);
  return completeSubtrees({ start: 0, end: size });
}

/** What `inclusionProof` will read. */
export function inclusionNodes(index: number, size: number): NodeId[] {
  return inclusionRanges(index, size).flatMap(completeSubtrees);
}

/** What `consistencyProof` will read. */
export function consistencyNodes(oldSize: number, newSize: number): NodeId[] {
  return consistencyRanges(oldSize, newSize).flatMap(completeSubtrees);
}

/**
 * Whether the proof binds the leaf to the root (RFC 9162, section 2.1.3.2). False, never an error, for
 * anything that does not: an index outside the tree, a hash of another length, one too many.
 */
export function verifyInclusion(
  leaf: Uint8Array,
  index: number,
  size: number,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (!isSize(index) || !isSize(size) || index >= size) return false;
  if (![leaf, root, ...proof].every(isHash)) return false;
  let at = index;
  let last = size - 1;
  let hash = leaf;
  for (const sibling of proof) {
    if (last === 0) return false;
    if (at % 2 === 1 || at === last) {
      hash = nodeHash(sibling, hash);
      // A last node without a sibling rises unhashed.
      for (; at % 2 === 0 && at !== 0; at /= 2) last = half(last);
    } else {
      hash = nodeHash(hash, sibling);
    }
    at = half(at);
    last = half(last);
  }
  return last === 0 && equal(hash, root);
}

/**
 * Whether the proof shows that the new tree continues the old one (RFC 9162, section 2.1.4.2). False,
 * never an error, for anything that does not. Trees of one size have one root and no proof; the empty
 * tree has `EMPTY_ROOT`, and every tree continues it without proof.
 */
export function verifyConsistency(
  oldSize: number,
  oldRoot: Uint8Array,
  newSize: number,
  newRoot: Uint8Array,
  proof: readonly Uint8Array[],
): boolean {
  if (!isSize(oldSize) || !isSize(newSize) || oldSize > newSize) return false;
  if (![oldRoot, newRoot, ...proof].every(isHash)) return false;
  if (oldSize === 0 && !equal(oldRoot, EMPTY_ROOT)) return false;
  if (oldSize === newSize) return proof.length === 0 && equal(oldRoot, newRoot);
  if (oldSize === 0) return proof.length === 0;

  let at = oldSize - 1;
  let last = newSize - 1;
  for (; at % 2 === 1; at = half(at)) last = half(last);
  // An old tree that is one complete subtree is its own starting point, and the proof leaves it out.
  const [first, ...rest] = at === 0 ? [oldRoot, ...proof] : proof;
  if (first === undefined) return false;
  let oldHash = first;
  let newHash = first;
  for (const sibling of rest) {
    if (last === 0) return false;
    if (at % 2 === 1 || at === last) {
      oldHash = nodeHash(sibling, oldHash);
      newHash = nodeHash(sibling, newHash);
      for (; at % 2 === 0 && at !== 0; at /= 2) last = half(last);
    } else {
      newHash = nodeHash(newHash, sibling);
    }
    at = half(at);
    last = half(last);
  }
  return last === 0 && equal(oldHash, oldRoot) && equal(newHash, newRoot);
}

/**
 * The right edge of a growing tree: the hashes of the complete subtrees that its size consists of, at
 * most 53, which is all that appending needs.
 */
export class Frontier {
  #size = 0;
  /** Largest subtree first. */
  readonly #peaks: Uint8Array[] = [];

  /** The frontier of a tree that is stored already. */
  static of(size: number, node: NodeReader): Frontier {
    const frontier = new Frontier();
    for (const { level, index } of rootNodes(size)) frontier.#peaks.push(node(level, index));
    frontier.#size = size;
    return frontier;
  }

  /** Leaves so far. */
  get size(): number {
    return this.#size;
  }

  /**
   * Appends one leaf hash, and returns the subtrees that are complete now and were not before: the leaf
   * itself first, then upwards. Storing each of them stores every node that a proof will ever need.
   */
  append(leaf: Uint8Array): readonly Subtree[] {
    invariant(isHash(leaf), "a leaf hash has 32 bytes");
    invariant(this.#size < Number.MAX_SAFE_INTEGER, "a tree has at most 2^53 - 1 leaves");
    let hash = Uint8Array.from(leaf);
    let index = this.#size;
    const completed: Subtree[] = [{ level: 0, index, hash }];
    while (index % 2 === 1) {
      const left = this.#peaks.pop();
      invariant(left !== undefined, "an odd index has a sibling to its left");
      hash = Uint8Array.from(nodeHash(left, hash));
      index = half(index);
      completed.push({ level: completed.length, index, hash });
    }
    this.#peaks.push(hash);
    this.#size++;
    return completed;
  }

  /** The root of the leaves so far. */
  root(): Uint8Array {
    return this.#size === 0 ? EMPTY_ROOT : fold(this.#peaks);
  }
}

/** The ranges whose hashes are an inclusion proof, leaf's sibling first. */
function inclusionRanges(index: number, size: number): Range[] {
  checkSize(size);
  invariant(isSize(index) && index < size, "a proven leaf is in its tree");
  const ranges: Range[] = [];
  let start = 0;
  let end = size;
  while (end - start > 1) {
    const middle = start + splitPoint(end - start);
    if (index < middle) {
      ranges.push({ start: middle, end });
      end = middle;
    } else {
      ranges.push({ start, end: middle });
      start = middle;
    }
  }
  return ranges.reverse();
}

/** The ranges whose hashes are a consistency proof, in its order. */
function consistencyRanges(oldSize: number, newSize: number): Range[] {
  checkSize(oldSize);
  checkSize(newSize);
  invariant(oldSize <= newSize, "a consistency proof leads to a tree as large or larger");
  if (oldSize === 0) return [];
  const ranges: Range[] = [];
  let start = 0;
  let end = newSize;
  while (oldSize < end) {
    const middle = start + splitPoint(end - start);
    if (oldSize <= middle) {
      ranges.push({ start: middle, end });
      end = middle;
    } else {
      ranges.push({ start, end: middle });
      start = middle;
    }
  }
  // From 0 on, it is the old tree itself, whose root the verifier has.
  if (start > 0) ranges.push({ start, end });
  return ranges.reverse();
}

/** The complete subtrees of a range, left to right, each smaller than the one before. */
function completeSubtrees({ start, end }: Range): NodeId[] {
  const nodes: NodeId[] = [];
  let level = LEVEL_MAX;
  for (let at = start; at < end; at += 2 ** level) {
    while (2 ** level > end - at) level--;
    nodes.push({ level, index: at / 2 ** level });
  }
  return nodes;
}

function rangeHash(range: Range, node: NodeReader): Uint8Array {
  return fold(completeSubtrees(range).map(({ level, index }) => node(level, index)));
}

/** The hash over complete subtrees, each smaller than the one before: the split at the largest power of two. */
function fold(hashes: readonly Uint8Array[]): Uint8Array {
  return hashes.reduceRight((right, left) => nodeHash(left, right));
}

/** The largest power of two smaller than `count`, which is 2 or more. Math.log2 is not exact near 2^53. */
function splitPoint(count: number): number {
  let split = 1;
  while (split * 2 < count) split *= 2;
  return split;
}

function half(value: number): number {
  return Math.floor(value / 2);
}

function isSize(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function checkSize(value: number): void {
  invariant(isSize(value), "the size of a tree is a whole number up to 2^53 - 1");
}

function isHash(bytes: Uint8Array): boolean {
  return bytes.byteLength === HASH_BYTES;
}

/** Not in constant time: every hash here is public. */
function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
