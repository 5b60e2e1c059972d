/** Documents at the sites, each named by the hash of its bytes: what there is, and any of it from whoever has it. */
import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { DOCUMENT_BYTES_MAX, type ObjectKind, type Site } from "../sites/site.ts";
import { type DocumentId, parseId } from "./identifiers.ts";
import { isOpen, type SitePlace } from "./open-sites.ts";

/** Names of all documents of a kind at any of the sites, without the kind. */
export async function documentIds(
  places: readonly SitePlace[],
  kind: ObjectKind,
): Promise<ReadonlySet<DocumentId>> {
  const ids = new Set<DocumentId>();
  for (const place of places) {
    if (!isOpen(place)) continue;
    try {
      for await (const name of place.site.list(kind)) {
        const rest = name.slice(kind.length + 1);
        if (/^[0-9a-f]{64}$/.test(rest)) ids.add(parseId("DocumentId", rest));
      }
    } catch (error) {
      // A site that cannot list is as one that is away: the others are asked.
      if (!isExclaveError(error)) throw error;
    }
  }
  return ids;
}

/** A document from whichever site has it with the bytes that its name says. Throws `not-found`. */
export async function fetchDocument(
  places: readonly SitePlace[],
  kind: ObjectKind,
  id: DocumentId,
): Promise<Uint8Array> {
  for (const place of places) {
    if (!isOpen(place)) continue;
    const bytes = await readDocument(place.site, `${kind}/${id}`);
    if (bytes && toHex(sha256(bytes)) === id) return bytes;
  }
  throw new ExclaveError("not-found", `no site has ${kind} ${id} as its name says`);
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
