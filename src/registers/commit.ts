/**
 * Commits a snapshot: index, root, manifests, statement, checkpoint, in this order, each durable at the write
 * quorum before the next. Once a checkpoint that covers the statement is durable the snapshot exists, and
 * before the statement nothing refers to what was stored.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { invariant } from "../errors.ts";
import { publishCheckpoint, requireCurrent } from "../governance/ledger-at-sites.ts";
import type { Catalog } from "../vault/catalog.ts";
import { encodeSegmentRecord } from "../vault/chunk-reader.ts";
import {
  documentRandom,
  encodeRoot,
  type SnapshotRoot,
  type Statement,
  signDocument,
} from "../vault/documents.ts";
import type { DispersedRef } from "../vault/gather.ts";
import type { Home } from "../vault/home.ts";
import { type DocumentId, type EpochContext, idBytes, idFromBytes } from "../vault/identifiers.ts";
import { encodeManifest, MANIFEST_ROWS_MAX } from "../vault/manifest.ts";
import type { QuorumWriter } from "../vault/quorum-writer.ts";
import { shardName } from "../vault/shard.ts";
import { chunksOf } from "./entry-sink.ts";
import { EpochReader, segmentFileName } from "./epoch-reader.ts";
import { type ExtendedLocks, extendLocks } from "./extend-locks.ts";
import { segmentsOf } from "./import-snapshots.ts";
import { type IndexSegment, isHeld, type KnownPacks } from "./known-packs.ts";
import type { StoredChunk } from "./protect-messages.ts";
import type { SealSession } from "./seal-session.ts";
import { gatherReceipts, type Receipted } from "./site-receipts.ts";

/** The worker that writes tails. */
const TAIL_WORKER = 0;
const TAIL_CHUNK_BYTES = 1024 * 1024;
/** Segments are merged until the older is at least twice the newer, so their number is logarithmic … */
const SEGMENT_GROWTH = 2;
/** … but none grows beyond this: about ten million chunks. */
const SEGMENT_BYTES_MAX = 256 * TAIL_CHUNK_BYTES;

export type CommitOptions = {
  readonly home: Home;
  readonly catalog: Catalog;
  readonly session: SealSession;
  readonly writer: QuorumWriter;
  readonly known: KnownPacks;
  readonly context: EpochContext;
  readonly epochKeyId: string;
  readonly sequence: number;
  readonly previous?: DocumentId;
  readonly now: Date;
  readonly root: Pick<SnapshotRoot, "name" | "complete" | "k" | "survive" | "sites" | "parts">;
};

export type Committed = {
  readonly snapshot: DocumentId;
  /** What the sites that enforce signed for. */
  readonly receipts: readonly Receipted[];
  /** What engines were told to keep for as long as the charter says. */
  readonly locks: readonly ExtendedLocks[];
};

/** Commits; every pack of the snapshot must be durable already. */
export async function commitSnapshot(options: CommitOptions): Promise<Committed> {
  const { home, catalog, session, writer, context, sequence, previous, now } = options;
  const index = await writeIndex(options);
  const bound = {
    state: context.state,
    register: context.register,
    epoch: context.epoch,
    term: home.term,
    sequence,
    time: now.toISOString(),
  };
  const root: SnapshotRoot = {
    kind: "snapshot",
    format: 1,
    ...bound,
    ...options.root,
    index: [...index],
  };
  const rootChunk = await storeTail(session, encodeRoot(root));
  await session.flush();

  const manifests: string[] = [];
  for (const manifest of encodeManifests(catalog, context)) {
    const id = toHex(sha256(manifest));
    await writer.putEverywhere(`manifest/${id}`, manifest);
    manifests.push(id);
  }
  invariant(rootChunk.pack !== undefined, "a tail's chunk is always stored");
  const statement: Statement = {
    kind: "statement",
    format: 1,
    ...bound,
    epochKeyId: options.epochKeyId,
    agent: home.agent.id,
    random: documentRandom(),
    ...(previous === undefined ? {} : { previous }),
    root: { pack: rootChunk.pack, chunk: rootChunk.id },
    manifests,
  };
  const signed = signDocument(statement, [home.agent]);
  await writer.putEverywhere(`statement/${signed.id}`, signed.bytes);
  // A long run later: nobody else has gone on with the ledger meanwhile, or nothing is signed.
  const held = await requireCurrent(home, writer.places);
  await home.withLedger((log) => {
    log.append([{ kind: "statement", envelope: signed.id }]);
    log.sign(now);
  });
  await publishCheckpoint(home, writer, held);
  const documents = [...manifests.map((id) => `manifest/${id}`), `statement/${signed.id}`];
  const receipts = await gatherReceipts(
    home.state,
    writer.places,
    new Set(writer.failedSites.keys()),
    (index) => objectsAt(catalog, context, index, documents),
  );
  const retainUntil = new Date(now.getTime() + home.charter.retentionSeconds * 1000);
  const locks = await extendLocks(writer.places, retainUntil, (_, index) =>
    objectsAt(catalog, context, index, documents),
  );

  catalog.transaction(() => {
    catalog.commitPacks(context.register, context.epoch);
    catalog.setSegments(context.register, context.epoch, segmentsOf(root));
    catalog.addSnapshot({
      id: signed.payloadId,
      register: context.register,
      epoch: context.epoch,
      term: bound.term,
      sequence,
      time: bound.time,
      envelope: signed.bytes,
      root: JSON.stringify(root),
    });
    catalog.addKnownStatement(signed.id);
  });
  return { snapshot: signed.payloadId, receipts, locks };
}

