/** Whether bytes are what an object's name says: for places where several versions of one name may lie. */
import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { isExclaveError } from "../errors.ts";
import { parseObjectName } from "../sites/site.ts";
import {
  BLOCK_BYTES,
  frontBytes,
  isBlock,
  parseFront,
  parseShardName,
  shardBytes,
} from "./shard.ts";

/**
 * As far as a name tells: a shard's by every byte, a document's by its hash, a checkpoint's by the part of the hash
 * in it. Of the ledger's files the ledger alone tells, so all of them pass.
 *
 * @param state a shard must be this State's, when one is given
 */
export function isNamedSo(name: string, bytes: Uint8Array, state?: string): boolean {
  const parsed = parseObjectName(name);
  if (!parsed) return false;
  if (parsed.kind === "shard") return isShard(name, bytes, state);
  if (parsed.kind === "ledger") return true;
  const digest = toHex(sha256(bytes));
  return parsed.kind === "checkpoint"
    ? parsed.rest.endsWith(`.${digest.slice(0, 16)}`)
    : parsed.rest === digest;
}

function isShard(name: string, bytes: Uint8Array, state: string | undefined): boolean {
  try {
    const { id, index } = parseShardName(name);
    const front = parseFront(bytes, id, index);
    const { dispersal } = front;
    if (bytes.length !== shardBytes(dispersal)) return false;
    if (state !== undefined && dispersal.state !== state) return false;
    const piece = bytes.subarray(frontBytes(dispersal));
    for (let block = 0; block * BLOCK_BYTES < piece.length; block++) {
      const at = block * BLOCK_BYTES;
      if (!isBlock(front, block, piece.subarray(at, at + BLOCK_BYTES))) return false;
    }
    return true;
  } catch (error) {
    if (!isExclaveError(error) || error.code === "bug") throw error;
    return false;
  }
}
