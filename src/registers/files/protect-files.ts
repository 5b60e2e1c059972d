/**
 * Protects a part of kind `files`: walks the tree in order, takes over from the snapshot before what
 * did not change, has the workers read the rest, and writes the entry stream in order as results come.
 */
import { DatabaseSync } from "node:sqlite";
import { ExclaveError } from "../../errors.ts";
import type { Native } from "../../platform/native.ts";
import { loadOwnerNames, type OwnerNames } from "../../platform/owners.ts";
import {
  ContentWriter,
  decodeExcerpt,
  type Entry,
  EntryEncoder,
  type EntryKind,
  type RawRecord,
} from "../../vault/entries.ts";
import type { PartConfig } from "../../vault/home.ts";
import type { EntrySink } from "../entry-sink.ts";
import type { EntriesResult, StretchResult } from "../protect-messages.ts";
import type { SealSession } from "../seal-session.ts";
import { mayHaveHoles } from "./holes.ts";
import type { ParentEntries, ParentEntry } from "./parent-entries.ts";
import { compileExcludes } from "./patterns.ts";
import { readXattrs } from "./read-metadata.ts";
import { type FileStat, isUnchanged } from "./stat.ts";
import { type WalkItem, walk } from "./walk.ts";

/** A file is read in stretches of this many bytes, so that several workers share a large one. */
const STRETCH_BYTES = 64 * 1024 * 1024;
/** What a worker is given at once: at most so many entries, and so many bytes of content. */
const BATCH_ENTRIES_MAX = 256;
const BATCH_BYTES_MAX = 4 * 1024 * 1024;
/** Entries that wait for the results before them. */
const QUEUE_MAX = 2048;
/** What a stretch of a large file counts as among them. */
const STRETCH_WEIGHT = 128;
const UNCHANGED_PER_PROGRESS = 64;
/** An unchanged file larger than this waits until the queue is empty, rather than queue its content. */
const QUEUED_CONTENT_BYTES_MAX = 64 * 1024 * 1024;

export type Problem = {
  /** Binary path within the part. */
  readonly path: string;
  readonly kind: "vanished" | "unreadable" | "changed" | "not-kept";
  readonly why: string;
};

export type PartProgress = {
  files: number;
  bytes: number;
  /** Of these, taken over from the snapshot before without reading. */
  unchangedFiles: number;
  unchangedBytes: number;
};

export type ProtectFilesOptions = {
  readonly session: SealSession;
  readonly sink: EntrySink;
  readonly part: PartConfig;
  readonly native: Native | undefined;
  /** The entries of the snapshot before, closed at the end, and when that snapshot began. */
  readonly parent?: { readonly entries: ParentEntries; readonly startedMs: number } | undefined;
  readonly onProblem: (problem: Problem) => void;
  readonly onProgress: (progress: PartProgress) => void;
};

/** Entries that go to a worker together. */
type Batch = {
  readonly entries: EntryEncoder;
  readonly sparse: number[];
  bytes: number;
};

export async function protectFiles(options: ProtectFilesOptions): Promise<PartProgress> {
  const run = new FilesRun(options);
  try {
    await run.all();
    return run.progress;
  } finally {
    run.close();
  }
}

class FilesRun {
  readonly progress: PartProgress = { files: 0, bytes: 0, unchangedFiles: 0, unchangedBytes: 0 };
  readonly #options: ProtectFilesOptions;
  readonly #owners: OwnerNames = loadOwnerNames();
  readonly #parent: ParentEntries | undefined;
  readonly #links = new HardLinks();
  /** What is written next, once what it waits for is there, and how many entries each counts as. */
  readonly #queue: { readonly weight: number; readonly write: () => Promise<void> }[] = [];
  #queued = 0;
  readonly #batch: Batch = { entries: new EntryEncoder(), sparse: [], bytes: 0 };
  /** Until the walk begins with the root directory. */
  #rootIsFile = true;

  constructor(options: ProtectFilesOptions) {
    this.#options = options;
    this.#parent = options.parent?.entries;
  }

