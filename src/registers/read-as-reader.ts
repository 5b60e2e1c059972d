/** Reading with the reader key, on a machine that is no home: what was released to it, from the sites alone. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toBase64, wipe } from "../crypto/bytes.ts";
import { ExclaveError } from "../errors.ts";
import { type ReadState, readState } from "../governance/read-state.ts";
import { Catalog } from "../vault/catalog.ts";
import { epochOf } from "../vault/documents.ts";
import { prepareHome, type RegisterConfig } from "../vault/home.ts";
import { type KnownState, statementTimes } from "../vault/known-state.ts";
import type { SitePlace } from "../vault/open-sites.ts";
import { type ReaderKey, readerKeyFromSeed } from "../vault/recovery-key.ts";
import { importSnapshots } from "./import-snapshots.ts";
import type { RestoreSource } from "./restore.ts";
import {
  type GivenSite,
  gatherStatementTimes,
  keyName,
  type OpenedSite,
  openBelieved,
  openGiven,
  registersOf,
  unwrapAll,
} from "./state-from-sites.ts";

export type ReaderOptions = {
  /** As the key file has it; the seed is wiped. */
  readonly key: { readonly state: string; readonly seed: Uint8Array };
  /** Addresses of sites. */
  readonly sites: readonly string[];
  /** Take what these sites have, though others could have newer. */
  readonly acceptStale: boolean;
  readonly onNotice: (notice: string) => void;
};

/**
 * Works with what was released to the reader key. What the sites say is verified from the founding on, and lies in a
 * directory of its own meanwhile.
 *
 * @throws ExclaveError `untrusted` when the charter names another reader key or none, `refused` when nothing was
 *   released to it, and what `readState` throws
 */
export async function readAsReader<T>(
  options: ReaderOptions,
  work: (source: RestoreSource, catalog: Catalog) => Promise<T>,
): Promise<T> {
  const reader = readerKeyFromSeed(options.key.seed);
  wipe(options.key.seed);
  const { state } = options.key;
  const found = await openGiven(options.sites, state, options.onNotice);
  const folder = await mkdtemp(join(tmpdir(), "exclave-reader-"));
  try {
    await prepareHome(folder);
    const places = found.map(({ place }) => place);
    const read = await readState(folder, state, places, options.onNotice);
    const catalog = new Catalog(join(folder, "catalog.sqlite"), read.known.id);
    try {
      return await work(await sourceOf(options, reader, { folder, found, read, catalog }), catalog);
    } finally {
      catalog.close();
      for (const { log } of read.generations) log.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

type Reading = {
  readonly folder: string;
  readonly found: readonly GivenSite[];
  readonly read: ReadState;
  readonly catalog: Catalog;
};

async function sourceOf(
  { acceptStale, onNotice }: ReaderOptions,
  reader: ReaderKey,
  { folder, found, read, catalog }: Reading,
): Promise<RestoreSource> {
  const { known, generations } = read;
  requireReader(known, reader);
  const released = releasedToReader(known);
  if (released.size === 0) throw nothingReleased();
  const as = { signer: reader.signing, acceptStale, onNotice };
  const { opened } = await openBelieved(found, read, as);
  const places = opened.map(({ place }) => place);
  const keys = await unwrapAll(places, known, { recipient: "reader", kem: reader.kem }, onNotice);
  await gatherStatementTimes(read, places);
  const cachePath = join(folder, "cache");
  const epochKeys = new Map<string, Uint8Array>();
  await importSnapshots({
    known,
    loggedAt: statementTimes(generations, known),
    canBeRead: (statement) => released.has(epochName(epochOf(statement))),
    catalog,
    cachePath,
    places,
    epochKey: async (register, epoch, id) => {
      const key = keys.get(keyName(register, epoch, id));
      if (key) epochKeys.set(epochName({ register, epoch }), key);
      return key;
    },
    onNotice,
  });
  const registers = registersOf(catalog, known);
  return {
    known,
    cachePath,
    register: (name) => {
      const register = registers.find((one) => one.name === name);
      if (register) return register;
      throw new ExclaveError(
        "unknown-name",
        `no recovery point of a register "${name}" that was released to the reader key can be read from these sites. There are: ${registers.map((one) => one.name).join(", ") || "none"}`,
      );
    },
    epochKey: async (register, epoch) => epochKeys.get(epochName({ register, epoch })),
    places: async (register) => placesOf(register, opened),
  };
}

function placesOf({ sites }: RegisterConfig, opened: readonly OpenedSite[]): readonly SitePlace[] {
  return sites.map(
    (name) =>
      opened.find(({ config }) => config.name === name)?.place ?? {
        name,
        problem: `site ${name} was not given, or does not answer`,
      },
  );
}

function requireReader({ charter }: KnownState, { signing }: ReaderKey): void {
  if (charter.reader?.signing === toBase64(signing.publicKey.bytes)) return;
  throw new ExclaveError(
    "untrusted",
    "this reader key is not the one in the State's charter. Nothing was read",
  );
}

/** Epochs that the State has released to the reader key, by `epochName`. A site may still wait with it. */
function releasedToReader({ history }: KnownState): ReadonlySet<string> {
  return new Set(
    [...history.enacted.values()].flatMap(({ decision: { order } }) =>
      order.kind === "release" && order.to === "reader"
        ? order.epochs.map((epoch) => epochName({ register: order.register, epoch }))
        : [],
    ),
  );
}

function epochName({ register, epoch }: { readonly register: string; readonly epoch: number }) {
  return `${register}/${epoch}`;
}

function nothingReleased(): ExclaveError {
  return new ExclaveError(
    "refused",
    "the State has released nothing to the reader key. Nothing was read: exclave decide propose release REGISTER --epochs N --to reader",
  );
}
