/**
 * Protects a part of kind `files`: walks the tree in order, takes over from the snapshot before what
 * did not change, has the workers read the rest, and writes the entry stream in order as results come.
 */
import { DatabaseSync } from "node:sqlite";
import { ExclaveError } from "../../errors.ts";
import type { Native } from "../../platform/native.ts";
import { loadOwnerNames, type OwnerNames } from "../../platform/owners.ts";
import { ContentWriter, type Entry, type EntryKind } from "../../vault/entries.ts";
import type { PartConfig } from "../../vault/home.ts";
import type { EntrySink } from "../entry-sink.ts";
import type { FileResult, FileTask } from "../protect-messages.ts";
import type { SealSession } from "../seal-session.ts";
import { ParentEntries } from "./parent-entries.ts";
import { compileExcludes } from "./patterns.ts";
import { readLinkTarget, readXattrs } from "./read-metadata.ts";
import type { FileStat } from "./stat.ts";
import { type WalkItem, walk } from "./walk.ts";

/** A file is read in stretches of this many bytes, so that several workers share a large one. */
const STRETCH_BYTES = 64 * 1024 * 1024;
const BATCH_FILES_MAX = 256;
const BATCH_BYTES_MAX = 4 * 1024 * 1024;
/** Entries that wait for the results before them. */
const QUEUE_MAX = 2048;
/** Stretches of one large file that wait for the results before them. */
const STRETCHES_QUEUED_MAX = 16;
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
  /** The cached entry stream of the snapshot before, and when that snapshot began. */
  readonly parent?: { readonly file: string; readonly startedMs: number };
  readonly onProblem: (problem: Problem) => void;
  readonly onProgress: (progress: PartProgress) => void;
};

