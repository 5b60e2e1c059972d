/**
 * Proofs of logging (C2SP tlog-proof): a checkpoint, the index of an entry and its inclusion proof, in
 * one text file that anybody who has the policy verifies offline.
 */
import { concat, fromBase64, toBase64, utf8 } from "../crypto/bytes.ts";
import { ExclaveError, invariant } from "../errors.ts";
import { leafHash, verifyInclusion } from "./merkle.ts";
import { NOTE_BYTES_MAX, parseNote } from "./note.ts";
import { type Cosigner, type Policy, verifyWitnessed } from "./policy.ts";
import { hashLines, malformed, parseDecimal, parseHash, splitHead } from "./text.ts";

const HEADER = "c2sp.org/tlog-proof@v1";
/** Bytes of extra data, before base64. */
export const PROOF_EXTRA_BYTES_MAX = 64 * 1024;
/** As many as a tree of 2^63 - 1 leaves has levels. */
const PROOF_HASHES_MAX = 63;
const HEAD_BYTES_MAX = 96 * 1024;
export const PROOF_BYTES_MAX = HEAD_BYTES_MAX + NOTE_BYTES_MAX;

/** A proof that nobody has verified. */
export interface LogProof {
  readonly index: number;
  /** From the leaf's sibling to the root's child, at most 63. */
  readonly hashes: readonly Uint8Array[];
  /** The checkpoint's bytes, a signed note. */
  readonly checkpoint: Uint8Array;
  /** Whatever the application put there, at least one byte. Nothing vouches for it. */
  readonly extra?: Uint8Array;
}

/** What a verified proof says. */
export interface ProvenEntry {
  readonly origin: string;
  /** The entry is the index-th of the log's first `size`. */
  readonly index: number;
  readonly size: number;
  readonly root: Uint8Array;
  /** When the log says `size` was all it had, in seconds since 1970; 0 when it does not say. */
  readonly logSeconds: number;
  readonly cosigners: readonly Cosigner[];
}

/** The text of a proof. Throws `bug` for what `parseProof` would refuse. */
export function formatProof({ index, hashes, checkpoint, extra }: LogProof): Uint8Array {
  invariant(Number.isSafeInteger(index) && index >= 0, "an index is a whole number");
  invariant(
    hashes.length <= PROOF_HASHES_MAX && hashes.every(({ byteLength }) => byteLength === 32),
    "a proof has at most 63 hashes",
  );
  invariant(
    extra === undefined || (extra.byteLength > 0 && extra.byteLength <= PROOF_EXTRA_BYTES_MAX),
    "extra data has 1 to 65536 bytes",
  );
  const extraLine = extra === undefined ? "" : `extra ${toBase64(extra)}\n`;
  return concat(utf8(`${HEADER}\n${extraLine}index ${index}\n${hashLines(hashes)}\n`), checkpoint);
}

/** Reads a proof. Throws `malformed` for another form; the checkpoint is only known to be a note. */
export function parseProof(bytes: Uint8Array): LogProof {
  if (bytes.byteLength > PROOF_BYTES_MAX) throw malformed("a proof is too large");
  const { lines, rest } = splitHead(bytes, HEAD_BYTES_MAX);
  const [header, ...body] = lines;
  if (header !== HEADER) throw malformed(`a proof does not begin with ${HEADER}`);
  const extraText = body[0]?.startsWith("extra ")
    ? body.shift()?.slice("extra ".length)
    : undefined;
  const [indexLine, ...hashes] = body;
  if (!indexLine?.startsWith("index ")) throw malformed("a proof names no index");
  if (hashes.length > PROOF_HASHES_MAX) throw malformed("a proof has too many hashes");
  parseNote(rest);
  const proof = {
    index: parseDecimal(indexLine.slice("index ".length)),
    hashes: hashes.map(parseHash),
    checkpoint: rest,
  };
  if (extraText === undefined) return proof;
  const extra = fromBase64(extraText);
  if (extra.byteLength === 0 || extra.byteLength > PROOF_EXTRA_BYTES_MAX)
    throw malformed("the extra data of a proof is not 1 to 65536 bytes");
  return { ...proof, extra };
}

/**
 * Verifies, from the proof and the policy alone, that the log has the entry and enough witnesses saw it.
 *
 * Throws `malformed` for another form; `altered` when a signature by a key of the policy does not verify
 * or the proof does not lead from the entry to the root; `untrusted` when the policy does not believe
 * the checkpoint.
 */
export function verifyProof(proofText: Uint8Array, entry: Uint8Array, policy: Policy): ProvenEntry {
  const { index, hashes, checkpoint } = parseProof(proofText);
  const { head, logSeconds, cosigners } = verifyWitnessed(checkpoint, policy);
  const { origin, size, root } = head;
  if (!verifyInclusion(leafHash(entry), index, size, hashes, root))
    throw new ExclaveError(
      "altered",
      `the proof does not show the entry at index ${index} of ${origin}`,
    );
  return { origin, index, size, root, logSeconds, cosigners };
}
