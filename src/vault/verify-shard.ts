/** Holds one whole shard against its name. Needs no key: anyone may check. */
import type { Kernel } from "../erasure/kernel.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import type { ShardFetch } from "./gather.ts";
import type { DispersalId } from "./identifiers.ts";
import {
  BLOCK_BYTES,
  blocksPerPiece,
  FRONT_START_BYTES,
  frontBytesOf,
  isBlock,
  parseFront,
} from "./shard.ts";

/** What was read of a shard, and what is wrong with it, if anything. */
export type ShardCheck = { readonly bytes: number; readonly problem?: string };

/** Fetches the shard through `memory` in steps and verifies every byte of it. */
export function verifyShard(
  kernel: Kernel,
  memory: { readonly offset: number; readonly bytes: number },
  fetch: ShardFetch,
  id: DispersalId,
  index: number,
): ShardCheck {
  let read = 0;
  const get = (offset: number, bytes: number): Uint8Array => {
    const [got = ""] = fetch([{ id, index, offset, bytes, at: memory.offset }]);
    if (typeof got === "string") throw new ExclaveError("not-found", got);
    read += bytes;
    return kernel.view(got, bytes);
  };
  try {
    const length = frontBytesOf(get(0, FRONT_START_BYTES));
    const front = parseFront(get(0, length), id, index);
    const blocks = blocksPerPiece(front.dispersal.packBytes, front.dispersal.k);
    const step = Math.floor(memory.bytes / BLOCK_BYTES);
    for (let first = 0; first < blocks; first += step) {
      const count = Math.min(step, blocks - first);
      const bytes = get(length + first * BLOCK_BYTES, count * BLOCK_BYTES);
      for (let i = 0; i < count; i++) {
        const block = bytes.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES);
        if (!isBlock(front, first + i, block)) {
          throw new ExclaveError("altered", `block ${first + i} is not what was stored`);
        }
      }
    }
    const beyond = { id, index, offset: read - FRONT_START_BYTES, bytes: 1, at: memory.offset };
    if (typeof fetch([beyond])[0] === "number") {
      throw new ExclaveError("altered", "it is longer than it should be");
    }
    return { bytes: read };
  } catch (error) {
    if (!isExclaveError(error) || error.code === "bug") throw error;
    return { bytes: read, problem: error.message };
  }
}
