/**
 * The Merkle tree over the leaves of one shard: the shape of RFC 6962 section 2.1, with leaves given
 * as hashes. Leaves and inner nodes cannot be confused: a leaf hashes 16384 bytes or a domain-prefixed
 * header, an inner node 65 bytes that start with 0x01.
 */
import { hash } from "node:crypto";
import { invariant } from "../errors.ts";

export const LEAF_BYTES = 32;

/**
 * The root of the tree over `leaves`, 32 bytes each, one after another. At least one leaf.
 *
 * Pairing level by level and letting an odd last node rise gives the same tree as RFC 6962's split at
 * the largest power of two, without recursion.
 */
export function merkleRoot(leaves: Uint8Array): Uint8Array {
  invariant(leaves.length > 0 && leaves.length % LEAF_BYTES === 0, "whole leaves");
  let level = leaves;
  const node = new Uint8Array(1 + 2 * LEAF_BYTES);
  node[0] = 0x01;
  while (level.length > LEAF_BYTES) {
    const next = new Uint8Array(Math.ceil(level.length / (2 * LEAF_BYTES)) * LEAF_BYTES);
    for (let from = 0, to = 0; from < level.length; from += 2 * LEAF_BYTES, to += LEAF_BYTES) {
      if (from + LEAF_BYTES === level.length) {
        next.set(level.subarray(from), to);
      } else {
        node.set(level.subarray(from, from + 2 * LEAF_BYTES), 1);
        next.set(hash("sha256", node, "buffer"), to);
      }
    }
    level = next;
  }
  return level;
}
