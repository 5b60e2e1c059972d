/** `recover`: on a bare machine, the State's home again, from the recovery key and any k sites. */
import { rename, rm, rmdir } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { Charter } from "../charter/charter.ts";
import { wipe } from "../crypto/bytes.ts";
import type { OpenedShare } from "../custody/sealed-share.ts";
import { ExclaveError } from "../errors.ts";
import { openAnnexes } from "../governance/annex.ts";
import { readCustody, saveCustody } from "../governance/custody.ts";
import { publish } from "../governance/ledger-at-sites.ts";
import { recordOpening } from "../governance/opening.ts";
import { type ReadState, readState } from "../governance/read-state.ts";
import { recordsIn } from "../governance/records.ts";
import { succeed } from "../governance/succeed.ts";
import { syncDirectory } from "../sites/durable.ts";
import { Catalog } from "../vault/catalog.ts";
import { openStatement } from "../vault/documents.ts";
import {
  Home,
  prepareHome,
  type RegisterConfig,
  readDocument,
  refuseExistingHome,
  type SiteConfig,
} from "../vault/home.ts";
import { parseId, type RegisterId } from "../vault/identifiers.ts";
import { hadCheckpoint, type KnownState, statementTimes } from "../vault/known-state.ts";
import type { SitePlace } from "../vault/open-sites.ts";
import { type RecoveryKey, recoveryKeyFromSeed } from "../vault/recovery-key.ts";
import { allNames, namesAt, readEach } from "../vault/site-documents.ts";
import { importSnapshots, suspicionOf } from "./import-snapshots.ts";
import {
  type AgreedCheckpoint,
  type GivenSite,
  gatherStatementTimes,
  hadRegister,
  keyName,
  openBelieved,
  openGiven,
  registersOf,
  unwrapAll,
} from "./state-from-sites.ts";

export type RecoverOptions = {
  readonly home: string;
  readonly key: RecoverySource;
  /** Addresses of sites. */
  readonly sites: readonly string[];
  /** Take what these sites have, though others could have newer. */
  readonly acceptStale: boolean;
  readonly now: Date;
  readonly onNotice: (notice: string) => void;
};

/** Where the recovery key comes from: a key file, or the kits of enough key holders. */
export type RecoverySource = {
  /** The State's id, as key file or kits say. */
  readonly state: string;
  /** The secret, once the charter is known; throws when what was brought does not fit it. Wiped by who asked. */
  readonly secretFor: (set: Charter["recovery"]["shares"]) => Uint8Array;
  /** Those who opened their kits; none for a key file. */
  readonly opened: readonly OpenedShare[];
  /** What the ledger had when the kits were made, as they say: it cannot have less now. */
  readonly checkpoints?: readonly { readonly size: number; readonly root: string }[];
};

/** A key file as the source. */
export function keySource(key: {
  readonly seed: Uint8Array;
  readonly state: string;
}): RecoverySource {
  return { state: key.state, secretFor: () => Uint8Array.from(key.seed), opened: [] };
}

export type RecoverReport = {
  readonly home: Home;
  readonly sites: readonly string[];
  readonly term: number;
  readonly checkpoint: AgreedCheckpoint;
  readonly registers: readonly {
    readonly name: string;
    readonly recoveryPoints: number;
    readonly newest: string;
    readonly newestId: string;
  }[];
};

export async function recover(options: RecoverOptions): Promise<RecoverReport> {
  const path = resolve(options.home);
  await refuseExistingHome(path);
  await removeEmpty(path);
  const found = await openGiven(options.sites, options.key.state, options.onNotice);
  // Built beside its place and moved there when it is whole, so that a recovery cut short can be repeated.
  const building = join(dirname(path), `.${basename(path)}.recovering`);
  await rm(building, { recursive: true, force: true });
  try {
    await prepareHome(building);
    const places = found.map(({ place }) => place);
    const read = await readState(building, options.key.state, places, options.onNotice);
    try {
      return await recoverInto(options, building, path, found, read);
    } finally {
      for (const { log } of read.generations) log.close();
    }
  } finally {
    // Of one that failed: the keys of epochs are in it, and no key holder is needed to read them.
    await rm(building, { recursive: true, force: true });
  }
}