  async all(): Promise<void> {
    const { part, native, onProblem } = this.#options;
    const items = walk(part.path, {
      excludes: compileExcludes(part.excludes),
      oneFileSystem: part.oneFileSystem,
      native,
      onProblem: (path, kind, error) => onProblem({ path, kind, why: codeOf(error) }),
    });
    for (const item of items) {
      if (item.path === "") this.#rootIsFile = false;
      const before = this.#unchanged(item);
      if (!before || !this.#takeOverNow(item, before)) await this.#add(item, before);
      if (this.#options.sink.isFull) await this.#options.sink.makeRoom();
      if (this.#queued >= QUEUE_MAX) await this.#drain(QUEUE_MAX / 2);
    }
    await this.#sendBatch();
    await this.#drain(0);
  }

  close(): void {
    this.#parent?.close();
    this.#links.close();
  }

  async #add(item: WalkItem, before: ParentEntry | undefined): Promise<void> {
    const { stat, path } = item;
    if (stat.kind === "socket") {
      this.#options.onProblem({
        path,
        kind: "not-kept",
        why: "a socket lives only with its program",
      });
      return;
    }
    const first = isLinked(stat) ? this.#links.firstPath(stat, path) : undefined;
    if (first !== undefined) await this.#complete(item, "hardlink", first);
    else if (before) await this.#takeOver(item, before);
    else if (stat.kind === "file" && stat.size > STRETCH_BYTES) await this.#readInStretches(item);
    else await this.#complete(item, stat.kind);
  }

