/** Learns from the sites which snapshots there are: for `rebuild`, `recover`, and at the start of every `protect`. */
import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { DOCUMENT_BYTES_MAX, type ObjectKind, type Site } from "../sites/site.ts";
import type { Catalog } from "../vault/catalog.ts";
import {
  type CharterChain,
  epochKeyIdOf,
  epochOf,
  type Opened,
  openStatement,
  type SnapshotRoot,
} from "../vault/documents.ts";
import {
  type DocumentId,
  type EpochContext,
  parseId,
  type RegisterId,
} from "../vault/identifiers.ts";
import { decodeManifest } from "../vault/manifest.ts";
import { isOpen, type SitePlace } from "../vault/open-sites.ts";
import { EpochReader, segmentFileName, startReadPool } from "./epoch-reader.ts";

/** What could not be believed or read; each is said, none stops the rest. */
export type ImportProblem = { readonly document: string; readonly why: string };

export type ImportOptions = {
  readonly charters: CharterChain;
  readonly catalog: Catalog;
  readonly cachePath: string;
  readonly places: readonly SitePlace[];
  /** Only this register's; the places are where its shards are. */
  readonly register?: RegisterId;
  /** The key of an epoch, when this home can have it; its id says which, should there be several. */
  readonly epochKey: (
    register: RegisterId,
    epoch: number,
    epochKeyId: string,
  ) => Promise<Uint8Array | undefined>;
  readonly onProblem: (problem: ImportProblem) => void;
};

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

/** Imports every statement that the catalog does not have. Returns how many snapshots came in. */
export async function importSnapshots(options: ImportOptions): Promise<number> {
  const { catalog, charters, places, onProblem } = options;
  const fresh = new Map<DocumentId, Fresh>();
  for (const object of await documentIds(places, "statement")) {
    if (catalog.isKnownStatement(object)) continue;
    const other = catalog.otherStatement(object);
    if (options.register !== undefined && other !== undefined && other !== options.register)
      continue;
    try {
      const envelope = await fetchDocument(places, "statement", object);
      const opened = openStatement(envelope, charters);
      const register = parseId("RegisterId", opened.document.register);
      if (options.register !== undefined && register !== options.register) {
        catalog.addOtherStatement(object, register);
        continue;
      }
      // The same statement in another envelope is no other recovery point.
      if (catalog.hasSnapshot(opened.payloadId)) catalog.addKnownStatement(object);
      else fresh.set(opened.payloadId, { opened, envelope });
    } catch (error) {
      if (!isExclaveError(error)) throw error;
      onProblem({ document: `statement/${object}`, why: error.message });
    }
  }
  const byEpoch = Map.groupBy(
    fresh.values(),
    ({ opened: { document } }) => `${document.register}/${document.epoch}`,
  );
  let imported = 0;
  for (const statements of byEpoch.values()) {
    const ordered = statements.toSorted((a, b) => sequenceOf(a) - sequenceOf(b));
    imported += await importEpoch(options, withOneKey(options, ordered));
  }
  return imported;
}

/** A statement that verified, with the envelope it came in. */
type Fresh = { readonly opened: Opened<"statement">; readonly envelope: Uint8Array };

function sequenceOf({ opened }: Fresh): number {
  return opened.document.sequence;
}

/**
 * An epoch has one key: the one that its recovery points in the catalog use, else the one that its first
 * statement names. Statements that name another are left out.
 */
function withOneKey(
  { catalog, charters, onProblem }: ImportOptions,
  statements: readonly Fresh[],
): readonly Fresh[] {
  const [first] = statements;
  if (!first) return [];
  const { register, epoch } = epochOf(first.opened.document);
  const before = catalog.snapshots(register).find((snapshot) => snapshot.epoch === epoch);
  const { epochKeyId: keyId } = before
    ? openStatement(before.envelope, charters).document
    : first.opened.document;
  return statements.filter(({ opened }) => {
    const same = opened.document.epochKeyId === keyId;
    if (!same)
      onProblem({ document: `statement/${opened.id}`, why: "it names a second key of its epoch" });
    return same;
  });
}

async function importEpoch(options: ImportOptions, statements: readonly Fresh[]): Promise<number> {
  const [first] = statements;
  if (!first) return 0;
  const { catalog, places, onProblem } = options;
  const context = epochOf(first.opened.document);
  for (const { opened } of statements) {
    for (const manifest of opened.document.manifests) {
      try {
        await importManifest(options, context, parseId("DocumentId", manifest));
      } catch (error) {
        if (!isExclaveError(error)) throw error;
        const document = `manifest/${manifest} of statement/${opened.id}`;
        onProblem({ document, why: error.message });
      }
    }
  }
  const { epochKeyId } = first.opened.document;
  const key = await options.epochKey(context.register, context.epoch, epochKeyId);
  if (!key || epochKeyIdOf(key, context) !== epochKeyId) {
    onProblem({
      document: `epoch ${context.epoch} of register ${context.register}`,
      why: "its key is not here, so its recovery points cannot be opened",
    });
    return 0;
  }
  const startPool = () =>
    startReadPool({
      workers: 1,
      places,
      shapes: catalog.shapes(context.register, context.epoch),
      epoch: { key, context },
      numericOwner: false,
      // Made good from other sites; only what cannot be had at all is worth a word.
      onProblem: () => undefined,
    });
  const reader = new EpochReader(startPool, catalog, options.cachePath, context);
  try {
    return await importRoots(options, reader, context, statements);
  } finally {
    await reader.close();
  }
}

async function importRoots(
  { catalog, onProblem }: ImportOptions,
  reader: EpochReader,
  context: EpochContext,
  statements: readonly Fresh[],
): Promise<number> {
  const { register, epoch } = context;
  const latest = catalog.snapshots(register).find((snapshot) => snapshot.epoch === epoch);
  let imported = 0;
  for (const { opened, envelope } of statements) {
    const { id, payloadId, document } = opened;
    try {
      const root = await reader.root(document);
      catalog.transaction(() => {
        catalog.addSnapshot({
          id: payloadId,
          register,
          epoch,
          term: document.term,
          sequence: document.sequence,
          time: document.time,
          envelope,
          root: JSON.stringify(root),
        });
        catalog.addKnownStatement(id);
        // An older one that comes late must not bring back its older index.
        if (!latest || document.sequence >= latest.sequence) {
          catalog.setSegments(register, epoch, segmentsOf(root));
        }
      });
      imported++;
    } catch (error) {
      if (!isExclaveError(error)) throw error;
      onProblem({ document: `statement/${id}`, why: error.message });
    }
  }
  return imported;
}

async function importManifest(
  options: ImportOptions,
  context: EpochContext,
  id: DocumentId,
): Promise<void> {
  const { context: stated, refs } = decodeManifest(
    await fetchDocument(options.places, "manifest", id),
  );
  if (
    stated.state !== context.state ||
    stated.register !== context.register ||
    stated.epoch !== context.epoch
  ) {
    throw new ExclaveError("altered", "a manifest belongs to another epoch than its statement");
  }
  options.catalog.transaction(() => {
    for (const ref of refs) options.catalog.addPack(context.register, context.epoch, ref, true);
  });
}

/** The index segments of a root, as the catalog keeps them. */
export function segmentsOf(
  root: Pick<SnapshotRoot, "index">,
): readonly { readonly file: string; readonly bytes: number; readonly ref: string }[] {
  return root.index.map((segment) => ({
    file: segmentFileName(segment),
    bytes: segment.segment.bytes,
    ref: JSON.stringify(segment),
  }));
}
