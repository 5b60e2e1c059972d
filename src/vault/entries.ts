/**
 * The entry stream of a part: what there was, in sorted order, each entry followed by what its content
 * is made of. docs/format.md, "Entry stream". Written and read one record at a time: no list of it all.
 */
import { ExclaveError, invariant } from "../errors.ts";
import { ByteReader, ByteWriter } from "./varint.ts";

export type EntryKind =
  | "file"
  | "directory"
  | "symlink"
  | "fifo"
  | "char-device"
  | "block-device"
  /** Another name of a file that came before: `linkTarget` is that file's path. */
  | "hardlink";

const KIND_CODES: Readonly<Record<EntryKind, number>> = {
  file: 1,
  directory: 2,
  symlink: 3,
  fifo: 4,
  "char-device": 5,
  "block-device": 6,
  hardlink: 7,
};
const KINDS = new Map(Object.entries(KIND_CODES).map(([kind, code]) => [code, kind as EntryKind]));

/** Names and paths are binary strings: one character a byte. */
export type Entry = {
  /** From the part's root, components separated by "/"; "" is the root directory itself. */
  readonly path: string;
  readonly kind: EntryKind;
  /** Permission bits with set-user-ID, set-group-ID and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** "" when the machine had no name for the number. */
  readonly userName: string;
  readonly groupName: string;
  readonly mtimeSec: number;
  readonly mtimeNsec: number;
  /** With inode and device: how the next snapshot sees that nothing changed. Never restored. */
  readonly ctimeSec: number;
  readonly ctimeNsec: number;
  readonly ino: bigint;
  readonly dev: number;
  /** Length of the content in bytes; 0 for all but files. */
  readonly size: number;
  /** The target of a symlink or hard link; "" otherwise. */
  readonly linkTarget: string;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  readonly xattrs: readonly { readonly name: string; readonly value: Uint8Array }[];
};

/** A stretch of a file's content. */
export type ContentItem =
  | { readonly type: "hole"; readonly bytes: number }
  | { readonly type: "chunk"; readonly bytes: number; readonly id: Uint8Array };

export type EntryRecord =
  | { readonly type: "entry"; readonly entry: Entry }
  /** The next stretch of the content of the file before: encoded items. */
  | { readonly type: "content"; readonly items: Uint8Array };

const ENTRY_TAG = 1;
const CONTENT_TAG = 2;
const RECORD_TYPES: readonly (RawRecord["type"] | undefined)[] = [undefined, "entry", "content"];
const ITEM_HOLE = 0;
const ITEM_CHUNK = 1;

const RECORD_BYTES_MAX = 4 * 1024 * 1024;
export const PATH_BYTES_MAX = 64 * 1024;
const NAME_BYTES_MAX = 4096;
const XATTRS_MAX = 4096;
/** A content record holds no more items than this; a longer file has several. */
export const CONTENT_ITEMS_MAX = 4096;
const CHUNK_ID_BYTES = 32;

/**
 * Compares paths component by component, bytewise: the order of the stream. A directory comes before
 * what is in it, and its whole subtree before its next sibling.
 */
export function compareEntryPaths(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
    // "/" sorts below every byte that a name can hold.
    if (x !== y) return (x === 0x2f ? 0 : x) - (y === 0x2f ? 0 : y);
  }
  return a.length - b.length;
}

/** Encodes what a file is made of, in records of at most `CONTENT_ITEMS_MAX` items. */
export class ContentWriter {
  readonly #records: Uint8Array[] = [];
  readonly #open = new ByteWriter(256);
  #items = 0;

  hole(bytes: number): void {
    this.#item(ITEM_HOLE, bytes);
  }

  chunk(id: Uint8Array, bytes: number): void {
    this.#item(ITEM_CHUNK, bytes);
    this.#open.raw(id);
  }

  /** The records so far; the writer is empty again. */
  take(): readonly Uint8Array[] {
    this.#close();
    return this.#records.splice(0);
  }

  #item(type: number, bytes: number): void {
    if (this.#items === CONTENT_ITEMS_MAX) this.#close();
    this.#items++;
    this.#open.u8(type);
    this.#open.varint(bytes);
  }

  #close(): void {
    if (this.#items > 0) this.#records.push(Uint8Array.from(this.#open.view()));
    this.#open.clear();
    this.#items = 0;
  }
}

