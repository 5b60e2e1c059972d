/** When a checkpoint counted: as its log says, and as enough witnesses say. */
import { invariant } from "../errors.ts";
import { earliestCosignatures, verifyCheckpoint } from "./checkpoint.ts";
import type { LedgerVerifierKeys } from "./log-key.ts";
import { parseNote, type VerifierKey } from "./note.ts";

/** A log's clock and its witnesses' may differ by so much before the witnesses' alone counts. */
const CLOCKS_APART_SECONDS_MAX = 300;

/** Witnesses, each with all of its keys, and how many must have cosigned. */
export type Witnesses = {
  readonly witnesses: readonly { readonly name: string; readonly keys: readonly VerifierKey[] }[];
  /** 0 to believe the log's own time. */
  readonly quorum: number;
};

/**
 * Seconds since 1970 when a quorum of the witnesses had cosigned the checkpoint: the time of the quorum-th
 * witness, each counting from the first cosignature by any of its keys; or the log's own, where that is later by
 * minutes, so that no small difference of clocks makes what follows come too early. A log that says a later time
 * is not believed: else who has its key could end every delay, and make every veto late.
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
  if (time === undefined) return undefined;
  return Math.max(time, Math.min(seconds, time + CLOCKS_APART_SECONDS_MAX));
}
