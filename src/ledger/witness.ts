/**
 * A witness (C2SP tlog-witness), without its HTTP: it keeps the largest tree head of every log that it
 * knows, and cosigns only what continues it. Nothing is answered before it is durable, so no crash makes
 * a witness cosign two histories.
 */
import { concat, utf8 } from "../crypto/bytes.ts";
import { ExclaveError, invariant, isExclaveError } from "../errors.ts";
import { type OpenedCheckpoint, openCheckpoint, requireLog } from "./checkpoint.ts";
import { cosign } from "./cosignature.ts";
import type { LedgerKey } from "./log-key.ts";
import { EMPTY_ROOT, verifyConsistency } from "./merkle.ts";
import {
  formatNote,
  formatSignatureLine,
  NOTE_BYTES_MAX,
  parseNote,
  type VerifierKey,
} from "./note.ts";
import { hashLines, malformed, parseDecimal, parseHash, splitHead } from "./text.ts";
import { isSameTreeHead, parseTreeHead, type TreeHead } from "./tree-head.ts";

/** As many as tlog-witness lets a client send. */
const CONSISTENCY_HASHES_MAX = 63;
/** "old ", 16 digits, and 63 lines of 45 characters. */
const HEAD_BYTES_MAX = 4096;
export const ADD_CHECKPOINT_BYTES_MAX = HEAD_BYTES_MAX + NOTE_BYTES_MAX;

/** The body of an `add-checkpoint` request. */
export interface AddCheckpoint {
  /** The size of the largest tree that, as the log has it, this witness cosigned. */
  readonly oldSize: number;
  /** The consistency proof from there, at most 63 hashes. */
  readonly proof: readonly Uint8Array[];
  /** The checkpoint's bytes, a signed note. */
  readonly checkpoint: Uint8Array;
}

/** The largest tree head that a witness has cosigned for a log. */
export interface WitnessedHead {
  readonly head: TreeHead;
  /** The checkpoint as the log signed it: with the signatures of the known keys and no others. */
  readonly checkpoint: Uint8Array;
}

/** Where a witness keeps what it must not forget. Shared by processes, if need be. */
export interface WitnessStore {
  /** What was kept last for this origin; undefined when nothing was. */
  latest(origin: string): WitnessedHead | undefined;
  /**
   * Keeps `next` when the head kept for its origin is still `expected`, undefined for none, and says
   * whether it was. Comparing and keeping are one step for everybody who shares the store, and `next` is
   * durable when this returns true.
   */
  replace(expected: TreeHead | undefined, next: WitnessedHead): boolean;
}

/** A witness: its key, the logs that it knows with all their keys, and what it remembers. */
export interface Witness {
  readonly key: LedgerKey;
  /** By origin. Every key of a log must have signed, as in policies. */
  readonly logs: ReadonlyMap<string, readonly VerifierKey[]>;
  readonly store: WitnessStore;
}

/** The answer to `add-checkpoint`, with the status that HTTP gives it. */
export type AddCheckpointResult =
  /** Signature lines, to be sent as they are. */
  | { readonly status: 200; readonly cosignatures: Uint8Array }
  /**
   * The size that the witness has, to be sent as decimal and newline. `fork` when both are of one size
   * and differ, which the log's own signatures prove: cause for alarm, and never the client's mistake.
   */
  | { readonly status: 409; readonly size: number; readonly fork: boolean }
  /**
   * 400: not a request. 403: not signed by the log. 404: not a log that this witness knows. 422: signed by
   * the log, and the proof does not show it to continue what it signed before.
   */
  | { readonly status: 400 | 403 | 404 | 422; readonly error: ExclaveError };

