/**
 * What protecting costs, before anything is protected: from a sample of the content and from the format. Sizes of
 * packs and shards are the format's own; what entries and documents take on average was measured, and stands here
 * by name.
 */
import { MANIFEST_ROW_BYTES } from "../vault/manifest.ts";
import { SIZE_CLASSES, TABLE_CHUNK_BYTES } from "../vault/pack.ts";
import { packBytesFor, SMALL_PACK_BYTES } from "../vault/sealer.ts";
import { shardBytes } from "../vault/shard.ts";

/** A register's content, as far as it bears on what is stored. */
export type Content = {
  readonly entries: number;
  /** Bytes of the names of the entries, without the directories before them. */
  readonly nameBytes: number;
  /** What `protect` reads: holes left out, hard-linked files once. */
  readonly contentBytes: number;
  /** Chunks that it is cut into, each once. */
  readonly chunks: number;
  /** Sealed bytes for each byte of content, before padding. */
  readonly storedPerByte: number;
};

export type Shape = {
  readonly k: number;
  readonly n: number;
  /** Threads that seal, each with an open pack of its own. */
  readonly workers: number;
};

/** What one protect brings to the sites. */
export type Volume = {
  /** Content that is new. */
  readonly contentBytes: number;
  /** Sealed, before padding: content, entries and index. */
  readonly storedBytes: number;
  readonly packs: number;
  /** Padded to size classes. */
  readonly packBytes: number;
  /** Documents, alike at each site: statement, manifest, ledger; with the first, the wrapped key. */
  readonly documentBytes: number;
  /** Shards and documents, at each of the n sites. */
  readonly bytesPerSite: number;
};

/** About what the chunker's limits come to on average, in bytes. */
export const CHUNK_BYTES = 190_000;
/** An entry without its name: owner, times, inode. As it is, and compressed. */
const ENTRY_BYTES = 58;
const ENTRY_STORED_BYTES = 20;
/** Names resemble each other. */
const NAME_STORED = 0.5;
/** A chunk's id and length in the entry of its file; ids do not compress. */
const REFERENCE_BYTES = 36;
/** The header of a pack and the frames of its table. */
const PACK_FRONT_BYTES = 300;
const ROOT_BYTES = 2048;
/** Segments of the index are merged as they grow, so each record is written about so many times in a year. */
const INDEX_WRITES = 4;
const STATEMENT_BYTES = 7500;
const WRAP_BYTES = 10_100;
/** A checkpoint, and the tiles of the ledger that it made anew, which are half full on average. */
const LEDGER_BYTES = 20_000;
/** What one thread takes at a time: fewer entries and bytes than that keep one thread busy. */
const TASK_ENTRIES = 256;
const TASK_BYTES = 4 * 1024 * 1024;

/** The first protect of an epoch: everything. */
export function estimateFirst(content: Content, shape: Shape): Volume {
  const { entries, contentBytes, chunks } = content;
  return volume(shape, {
    contentBytes,
    dataStored: contentBytes * content.storedPerByte,
    dataChunks: chunks,
    dataEntries: entries,
    ...entryStream(content),
    indexWrites: 1,
    documentBytes: STATEMENT_BYTES + WRAP_BYTES + LEDGER_BYTES,
  });
}

/**
 * A later protect, when `fraction` of the content (0 to 1) is new, spread over all of it.
 *
 * A chunk of the entry stream is new when any entry in it is, so changes that are few and spread have most
 * of the stream stored again.
 */
export function estimateLater(content: Content, shape: Shape, fraction: number): Volume {
  const all = entryStream(content);
  const untouched = (1 - fraction) ** Math.max(1, content.entries / all.entryChunks);
  // What changed at all changed an entry.
  const entryChunks = fraction === 0 ? 0 : Math.max(1, all.entryChunks * (1 - untouched));
  const contentBytes = content.contentBytes * fraction;
  return volume(shape, {
    contentBytes,
    dataStored: contentBytes * content.storedPerByte,
    dataChunks: content.chunks * fraction,
    dataEntries: content.entries * fraction,
    entriesStored: all.entriesStored * Math.min(1, entryChunks / all.entryChunks),
    entryChunks,
    indexWrites: INDEX_WRITES,
    documentBytes: STATEMENT_BYTES + LEDGER_BYTES,
  });
}

