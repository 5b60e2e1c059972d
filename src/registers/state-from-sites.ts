/** The State as sites tell it to who has a key and no home: which are its sites, how new it is, what the key opens. */
import { fromBase64, toBase64 } from "../crypto/bytes.ts";
import type { KemKeyPair } from "../crypto/kem.ts";
import {
  type PublicSigningKey,
  parseSigningPublicKey,
  type SigningKey,
} from "../crypto/signing.ts";
import { ExclaveError, invariant, isExclaveError } from "../errors.ts";
import { governingQuorum } from "../governance/ledger-at-sites.ts";
import type { ReadState } from "../governance/read-state.ts";
import { verifyCheckpoint } from "../ledger/checkpoint.ts";
import { agreeOnHead } from "../ledger/freshness.ts";
import { gatherCheckpoints } from "../ledger/from-sites.ts";
import type { Site, SiteIdentity } from "../sites/site.ts";
import type { Catalog } from "../vault/catalog.ts";
import {
  type EpochWrap,
  epochOf,
  openWrap,
  type SnapshotRoot,
  unwrapEpochKey,
} from "../vault/documents.ts";
import { identityOf, type RegisterConfig, type SiteConfig } from "../vault/home.ts";
import type { RegisterId } from "../vault/identifiers.ts";
import { type KnownState, witnessesOf } from "../vault/known-state.ts";
import { isOpen, readMarkerOf, readSiteDocument, type SitePlace } from "../vault/open-sites.ts";
import { formatSiteAddress, openAt, parseSiteAddress } from "../vault/site-address.ts";
import { namesAt, readEach } from "../vault/site-documents.ts";
import { rootOf } from "./snapshots.ts";

/** The checkpoint that was believed, and who confirmed it. */
export type AgreedCheckpoint = {
  readonly entries: number;
  readonly time: string;
  readonly confirmedBy: readonly string[];
  /** Of what something newer could be hidden. */
  readonly stale: readonly string[];
};

/** An address that was given, and the site there. */
export type GivenSite = {
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

/** The sites of the State among those that were given, asked with a key from now on. */
export type BelievedSites = {
  /** One for each name. */
  readonly sites: readonly SiteConfig[];
  readonly agreed: AgreedCheckpoint;
  /** These, and second places of their names: to be read from. */
  readonly opened: readonly OpenedSite[];
};

export type OpenedSite = { readonly config: SiteConfig; readonly place: SitePlace };

/** Throws `site-unavailable` when sites that were not given, or do not answer, could hide something newer. */
export async function openBelieved(
  found: readonly GivenSite[],
  read: ReadState,
  as: {
    readonly signer: SigningKey;
    readonly acceptStale: boolean;
    readonly onNotice: (notice: string) => void;
  },
): Promise<BelievedSites> {
  const { sites, seconds } = await verifySites(byHead(found, read), read.known, as.onNotice);
  const agreed = await requireFresh(as.acceptStale, read, sites);
  const opened = await openAs([...sites, ...seconds], found, read.known, as);
  return { sites, agreed, opened };
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
 * The same places, asked with a key from now on: sites that enforce give it more than a stranger. One that
 * does not open this time is named, and stays as one that is away.
 */
async function openAs(
  sites: readonly SiteConfig[],
  found: readonly GivenSite[],
  { id: state, charter }: KnownState,
  as: { readonly signer: SigningKey; readonly onNotice: (notice: string) => void },
): Promise<readonly OpenedSite[]> {
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

/** Every epoch key that a wrap at these sites opens to, by `keyName`. */
export async function unwrapAll(
  places: readonly SitePlace[],
  known: KnownState,
  { recipient, kem }: { readonly recipient: EpochWrap["recipient"]; readonly kem: KemKeyPair },
  onNotice: (notice: string) => void,
): Promise<ReadonlyMap<string, Uint8Array>> {
  const keys = new Map<string, Uint8Array>();
  await readEach(await namesAt(places, "wrap", { onNotice }), "wrap", {
    onNotice,
    take: (_, bytes) => {
      const { document } = openWrap(bytes, known);
      if (document.recipient !== recipient) return;
      const { register, epoch } = epochOf(document);
      keys.set(keyName(register, epoch, document.epochKeyId), unwrapEpochKey(document, kem));
    },
    onLeftOut: (id, { message }) => onNotice(`wrap/${id} was left out: ${message}`),
  });
  return keys;
}

export function keyName(register: RegisterId, epoch: number, epochKeyId: string): string {
  return `${register}/${epoch}/${epochKeyId}`;
}

/** Throws `site-unavailable` when sites that did not answer could hide something newer. */
async function requireFresh(
  acceptStale: boolean,
  { known, answers, keys }: ReadState,
  sites: readonly SiteConfig[],
): Promise<AgreedCheckpoint> {
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

/**
 * Where a machine was revoked, what it wrote before counts by the ledger's time: has the checkpoints that tell it.
 * Without them a statement would be taken to be as late as the next decision.
 */
export async function gatherStatementTimes(
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

/** Whether a charter ever named a register; one that was retired can still be restored. */
export function hadRegister({ history }: KnownState, register: string): boolean {
  return history.history.some(({ charter }) => charter.registers.some(({ id }) => id === register));
}

/**
 * Registers as the newest recovery point of each describes them, retired ones too. Their next epoch begins with the
 * next protect.
 */
export function registersOf(catalog: Catalog, known: KnownState): readonly RegisterConfig[] {
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