async function recoverInto(
  options: RecoverOptions,
  building: string,
  path: string,
  found: readonly GivenSite[],
  read: ReadState,
): Promise<RecoverReport> {
  const { onNotice, now } = options;
  const { known, generations } = read;
  const secret = options.key.secretFor(known.charter.recovery.shares);
  const recovery = recoveryKeyFromSeed(secret);
  wipe(secret);
  requireRecoveryKey(known, recovery);
  for (const { generation, position, why } of known.history.quarantined) {
    onNotice(`entry ${position} of ledger ${generation} counts for nothing: ${why}`);
  }
  requireAsKitsSay(options, read);
  const { acceptStale } = options;
  const as = { signer: recovery.signing, acceptStale, onNotice };
  const { sites, agreed, opened } = await openBelieved(found, read, as);
  const places = opened.map(({ place }) => place);
  const keys = await unwrapAll(
    places,
    known,
    { recipient: "recovery", kem: recovery.kem },
    onNotice,
  );
  const digests = annexDigests(building, read);
  const annexes = await openAnnexes(building, places, known, digests, recovery.kem, onNotice);
  const { inventory } = annexes;

  await gatherStatementTimes(read, places);
  const loggedAt = statementTimes(generations, known);
  const draft = await succeed(building, read, { recovery, sites, inventory, now });
  const custodies = annexes.others.map(readCustody).filter((one) => one !== undefined);
  for (const custody of custodies) await saveCustody(draft, custody);
  await recordOpening(draft, "recovery", options.key.opened, now);
  const catalog = new Catalog(draft.catalogPath, known.id);
  let registers: readonly RegisterConfig[];
  try {
    await importSnapshots({
      known,
      loggedAt,
      catalog,
      cachePath: draft.cachePath,
      places,
      epochKey: async (register, epoch, id) => keys.get(keyName(register, epoch, id)),
      onNotice,
    });
    registers = registersOf(catalog, known);
    await requireWhole(options, places, known, loggedAt, registers);
    for (const { id } of registers) {
      await keepKeys(draft, catalog, parseId("RegisterId", id), keys, now);
    }
  } finally {
    catalog.close();
  }
  await draft.changeConfig((config) => ({ ...config, registers: [...registers] }));
  // From here on the old home cannot write, at any site that this reaches.
  const written = opened.filter(({ config }) => sites.includes(config));
  await publishSuccession(
    draft,
    written.map(({ place }) => place),
    onNotice,
  );
  await rename(building, path);
  await syncDirectory(dirname(path));
  const home = await Home.open(path);
  return { ...report(home, sites), checkpoint: agreed };
}

/** The annexes that the charter, and the ledger's word on the share set, name. */
function annexDigests(building: string, { known, generations }: ReadState): readonly string[] {
  const { charter } = known;
  const read = (id: string): Uint8Array => readDocument(building, "share-set", id);
  const sets = recordsIn(generations, "share-set", read, known);
  return [
    charter.annex,
    ...charter.registers.map(({ details }) => details),
    ...sets
      .filter(({ setId }) => setId === charter.recovery.shares.setId)
      .map(({ custody }) => custody),
  ];
}

/** Throws `untrusted` for a key that was replaced meanwhile: it opens nothing, and signs nothing that counts. */
function requireRecoveryKey(known: KnownState, recovery: RecoveryKey): void {
  if (known.recoverySigning.id === recovery.signing.id) return;
  throw new ExclaveError(
    "untrusted",
    "this recovery key is not the one in the State's charter: it was replaced. Nothing was changed; use the newer one",
  );
}

/** Throws `site-unavailable` when the sites' ledger lacks what the kits say it had when they were made. */
function requireAsKitsSay(
  { key, acceptStale, onNotice }: RecoverOptions,
  { generations }: ReadState,
): void {
  const lacking = (key.checkpoints ?? []).filter((one) => !hadCheckpoint(generations, one));
  const [first] = lacking;
  if (!first) return;
  const what = `a kit was made when the ledger had ${first.size} entries with root ${first.root.slice(0, 16)}…, and the ledger of these sites never was so`;
  if (acceptStale) {
    onNotice(what);
    return;
  }
  throw new ExclaveError(
    "site-unavailable",
    `${what}: they are stale, or the kit was altered. Nothing was changed; give other sites, or take what there is with --accept-stale`,
  );
}

