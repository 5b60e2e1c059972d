/** `recover`: on a bare machine, the State's home again, from the recovery key and any k sites. */
import { rename, rm, rmdir } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { Charter } from "../charter/charter.ts";
import { fromBase64, toBase64, wipe } from "../crypto/bytes.ts";
import {
  type PublicSigningKey,
  parseSigningPublicKey,
  type SigningKey,
} from "../crypto/signing.ts";
import type { OpenedShare } from "../custody/sealed-share.ts";
import { ExclaveError, invariant, isExclaveError } from "../errors.ts";
import { openAnnexes } from "../governance/annex.ts";
import { readCustody, saveCustody } from "../governance/custody.ts";
import { governingQuorum, publish } from "../governance/ledger-at-sites.ts";
import { recordOpening } from "../governance/opening.ts";
import { type ReadState, readState } from "../governance/read-state.ts";
import { recordsIn } from "../governance/records.ts";
import { succeed } from "../governance/succeed.ts";
import { verifyCheckpoint } from "../ledger/checkpoint.ts";
import { agreeOnHead } from "../ledger/freshness.ts";
import { gatherCheckpoints } from "../ledger/from-sites.ts";
import { syncDirectory } from "../sites/durable.ts";
import type { Site, SiteIdentity } from "../sites/site.ts";
import { Catalog } from "../vault/catalog.ts";
import {
  epochOf,
  openStatement,
  openWrap,
  type SnapshotRoot,
  unwrapEpochKey,
} from "../vault/documents.ts";
import {
  Home,
  identityOf,
  prepareHome,
  type RegisterConfig,
  readDocument,
  refuseExistingHome,
  type SiteConfig,
} from "../vault/home.ts";
import { parseId, type RegisterId } from "../vault/identifiers.ts";
import {
  hadCheckpoint,
  type KnownState,
  statementTimes,
  witnessesOf,
} from "../vault/known-state.ts";
import { isOpen, readMarkerOf, readSiteDocument, type SitePlace } from "../vault/open-sites.ts";
import { type RecoveryKey, recoveryKeyFromSeed } from "../vault/recovery-key.ts";
import { formatSiteAddress, openAt, parseSiteAddress } from "../vault/site-address.ts";
import { allNames, namesAt, readEach } from "../vault/site-documents.ts";
import { importSnapshots, suspicionOf } from "./import-snapshots.ts";
import { rootOf } from "./snapshots.ts";

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
  /** The checkpoint that was believed, and who confirmed it. */
  readonly checkpoint: {
    readonly entries: number;
    readonly time: string;
    readonly confirmedBy: readonly string[];
    /** Of what something newer could be hidden. */
    readonly stale: readonly string[];
  };
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
  const { sites, seconds } = await verifySites(byHead(found, read), known, onNotice);
  requireAsKitsSay(options, read);
  const agreed = await requireFresh(options, read, sites);
  const opened = await openAsRecovery([...sites, ...seconds], found, known, {
    signer: recovery.signing,
    onNotice,
  });
  const placesOf = (some: readonly SiteConfig[]): readonly SitePlace[] =>
    opened.filter(({ config }) => some.includes(config)).map(({ place }) => place);
  const places = placesOf([...sites, ...seconds]);
  const keys = await unwrapAll(places, known, recovery.kem, onNotice);
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
  await publishSuccession(draft, placesOf(sites), onNotice);
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

/**
 * Where a machine was revoked, what it wrote before counts by the ledger's time: has the checkpoints that tell it.
 * Without them a statement would be taken to be as late as the next decision.
 */
