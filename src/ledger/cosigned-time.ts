/** When a checkpoint counted: as its log says, and as enough witnesses say. */
import { invariant } from "../errors.ts";
import { earliestCosignatures, verifyCheckpoint } from "./checkpoint.ts";
import type { LedgerVerifierKeys } from "./log-key.ts";
import { parseNote, type VerifierKey } from "./note.ts";

/** Witnesses, each with all of its keys, and how many must have cosigned. */
export type Witnesses = {
  readonly witnesses: readonly { readonly name: string; readonly keys: readonly VerifierKey[] }[];
  /** 0 to believe the log's own time. */
  readonly quorum: number;
};

/**
 * Seconds since 1970 when a quorum of the witnesses had cosigned the checkpoint, and never before its log
 * signed it: the time of the quorum-th witness, each counting from the first cosignature by any of its keys.
 * Undefined while fewer have. Throws as `verifyCheckpoint` does.
 */
export function cosignedSeconds(
  checkpoint: Uint8Array,
  log: LedgerVerifierKeys,
  { witnesses, quorum }: Witnesses,
): number | undefined {
  invariant(Number.isSafeInteger(quorum) && quorum >= 0, "a quorum is a whole number");
  const { seconds } = verifyCheckpoint(checkpoint, log);
  if (quorum === 0) return seconds;
  const note = parseNote(checkpoint);
  const times = witnesses.flatMap(({ keys }) => {
    const cosigned = earliestCosignatures(note, keys).map((one) => one.seconds);
    return cosigned.length === 0 ? [] : [Math.min(...cosigned)];
  });
  const time = times.toSorted((a, b) => a - b)[quorum - 1];
  return time === undefined ? undefined : Math.max(time, seconds);
}