/** Decodes the items of a content record. Throws `malformed`. */
export function* contentItems(items: Uint8Array): Generator<ContentItem, void, undefined> {
  const reader = new ByteReader(items);
  for (let count = 0; !reader.done; count++) {
    if (count >= CONTENT_ITEMS_MAX) throw malformed("a content record has too many items");
    const type = reader.u8();
    const bytes = reader.varint();
    if (bytes === 0) throw malformed("an item is empty");
    if (type === ITEM_HOLE) yield { type: "hole", bytes };
    else if (type === ITEM_CHUNK) yield { type: "chunk", bytes, id: reader.raw(CHUNK_ID_BYTES) };
    else throw malformed("an item is of an unknown type");
  }
}

/** Bytes of a file that a content record stands for. Throws `malformed`. */
export function contentBytes(items: Uint8Array): number {
  let bytes = 0;
  for (const item of contentItems(items)) bytes += item.bytes;
  return bytes;
}

/** Records of a stream that stand alone: the first entry shares nothing with one before. */
export type Excerpt = {
  readonly records: Uint8Array<ArrayBuffer>;
  /** The path of its last entry; "" when it has none. */
  readonly last: string;
};

/** What of an entry comes before its extended attributes. */
function writeEntry(body: ByteWriter, entry: Entry, previous: string): void {
  let shared = 0;
  const sharedMax = Math.min(previous.length, entry.path.length);
  while (shared < sharedMax && entry.path.charCodeAt(shared) === previous.charCodeAt(shared)) {
    shared++;
  }
  body.varint(shared);
  body.binary(entry.path.slice(shared));
  body.u8(KIND_CODES[entry.kind]);
  body.varint(entry.mode);
  body.varint(entry.uid);
  body.varint(entry.gid);
  body.binary(entry.userName);
  body.binary(entry.groupName);
  body.signed(entry.mtimeSec);
  body.varint(entry.mtimeNsec);
  body.signed(entry.ctimeSec);
  body.varint(entry.ctimeNsec);
  body.varint(Number(entry.ino >> 32n));
  body.varint(Number(entry.ino & 0xffffffffn));
  body.varint(entry.dev);
  body.varint(entry.size);
  body.binary(entry.linkTarget);
  body.varint(entry.rdevMajor);
  body.varint(entry.rdevMinor);
}

const compared = new ByteWriter();

/** True when `body`, encoded after the path `previous`, is that of `entry` in all but extended attributes. */
export function isEntryOf(body: Uint8Array, entry: Entry, previous: string): boolean {
  compared.clear();
  writeEntry(compared, entry, previous);
  return compared.isStartOf(body);
}

/** Encodes records one after another into a buffer that the caller empties. */
export class EntryEncoder {
  readonly out = new ByteWriter(256 * 1024);
  readonly #body = new ByteWriter();
  #previous = "";

