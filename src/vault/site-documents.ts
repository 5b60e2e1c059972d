/** Documents at the sites, each named by the hash of its bytes: what there is, and any of it from whoever has it. */
import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { DOCUMENT_BYTES_MAX, type ObjectKind, type Site } from "../sites/site.ts";
import { type DocumentId, parseId } from "./identifiers.ts";
import { isOpen, type SitePlace } from "./open-sites.ts";

/** Of one kind at one site: as many as a site may hold checkpoints of a ledger. Sixteen such sites fit into a Set. */
export const NAMES_PER_SITE_MAX = 1_000_000;
/** After which a site that still names objects is not listened to any more: enough for all of them on a poor link. */
const LIST_MS_MAX = 30 * 60_000;
/** The same for one that names and gives what few are expected of. */
const TAKE_MS_MAX = 5 * 60_000;
/** What may be lost with one site over documents of a kind that it names and does not give. */
const NOT_GIVEN_MS_MAX = 5 * 60_000;
/** Of these so many are told one by one. */
const NOT_GIVEN_TOLD_MAX = 1000;
/** Documents that are read from one site at once. */
const READ_AT_ONCE = 8;

export type Asking = {
  /** Told in a sentence of a site that is passed by. */
  readonly onNotice?: ((notice: string) => void) | undefined;
  /** For tests: milliseconds since any moment. */
  readonly clockMs?: () => number;
};

/** What one site names of a kind. */
export type NamedAt = { readonly place: OpenPlace; readonly ids: ReadonlySet<DocumentId> };

/**
 * Names of all documents of a kind at each of the sites, without the kind. A site that names more than
 * `NAMES_PER_SITE_MAX`, or takes half an hour for it, is as one that cannot list.
 */
export async function namesAt(
  places: readonly SitePlace[],
  kind: ObjectKind,
  asking: Asking = {},
): Promise<readonly NamedAt[]> {
  return Promise.all(
    places.filter(isOpen).map(async (place) => {
      const ids = new Set<DocumentId>();
      const isWhole = await listInto(place, kind, { ...asking, msMax: LIST_MS_MAX }, (id) => {
        ids.add(id);
        return true;
      });
      return { place, ids: isWhole ? ids : new Set<DocumentId>() };
    }),
  );
}

/** What any of the sites names. */
export function allNames(named: readonly NamedAt[]): ReadonlySet<DocumentId> {
  const all = new Set<DocumentId>();
  for (const { ids } of named) for (const id of ids) all.add(id);
  return all;
}

/** Names of all documents of a kind at any of the sites: see `namesAt`. */
export async function documentIds(
  places: readonly SitePlace[],
  kind: ObjectKind,
  asking: Asking = {},
): Promise<ReadonlySet<DocumentId>> {
  return allNames(await namesAt(places, kind, asking));
}

export type Reading = Asking & {
  /** Which of the names, in this order; all unless told. */
  readonly ids?: Iterable<DocumentId>;
  /** Given each in turn, with the bytes that its name says. */
  readonly take: (id: DocumentId, bytes: Uint8Array) => void | Promise<void>;
  /** Told what no site gives, and what `take` rejects with of a document; what it throws ends the reading. */
  readonly onLeftOut?: (id: DocumentId, why: ExclaveError) => void;
};

/**
 * Reads what the sites name, one after another: each document from a site that names it, and of several from the one
 * that has taken least time. A site that has lost five minutes over what it names and does not give is asked for no
 * more of it, so that names which somebody planted hold nobody up; the notice says of how many.
 */
