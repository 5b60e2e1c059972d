/** Which recovery points a register has, and which one is meant. */
import { ExclaveError } from "../errors.ts";
import type { Catalog, SnapshotRow } from "../vault/catalog.ts";
import type { SnapshotRoot } from "../vault/documents.ts";
import type { RegisterConfig } from "../vault/home.ts";
import { parseId } from "../vault/identifiers.ts";

export type SnapshotChoice = {
  /** The start of a recovery point's id, at least 4 digits. */
  readonly snapshot?: string;
  /** The newest one not after this moment. */
  readonly at?: Date;
  /** Of those that were set aside, and no others; with `snapshot`. */
  readonly quarantined?: boolean;
};

const PREFIX_MIN = 4;

/**
 * The chosen recovery point; the newest when nothing is chosen. Throws `unknown-name`, and `untrusted` for one
 * that was set aside, unless exactly that is asked for.
 */
export function chooseSnapshot(
  catalog: Catalog,
  register: RegisterConfig,
  choice: SnapshotChoice,
): SnapshotRow {
  const id = parseId("RegisterId", register.id);
  const aside = catalog.quarantined(id);
  if (choice.quarantined === true) return chooseQuarantined(aside, register, choice);
  const all = catalog.snapshots(id);
  const meant = choice.snapshot === undefined ? [] : startingWith(aside, choice.snapshot);
  if (meant.length > 0 && startingWith(all, choice.snapshot ?? "").length === 0) {
    throw new ExclaveError(
      "untrusted",
      `that recovery point is set aside: ${meant[0]?.quarantined ?? ""}. Nothing was written; who wants it all the same says --quarantined`,
    );
  }
  if (all.length === 0) {
    throw new ExclaveError(
      "unknown-name",
      `register "${register.name}" has no recovery point yet: run \`exclave protect ${register.name}\``,
    );
  }
  const { snapshot, at } = choice;
  if (snapshot !== undefined) {
    return theOne(startingWith(all, snapshot), register, snapshot);
  }
  if (at !== undefined) {
    const match = all.find(({ time }) => Date.parse(time) <= at.getTime());
    if (match) return match;
    throw new ExclaveError(
      "unknown-name",
      `register "${register.name}" has no recovery point as old as ${at.toISOString()}; the oldest is of ${all.at(-1)?.time}`,
    );
  }
  const [newest] = all;
  if (!newest) throw new ExclaveError("bug", "a list that is not empty has a first");
  return newest;
}

/** One that was set aside, by the start of its id: never one that somebody did not name. */
function chooseQuarantined(
  aside: readonly SnapshotRow[],
  register: RegisterConfig,
  { snapshot }: SnapshotChoice,
): SnapshotRow {
  if (snapshot === undefined) {
    throw new ExclaveError(
      "usage",
      "--quarantined goes with --snapshot ID: name the one that is wanted",
    );
  }
  return theOne(startingWith(aside, snapshot), register, snapshot);
}

function startingWith(all: readonly SnapshotRow[], snapshot: string): readonly SnapshotRow[] {
  return all.filter(({ id }) => id.startsWith(snapshot.toLowerCase()));
}

function theOne(
  matches: readonly SnapshotRow[],
  register: RegisterConfig,
  snapshot: string,
): SnapshotRow {
  const [match] = matches;
  if (snapshot.length >= PREFIX_MIN && match && matches.length === 1) return match;
  const why = matches.length > 1 ? "more than one recovery point" : "no recovery point";
  throw new ExclaveError(
    "unknown-name",
    `${why} of register "${register.name}" begins with ${snapshot}; \`exclave snapshots ${register.name}\` lists them`,
  );
}

/** The root of a recovery point; it was verified when it came into the catalog. */
export function rootOf(snapshot: SnapshotRow): SnapshotRoot {
  return JSON.parse(snapshot.root) as SnapshotRoot;
}
