/**
 * Restores the entries of a part into a directory. Directories are made in order by the main thread,
 * files written by the workers, hard links and the metadata of directories come last.
 *
 * Nothing leaves the target: `EntryDecoder` lets no unsafe path through and no entry whose parent is not
 * a directory of the stream; here, no directory is used that is a symlink on disk, and no file is opened
 * through one.
 */
import {
  closeSync,
  constants,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { ExclaveError } from "../../errors.ts";
import { displayName, toFsPath } from "../../platform/names.ts";
import { loadNative } from "../../platform/native.ts";
import { loadOwnerNames } from "../../platform/owners.ts";
import {
  contentBytes,
  contentItems,
  type Entry,
  EntryDecoder,
  EntryEncoder,
  type EntryRecord,
} from "../../vault/entries.ts";
import type { EpochReader, ReadPool } from "../epoch-reader.ts";
import type { CreateTask, FillTask, ReadResult, WriteProblem } from "../read-messages.ts";
import { type ApplyOptions, applyMetadata, createSpecial } from "./apply-metadata.ts";
import { Assignment } from "./assignment.ts";
import type { PathMatcher } from "./patterns.ts";
import { EXISTS, refusal } from "./write-files.ts";

const BATCH_FILES_MAX = 256;
const BATCH_BYTES_MAX = 8 * 1024 * 1024;
/** A file larger than this is written in stretches, a content record each, by several workers. */
const WHOLE_BYTES_MAX = 64 * 1024 * 1024;
export type RestoreProblem = WriteProblem & {
  /** The path as shown to people. */
  readonly shown: string;
};

export type RestoreFilesOptions = {
  readonly pool: ReadPool;
  /** Where chunks lie. */
  readonly stretches: EpochReader["stretches"];
  /** Told what will be read, in order. */
  readonly plan: EpochReader["plan"];
  /** Absolute binary path of an existing directory. */
  readonly target: string;
  /** The target was made for this restore, so it takes the metadata of the part's root. */
  readonly ownsTarget: boolean;
  readonly scratchFile: string;
  readonly wanted: PathMatcher;
  readonly overwrite: boolean;
  readonly numericOwner: boolean;
  readonly onWritten: (files: number, bytes: number) => void;
  /** May throw, to stop. */
  readonly onProblem: (problem: RestoreProblem) => void;
};

/** A directory that leads to the current entry. */
type OpenDirectory = { readonly entry: Entry; state: "pending" | "made" | "refused" };

/** A file whose content records are coming. */
type OpenFile = {
  readonly entry: Entry;
  content: Uint8Array[];
  /** Where the held content begins; a file that was created ahead is filled in stretches. */
  offset: number;
  /** Where a large file is written before it gets its name. */
  draft?: string | undefined;
};

export class RestoreFiles {
  readonly #options: RestoreFilesOptions;
  readonly #apply: ApplyOptions;
  /** Directories and hard links, to be finished when the files are there. */
  readonly #later = new EntryEncoder();
  readonly #scratch: number;
  readonly #directories: OpenDirectory[] = [];
  #file: OpenFile | undefined;
  readonly #assignment: Assignment;
  /** One for each worker. */
  readonly #batches: { readonly records: EntryEncoder; files: number; bytes: number }[];
  readonly #inFlight = new Set<Promise<void>>();
  /** What one of them threw. */
  #failure: { readonly error: unknown } | undefined;
  /** Files that are not whole yet; removed should the restore end here. */
  readonly #drafts = new Set<string>();
  #draftCount = 0;
  /** Large files of which a stretch could not be had. */
  readonly #incomplete = new Set<string>();

  constructor(options: RestoreFilesOptions) {
    this.#options = options;
    this.#apply = {
      native: loadNative(),
      owners: loadOwnerNames(),
      asRoot: process.getuid?.() === 0,
      numericOwner: options.numericOwner,
    };
    this.#assignment = new Assignment(options.pool.size);
    this.#batches = Array.from({ length: options.pool.size }, () => ({
      records: new EntryEncoder(),
      files: 0,
      bytes: 0,
    }));
    this.#scratch = openSync(options.scratchFile, "w+", 0o600);
  }

  async run(records: AsyncIterable<EntryRecord>): Promise<void> {
    try {
      for await (const record of records) {
        if (record.type === "entry") await this.#entry(record.entry);
        else await this.#content(record.items);
      }
      await this.#endFile();
      await this.#sendBatches();
      await this.#settle();
      this.#spill();
      this.#finish();
    } finally {
      await Promise.allSettled(this.#inFlight);
      for (const draft of this.#drafts) rmSync(toFsPath(draft), { force: true });
      closeSync(this.#scratch);
      rmSync(this.#options.scratchFile, { force: true });
    }
  }

  async #entry(entry: Entry): Promise<void> {
    await this.#endFile();
    this.#leaveDirectories(entry.path);
    if (entry.kind === "directory") {
      const isRoot = entry.path === "";
      this.#directories.push({ entry, state: isRoot ? "made" : "pending" });
      if (isRoot && this.#options.ownsTarget) this.#keepForLater(entry);
      if (this.#options.wanted(entry.path, true)) this.#makeDirectories();
      return;
    }
    if (!this.#options.wanted(entry.path, false) || !this.#makeDirectories()) return;
    if (entry.kind === "hardlink") {
      this.#keepForLater(entry);
      return;
    }
    if (entry.kind === "file") this.#file = { entry, content: [], offset: 0 };
    else this.#special(entry);
  }

  async #content(items: Uint8Array): Promise<void> {
    const file = this.#file;
    if (!file) return;
    file.content.push(Uint8Array.from(items));
    if (file.entry.size > WHOLE_BYTES_MAX) await this.#fill(file);
  }

  /** Who is to write content of so many bytes, which is planned to be read. */
  #workerFor(content: readonly Uint8Array[], bytes: number): number {
    const { stretches, plan } = this.#options;
    const lies = stretches(chunksOf(content));
    plan(lies);
    const worker = this.#assignment.workerFor(lies);
    this.#assignment.add(worker, bytes);
    return worker;
  }

  /** Hands the current file to the workers. */
  async #endFile(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    if (!file) return;
    const { entry } = file;
    if (file.draft === undefined) {
      const worker = this.#workerFor(file.content, entry.size);
      const batch = this.#batches[worker];
      if (!batch) return;
      batch.records.entry(entry);
      for (const items of file.content) batch.records.content(items);
      batch.files++;
      batch.bytes += entry.size;
      if (batch.files >= BATCH_FILES_MAX || batch.bytes >= BATCH_BYTES_MAX) {
        await this.#sendBatch(worker);
      }
      return;
    }
    await this.#fill(file);
    await this.#settle();
    this.#finishDraft(file, file.draft);
  }

  /** Gives a large file that is there whole its metadata and its name; of one that is not, nothing stays. */
  #finishDraft(file: OpenFile, draft: string): void {
    const { entry } = file;
    this.#drafts.delete(draft);
    if (this.#incomplete.delete(entry.path)) {
      unlinkSync(toFsPath(draft));
      return;
    }
    this.#metadata(entry, draft);
    renameSync(toFsPath(draft), toFsPath(this.#path(entry.path)));
    this.#options.onWritten(1, 0);
  }

  /** Writes the held stretch of a large file, which is created first. */
  async #fill(file: OpenFile): Promise<void> {
    file.draft ??= this.#create(file.entry);
    if (file.draft === undefined) {
      this.#file = undefined;
      return;
    }
    const { content, offset, entry, draft } = file;
    const bytes = content.reduce((sum, items) => sum + contentBytes(items), 0);
    file.content = [];
    file.offset += bytes;
    if (content.length === 0) return;
    const worker = this.#workerFor(content, bytes);
    await this.#send(worker, { type: "fill", path: draft, offset, content }, bytes, entry.path);
  }

  /** Creates the file that a large one is written to before it gets its name; undefined when that is refused. */
  #create(entry: Entry): string | undefined {
    const path = this.#path(entry.path);
    if (!this.#mayReplace(entry)) return undefined;
    const draft = this.#draftPath(path);
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    try {
      closeSync(openSync(toFsPath(draft), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600));
      this.#drafts.add(draft);
      return draft;
    } catch (error) {
      this.#problem(entry.path, "refused", refusal(error));
      return undefined;
    }
  }

  /** Whether what has the entry's name may give way to it; reported when not. */
  #mayReplace(entry: Entry): boolean {
    const present = lstatSync(toFsPath(this.#path(entry.path)), { throwIfNoEntry: false });
    if (!present) return true;
    if (this.#options.overwrite && !present.isDirectory()) return true;
    this.#problem(entry.path, "refused", EXISTS);
    return false;
  }

  /** A name beside `path` for what is not whole yet. */
  #draftPath(path: string): string {
    const folder = path.slice(0, path.lastIndexOf("/") + 1);
    return `${folder}.exclave-${process.pid}-${this.#draftCount++}`;
  }

  async #sendBatches(): Promise<void> {
    for (const [worker] of this.#batches.entries()) await this.#sendBatch(worker);
  }

  async #sendBatch(worker: number): Promise<void> {
    const batch = this.#batches[worker];
    if (!batch || batch.files === 0) return;
    const { bytes } = batch;
    batch.files = 0;
    batch.bytes = 0;
    const { target, overwrite } = this.#options;
    await this.#send(
      worker,
      { type: "create", target, overwrite, records: batch.records.take().records },
      bytes,
    );
  }

  /** Gives a worker a task of so many bytes; `large` is the entry's path when it is of a large file. */
  async #send(
    worker: number,
    task: CreateTask | FillTask,
    bytes: number,
    large?: string,
  ): Promise<void> {
    const transfer = task.type === "create" ? [task.records.buffer] : [];
    const { done } = await this.#options.pool.submit(task, { worker, transfer });
    const written = done
      .then((result) => {
        this.#assignment.add(worker, -bytes);
        this.#written(result, large);
      })
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#inFlight.delete(written));
    this.#inFlight.add(written);
    if (this.#failure) throw this.#failure.error;
  }

  /** Waits for all that is under way. Throws what one of them threw. */
  async #settle(): Promise<void> {
    await Promise.all(this.#inFlight);
    if (this.#failure) throw this.#failure.error;
  }

  #written(result: ReadResult, large: string | undefined): void {
    if (result.type !== "written")
      throw new ExclaveError("bug", "a worker answered another question");
    for (const { path, kind, why } of result.problems) {
      if (large !== undefined) this.#incomplete.add(large);
      this.#problem(large ?? path, kind, why);
    }
    this.#options.onWritten(result.files, result.bytes);
  }

  #special(entry: Entry): void {
    const { kind } = entry;
    if (kind === "hardlink" || !this.#mayReplace(entry)) return;
    try {
      this.#clear(entry);
      const why = createSpecial(this.#path(entry.path), { ...entry, kind }, this.#apply.native);
      if (why !== undefined) {
        this.#problem(entry.path, "refused", why);
        return;
      }
      this.#metadata(entry);
    } catch (error) {
      this.#problem(entry.path, "refused", refusal(error));
    }
  }

  /** Makes the directories that lead here. False when one of them cannot be had. */
  #makeDirectories(): boolean {
    for (const directory of this.#directories) {
      if (directory.state === "refused") return false;
      if (directory.state === "made") continue;
      const why = this.#makeDirectory(this.#path(directory.entry.path));
      if (why !== undefined) {
        directory.state = "refused";
        this.#problem(directory.entry.path, "refused", why);
        return false;
      }
      directory.state = "made";
      this.#keepForLater(directory.entry);
    }
    return true;
  }

  #makeDirectory(path: string): string | undefined {
    try {
      mkdirSync(toFsPath(path), 0o700);
      return undefined;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") return refusal(error);
      if (lstatSync(toFsPath(path)).isDirectory()) return undefined;
      return "something that is no directory has its name in the target";
    }
  }

  #leaveDirectories(path: string): void {
    while (this.#directories.length > 0) {
      const top = this.#directories.at(-1)?.entry.path ?? "";
      if (top === "" || path.startsWith(`${top}/`)) return;
      this.#directories.pop();
    }
  }

  /** Removes what has the entry's name, unless it is a directory. */
  #clear(entry: Entry): void {
    const path = toFsPath(this.#path(entry.path));
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat && !stat.isDirectory()) unlinkSync(path);
  }

  #keepForLater(entry: Entry): void {
    this.#later.entry(entry);
    if (this.#later.out.length > 256 * 1024) this.#spill();
  }

  #spill(): void {
    const bytes = this.#later.out.view();
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#scratch, bytes, at);
    this.#later.out.clear();
  }

  /** Hard links, and the metadata of directories, deepest first. */
  #finish(): void {
    const decoder = new EntryDecoder({ rootImplied: true });
    const block = Buffer.alloc(256 * 1024);
    const open: Entry[] = [];
    for (let at = 0; ; ) {
      const got = readSync(this.#scratch, block, 0, block.length, at);
      if (got === 0) break;
      at += got;
      for (const record of decoder.push(block.subarray(0, got))) {
        if (record.type !== "entry") continue;
        const { entry } = record;
        while (open.length > 0 && !isWithin(open.at(-1), entry.path)) this.#close(open);
        if (entry.kind === "directory") open.push(entry);
        else this.#link(entry);
      }
    }
    while (open.length > 0) this.#close(open);
  }

  #close(open: Entry[]): void {
    const entry = open.pop();
    if (entry) this.#metadata(entry);
  }

  #link(entry: Entry): void {
    if (!this.#options.wanted(entry.linkTarget, false)) {
      const why = `it is another name of ${displayName(entry.linkTarget)}; name that one too`;
      this.#problem(entry.path, "refused", why);
      return;
    }
    if (!this.#isOwnFile(entry.linkTarget)) {
      this.#problem(entry.path, "refused", "what it is another name of is no file in the target");
      return;
    }
    if (!this.#mayReplace(entry)) return;
    try {
      this.#clear(entry);
      linkSync(toFsPath(this.#path(entry.linkTarget)), toFsPath(this.#path(entry.path)));
      this.#options.onWritten(1, 0);
    } catch (error) {
      this.#problem(entry.path, "refused", refusal(error));
    }
  }

  /** True when a path is a regular file that no symlink leads to: `link` would follow those on its way. */
  #isOwnFile(path: string): boolean {
    for (let end = path.indexOf("/"); end > 0; end = path.indexOf("/", end + 1)) {
      const above = toFsPath(this.#path(path.slice(0, end)));
      if (!lstatSync(above, { throwIfNoEntry: false })?.isDirectory()) return false;
    }
    return lstatSync(toFsPath(this.#path(path)), { throwIfNoEntry: false })?.isFile() === true;
  }

  #metadata(entry: Entry, path = this.#path(entry.path)): void {
    const { kind } = entry;
    if (kind === "hardlink") return;
    for (const warning of applyMetadata(path, { ...entry, kind }, this.#apply)) {
      this.#problem(entry.path, "metadata", warning);
    }
  }

  #path(path: string): string {
    return path === "" ? this.#options.target : `${this.#options.target}/${path}`;
  }

  #problem(path: string, kind: RestoreProblem["kind"], why: string): void {
    this.#options.onProblem({ path, shown: displayName(path), kind, why });
  }
}

function* chunksOf(
  content: readonly Uint8Array[],
): Generator<{ readonly id: Uint8Array; readonly bytes: number }> {
  for (const items of content) {
    for (const item of contentItems(items)) if (item.type === "chunk") yield item;
  }
}

function isWithin(directory: Entry | undefined, path: string): boolean {
  return directory?.path === "" || path.startsWith(`${directory?.path}/`);
}