export async function readEach(
  named: readonly NamedAt[],
  kind: ObjectKind,
  reading: Reading,
): Promise<void> {
  const { ids = allNames(named), take, onLeftOut = ignore, onNotice = ignore } = reading;
  const sources = named.map((one) => new Source(one, reading.clockMs ?? nowMs));
  let notGiven = 0;
  for (const id of ids) {
    const naming = sources.filter((source) => source.ids.has(id));
    const asked = naming.filter((source) => !source.isGivenUp);
    if (asked.length === 0) {
      for (const source of naming) source.passedBy++;
      continue;
    }
    try {
      const bytes = await firstGiven(asked, kind, id);
      if (bytes) await take(id, bytes);
      else if (++notGiven <= NOT_GIVEN_TOLD_MAX) onLeftOut(id, notFound(kind, id));
    } catch (error) {
      if (!isExclaveError(error) || error.code === "bug") throw error;
      onLeftOut(id, error);
    }
  }
  for (const { name, notGiven: lost, passedBy } of sources) {
    if (passedBy === 0 && lost <= NOT_GIVEN_TOLD_MAX) continue;
    onNotice(
      `site ${name} does not give ${lost} objects of the kind ${kind} that it names, and was not asked for ${passedBy} more, which no other site gives: they are left out. Ask its operator why`,
    );
  }
}

/** A site that is read from, and what that has cost so far. */
class Source {
  readonly name: string;
  readonly ids: ReadonlySet<DocumentId>;
  spentMs = 0;
  notGiven = 0;
  passedBy = 0;
  readonly #site: Site;
  readonly #clockMs: () => number;
  #lostMs = 0;

  constructor({ place, ids }: NamedAt, clockMs: () => number) {
    this.name = place.name;
    this.ids = ids;
    this.#site = place.site;
    this.#clockMs = clockMs;
  }

  get isGivenUp(): boolean {
    return this.#lostMs > NOT_GIVEN_MS_MAX;
  }