/** Makes way for the new home. Throws `usage` when something else is there. */
async function removeEmpty(path: string): Promise<void> {
  try {
    await rmdir(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return;
    throw new ExclaveError("usage", `${path} is not empty; choose another EXCLAVE_HOME`, { cause });
  }
}

/**
 * Refuses to take over while a register that statements speak of could not be opened: the sites given
 * are too few, or damaged, and a home that works must not be deposed for nothing.
 */
async function requireWhole(
  { acceptStale, onNotice }: RecoverOptions,
  places: readonly SitePlace[],
  known: KnownState,
  loggedAt: (statement: string) => Date | undefined,
  registers: readonly RegisterConfig[],
): Promise<void> {
  const spoken = new Set<string>();
  const named = await namesAt(places, "statement", { onNotice });
  await readEach(named, "statement", {
    // What is set aside keeps nobody from taking over.
    ids: [...allNames(named)].filter((id) => loggedAt(id) !== undefined),
    onNotice,
    take: (id, bytes) => {
      const { document } = openStatement(bytes, known);
      const at = loggedAt(id);
      if (!at || suspicionOf(known, document, at) !== undefined) return;
      // Nor what is of no register that the State ever had.
      if (hadRegister(known, document.register)) spoken.add(document.register);
    },
  });
  const missing = [...spoken].filter((id) => !registers.some((register) => register.id === id));
  if (missing.length === 0) return;
  const which = `${missing.length} of ${spoken.size} registers cannot be opened from these sites (the reasons are named above)`;
  // A captured home may have named what never was: people can go on without it.
  if (acceptStale) return onNotice(`${which}, and are missed`);
  throw new ExclaveError(
    "not-enough-shards",
    `${which}. Nothing was changed, and no home was superseded: give more sites, or go on without them with --accept-stale`,
  );
}

/** Keeps the keys that the recovery points of a register use. The recovery key has just opened them. */
async function keepKeys(
  home: Home,
  catalog: Catalog,
  register: RegisterId,
  keys: ReadonlyMap<string, Uint8Array>,
  now: Date,
): Promise<void> {
  const all = [...catalog.snapshots(register), ...catalog.quarantined(register)];
  for (const { epoch, envelope } of all) {
    const { epochKeyId } = openStatement(envelope, home.known).document;
    const key = keys.get(keyName(register, epoch, epochKeyId));
    if (!key || catalog.openedWrap(register, epoch) !== undefined) continue;
    await home.saveEpochKey(register, epoch, key);
    catalog.addOpenedWrap(register, epoch, now.toISOString());
  }
}

/** Tells the sites. Throws `write-quorum` when none takes it; who does not is named. */
async function publishSuccession(
  home: Home,
  places: readonly SitePlace[],
  onNotice: (notice: string) => void,
): Promise<void> {
  const failures = await publish(home, places);
  for (const [name, why] of failures) onNotice(`${name} did not take the succession: ${why}`);
  const admitted = home.charter.sites.map(({ name }) => name);
  if (places.some(({ name }) => admitted.includes(name) && !failures.has(name))) return;
  throw new ExclaveError(
    "write-quorum",
    "no site took the succession. Nothing was changed; make one of them writable and run it again",
  );
}

function report(home: Home, sites: readonly SiteConfig[]): Omit<RecoverReport, "checkpoint"> {
  const catalog = new Catalog(home.catalogPath, home.state);
  try {
    return {
      home,
      sites: sites.map(({ name }) => name),
      term: home.term,
      registers: home.config.registers.map(({ name, id }) => {
        const all = catalog.snapshots(parseId("RegisterId", id));
        return {
          name,
          recoveryPoints: all.length,
          newest: all[0]?.time ?? "",
          newestId: all[0]?.id ?? "",
        };
      }),
    };
  } finally {
    catalog.close();
  }
}
