/** Learns from the sites which snapshots there are: for `rebuild`, `recover`, and at the start of every `protect`. */
import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { DOCUMENT_BYTES_MAX, type ObjectKind, type Site } from "../sites/site.ts";
import type { Catalog } from "../vault/catalog.ts";
import {
  type CharterChain,
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
  /** The key of an epoch, when this home can have it. */
  readonly epochKey: (register: RegisterId, epoch: number) => Promise<Uint8Array | undefined>;
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
    for await (const name of place.site.list(kind)) {
      const rest = name.slice(kind.length + 1);
      if (/^[0-9a-f]{64}$/.test(rest)) ids.add(parseId("DocumentId", rest));
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
  const fresh: Opened<"statement">[] = [];
  const envelopes = new Map<DocumentId, Uint8Array>();
  for (const id of await documentIds(options.places, "statement")) {
    if (options.catalog.hasSnapshot(id)) continue;
    try {
      const bytes = await fetchDocument(options.places, "statement", id);
      fresh.push(openStatement(bytes, options.charters));
      envelopes.set(id, bytes);
    } catch (error) {
      if (!isExclaveError(error)) throw error;
      options.onProblem({ document: `statement/${id}`, why: error.message });
    }
  }
  const byEpoch = Map.groupBy(fresh, ({ document }) => `${document.register}/${document.epoch}`);
  let imported = 0;
  for (const statements of byEpoch.values()) {
    imported += await importEpoch(options, statements, envelopes);
  }
  return imported;
}

async function importEpoch(
  options: ImportOptions,
  statements: readonly Opened<"statement">[],
  envelopes: ReadonlyMap<DocumentId, Uint8Array>,
): Promise<number> {
  const [first] = statements;
  if (!first) return 0;
  const context: EpochContext = {
    state: options.charters.state,
    register: parseId("RegisterId", first.document.register),
    epoch: first.document.epoch,
  };
  const { catalog, places, onProblem } = options;
  const ordered = statements.toSorted((a, b) => a.document.sequence - b.document.sequence);
  let [k, n] = [1, 1];
  for (const { id, document } of ordered) {
    for (const manifest of document.manifests) {
      try {
        const shape = await importManifest(options, context, parseId("DocumentId", manifest));
        [k, n] = [Math.max(k, shape.k), Math.max(n, shape.n)];
      } catch (error) {
        if (!isExclaveError(error)) throw error;
        onProblem({ document: `manifest/${manifest} of statement/${id}`, why: error.message });
      }
    }
  }
  const key = await options.epochKey(context.register, context.epoch);
  if (!key) {
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
      k,
      n,
      epoch: { key, context },
      numericOwner: false,
      // Made good from other sites; only what cannot be had at all is worth a word.
      onProblem: () => undefined,
    });
  const reader = new EpochReader(startPool, catalog, options.cachePath);
  try {
    return await importRoots(options, reader, context, ordered, envelopes);
  } finally {
    await reader.close();
  }
}

async function importRoots(
  options: ImportOptions,
  reader: EpochReader,
  context: EpochContext,
  statements: readonly Opened<"statement">[],
  envelopes: ReadonlyMap<DocumentId, Uint8Array>,
): Promise<number> {
  const { catalog, onProblem } = options;
  let imported = 0;
  for (const { id, document } of statements) {
    try {
      const root = await reader.root(document);
      catalog.transaction(() => {
        catalog.addSnapshot({
          id,
          register: context.register,
          epoch: context.epoch,
          term: document.term,
          sequence: document.sequence,
          time: document.time,
          envelope: envelopes.get(id) ?? new Uint8Array(),
          root: JSON.stringify(root),
        });
        catalog.setSegments(context.register, context.epoch, segmentsOf(root));
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
): Promise<{ readonly k: number; readonly n: number }> {
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
  return {
    k: Math.max(...refs.map((ref) => ref.k)),
    n: Math.max(...refs.map((ref) => ref.n)),
  };
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
