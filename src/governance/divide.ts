/**
 * The recovery key divided anew. **Reshare**: the same key among other people, because one died or left; it
 * revokes nothing, as old shares still give the key. **Rotate**: another key, because one was captured; what
 * was wrapped to the old one is wrapped to the new one as well, and later epochs to the new one alone.
 *
 * Either way the charter keeps the old set until a decision brings the new one, and that is taken when its
 * holders have opened their kits: until then the old kits are the ones that count.
 */
import { randomBytes } from "node:crypto";
import type { Charter } from "../charter/charter.ts";
import type { Order } from "../charter/orders.ts";
import { fromBase64, wipe } from "../crypto/bytes.ts";
import type { KemKeyPair } from "../crypto/kem.ts";
import type { OpenedShare } from "../custody/sealed-share.ts";
import { splitSecret } from "../custody/share-set.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import {
  agentKeys,
  type EpochWrap,
  epochKeyIdOf,
  epochOf,
  openDocument,
  openWrap,
  unwrapEpochKey,
  wrapEpochKey,
} from "../vault/documents.ts";
import type { Home } from "../vault/home.ts";
import { type DocumentId, parseId } from "../vault/identifiers.ts";
import { isOpen, type SitePlace } from "../vault/open-sites.ts";
import { type RecoveryKey, recoveryKeyFromSeed } from "../vault/recovery-key.ts";
import { fetchDocument } from "../vault/site-documents.ts";
import { digestOf, openAnnex, type People, peopleOf, readPeople, sealAnnex } from "./annex.ts";
import { type KeyHolder, type Kits, makeKits, type Table } from "./ceremony.ts";
import { publicPartOf } from "./found.ts";
import { holdersOf, keepKits, kitDetails } from "./found-state.ts";
import { recordOpening } from "./opening.ts";

export type DivideOptions = {
  readonly home: Home;
  readonly places: readonly SitePlace[];
  readonly purpose: "reshare" | "rotate";
  /** The secret, from kits or a key file; wiped here. */
  readonly secret: Uint8Array;
  /** Who opened their kits for it; their shares are wiped. */
  readonly opened: readonly OpenedShare[];
  readonly threshold: number;
  readonly holders: readonly KeyHolder[];
  /** For the kits: where the sites are, and the program that they hold. */
  readonly plan: Parameters<typeof kitDetails>[1];
  readonly folder: string;
  readonly table: Table;
  readonly now: Date;
};

/**
 * Makes the kits of the next share set, and the order that puts it into the charter. Nothing that counts is
 * changed before that is decided.
 *
 * @throws ExclaveError `untrusted` for another key than the charter's; `write-quorum` when a key of an epoch could
 *   not be wrapped anew everywhere; as `makeKits`
 */
export async function divideKey(
  options: DivideOptions,
): Promise<{ readonly order: Order; readonly kits: Kits; readonly rewrapped: number }> {
  const { home, purpose, secret, opened, now } = options;
  const next = purpose === "rotate" ? randomBytes(32) : Uint8Array.from(secret);
  try {
    const old = recoveryKeyFromSeed(secret);
    if (old.signing.id !== home.known.recoverySigning.id) {
      throw new ExclaveError(
        "untrusted",
        "this is not the recovery key in the charter. Nothing was changed; bring the kits of the set in force",
      );
    }
    // First of all: whoever forces it open, and lets it fail then, is not to have hidden that it was.
    await recordOpening(home, purpose, opened, now);
    if (purpose === "rotate") requireSites(options);
    const key = recoveryKeyFromSeed(next);
    const people = await peopleWith(home, old.kem, options.holders);
    const { recovery, kits } = await kitsOf(options, next, key, people);
    const rewrapped = purpose === "rotate" ? await rewrapEpochs(options, old.kem, recovery) : 0;
    await reseal(home, old.kem, recovery, people, now);
    await keepKits(home, kits, recovery, now);
    return { order: { kind: "amend", recovery, annex: digestOf(people) }, kits, rewrapped };
  } finally {
    wipe(secret, next, ...opened.map(({ share }) => share.share));
  }
}

async function kitsOf(
  { home, threshold, holders, plan, folder, table, now }: DivideOptions,
  secret: Uint8Array,
  key: RecoveryKey,
  people: People,
): Promise<{ readonly recovery: Charter["recovery"]; readonly kits: Kits }> {
  const generation = home.charter.recovery.shares.generation + 1;
  const set = splitSecret(secret, { k: threshold, n: holders.length, generation }, randomBytes);
  const { publicPart } = set;
  const recovery = {
    ...publicPartOf(key),
    shares: { ...publicPart, shareCommitments: [...publicPart.shareCommitments] },
    holders: holdersOf(holders, people.salt),
  };
  const details = await kitDetails(home, plan);
  return { recovery, kits: await makeKits({ set, details, holders, folder, table, now }) };
}

/**
 * The annex about people, with those who are new. Who joined without a ceremony is in an annex with a salt of
 * its own: that one stays, and is named.
 */
async function peopleWith(
  home: Home,
  key: KemKeyPair,
  holders: readonly KeyHolder[],
): Promise<People> {
  const annexes = new Map<string, People>();
  for (const { digest, content } of await openKept(home, key)) {
    const people = readPeople(content);
    if (people) annexes.set(digest, people);
  }
  const { annex } = home.charter;
  const current = annexes.get(annex);
  let before = current ?? [...annexes.values()].at(-1);
  while (before?.adds !== undefined && annexes.has(before.adds)) before = annexes.get(before.adds);
  const names = [
    ...(before?.people.map(({ name }) => name) ?? []),
    ...holders.map(({ name }) => name),
  ];
  const people = peopleOf(names, before?.salt);
  return current?.adds === undefined ? people : { ...people, adds: annex };
}