/** The body of a request. Throws `bug` for what `parseAddCheckpoint` would refuse. */
export function formatAddCheckpoint({ oldSize, proof, checkpoint }: AddCheckpoint): Uint8Array {
  invariant(Number.isSafeInteger(oldSize) && oldSize >= 0, "a size is a whole number");
  invariant(
    proof.length <= CONSISTENCY_HASHES_MAX && proof.every(({ byteLength }) => byteLength === 32),
    "a proof has at most 63 hashes",
  );
  return concat(utf8(`old ${oldSize}\n${hashLines(proof)}\n`), checkpoint);
}

/** Reads a request. Throws `malformed` for another form; the checkpoint is not looked into. */
export function parseAddCheckpoint(body: Uint8Array): AddCheckpoint {
  if (body.byteLength > ADD_CHECKPOINT_BYTES_MAX) throw malformed("a request is too large");
  const { lines, rest } = splitHead(body, HEAD_BYTES_MAX);
  const [old, ...hashes] = lines;
  if (!old?.startsWith("old ")) throw malformed("a request does not begin with an old size");
  if (hashes.length > CONSISTENCY_HASHES_MAX) throw malformed("a request has too many hashes");
  return {
    oldSize: parseDecimal(old.slice("old ".length)),
    proof: hashes.map(parseHash),
    checkpoint: rest,
  };
}

/**
 * Answers an `add-checkpoint` request, and cosigns when the checkpoint is the log's and continues what
 * this witness cosigned before; also again what it cosigned last, which says that nothing larger came.
 * Errors of the store pass through, and then nothing was cosigned.
 *
 * @param seconds the time, since 1970
 */
export function addCheckpoint(
  witness: Witness,
  body: Uint8Array,
  seconds: number,
): AddCheckpointResult {
  let request: AddCheckpoint;
  let origin: string;
  try {
    request = parseAddCheckpoint(body);
    // Not believed: it only tells which keys to verify with.
    ({ origin } = parseTreeHead(parseNote(request.checkpoint).text));
  } catch (error) {
    return refusal(400, error);
  }
  const keys = witness.logs.get(origin);
  if (keys === undefined)
    return refusal(404, new ExclaveError("untrusted", `no log ${origin} is known here`));
  let opened: OpenedCheckpoint;
  try {
    opened = openCheckpoint(request.checkpoint, keys);
    requireLog(opened, keys);
  } catch (error) {
    return refusal(403, error);
  }
  return addVerified(witness, request, opened, seconds);
}

function addVerified(
  { key, store }: Witness,
  { oldSize, proof }: AddCheckpoint,
  { head, note, signed }: OpenedCheckpoint,
  seconds: number,
): AddCheckpointResult {
  const { origin, size, root } = head;
  if (oldSize > size)
    return refusal(400, malformed("the old size is larger than the checkpoint's"));

  const latest = store.latest(origin)?.head;
  const known = latest ?? { origin, size: 0, root: EMPTY_ROOT };
  if (oldSize !== known.size) return { status: 409, size: known.size, fork: false };
  if (size === known.size && !isSameTreeHead(head, known)) return { status: 409, size, fork: true };
  if (!verifyConsistency(known.size, known.root, size, root, proof))
    return refusal(
      422,
      new ExclaveError(
        "altered",
        `the checkpoint of ${origin} is not shown to continue ${known.size}`,
      ),
    );

  const checkpoint = formatNote({
    text: note.text,
    signatures: signed.map(({ signature }) => signature),
  });
  // Also for the same head again: another process may have cosigned a larger one since it was read.
  if (!store.replace(latest, { head, checkpoint }))
    return { status: 409, size: store.latest(origin)?.head.size ?? 0, fork: false };
  const lines = cosign(key, head, seconds).map(formatSignatureLine);
  return { status: 200, cosignatures: utf8(lines.join("")) };
}

/** Only for what others sent: a mistake of ours is not their bad request. */
function refusal(status: 400 | 403 | 404 | 422, error: unknown): AddCheckpointResult {
  if (!isExclaveError(error) || error.code === "bug") throw error;
  return { status, error };
}
