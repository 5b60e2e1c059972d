/** A check in the ledger, as a sentence for people. */
import { isExclaveError } from "../errors.ts";
import type { Home } from "../vault/home.ts";
import type { KnownState } from "../vault/known-state.ts";
import { openSigned, type RecordOf } from "./records.ts";

/** Digits of a register's pseudonym that are shown where its name is not known. */
const PSEUDONYM_DIGITS = 8;

/**
 * What an entry of the kind `check` says. The ledger names it, and that proves nothing of who wrote it: it is a
 * check when an agent of the State signed it, which was not revoked by then.
 *
 * @param at when the entry counted; undefined while it does not
 * @param nameOf what a register is called, by its pseudonym
 */
export function checkSentence(
  home: Pick<Home, "document" | "known">,
  id: string,
  at: Date | undefined,
  nameOf: (register: string) => string | undefined,
): string {
  let bytes: Uint8Array;
  try {
    bytes = home.document("check", id);
  } catch (error) {
    if (!isExclaveError(error, "altered")) throw error;
    return "A record that home does not have: exclave rebuild.";
  }
  try {
    const { record, keyIds } = openSigned(bytes, home.known);
    if (record.what !== "check") return countsForNothing("it says that it is of another kind");
    const why = suspicionOf(home.known, keyIds, [at, new Date(record.time)]);
    return why === undefined ? sayCheck(record, nameOf(record.register)) : countsForNothing(why);
  } catch (error) {
    if (!isExclaveError(error) || error.code === "bug") throw error;
    return countsForNothing(error.message);
  }
}

function countsForNothing(why: string): string {
  return `A record that counts for nothing: ${why}.`;
}

/** Why what these agents signed does not count; its own time speaks against it as well as the ledger's. */
function suspicionOf(
  { agents }: KnownState,
  keyIds: readonly string[],
  times: readonly (Date | undefined)[],
): string | undefined {
  for (const id of keyIds) {
    const suspectFrom = agents.get(id)?.suspectFrom;
    if (!suspectFrom || !times.some((time) => time && time >= suspectFrom)) continue;
    return `its agent was revoked, and is suspect from ${suspectFrom.toISOString()} on`;
  }
  return undefined;
}

/** The sentence of a record that was verified. */
export function sayCheck(record: RecordOf<"check">, name: string | undefined): string {
  const { register, full, time, survives } = record;
  const what = name ?? `the register ${register.slice(0, PSEUDONYM_DIGITS)}`;
  const left =
    survives < 0
      ? "something is lost"
      : survives === 0
        ? "no further site may be lost"
        : `any ${survives} more of the sites may be lost`;
  return `A check of ${what} ${full ? "in full" : "by sample"}, begun ${time}: ${found(record)}; ${left}.`;
}

function found({ good, recoveryPoints, sites }: RecordOf<"check">): string {
  if (good) return `good, ${recoveryPoints} recovery ${recoveryPoints === 1 ? "point" : "points"}`;
  const faults = sites.flatMap(({ name, missing, damaged, unavailable }) => {
    if (unavailable) return [`${name} could not be checked`];
    if (missing === 0 && damaged === 0) return [];
    const parts = [
      ...(missing > 0 ? [`${missing} missing`] : []),
      ...(damaged > 0 ? [`${damaged} damaged`] : []),
    ];
    return [`${name} has ${parts.join(" and ")}`];
  });
  return `not all good: ${faults.length > 0 ? faults.join(", ") : "a document, or the ledger, at a site"}`;
}