/** Every annex that home keeps and this key opens. */
async function openKept(
  home: Home,
  key: KemKeyPair,
): Promise<readonly { readonly digest: string; readonly content: unknown }[]> {
  const opened = [];
  for (const { bytes } of await home.annexes()) {
    const { document } = openDocument("annex", bytes, agentKeys(home.known));
    try {
      opened.push({ digest: document.digest, content: openAnnex(document, key) });
    } catch (error) {
      // Sealed to a key that was replaced long ago.
      if (!isExclaveError(error, "altered")) throw error;
    }
  }
  return opened;
}

/** Seals to the next key what the charter will name, and the inventory. */
async function reseal(
  home: Home,
  old: KemKeyPair,
  recovery: Charter["recovery"],
  people: People,
  now: Date,
): Promise<void> {
  const by = { agent: home.agent, time: now };
  const to = { state: home.state, recovery };
  await home.saveAnnex(sealAnnex(people, to, by));
  if (recovery.kem === home.charter.recovery.kem) return;
  for (const { content } of await openKept(home, old)) {
    if (content && typeof content === "object") {
      await home.saveAnnex(sealAnnex(content, to, by));
    }
  }
}

/** Wraps the key of every epoch to the next recovery key as well. Returns how many epochs these were. */
async function rewrapEpochs(
  { home, places, now, table }: DivideOptions,
  old: KemKeyPair,
  recovery: Charter["recovery"],
): Promise<number> {
  const done = new Set<string>();
  const closed = new Map<string, number>();
  for (const id of await wrapIds(places)) {
    const wrap = await wrapAt(home, places, id);
    if (wrap?.recipient !== "recovery" || done.has(wrap.epochKeyId)) continue;
    const key = keyIn(wrap, old) ?? (await keyAtHome(home, wrap));
    if (!key) {
      closed.set(wrap.epochKeyId, wrap.epoch);
      continue;
    }
    const again = wrapEpochKey(
      key,
      epochOf(wrap),
      { recipient: "recovery", publicKey: fromBase64(recovery.kem) },
      { agent: home.agent, term: home.term, time: now },
    );
    wipe(key);
    await putAtRegister(home, places, wrap.register, `wrap/${again.id}`, again.bytes);
    done.add(wrap.epochKeyId);
    table.onStep(`the key of epoch ${wrap.epoch} is wrapped to the new key`);
  }
  for (const [keyId, epoch] of closed) {
    if (!done.has(keyId))
      table.onStep(`epoch ${epoch} was closed to this key already, and stays so`);
  }
  return done.size;
}

/**
 * Throws `write-quorum` unless every site that home knows of each register answers, and enough of them: an epoch
 * whose wraps nobody saw would be closed to the new key.
 */
function requireSites({ home, places }: DivideOptions): void {
  for (const { id, sites, k, survive } of home.charter.registers) {
    if (sites.length === 0) continue;
    const known = places.filter(({ name }) => sites.includes(name));
    for (const place of known) if (!isOpen(place)) throw notThere(place);
    if (known.length >= k + survive) continue;
    throw new ExclaveError(
      "write-quorum",
      `home knows ${known.length} sites of register ${id.slice(0, 8)}, and ${k + survive} have to have the wraps to the new key. Nothing was changed; add the others with \`exclave site add\``,
    );
  }
}

/** Every wrap at these sites. One that cannot say what it has stops it: only it may have the wraps of an epoch. */
async function wrapIds(places: readonly SitePlace[]): Promise<ReadonlySet<DocumentId>> {
  const ids = new Set<DocumentId>();
  for (const place of places.filter(isOpen)) {
    for await (const name of place.site.list("wrap")) {
      const id = name.slice("wrap/".length);
      if (/^[0-9a-f]{64}$/.test(id)) ids.add(parseId("DocumentId", id));
    }
  }
  return ids;
}

/** The key as home has it, of an epoch that was begun while the recovery key was being replaced. */
async function keyAtHome(home: Home, wrap: EpochWrap): Promise<Uint8Array | undefined> {
  const context = epochOf(wrap);
  const key = await home.epochKey(context.register, context.epoch);
  return key && epochKeyIdOf(key, context) === wrap.epochKeyId ? key : undefined;
}

async function wrapAt(
  home: Home,
  places: readonly SitePlace[],
  id: Parameters<typeof fetchDocument>[2],
) {
  try {
    return openWrap(await fetchDocument(places, "wrap", id), home.known).document;
  } catch (error) {
    if (!isExclaveError(error)) throw error;
    return undefined;
  }
}

function keyIn(
  wrap: Parameters<typeof unwrapEpochKey>[0],
  old: KemKeyPair,
): Uint8Array | undefined {
  try {
    return unwrapEpochKey(wrap, old);
  } catch (error) {
    // Wrapped to a key that was replaced before; there is a later wrap of the same epoch.
    if (!isExclaveError(error)) throw error;
    return undefined;
  }
}

/** At every site of the register: one that has no wrap could be the only one left. */
async function putAtRegister(
  home: Home,
  places: readonly SitePlace[],
  register: string,
  name: string,
  bytes: Uint8Array,
): Promise<void> {
  const sites = home.charter.registers.find(({ id }) => id === register)?.sites;
  for (const place of places) {
    if (sites && !sites.includes(place.name)) continue;
    if (!isOpen(place)) throw notThere(place);
    await place.site.put(name, [bytes]);
  }
}

function notThere({ name, problem }: Exclude<SitePlace, { readonly site: unknown }>): ExclaveError {
  return new ExclaveError(
    "write-quorum",
    `site ${name} does not answer, and has to have the wraps to the new key: ${problem}. The charter is unchanged; mend it and begin again`,
  );
}
