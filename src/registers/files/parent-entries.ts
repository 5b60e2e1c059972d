/**
 * The cached entry stream of the snapshot before, read in step with the walk. A hash at its end tells a
 * stream that is there whole from what a crash or a bad disk left of one.
 */
import { createHash, type Hash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync, writeSync } from "node:fs";
import { equalConstantTime } from "../../crypto/bytes.ts";
import { invariant } from "../../errors.ts";
import {
  compareEntryPaths,
  decodeEntry,
  type Entry,
  entryPath,
  isEntryOf,
  type RawRecord,
  RecordSplitter,
} from "../../vault/entries.ts";

const BLOCK_BYTES = 1024 * 1024;
const HASH_BYTES = 32;

/** Writes an entry stream for `ParentEntries` to read. */
export class ParentEntriesWriter {
  /** Undefined when it is closed: by then its number may be another file's, or a connection's. */
  #fd: number | undefined;
  readonly #hash: Hash = createHash("sha256");

  constructor(file: string) {
    this.#fd = openSync(file, "w", 0o600);
  }

  write(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    writeAll(this.#open(), bytes);
  }

  /** Ends the stream, as complete. */
  end(): void {
    writeAll(this.#open(), this.#hash.digest());
    this.close();
  }

  /** Gives the file up as it is; again is no error. */
  close(): void {
    const fd = this.#fd;
    this.#fd = undefined;
    if (fd !== undefined) closeSync(fd);
  }

  #open(): number {
    invariant(this.#fd !== undefined, "entries are written before their stream ends");
    return this.#fd;
  }
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

/** An entry of the snapshot before, as it was stored. */
export class ParentEntry {
  readonly record: RawRecord;
  readonly path: string;
  /** The path of the entry before it, with which it shares what it does not spell out. */
  readonly previous: string;

  constructor(record: RawRecord, path: string, previous: string) {
    this.record = record;
    this.path = path;
    this.previous = previous;
  }

  decode(): Entry {
    return decodeEntry(this.record.body, this.previous);
  }

  /** True when `entry`, of the same path, is the same in all but extended attributes. */
  isLike(entry: Entry): boolean {
    return isEntryOf(this.record.body, entry, this.previous);
  }
}

export class ParentEntries {
  readonly #fd: number;
  readonly #records: Iterator<RawRecord>;
  #previous = "";
  #next: RawRecord | undefined;
  #isRead = true;

  private constructor(fd: number, bytes: number) {
    this.#fd = fd;
    this.#records = records(fd, bytes);
  }

  /** Undefined when there is no such file, or it is not whole. */
  static open(file: string): ParentEntries | undefined {
    let fd: number;
    try {
      fd = openSync(file, "r");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
    const bytes = fstatSync(fd).size - HASH_BYTES;
    if (isWhole(fd, bytes)) return new ParentEntries(fd, bytes);
    closeSync(fd);
    return undefined;
  }

  /**
   * The entry of this path, if there was one; good until the next call. Paths must be sought in the
   * order of the stream; what lies before is passed over.
   */
  seek(path: string): ParentEntry | undefined {
    for (let record = this.#peek(); record; record = this.#peek()) {
      if (record.type === "content") {
        this.#isRead = true;
        continue;
      }
      const at = entryPath(record.body, this.#previous);
      const order = compareEntryPaths(at, path);
      if (order > 0) return undefined;
      this.#isRead = true;
      const entry = new ParentEntry(record, at, this.#previous);
      this.#previous = at;
      if (order === 0) return entry;
    }
    return undefined;
  }

  /** The content records of the entry that was just sought, each good until the next is asked for. */
  *content(): Generator<Uint8Array, void, undefined> {
    for (let record = this.#peek(); record?.type === "content"; record = this.#peek()) {
      this.#isRead = true;
      yield record.body;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** The next record that is not read. What was read before is not good any more. */
  #peek(): RawRecord | undefined {
    if (this.#isRead) {
      const { done, value } = this.#records.next();
      this.#next = done ? undefined : value;
      this.#isRead = false;
    }
    return this.#next;
  }
}

function isWhole(fd: number, bytes: number): boolean {
  if (bytes < 0) return false;
  const hash = createHash("sha256");
  for (const block of blocks(fd, bytes)) hash.update(block);
  const stated = Buffer.alloc(HASH_BYTES);
  return (
    readSync(fd, stated, 0, HASH_BYTES, bytes) === HASH_BYTES &&
    equalConstantTime(hash.digest(), stated)
  );
}

function* records(fd: number, bytes: number): Generator<RawRecord, void, undefined> {
  const splitter = new RecordSplitter();
  for (const block of blocks(fd, bytes)) yield* splitter.push(block);
  splitter.end();
}

/** The first `bytes` bytes of the file; each block is good until the next is asked for. */
function* blocks(fd: number, bytes: number): Generator<Uint8Array, void, undefined> {
  const block = Buffer.alloc(BLOCK_BYTES);
  for (let at = 0; at < bytes; ) {
    const got = readSync(fd, block, 0, Math.min(BLOCK_BYTES, bytes - at), at);
    if (got === 0) return;
    at += got;
    yield block.subarray(0, got);
  }
}
