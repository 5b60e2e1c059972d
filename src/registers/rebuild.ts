/** `rebuild`: makes the catalog and the caches anew from the sites, and brings the ledger up to theirs. */
import { ExclaveError, isExclaveError } from "../errors.ts";
import { catchUpHome } from "../governance/catch-up.ts";
import { openAllSites } from "../governance/ledger-at-sites.ts";
import { Catalog } from "../vault/catalog.ts";
import { type Home, type RegisterConfig, writeQuorum } from "../vault/home.ts";
import { parseId } from "../vault/identifiers.ts";
import { lockRegister } from "../vault/lock.ts";
import { isOpen, openSites } from "../vault/open-sites.ts";
import { QuorumWriter } from "../vault/quorum-writer.ts";
import { openEpoch } from "./epoch.ts";
import { EpochReader, startReadPool } from "./epoch-reader.ts";
import { ParentEntriesWriter } from "./files/parent-entries.ts";
import { importForHome } from "./import-snapshots.ts";
import { entriesFile } from "./protect.ts";
import { rootOf } from "./snapshots.ts";

export type RebuildReport = {
  /** Entries of the ledger that home did not have. */
  readonly ledgerEntries: number;
  readonly registers: readonly { readonly name: string; readonly recoveryPoints: number }[];
  /** What could not be believed or read. */
  readonly problems: readonly string[];
};

export async function rebuild(
  home: Home,
  now: Date,
  onNotice: (notice: string) => void,
): Promise<RebuildReport> {
  const { registers } = home.config;
  const unlocks = registers.map(({ id, name }) =>
    lockRegister(home, parseId("RegisterId", id), name),
  );
  const problems: string[] = [];
  const problem = (text: string): void => {
    problems.push(text);
    onNotice(text);
  };
  try {
    await requireSites(home, registers);
    const ledgerEntries = await catchUpHome(home, await openAllSites(home));
    await home.clearCaches();
    const catalog = new Catalog(home.catalogPath, home.state);
    try {
      for (const register of registers)
        await rebuildRegister(home, catalog, register, now, problem);
      return {
        ledgerEntries,
        registers: registers.map(({ name, id }) => ({
          name,
          recoveryPoints: catalog.snapshots(parseId("RegisterId", id)).length,
        })),
        problems,
      };
    } finally {
      catalog.close();
    }
  } finally {
    for (const unlock of unlocks) unlock();
  }
}

/** Throws before anything is deleted when too few sites answer to rebuild from. */
async function requireSites(home: Home, registers: readonly RegisterConfig[]): Promise<void> {
  for (const register of registers) {
    const open = (await openSites(home, register)).filter(isOpen).length;
    if (open >= register.k) continue;
    throw new ExclaveError(
      "site-unavailable",
      `register "${register.name}" needs ${register.k} sites and ${open} answer. The catalog was left as it is`,
    );
  }
}

async function rebuildRegister(
  home: Home,
  catalog: Catalog,
  register: RegisterConfig,
  now: Date,
  problem: (text: string) => void,
): Promise<void> {
  const places = await openSites(home, register);
  const id = parseId("RegisterId", register.id);
  const quorum = writeQuorum(register);
  const writer =
    places.filter(isOpen).length < quorum ? undefined : new QuorumWriter(places, quorum);
  await importForHome(home, catalog, writer, places, id, now, problem);
  const epoch = await openEpoch(home, register, now);
  const newest = catalog.latestSnapshot(id);
  if (!epoch || newest?.epoch !== epoch.context.epoch) return;
  // The entry streams of the newest recovery point, so that the next run need not read everything again.
  const root = rootOf(newest);
  const startPool = () =>
    startReadPool({
      workers: 1,
      places,
      shapes: catalog.shapes(epoch.context.register, epoch.context.epoch),
      epoch,
      numericOwner: false,
      onProblem: ({ shard, why }) => problem(`${shard}: ${why}`),
    });
  const reader = new EpochReader(startPool, catalog, home.cachePath, epoch.context);
  try {
    await reader.loadIndex(root);
    for (const [i, part] of root.parts.entries()) {
      const cache = new ParentEntriesWriter(entriesFile(home, newest.id, i));
      for await (const block of reader.stream(part.entries)) cache.write(block);
      cache.end();
    }
  } catch (error) {
    if (!isExclaveError(error)) throw error;
    problem(`the entries of ${newest.id} could not be read: ${error.message}`);
  } finally {
    await reader.close();
  }
}