  entry(entry: Entry): void {
    const body = this.#body;
    body.clear();
    writeEntry(body, entry, this.#previous);
    body.varint(entry.xattrs.length);
    for (const { name, value } of entry.xattrs) {
      body.binary(name);
      body.bytes(value);
    }
    this.#record(ENTRY_TAG, body.view());
    this.#previous = entry.path;
  }

  /** Appends an entry that was encoded after the path `previous`; what results is as if it had been encoded here. */
  entryRecord(record: RawRecord, path: string, previous: string): void {
    if (previous === this.#previous) this.out.raw(record.bytes);
    else this.entry(decodeEntry(record.body, previous));
    this.#previous = path;
  }

  /** Takes the records so far; the encoder is as new. */
  take(): Excerpt {
    const excerpt = { records: Uint8Array.from(this.out.view()), last: this.#previous };
    this.out.clear();
    this.#previous = "";
    return excerpt;
  }

  /** Appends an excerpt; what results is as if its records had been encoded here. */
  excerpt({ records, last }: Excerpt): void {
    const first = readRecord(records, 0);
    if (!first) return;
    invariant(first.type === "entry", "an excerpt begins with an entry");
    this.entry(decodeEntry(first.body, ""));
    this.out.raw(records.subarray(first.bytes.length));
    this.#previous = last;
  }

  /** Encoded items of the file before. */
  content(items: Uint8Array): void {
    this.#record(CONTENT_TAG, items);
  }

  #record(tag: number, body: Uint8Array): void {
    invariant(body.length <= RECORD_BYTES_MAX, "an entry record is bounded");
    this.out.u8(tag);
    this.out.varint(body.length);
    this.out.raw(body);
  }
}

/** A record of a stream as it is encoded: `body` lies in `bytes`, behind tag and length. */
export type RawRecord = {
  readonly type: "entry" | "content";
  readonly bytes: Uint8Array;
  readonly body: Uint8Array;
};

/** Takes a stream that arrives in blocks of any size apart into records. */
export class RecordSplitter {
  #rest: Uint8Array = new Uint8Array();

  /** The records that are complete with this block, good until the next. Throws `malformed`. */
  *push(block: Uint8Array): Generator<RawRecord, void, undefined> {
    const bytes = this.#rest.length === 0 ? block : Buffer.concat([this.#rest, block]);
    let at = 0;
    for (;;) {
      const record = readRecord(bytes, at);
      if (!record) break;
      at += record.bytes.length;
      yield record;
    }
    this.#rest = Uint8Array.from(bytes.subarray(at));
  }

  /** To be called at the end of the stream. Throws `malformed` when a record is incomplete. */
  end(): void {
    if (this.#rest.length > 0) throw malformed("it ends within a record");
  }
}

/**
 * Decodes a stream that arrives in blocks of any size, and holds it to the rules: sorted, without
 * duplicates, every entry in a directory that the stream had before, content only behind files.
 * Whoever restores may trust that a path has no "..", no empty name and no symlink on its way.
 */
export class EntryDecoder {
  readonly #splitter = new RecordSplitter();
  #previous: Entry | undefined;
  /** The directories that lead to the previous entry, outermost first. */
  readonly #directories: string[] = [];

  /** `rootImplied`: the stream is an excerpt that leaves the root directory out. */
  constructor(options: { readonly rootImplied: boolean } = { rootImplied: false }) {
    if (options.rootImplied) this.#directories.push("");
  }

  /** The records that are complete with this block. Throws `malformed`. */
  *push(block: Uint8Array): Generator<EntryRecord, void, undefined> {
    for (const record of this.#splitter.push(block)) yield this.#decode(record);
  }

  /** To be called at the end of the stream. Throws `malformed` when a record is incomplete. */
  end(): void {
    this.#splitter.end();
  }

  #decode({ type, body }: RawRecord): EntryRecord {
    if (type === "content") {
      if (this.#previous?.kind !== "file") throw malformed("content without a file");
      return { type: "content", items: body };
    }
    const entry = decodeEntry(body, this.#previous?.path ?? "");
    this.#checkPlace(entry);
    this.#previous = entry;
    return { type: "entry", entry };
  }

  #checkPlace(entry: Entry): void {
    const { path } = entry;
    if (this.#previous && compareEntryPaths(this.#previous.path, path) >= 0) {
      throw malformed("entries are out of order");
    }
    if (path !== "" && !isSafePath(path)) throw malformed("a path is unsafe");
    if (path === "" && entry.kind !== "directory") throw malformed("the root is no directory");
    while (this.#directories.length > 0 && !isWithin(this.#directories.at(-1) ?? "", path)) {
      this.#directories.pop();
    }
    const parent = path.slice(0, Math.max(0, path.lastIndexOf("/")));
    if (path !== "" && this.#directories.at(-1) !== parent) {
      // A part that is one file has no directory at all: its stream is that one entry.
      const alone = this.#previous === undefined && !path.includes("/") && entry.kind === "file";
      if (!alone) throw malformed("an entry lies in no directory");
    }
    if (entry.kind === "directory") this.#directories.push(path);
  }
}

/**
 * The records of an excerpt that we made ourselves of a stream which was held to the rules: their form is
 * checked, and neither their order nor their place. Throws `malformed`.
 */
export function* decodeExcerpt(bytes: Uint8Array): Generator<EntryRecord, void, undefined> {
  const splitter = new RecordSplitter();
  let previous = "";
  for (const { type, body } of splitter.push(bytes)) {
    if (type === "content") {
      yield { type: "content", items: body };
    } else {
      const entry = decodeEntry(body, previous);
      previous = entry.path;
      yield { type: "entry", entry };
    }
  }
  splitter.end();
}

function isWithin(directory: string, path: string): boolean {
  return directory === "" || path.startsWith(`${directory}/`);
}

function isSafePath(path: string): boolean {
  return (
    !path.includes("\0") &&
    path.split("/").every((name) => name !== "" && name !== "." && name !== "..")
  );
}

function readRecord(bytes: Uint8Array, at: number): RawRecord | undefined {
  // Tag and length take at most 1 + 4 bytes; with fewer at hand, the length may be cut short.
  let length = 0;
  let scale = 1;
  for (let i = at + 1; i < at + 6; i++) {
    const byte = bytes[i];
    if (byte === undefined) return undefined;
    length += (byte & 127) * scale;
    scale *= 128;
    if (byte < 128) {
      if (length > RECORD_BYTES_MAX) break;
      if (byte === 0 && i > at + 1) throw malformed("the length of a record is padded");
      const end = i + 1 + length;
      if (end > bytes.length) return undefined;
      const type = RECORD_TYPES[bytes[at] ?? 0];
      if (!type) throw malformed("a record is of an unknown type");
      return { type, bytes: bytes.subarray(at, end), body: bytes.subarray(i + 1, end) };
    }
  }
  throw malformed("a record is too long");
}

/** The path of an encoded entry, whose stream has `previous` before it. Throws `malformed`. */
export function entryPath(body: Uint8Array, previous: string): string {
  return readPath(new ByteReader(body), previous);
}

function readPath(reader: ByteReader, previous: string): string {
  const shared = reader.varint();
  if (shared > previous.length) throw malformed("a path shares more than there is");
  const path = previous.slice(0, shared) + reader.binary(PATH_BYTES_MAX);
  if (path.length > PATH_BYTES_MAX) throw malformed("a path is too long");
  return path;
}

/** An encoded entry, whose stream has `previous` before it. Throws `malformed`. */
export function decodeEntry(body: Uint8Array, previous: string): Entry {
  const reader = new ByteReader(body);
  const path = readPath(reader, previous);
  const kind = KINDS.get(reader.u8());
  if (!kind) throw malformed("an entry is of an unknown kind");
  const mode = reader.varint();
  const uid = reader.varint();
  const gid = reader.varint();
  const userName = reader.binary(NAME_BYTES_MAX);
  const groupName = reader.binary(NAME_BYTES_MAX);
  const mtimeSec = reader.signed();
  const mtimeNsec = reader.varint();
  const ctimeSec = reader.signed();
  const ctimeNsec = reader.varint();
  const inoHigh = reader.varint();
  const inoLow = reader.varint();
  const dev = reader.varint();
  const size = reader.varint();
  const linkTarget = reader.binary(PATH_BYTES_MAX);
  const rdevMajor = reader.varint();
  const rdevMinor = reader.varint();
  if (
    mode > 0o7777 ||
    uid >= 2 ** 32 ||
    gid >= 2 ** 32 ||
    mtimeNsec >= 1e9 ||
    ctimeNsec >= 1e9 ||
    inoHigh >= 2 ** 32 ||
    inoLow >= 2 ** 32
  ) {
    throw malformed("a field is out of range");
  }
  const hasTarget = kind === "symlink" || kind === "hardlink";
  const isDevice = kind === "char-device" || kind === "block-device";
  if (
    (kind !== "file" && size !== 0) ||
    (!hasTarget && linkTarget !== "") ||
    (!isDevice && (rdevMajor !== 0 || rdevMinor !== 0))
  ) {
    throw malformed("a field does not belong to an entry of its kind");
  }
  if (kind === "hardlink" && !isSafePath(linkTarget))
    throw malformed("a hard link's target is unsafe");
  const count = reader.varint();
  if (count > XATTRS_MAX) throw malformed("an entry has too many attributes");
  const xattrs = [];
  for (let i = 0; i < count; i++) {
    const name = reader.binary(NAME_BYTES_MAX);
    xattrs.push({ name, value: Uint8Array.from(reader.bytes(RECORD_BYTES_MAX)) });
  }
  if (!reader.done) throw malformed("an entry has bytes left over");
  return {
    path,
    kind,
    mode,
    uid,
    gid,
    userName,
    groupName,
    mtimeSec,
    mtimeNsec,
    ctimeSec,
    ctimeNsec,
    ino: (BigInt(inoHigh) << 32n) | BigInt(inoLow),
    dev,
    size,
    linkTarget,
    rdevMajor,
    rdevMinor,
    xattrs,
  };
}

function malformed(what: string): ExclaveError {
  return new ExclaveError("malformed", `an entry stream is malformed: ${what}`);
}
