/**
 * Which shards of a closed epoch a site shows to an auditor: k − 1 of the n of each dispersal, others to each key.
 * Every site works it out alone and comes to the same, so that no auditor is ever given k of one dispersal, however
 * many sites are asked. docs/site-protocol.md, section 5.
 */
import { concat, fromHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";

const DOMAIN = utf8("exclave/v1 audit\0");
const ID_BYTES = 32;

/** A shard, by what its name and the front of it say. */
export type AuditedShard = {
  /** The dispersal's id, hex. */
  readonly id: string;
  readonly index: number;
  readonly k: number;
  readonly n: number;
};

/** The indices that the key is shown, in their order by hash: k − 1 of 0 to n − 1. */
export function auditedIndices(
  keyId: string,
  { id, k, n }: Omit<AuditedShard, "index">,
): readonly number[] {
  const ids = concat(fromHex(keyId, ID_BYTES), fromHex(id, ID_BYTES));
  return Array.from({ length: n }, (_, index) => ({
    index,
    hash: sha256(concat(DOMAIN, ids, Uint8Array.of(index))),
  }))
    .toSorted((a, b) => Buffer.compare(a.hash, b.hash) || a.index - b.index)
    .slice(0, k - 1)
    .map(({ index }) => index);
}

/** Whether the auditor with this key is shown the shard. */
export function isAudited(keyId: string, shard: AuditedShard): boolean {
  return auditedIndices(keyId, shard).includes(shard.index);
}