async function gatherStatementTimes(
  { known, generations }: ReadState,
  places: readonly SitePlace[],
): Promise<void> {
  if ([...known.agents.values()].every(({ suspectFrom }) => suspectFrom === undefined)) return;
  const sites = places.filter(isOpen).map(({ site }) => site);
  const witnesses = known.history.history.map(({ charter }) => witnessesOf(charter));
  for (const { log } of generations) {
    await gatherCheckpoints(log, sites, witnesses, "branch", ["statement"]);
  }
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

/** Throws `site-unavailable` when sites that did not answer could hide something newer. */
async function requireFresh(
  { acceptStale }: RecoverOptions,
  { known, answers, keys }: ReadState,
  sites: readonly SiteConfig[],
): Promise<RecoverReport["checkpoint"]> {
  const { charter } = known;
  const named = answers.map((answer) => {
    const site = sites.find(({ at }) => at === answer.site);
    return site ? { ...answer, site: site.name } : answer;
  });
  const everywhere = charter.sites.map(({ name }) => name);
  const demands = [
    { what: "decisions", sites: everywhere, quorum: governingQuorum(everywhere.length) },
    ...charter.registers
      .filter((register) => register.sites.length > 0)
      .map(({ id, k, survive, sites: at }) => ({
        what: `register ${id.slice(0, 8)}`,
        sites: at,
        quorum: k + survive,
      })),
  ];
  const { signed, confirmedBy, stale } = agreeOnHead(named, { demands, acceptStale });
  const newest = keys.at(-1);
  invariant(newest, "a ledger has a generation");
  const { seconds } = verifyCheckpoint(signed.checkpoint, newest);
  return {
    entries: signed.head.size,
    time: new Date(seconds * 1000).toISOString(),
    confirmedBy,
    stale,
  };
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

/** An address that was given, and the site there. */
type GivenSite = {
  readonly at: string;
  /** What a site that enforces says is its key; the charter says whether there is such a site. */
  readonly key?: PublicSigningKey;
  readonly place: { readonly name: string; readonly site: Site };
};

/** The sites that were given, opened but not believed yet. */
export async function openGiven(
  addresses: readonly string[],
  state: string,
  onNotice: (notice: string) => void,
): Promise<readonly GivenSite[]> {
  const found = [];
  for (const at of new Set(addresses.map((one) => formatSiteAddress(parseSiteAddress(one))))) {
    try {
      const identity = { name: at, country: "?", operator: "?", hazardZone: "?" };
      const { site, ...rest } = await openAt(parseSiteAddress(at), { identity, state });
      found.push({ at, ...rest, place: { name: at, site } });
    } catch (error) {
      if (!isExclaveError(error)) throw error;
      onNotice(error.message);
    }
  }
  if (found.length === 0) {
    throw new ExclaveError(
      "site-unavailable",
      "none of the addresses given is a site. Nothing was changed",
    );
  }
  return found;
}

/** Those with most of the ledger first: of two that have one name, that one is it. */
function byHead(found: readonly GivenSite[], { answers }: ReadState): readonly GivenSite[] {
  const sizeAt = ({ at }: GivenSite): number => {
    const answer = answers.find(({ site }) => site === at);
    return answer && "signed" in answer ? (answer.signed?.head.size ?? 0) : 0;
  };
  return found.toSorted((a, b) => sizeAt(b) - sizeAt(a));
}

/**
 * The sites whose own documents are signed by an agent of this State, or that have a key which the charter names. A
 * second place of one name is read from, and no more: a site could show another's document, which is no secret, and
 * have that one left out.
 */
async function verifySites(
  found: readonly GivenSite[],
  known: KnownState,
  onNotice: (notice: string) => void,
): Promise<{ readonly sites: readonly SiteConfig[]; readonly seconds: readonly SiteConfig[] }> {
  const sites: SiteConfig[] = [];
  const seconds: SiteConfig[] = [];
  for (const given of found) {
    const { at } = given;
    try {
      const { name, country, operator, hazardZone } = await siteAt(given, known);
      const site = { name, country, operator, hazardZone, at };
      if (sites.some((one) => one.name === name)) {
        onNotice(`${at} is a second place of site "${name}": it is read, and not written to`);
        seconds.push(site);
      } else sites.push(site);
    } catch (error) {
      if (!isExclaveError(error)) throw error;
      onNotice(error.message);
    }
  }
  return { sites, seconds };
}

/** Which site of this State it is. Throws `untrusted` for one that is none. */
async function siteAt({ at, key, place }: GivenSite, known: KnownState): Promise<SiteIdentity> {
  if (key) {
    const signing = toBase64(key.bytes);
    const site = known.charter.sites.find((one) => one.signing === signing);
    if (site) return site;
    throw new ExclaveError(
      "untrusted",
      `the site at ${at} has a key that the charter does not name`,
    );
  }
  const address = parseSiteAddress(at);
  return address.kind === "directory"
    ? readMarkerOf(address.path, known)
    : readSiteDocument(place.site, at, known);
}

/**
 * The same places, asked by the recovery key from now on: sites that enforce give it more than a stranger. One that
 * does not open this time is named, and stays as one that is away.
 */
async function openAsRecovery(
  sites: readonly SiteConfig[],
  found: readonly GivenSite[],
  { id: state, charter }: KnownState,
  as: { readonly signer: SigningKey; readonly onNotice: (notice: string) => void },
): Promise<readonly { readonly config: SiteConfig; readonly place: SitePlace }[]> {
  return Promise.all(
    sites.map(async (config) => {
      const { name, at } = config;
      const given = found.find((one) => one.at === at);
      invariant(given, "a site that was verified was given");
      if (!given.key) return { config, place: { name, site: given.place.site } };
      const signing = charter.sites.find((one) => one.name === name)?.signing;
      const pinned = signing === undefined ? undefined : parseSigningPublicKey(fromBase64(signing));
      const identity = identityOf(config);
      const { signer, onNotice } = as;
      try {
        const { site } = await openAt(parseSiteAddress(at), { identity, state, pinned, signer });
        return { config, place: { name, site } };
      } catch (error) {
        if (!isExclaveError(error) || error.code === "bug") throw error;
        const problem = `site ${name} at ${at} answered, and does not any more: ${error.message}`;
        onNotice(`${problem}. The others go on without it`);
        return { config, place: { name, problem } };
      }
    }),
  );
}

/** Every epoch key that a wrap at these sites opens to, by register, epoch and key id. */
async function unwrapAll(
  places: readonly SitePlace[],
  known: KnownState,
  kem: ReturnType<typeof recoveryKeyFromSeed>["kem"],
  onNotice: (notice: string) => void,
): Promise<ReadonlyMap<string, Uint8Array>> {
  const keys = new Map<string, Uint8Array>();
  await readEach(await namesAt(places, "wrap", { onNotice }), "wrap", {
    onNotice,
    take: (_, bytes) => {
      const { document } = openWrap(bytes, known);
      if (document.recipient !== "recovery") return;
      const { register, epoch } = epochOf(document);
      keys.set(keyName(register, epoch, document.epochKeyId), unwrapEpochKey(document, kem));
    },
    onLeftOut: (id, { message }) => onNotice(`wrap/${id} was left out: ${message}`),
  });
  return keys;
}

function keyName(register: RegisterId, epoch: number, epochKeyId: string): string {
  return `${register}/${epoch}/${epochKeyId}`;
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

/** Whether a charter ever named a register; one that was retired can still be restored. */
function hadRegister({ history }: KnownState, register: string): boolean {
  return history.history.some(({ charter }) => charter.registers.some(({ id }) => id === register));
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

/**
 * Registers as the newest recovery point of each describes them, retired ones too. Their next epoch begins with the
 * next protect.
 */
function registersOf(catalog: Catalog, known: KnownState): readonly RegisterConfig[] {
  const registers: RegisterConfig[] = [];
  for (const id of catalog.registers()) {
    const newest = catalog.latestSnapshot(id);
    if (!newest || !hadRegister(known, id)) continue;
    const root: SnapshotRoot = rootOf(newest);
    const decided = known.charter.registers.find((register) => register.id === id);
    registers.push({
      name: root.name,
      id,
      parts: root.parts.map((part) => ({
        name: part.name,
        kind: part.kind,
        path: part.source,
        excludes: part.excludes,
        oneFileSystem: part.oneFileSystem,
      })),
      // One that was retired is where its newest recovery point is.
      sites: decided?.sites ?? root.sites.map(({ name }) => name),
      k: decided?.k ?? root.k,
      survive: decided?.survive ?? root.survive,
      epoch: 0,
    });
  }
  return registers;
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