  async read(kind: ObjectKind, id: DocumentId): Promise<Uint8Array | undefined> {
    const sinceMs = this.#clockMs();
    const bytes = await readNamed(this.#site, kind, id);
    const tookMs = this.#clockMs() - sinceMs;
    this.spentMs += tookMs;
    if (bytes) return bytes;
    this.#lostMs += tookMs;
    this.notGiven++;
    return undefined;
  }
}

async function firstGiven(
  sources: readonly Source[],
  kind: ObjectKind,
  id: DocumentId,
): Promise<Uint8Array | undefined> {
  for (const source of sources.toSorted((a, b) => a.spentMs - b.spentMs)) {
    const bytes = await source.read(kind, id);
    if (bytes) return bytes;
  }
  return undefined;
}

export type Unknown = Asking & {
  readonly isKnown: (id: DocumentId) => boolean;
  /** Documents that each site is asked for, at most; whether it can give them or not. */
  readonly perSiteMax: number;
  /** Given each of them once, with the bytes that its name says. One site gives the next when this has settled. */
  readonly take: (id: DocumentId, bytes: Uint8Array) => void | Promise<void>;
};

/**
 * Gives what the sites have of a kind and is not known yet. Each site is asked by itself for what it names: what one
 * plants, withholds or is slow with is told, costs so much and no more, and hides nothing that another holds.
 */
export async function takeUnknown(
  places: readonly SitePlace[],
  kind: ObjectKind,
  unknown: Unknown,
): Promise<void> {
  const taken = new Set<DocumentId>();
  await Promise.all(places.filter(isOpen).map((place) => takeFrom(place, kind, unknown, taken)));
}

type OpenPlace = SitePlace & { readonly site: Site };

async function takeFrom(
  place: OpenPlace,
  kind: ObjectKind,
  { isKnown, perSiteMax, take, onNotice = ignore, clockMs = nowMs }: Unknown,
  taken: Set<DocumentId>,
): Promise<void> {
  const untilMs = clockMs() + TAKE_MS_MAX;
  const ids = new Set<DocumentId>();
  let isMore = false;
  await listInto(place, kind, { onNotice, clockMs, msMax: TAKE_MS_MAX }, (id) => {
    if (isKnown(id)) return true;
    isMore = ids.size === perSiteMax && !ids.has(id);
    if (!isMore) ids.add(id);
    return !isMore;
  });
  let [notGiven, isLate] = [0, false];
  const left = ids.values();
  const readOneByOne = async (): Promise<void> => {
    for (let next = left.next(); !next.done && !isLate; next = left.next()) {
      const id = next.value;
      if (taken.has(id)) continue;
      const bytes = await readNamed(place.site, kind, id);
      isLate = clockMs() > untilMs;
      if (!bytes) notGiven++;
      else if (!taken.has(id)) {
        taken.add(id);
        await take(id, bytes);
      }
    }
  };
  await Promise.all(Array.from({ length: READ_AT_ONCE }, readOneByOne));
  const said = [
    ...(isMore ? [`names more than the ${perSiteMax} that it is asked for at once`] : []),
    ...(notGiven > 0 ? [`does not give ${notGiven} that it names`] : []),
    ...(isLate ? ["takes too long to give what it names"] : []),
  ];
  if (said.length === 0) return;
  onNotice(
    `site ${place.name} ${said.join(", and ")}, of the kind ${kind}: the rest of it is passed by, and the other sites are asked as ever. If it stays so, ask its operator why`,
  );
}

/**
 * Hands on the names at one site until told that it is enough. False when what it names is not to be used: it went on
 * too long, and a notice says so. One that fails on the way is as one that is away: what it named until then is told.
 */
async function listInto(
  { name, site }: OpenPlace,
  kind: ObjectKind,
  { onNotice = ignore, clockMs = nowMs, msMax }: Asking & { readonly msMax: number },
  add: (id: DocumentId) => boolean,
): Promise<boolean> {
  const untilMs = clockMs() + msMax;
  const passBy = (why: string): false => {
    onNotice(
      `site ${name} ${why}: it is passed by for these, as one that cannot list, and the other sites are asked as ever. Ask its operator why`,
    );
    return false;
  };
  let names = 0;
  try {
    for await (const object of site.list(kind)) {
      if (++names > NAMES_PER_SITE_MAX) {
        return passBy(`names more than ${NAMES_PER_SITE_MAX} objects of the kind ${kind}`);
      }
      if (clockMs() > untilMs)
        return passBy(`takes too long to name its objects of the kind ${kind}`);
      const rest = object.slice(kind.length + 1);
      if (/^[0-9a-f]{64}$/.test(rest) && !add(parseId("DocumentId", rest))) break;
    }
  } catch (error) {
    if (!isExclaveError(error) || error.code === "bug") throw error;
  }
  return true;
}

function nowMs(): number {
  return performance.now();
}

function ignore(): void {}

/** A document from whichever site has it with the bytes that its name says. Throws `not-found`. */
export async function fetchDocument(
  places: readonly SitePlace[],
  kind: ObjectKind,
  id: DocumentId,
): Promise<Uint8Array> {
  for (const place of places) {
    if (!isOpen(place)) continue;
    const bytes = await readNamed(place.site, kind, id);
    if (bytes) return bytes;
  }
  throw notFound(kind, id);
}

function notFound(kind: ObjectKind, id: DocumentId): ExclaveError {
  return new ExclaveError("not-found", `no site has ${kind} ${id} as its name says`);
}

/** A document from one site, with the bytes that its name says; undefined when the site does not give it so. */
async function readNamed(
  site: Site,
  kind: ObjectKind,
  id: DocumentId,
): Promise<Uint8Array | undefined> {
  const bytes = await readDocument(site, `${kind}/${id}`);
  return bytes && toHex(sha256(bytes)) === id ? bytes : undefined;
}

/** A document from one site as it is there; undefined when the site has none that could be one. */
export async function readDocument(site: Site, name: string): Promise<Uint8Array | undefined> {
  try {
    const info = await site.stat(name);
    if (!info || info.bytes > DOCUMENT_BYTES_MAX) return undefined;
    const bytes = new Uint8Array(info.bytes);
    return (await site.read(name, 0, bytes)) === bytes.length ? bytes : undefined;
  } catch (error) {
    if (isExclaveError(error)) return undefined;
    throw error;
  }
}