/** What a snapshot brought to a site: its shard of every new pack, and documents. */
function* objectsAt(
  catalog: Catalog,
  context: EpochContext,
  index: number,
  documents: readonly string[],
): Generator<string> {
  for (const { id } of catalog.openPacks(context.register, context.epoch)) {
    yield shardName(id, index);
  }
  yield* documents;
}

/** The index with the tables of the packs that are not in it yet. */
async function writeIndex(options: CommitOptions): Promise<readonly IndexSegment[]> {
  const { catalog, context, known } = options;
  const openBytes = catalog.openTableBytes(context.register, context.epoch);
  if (openBytes === 0 && !known.rewriteIndex) return known.segments;
  const kept = [...known.segments];
  const merged: IndexSegment[] = [];
  let bytes = openBytes;
  for (let last = kept.at(-1); last; last = kept.at(-1)) {
    const grows =
      last.segment.bytes < SEGMENT_GROWTH * bytes &&
      bytes + last.segment.bytes <= SEGMENT_BYTES_MAX;
    if (!grows && !known.rewriteIndex) break;
    kept.pop();
    merged.unshift(last);
    bytes += last.segment.bytes;
  }
  const written = new SegmentWriter(options.session, options.home.cachePath, context);
  for await (const record of indexRecords(options, merged)) await written.add(record);
  return [...kept, ...(await written.end())];
}

/** Records of the merged segments that still hold, then of the new packs. */
async function* indexRecords(
  { catalog, home, context }: CommitOptions,
  merged: readonly IndexSegment[],
): AsyncGenerator<Uint8Array> {
  const reader = new EpochReader(invariantCached, catalog, home.cachePath, context);
  for (const segment of merged) {
    for await (const { pack, table } of reader.segmentRecords(segment)) {
      if (isHeld(catalog, context, idFromBytes("PackId", pack))) {
        yield encodeSegmentRecord(pack, table);
      }
    }
  }
  for (const { pack, table } of catalog.openPacks(context.register, context.epoch)) {
    if (table) yield encodeSegmentRecord(idBytes(pack), table);
  }
}

/** `loadKnown` has read every segment, so all are in the cache. */
function invariantCached(): never {
  invariant(false, "index segments are cached when they are merged");
}

/** Writes index segments: to tail packs, and to the cache under the name that follows from where they are. */
class SegmentWriter {
  readonly #session: SealSession;
  readonly #cachePath: string;
  readonly #scratch: string;
  readonly #segments: IndexSegment[] = [];
  #fd: number | undefined;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #chunks: StoredChunk[] = [];
  #bytes = 0;

  constructor(session: SealSession, cachePath: string, context: EpochContext) {
    this.#session = session;
    this.#cachePath = cachePath;
    this.#scratch = join(cachePath, `segment-new-${context.register}`);
  }

  async add(record: Uint8Array): Promise<void> {
    if (this.#bytes + this.#pendingBytes + record.length > SEGMENT_BYTES_MAX) await this.#close();
    this.#pending.push(record);
    this.#pendingBytes += record.length;
    if (this.#pendingBytes >= TAIL_CHUNK_BYTES) await this.#store();
  }

  async end(): Promise<readonly IndexSegment[]> {
    await this.#close();
    return this.#segments;
  }

  async #store(): Promise<void> {
    const bytes = Buffer.concat(this.#pending);
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#fd ??= openSync(this.#scratch, "w", 0o600);
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
    for (let at = 0; at < bytes.length; at += TAIL_CHUNK_BYTES) {
      this.#chunks.push(await storeTail(this.#session, bytes.subarray(at, at + TAIL_CHUNK_BYTES)));
    }
    this.#bytes += bytes.length;
  }

  async #close(): Promise<void> {
    if (this.#pendingBytes > 0) await this.#store();
    if (this.#fd === undefined) return;
    closeSync(this.#fd);
    this.#fd = undefined;
    const segment: IndexSegment = {
      packs: [...new Set(this.#chunks.flatMap(({ pack }) => (pack === undefined ? [] : [pack])))],
      segment: {
        depth: 0,
        bytes: this.#bytes,
        chunks: this.#chunks.map(({ id, bytes }) => ({ id, bytes })),
      },
    };
    await rename(this.#scratch, join(this.#cachePath, segmentFileName(segment)));
    this.#segments.push(segment);
    this.#chunks = [];
    this.#bytes = 0;
  }
}

async function storeTail(session: SealSession, bytes: Uint8Array): Promise<StoredChunk> {
  const { done } = await session.submit(
    { type: "tail", bytes: Uint8Array.from(bytes) },
    { worker: TAIL_WORKER },
  );
  const [chunk] = chunksOf(await done);
  invariant(chunk, "a tail task stores one chunk");
  return chunk;
}

/** Manifests of every pack that no statement lists yet. */
function* encodeManifests(catalog: Catalog, context: EpochContext): Generator<Uint8Array> {
  let refs: DispersedRef[] = [];
  for (const pack of catalog.openPacks(context.register, context.epoch)) {
    refs.push(pack);
    if (refs.length < MANIFEST_ROWS_MAX) continue;
    yield encodeManifest(context, refs);
    refs = [];
  }
  if (refs.length > 0) yield encodeManifest(context, refs);
}