/** The stream that lists every entry with its chunks: how long when stored, and in how many chunks of its own. */
function entryStream({ entries, nameBytes, chunks }: Content) {
  const references = chunks * REFERENCE_BYTES;
  return {
    entriesStored: entries * ENTRY_STORED_BYTES + nameBytes * NAME_STORED + references,
    entryChunks: Math.max(1, (entries * ENTRY_BYTES + nameBytes + references) / CHUNK_BYTES),
  };
}

function volume(
  { k, n, workers }: Shape,
  parts: {
    readonly contentBytes: number;
    readonly dataStored: number;
    readonly dataChunks: number;
    readonly dataEntries: number;
    readonly entriesStored: number;
    readonly entryChunks: number;
    readonly indexWrites: number;
    readonly documentBytes: number;
  },
): Volume {
  const { contentBytes, dataStored, dataChunks, dataEntries, entriesStored } = parts;
  const largest = packBytesFor(k, n);
  const small = Math.min(SMALL_PACK_BYTES, largest);
  const tasks = Math.ceil(Math.max(dataEntries / TASK_ENTRIES, contentBytes / TASK_BYTES));
  const threads = Math.max(1, Math.min(workers, tasks));
  const tail =
    ROOT_BYTES + (dataChunks + parts.entryChunks) * TABLE_CHUNK_BYTES * parts.indexWrites;
  // A full pack is closed when the next chunk might not fit.
  const unused = dataChunks === 0 ? 0 : Math.min(CHUNK_BYTES, dataStored / dataChunks) / 2;
  const packs = [
    ...Array.from({ length: threads }, () => packsOf(dataStored / threads, largest, unused)),
    packsOf(entriesStored, small, 0),
    packsOf(tail, small, 0),
  ].flat();
  const count = packs.reduce((sum, pack) => sum + pack.count, 0);
  const documentBytes = parts.documentBytes + count * MANIFEST_ROW_BYTES;
  return {
    contentBytes: Math.round(contentBytes),
    storedBytes: Math.round(dataStored + entriesStored + tail),
    packs: count,
    packBytes: packs.reduce((sum, pack) => sum + pack.count * pack.bytes, 0),
    documentBytes,
    bytesPerSite: packs.reduce(
      (sum, pack) => sum + pack.count * shardBytes({ packBytes: pack.bytes, k, n }),
      documentBytes,
    ),
  };
}

/** Full packs, and the last one in the size class that holds it. */
function packsOf(
  storedBytes: number,
  largest: number,
  unusedBytes: number,
): readonly { readonly bytes: number; readonly count: number }[] {
  if (storedBytes <= 0) return [];
  const capacity = largest - PACK_FRONT_BYTES - unusedBytes;
  const full = Math.floor(storedBytes / capacity);
  const rest = storedBytes - full * capacity;
  const size = SIZE_CLASSES.find((bytes) => bytes >= rest + PACK_FRONT_BYTES) ?? largest;
  return [
    ...(full > 0 ? [{ bytes: largest, count: full }] : []),
    ...(rest > 0 ? [{ bytes: Math.min(size, largest), count: 1 }] : []),
  ];
}

/** How much was new each day, as recovery points that were made tell it. */
export type History = {
  readonly fractionPerDay: number;
  readonly recoveryPoints: number;
  readonly days: number;
};

/** With less than a day of it, history says nothing about days. */
const HISTORY_DAYS_MIN = 1;

/**
 * The part of the content that was new each day, from the recovery points of one epoch, the oldest first: the index of
 * each lists every chunk so far, so what it has grown by is what was new. Undefined when there are too few.
 */
export function changeFromHistory(
  points: readonly { readonly time: string; readonly indexBytes: number }[],
): History | undefined {
  const [first, last] = [points[0], points.at(-1)];
  if (!first || !last || first.indexBytes === 0) return undefined;
  const days = (Date.parse(last.time) - Date.parse(first.time)) / 86_400_000;
  if (!(days >= HISTORY_DAYS_MIN)) return undefined;
  const growth = Math.max(0, last.indexBytes - first.indexBytes) / first.indexBytes;
  return { fractionPerDay: Math.min(1, growth / days), recoveryPoints: points.length, days };
}
