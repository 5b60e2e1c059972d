/** Shards that verify, as many as one likes, at next to no cost: all of one kind share their piece. */
import { randomBytes } from "node:crypto";
import { parseId, randomId } from "../../src/vault/identifiers.ts";
import {
  BLOCK_BYTES,
  blockLeaves,
  blocksPerPiece,
  encodeFronts,
  shardName,
} from "../../src/vault/shard.ts";

export type MadeShard = {
  readonly name: string;
  readonly parts: readonly Uint8Array[];
  readonly bytes: number;
};

export type ShardsOf = {
  readonly state: string;
  /** Pseudonym of the register. */
  readonly register: string;
  readonly epoch: number;
  readonly k: number;
  readonly n: number;
  readonly packBytes: number;
};

/** Each pack's n shards one after another, without end. */
export function* shardsOf({
  state,
  register,
  epoch,
  k,
  n,
  packBytes,
}: ShardsOf): Generator<MadeShard, never, undefined> {
  const piece = randomBytes(blocksPerPiece(packBytes, k) * BLOCK_BYTES);
  const leaves = blockLeaves(piece);
  for (;;) {
    const dispersal = {
      state: parseId("StateId", state),
      register: parseId("RegisterId", register),
      epoch,
      pack: randomId("PackId"),
      k,
      n,
      packBytes,
    };
    const shares = Array.from({ length: n }, () => randomBytes(32));
    const { id, fronts } = encodeFronts(
      dispersal,
      shares,
      shares.map(() => leaves),
    );
    for (const [index, front] of fronts.entries()) {
      yield {
        name: shardName(id, index),
        parts: [front, piece],
        bytes: front.length + piece.length,
      };
    }
  }
}