  /** The entry in the snapshot before, when nothing says that it changed. */
  #unchanged(item: WalkItem): ParentEntry | undefined {
    const { kind } = item.stat;
    const before = this.#parent?.seek(item.path);
    if (!before || kind === "socket") return undefined;
    return this.#isSettled(item.stat) && this.#isSame(before, item, kind) ? before : undefined;
  }

  /** Takes an entry over, unless something has to be awaited for it. */
  #takeOverNow({ stat, path }: WalkItem, before: ParentEntry): boolean {
    const waits = this.#queued > 0 || this.#batch.sparse.length > 0;
    if (waits || isLinked(stat) || contentSize(stat) > QUEUED_CONTENT_BYTES_MAX) return false;
    const { sink } = this.#options;
    sink.entryRecord(before.record, path, before.previous);
    for (const items of this.#parent?.content() ?? []) sink.content(items);
    this.#countUnchanged(stat);
    return true;
  }

  async #takeOver({ stat, path }: WalkItem, before: ParentEntry): Promise<void> {
    await this.#sendBatch();
    const { sink } = this.#options;
    const { previous } = before;
    if (contentSize(stat) > QUEUED_CONTENT_BYTES_MAX) await this.#drain(0);
    if (this.#queued > 0) {
      // Copied, because what they lie in is read over.
      const record = copied(before.record);
      const content = Array.from(this.#parent?.content() ?? [], (items) => Uint8Array.from(items));
      this.#enqueue(1, async () => {
        sink.entryRecord(record, path, previous);
        for (const items of content) sink.content(items);
        this.#countUnchanged(stat);
      });
      return;
    }
    sink.entryRecord(before.record, path, previous);
    for (const items of this.#parent?.content() ?? []) {
      sink.content(items);
      await sink.makeRoom();
    }
    this.#countUnchanged(stat);
  }

  /** Whether nothing says that what has the name is another, or has changed. */
  #isSame(before: ParentEntry, item: WalkItem, kind: EntryKind): boolean {
    const size = contentSize(item.stat);
    if (before.isLike(this.#entry(item, kind, size, ""))) return true;
    // It may be a link, whose target was not looked at, or the machine has other names for its owners by now.
    const entry = before.decode();
    return entry.kind === kind && isUnchanged(entry, { ...item.stat, size });
  }

  /** False for what changed so late that a later change may have had the same time stamp. */
  #isSettled(stat: FileStat): boolean {
    const startedMs = this.#options.parent?.startedMs ?? 0;
    return stat.ctimeSec * 1000 + Math.ceil(stat.ctimeNsec / 1e6) < startedMs;
  }

  /**
   * Gives the entry to a worker, which reads what it lacks. A directory lacks nothing then: should it be
   * gone by that time, what was read in it would be in no directory, and the snapshot not to be restored.
   */
  async #complete(
    item: WalkItem,
    kind: Exclude<EntryKind, "socket">,
    linkTarget = "",
  ): Promise<void> {
    const size = kind === "file" ? item.stat.size : 0;
    const { entries, sparse } = this.#batch;
    const entry = this.#entry(item, kind, size, linkTarget);
    entries.entry(kind === "directory" ? { ...entry, xattrs: this.#directoryXattrs(item) } : entry);
    sparse.push(mayHaveHoles(item.stat) ? 1 : 0);
    this.#batch.bytes += size;
    if (sparse.length >= BATCH_ENTRIES_MAX || this.#batch.bytes >= BATCH_BYTES_MAX) {
      await this.#sendBatch();
    }
  }

  #directoryXattrs({ path }: WalkItem): Entry["xattrs"] {
    try {
      return readXattrs(this.#absolute(path), this.#options.native);
    } catch (error) {
      this.#reportError(path, error);
      return [];
    }
  }

  async #sendBatch(): Promise<void> {
    const { entries, sparse } = this.#batch;
    if (sparse.length === 0) return;
    const task = {
      type: "entries",
      root: this.#options.part.path,
      isFile: this.#rootIsFile,
      excerpt: entries.take(),
      sparse: Uint8Array.from(sparse),
    } as const;
    const weight = sparse.length;
    sparse.length = 0;
    this.#batch.bytes = 0;
    const transfer = [task.excerpt.records.buffer, task.sparse.buffer];
    const { done } = await this.#options.session.submit(task, { transfer });
    this.#enqueue(weight, async () => {
      const result = await done;
      if (result.type !== "entries") throw anotherQuestion();
      await this.#writeEntries(result);
    });
  }

  async #writeEntries({ excerpt, files, bytes, problems }: EntriesResult): Promise<void> {
    for (const { path, ...problem } of problems) {
      this.#report(path, problem);
      if (problem.kind !== "changed") this.#links.forget(path);
    }
    if (this.#links.allKept) {
      this.#options.sink.excerpt(excerpt);
      this.#count(files, bytes);
      return;
    }
    // Other names of files that could not be kept may be among them.
    let left = 0;
    for (const record of decodeExcerpt(excerpt.records)) {
      if (record.type === "content") this.#options.sink.content(record.items);
      else if (record.entry.kind !== "hardlink" || this.#links.isKept(record.entry.linkTarget)) {
        this.#options.sink.entry(record.entry);
      } else {
        left++;
        const why = "it is another name of a file that could not be read";
        this.#report(record.entry.path, { kind: "unreadable", why });
      }
    }
    this.#count(files - left, bytes);
  }

  /** A large file: its entry first, then stretch after stretch as they come; what cannot be read becomes a hole. */
  async #readInStretches(item: WalkItem): Promise<void> {
    await this.#sendBatch();
    const { stat, path } = item;
    const full = this.#absolute(path);
    let entry: Entry;
    try {
      const xattrs = readXattrs(full, this.#options.native);
      entry = { ...this.#entry(item, "file", stat.size, ""), xattrs };
    } catch (error) {
      this.#reportError(path, error);
      this.#links.forget(path);
      return;
    }
    this.#enqueue(1, async () => this.#options.sink.entry(entry));
    let reported = false;
    for (let offset = 0; offset < stat.size; offset += STRETCH_BYTES) {
      const bytes = Math.min(STRETCH_BYTES, stat.size - offset);
      const task = { type: "stretch", path: full, stat, offset, bytes } as const;
      const { done } = await this.#options.session.submit(task);
      this.#enqueue(STRETCH_WEIGHT, async () => {
        const result = await done;
        if (result.type !== "stretch") throw anotherQuestion();
        if (result.problem && !reported) {
          reported = true;
          this.#report(path, result.problem);
        }
        await this.#writeStretch(result, bytes);
      });
      if (this.#queued >= QUEUE_MAX) await this.#drain(QUEUE_MAX / 2);
    }
    this.#enqueue(1, async () => this.#count(1, 0));
  }

  async #writeStretch(result: StretchResult, bytes: number): Promise<void> {
    const { sink } = this.#options;
    for (const items of [...result.content, ...hole(bytes - result.bytes)]) sink.content(items);
    this.#count(0, bytes);
  }

  /** What the walk knows of an item. */
  #entry({ stat, path }: WalkItem, kind: EntryKind, size: number, linkTarget: string): Entry {
    return {
      path,
      kind,
      mode: stat.mode,
      uid: stat.uid,
      gid: stat.gid,
      userName: this.#owners.userName(stat.uid) ?? "",
      groupName: this.#owners.groupName(stat.gid) ?? "",
      mtimeSec: stat.mtimeSec,
      mtimeNsec: stat.mtimeNsec,
      ctimeSec: stat.ctimeSec,
      ctimeNsec: stat.ctimeNsec,
      ino: stat.ino,
      dev: stat.dev,
      size,
      linkTarget,
      rdevMajor: stat.rdevMajor,
      rdevMinor: stat.rdevMinor,
      xattrs: [],
    };
  }

  /** Where an item is on disk. A part that is one file is its own only item. */
  #absolute(path: string): string {
    const root = this.#options.part.path;
    if (path === "" || this.#rootIsFile) return root;
    return `${root === "/" ? "" : root}/${path}`;
  }

  #enqueue(weight: number, write: () => Promise<void>): void {
    this.#queue.push({ weight, write });
    this.#queued += weight;
  }

  /** Writes what is queued, in order, until no more than `left` are waiting. */
  async #drain(left: number): Promise<void> {
    let done = 0;
    while (this.#queued > left) {
      const next = this.#queue[done++];
      if (!next) break;
      await next.write();
      await this.#options.sink.makeRoom();
      this.#queued -= next.weight;
    }
    this.#queue.splice(0, done);
  }

  #count(files: number, bytes: number): void {
    this.progress.files += files;
    this.progress.bytes += bytes;
    this.#options.onProgress(this.progress);
  }

  #countUnchanged(stat: FileStat): void {
    if (stat.kind !== "file") return;
    this.progress.files++;
    this.progress.bytes += stat.size;
    this.progress.unchangedFiles++;
    this.progress.unchangedBytes += stat.size;
    // They go by so fast that telling each would take as long as they do.
    if (this.progress.files % UNCHANGED_PER_PROGRESS === 0) {
      this.#options.onProgress(this.progress);
    }
  }

  #reportError(path: string, error: unknown): void {
    const code = codeOf(error);
    this.#report(path, { kind: code === "ENOENT" ? "vanished" : "unreadable", why: code });
  }

  #report(path: string, problem: Omit<Problem, "path">): void {
    this.#options.onProblem({ path, ...problem });
  }
}