/** What is written next, once its result is there. */
type Queued = {
  readonly result?: Promise<FileResult>;
  readonly write: (result: FileResult | undefined) => Promise<void>;
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
  readonly #queue: Queued[] = [];
  #batch: FileTask[] = [];
  #batchBytes = 0;
  /** Until the walk begins with the root directory. */
  #rootIsFile = true;
  #batchResult = Promise.withResolvers<readonly FileResult[]>();

  constructor(options: ProtectFilesOptions) {
    this.#options = options;
    this.#parent = options.parent && new ParentEntries(options.parent.file);
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
      await this.#add(item);
      if (this.#queue.length >= QUEUE_MAX) await this.#drain(QUEUE_MAX / 2);
    }
    await this.#drain(0);
  }

  close(): void {
    this.#parent?.close();
    this.#links.close();
  }

  async #add(item: WalkItem): Promise<void> {
    const { stat, path } = item;
    if (stat.kind === "socket") {
      this.#options.onProblem({
        path,
        kind: "not-kept",
        why: "a socket lives only with its program",
      });
      return;
    }
    if (stat.kind !== "file") {
      const entry = this.#entry(item, stat.kind, 0);
      if (entry) this.#enqueue({ write: () => this.#options.sink.entry(entry) });
      return;
    }
    if (stat.nlink > 1) {
      const first = this.#links.firstPath(stat, path);
      if (first !== undefined) {
        this.#enqueueLink(item, first);
        return;
      }
    }
    if (await this.#takeOver(item)) return;
    await this.#read(item);
  }

  /** Takes the file over from the snapshot before, when nothing says that it changed. */
  async #takeOver(item: WalkItem): Promise<boolean> {
    const before = this.#parent?.seek(item.path);
    const { stat } = item;
    if (!before || !isSame(before, stat) || !this.#isSettled(stat)) return false;
    const { sink } = this.#options;
    const write = (records: readonly Uint8Array[]) => async () => {
      await sink.entry(before);
      await sink.content(records);
      this.#count(before.size, true);
    };
    if (this.#queue.length > 0 && stat.size > QUEUED_CONTENT_BYTES_MAX) await this.#drain(0);
    if (this.#queue.length > 0) {
      this.#enqueue({ write: write([...(this.#parent?.content() ?? [])]) });
      return true;
    }
    await sink.entry(before);
    for (const record of this.#parent?.content() ?? []) await sink.content([record]);
    this.#count(before.size, true);
    return true;
  }

  /** False for a file that changed so late that a later change may have had the same time stamp. */
  #isSettled(stat: FileStat): boolean {
    const startedMs = this.#options.parent?.startedMs ?? 0;
    return stat.ctimeSec * 1000 + Math.ceil(stat.ctimeNsec / 1e6) < startedMs;
  }

  async #read(item: WalkItem): Promise<void> {
    const { stat, path } = item;
    if (stat.size === 0) {
      const entry = this.#entry(item, "file", 0);
      if (entry) this.#enqueue({ write: () => this.#writeFile(entry, undefined) });
      return;
    }
    if (stat.size <= STRETCH_BYTES) {
      this.#enqueue({
        result: this.#addTask(item, 0, stat.size),
        write: async (result) => {
          if (result?.problem) this.#report(path, result.problem);
          const lost = !result || (result.problem && result.problem.kind !== "changed");
          const entry = lost ? undefined : this.#entry(item, "file", result.bytes);
          if (entry) await this.#writeFile(entry, result);
          else this.#links.forget(path);
        },
      });
      await this.#sendFullBatch();
      return;
    }
    await this.#readInStretches(item);
  }

  /** A large file: its entry first, then stretch after stretch as they come; what cannot be read becomes a hole. */
  async #readInStretches(item: WalkItem): Promise<void> {
    const { stat, path } = item;
    const entry = this.#entry(item, "file", stat.size);
    if (!entry) return;
    this.#enqueue({ write: () => this.#options.sink.entry(entry) });
    let reported = false;
    for (let offset = 0; offset < stat.size; offset += STRETCH_BYTES) {
      const bytes = Math.min(STRETCH_BYTES, stat.size - offset);
      this.#enqueue({
        result: this.#addTask(item, offset, bytes),
        write: async (result) => {
          if (result?.problem && !reported) {
            reported = true;
            this.#report(path, result.problem);
          }
          await this.#options.sink.content([
            ...(result?.content ?? []),
            ...hole(bytes - (result?.bytes ?? 0)),
          ]);
          this.progress.bytes += bytes;
          this.#options.onProgress(this.progress);
        },
      });
      await this.#sendFullBatch();
      await this.#drain(STRETCHES_QUEUED_MAX);
    }
    this.#enqueue({ write: async () => this.#count(0, false) });
  }

  async #writeFile(entry: Entry, result: FileResult | undefined): Promise<void> {
    await this.#options.sink.entry(entry);
    if (result) await this.#options.sink.content(result.content);
    this.#count(entry.size, false);
  }

  #enqueueLink(item: WalkItem, first: string): void {
    this.#enqueue({
      write: async () => {
        if (!this.#links.isKept(first)) {
          this.#report(item.path, {
            kind: "unreadable",
            why: "it is another name of a file that could not be read",
          });
          return;
        }
        const entry = this.#entry(item, "hardlink", 0, first);
        if (entry) await this.#options.sink.entry(entry);
        this.#count(0, false);
      },
    });
  }

  /** The entry of a walked item, or undefined, reported, when its metadata cannot be read. */
  #entry(item: WalkItem, kind: EntryKind, size: number, linkTo = ""): Entry | undefined {
    const { stat, path } = item;
    const full = this.#absolute(path);
    const { native } = this.#options;
    try {
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
        linkTarget: kind === "symlink" ? readLinkTarget(full) : linkTo,
        rdevMajor: stat.rdevMajor,
        rdevMinor: stat.rdevMinor,
        xattrs: kind === "hardlink" ? [] : readXattrs(full, native),
      };
    } catch (error) {
      const code = codeOf(error);
      this.#report(path, { kind: code === "ENOENT" ? "vanished" : "unreadable", why: code });
      return undefined;
    }
  }

  /** Adds a stretch to the batch being filled. */
  #addTask(item: WalkItem, offset: number, bytes: number): Promise<FileResult> {
    const position = this.#batch.length;
    const result = this.#batchResult.promise.then((results) => {
      const one = results[position];
      if (!one) throw new ExclaveError("bug", "a worker answered fewer files than it was given");
      return one;
    });
    result.catch(() => undefined);
    this.#batch.push({ path: this.#absolute(item.path), stat: item.stat, offset, bytes });
    this.#batchBytes += bytes;
    return result;
  }

  async #sendFullBatch(): Promise<void> {
    if (this.#batch.length >= BATCH_FILES_MAX || this.#batchBytes >= BATCH_BYTES_MAX) {
      await this.#sendBatch();
    }
  }

  async #sendBatch(): Promise<void> {
    if (this.#batch.length === 0) return;
    const [files, { resolve, reject }] = [this.#batch, this.#batchResult];
    this.#batch = [];
    this.#batchBytes = 0;
    this.#batchResult = Promise.withResolvers();
    const { done } = await this.#options.session.submit({ type: "files", files });
    done.then((result) => resolve(result.type === "files" ? result.files : []), reject);
  }

  /** Where an item is on disk. A part that is one file is its own only item. */
  #absolute(path: string): string {
    const root = this.#options.part.path;
    if (path === "" || this.#rootIsFile) return root;
    return `${root === "/" ? "" : root}/${path}`;
  }

  #enqueue(queued: Queued): void {
    this.#queue.push(queued);
  }

  /** Writes what is queued, in order, until no more than `left` are waiting. */
  async #drain(left: number): Promise<void> {
    if (this.#queue.length > left) await this.#sendBatch();
    let done = 0;
    while (this.#queue.length - done > left) {
      const next = this.#queue[done++];
      if (next) await next.write(await next.result);
    }
    this.#queue.splice(0, done);
  }

  #count(bytes: number, unchanged: boolean): void {
    this.progress.files++;
    this.progress.bytes += bytes;
    if (unchanged) {
      this.progress.unchangedFiles++;
      this.progress.unchangedBytes += bytes;
    }
    this.#options.onProgress(this.progress);
  }

  #report(path: string, problem: Omit<Problem, "path">): void {
    this.#options.onProblem({ path, ...problem });
  }
}

/** Which file was met first under which name: in a temporary database, because there may be many. */
class HardLinks {
  readonly #db = new DatabaseSync("");

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
    this.#db.prepare("UPDATE links SET kept = 0 WHERE path = ?").run(path);
  }

  isKept(path: string): boolean {
    return this.#db.prepare("SELECT kept FROM links WHERE path = ?").get(path)?.kept === 1;
  }

  close(): void {
    this.#db.close();
  }
}

function isSame(before: Entry, stat: FileStat): boolean {
  return (
    before.kind === "file" &&
    before.size === stat.size &&
    before.mtimeSec === stat.mtimeSec &&
    before.mtimeNsec === stat.mtimeNsec &&
    before.ctimeSec === stat.ctimeSec &&
    before.ctimeNsec === stat.ctimeNsec &&
    before.ino === stat.ino &&
    before.dev === stat.dev
  );
}

function hole(bytes: number): readonly Uint8Array[] {
  if (bytes <= 0) return [];
  const content = new ContentWriter();
  content.hole(bytes);
  return content.take();
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}
