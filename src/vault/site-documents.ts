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
/** Documents that are read from one site at once. */
const READ_AT_ONCE = 8;

export type Asking = {
  /** Told in a sentence of a site that is passed by. */
  readonly onNotice?: ((notice: string) => void) | undefined;
  /** For tests: milliseconds since any moment. */
  readonly clockMs?: () => number;
};

/**
 * Names of all documents of a kind at any of the sites, without the kind. A site that names more than
 * `NAMES_PER_SITE_MAX`, or takes half an hour for it, is as one that cannot list.
 */
export async function documentIds(
  places: readonly SitePlace[],
  kind: ObjectKind,
  asking: Asking = {},
): Promise<ReadonlySet<DocumentId>> {
  const listed = await Promise.all(
    places.filter(isOpen).map(async (place) => {
      const ids = new Set<DocumentId>();
      const isWhole = await listInto(place, kind, { ...asking, msMax: LIST_MS_MAX }, (id) => {
        ids.add(id);
        return true;
      });
      return isWhole ? ids : new Set<DocumentId>();
    }),
  );
  const all = new Set<DocumentId>();
  for (const ids of listed) for (const id of ids) all.add(id);
  return all;
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
  throw new ExclaveError("not-found", `no site has ${kind} ${id} as its name says`);
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