/** Which file was met first under which name: in a temporary database, because there may be many. */
class HardLinks {
  readonly #db = new DatabaseSync("");
  /** True until a file that has other names could not be kept. */
  allKept = true;

  constructor() {
    this.#db.exec(
      "PRAGMA cache_size = -4000; CREATE TABLE links (inode TEXT PRIMARY KEY, path TEXT, kept INTEGER) WITHOUT ROWID",
    );
  }

  /** The path under which this file was met before; undefined when this is the first. */
  firstPath(stat: FileStat, path: string): string | undefined {
    const inode = `${stat.dev}:${stat.ino}`;
    const row = this.#db.prepare("SELECT path FROM links WHERE inode = ?").get(inode);
    if (row) return String(row.path);
    this.#db.prepare("INSERT INTO links VALUES (?, ?, 1)").run(inode, path);
    return undefined;
  }

  /** The file at this first path could not be kept, so neither can its other names. */
  forget(path: string): void {
    const { changes } = this.#db.prepare("UPDATE links SET kept = 0 WHERE path = ?").run(path);
    if (changes > 0) this.allKept = false;
  }

  isKept(path: string): boolean {
    return this.#db.prepare("SELECT kept FROM links WHERE path = ?").get(path)?.kept === 1;
  }

  close(): void {
    this.#db.close();
  }
}

function isLinked(stat: FileStat): boolean {
  return stat.kind === "file" && stat.nlink > 1;
}

function contentSize(stat: FileStat): number {
  return stat.kind === "file" ? stat.size : 0;
}

function copied(record: RawRecord): RawRecord {
  const bytes = Uint8Array.from(record.bytes);
  return { ...record, bytes, body: bytes.subarray(bytes.length - record.body.length) };
}

function hole(bytes: number): readonly Uint8Array[] {
  if (bytes <= 0) return [];
  const content = new ContentWriter();
  content.hole(bytes);
  return content.take();
}

function anotherQuestion(): ExclaveError {
  return new ExclaveError("bug", "a worker answered another question");
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}
