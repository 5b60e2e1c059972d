/**
 * What a check found, into the ledger: when the sites were last checked, and what was found then, is to be known
 * where home is lost, and to everybody who reads the ledger.
 */
import { ExclaveError, isExclaveError } from "../errors.ts";
import {
  enter,
  governingQuorum,
  type HeldHeads,
  openAllSites,
  publish,
  requireCurrent,
} from "../governance/ledger-at-sites.ts";
import {
  openRecord,
  type RecordOf,
  readRecord,
  type Said,
  signRecord,
} from "../governance/records.ts";
import type { Home } from "../vault/home.ts";
import type { CheckReport } from "./check.ts";

/** What finds the same as the check before it is entered so long after it: a ledger only ever grows. */
export const SAME_RESULT_SECONDS = 3600;
/** Entries that are looked through for the check before; in an hour far fewer come. */
const ENTRIES_SEARCHED_MAX = 4096;

/** Whether a check is in the ledger. */
export type CheckEntered =
  | {
      readonly entered: true;
      /** SHA-256 of the record. */
      readonly id: string;
      /** Why sites do not have it yet, by site; absent when all have. Whatever runs next brings it there. */
      readonly failedSites?: Readonly<Record<string, string>>;
    }
  | { readonly entered: false; readonly why: string };

/**
 * Enters what a check found, under one new checkpoint, and brings it to every site that answers. One that finds
 * the same as the register's check before, within an hour of it, is not entered again.
 *
 * Call it with the State's lock. Throws as `requireCurrent` does; `site-unavailable` when too few sites say how far
 * the ledger is; `incomplete` when they have more than home knew when it checked. Then nothing was entered.
 */
export async function recordCheck(home: Home, report: CheckReport): Promise<CheckEntered> {
  const places = await openAllSites(home);
  const known = await entriesAt(home);
  requireEnough(home, await requireCurrent(home, places));
  requireKnown(known, await entriesAt(home));
  const said = saidOf(home, report);
  const before = await checkBefore(home, said.register);
  if (before && isRepeated(before, said, new Date(report.time))) {
    return {
      entered: false,
      why: `it found the same as the one of ${before.time}, which is there; the same is entered once an hour`,
    };
  }
  const by = { state: home.state, agent: home.agent, now: new Date(report.time) };
  const record = signRecord("check", said, by);
  await enter(home, [record], new Date());
  const failures = await publish(home, places);
  const { id } = record;
  return failures.size === 0
    ? { entered: true, id }
    : { entered: true, id, failedSites: Object.fromEntries(failures) };
}

/** A home that was put back from a backup must not sign what forks the ledger, because nobody told it of the rest. */
function requireEnough(home: Home, held: HeldHeads): void {
  const sites = home.charter.sites.map(({ name }) => name);
  const answered = sites.filter((name) => held.has(name)).length;
  const quorum = governingQuorum(sites.length);
  if (answered >= quorum) return;
  throw new ExclaveError(
    "site-unavailable",
    `${answered} of ${sites.length} sites say how far the ledger is, and ${quorum} must. Nothing was written; mend a site`,
  );
}

/** What was checked is what home knew; to enter it beside recovery points that nobody looked for would mislead. */
function requireKnown(before: number, after: number): void {
  if (after === before) return;
  throw new ExclaveError(
    "incomplete",
    `home checked what it knew from ${before} entries, and the sites have ${after}, which it learnt only now: exclave rebuild, then check again. Nothing was written of the check`,
  );
}

async function entriesAt(home: Home): Promise<number> {
  return home.withLedger((log) => log.size);
}

function saidOf(home: Home, report: CheckReport): Said<"check"> {
  const { full, good, survives, recoveryPoints, packs } = report;
  return {
    register: home.register(report.register).id,
    full,
    good,
    survives,
    recoveryPoints,
    packs,
    sites: report.sites.map(
      ({ site, unavailable, expected, missing, verified, damaged, bytesRead }) => ({
        name: site,
        expected,
        missing,
        verified,
        damaged,
        bytesRead,
        unavailable: unavailable !== undefined,
      }),
    ),
  };
}

/** The register's check that came into the ledger last; undefined when there is none near its end. */
async function checkBefore(home: Home, register: string): Promise<RecordOf<"check"> | undefined> {
  return home.withGenerations((generations) => {
    let searched = 0;
    for (const { log, closedAt } of generations.toReversed()) {
      const end = Math.min(log.size, closedAt ?? log.size);
      for (let position = end - 1; position >= 0; position--) {
        if (++searched > ENTRIES_SEARCHED_MAX) return undefined;
        const { kind, envelope } = log.entry(position);
        const record = kind === "check" ? checkOf(home, envelope, register) : undefined;
        if (record) return record;
      }
    }
    return undefined;
  });
}

/** A check of the register that an agent of the State signed; undefined for anything else. */
function checkOf(home: Home, id: string, register: string): RecordOf<"check"> | undefined {
  try {
    const bytes = home.document("check", id);
    // Signatures are verified of this register's alone: there may be a thousand others.
    const claimed = readRecord(bytes);
    if (claimed.what !== "check" || claimed.register !== register) return undefined;
    const record = openRecord(bytes, home.known);
    return record.what === "check" ? record : undefined;
  } catch (error) {
    if (!isExclaveError(error) || error.code === "bug") throw error;
    return undefined;
  }
}

function isRepeated(before: RecordOf<"check">, said: Said<"check">, now: Date): boolean {
  const ageSeconds = (now.getTime() - Date.parse(before.time)) / 1000;
  // A clock that was ahead must not keep checks out of the ledger until it is reached.
  const isRecent = ageSeconds >= 0 && ageSeconds < SAME_RESULT_SECONDS;
  return isRecent && resultOf(before) === resultOf(said);
}

/** What two checks that found the same have in common: not how much a sample happened to read. */
function resultOf({ full, good, survives, recoveryPoints, packs, sites }: Said<"check">): string {
  const held = sites.map(({ name, expected, missing, damaged, unavailable }) => [
    name,
    expected,
    missing,
    damaged,
    unavailable,
  ]);
  return JSON.stringify([full, good, survives, recoveryPoints, packs, held]);
}
