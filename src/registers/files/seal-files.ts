/** Reads files and stores their content, in a worker thread, and completes the entries that the walk began. */
import { closeSync, constants, openSync, readSync } from "node:fs";
import { ExclaveError } from "../../errors.ts";
import { toFsPath } from "../../platform/names.ts";
import type { Native } from "../../platform/native.ts";
import { ContentWriter, decodeExcerpt, type Entry, EntryEncoder } from "../../vault/entries.ts";
import type { Sealer } from "../../vault/sealer.ts";
import type {
  EntriesResult,
  EntriesTask,
  FileProblem,
  StretchResult,
  StretchTask,
} from "../protect-messages.ts";
import { dataExtents, type Extent, mayHaveHoles } from "./holes.ts";
import { readLinkTarget, readXattrs } from "./read-metadata.ts";
import { type FileIdentity, fstatFile, isSameFile, isUnchanged } from "./stat.ts";

// Not followed, and not waited for, should something else have taken the file's name.
const OPEN_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** A stretch of a file that was seen in this state. */
type Stretch = {
  /** Absolute binary path. */
  readonly path: string;
  readonly seen: FileIdentity;
  readonly sparse: boolean;
  readonly offset: number;
  readonly bytes: number;
};

export class FileSealer {
  readonly #sealer: Sealer;
  readonly #native: Native | undefined;
  readonly #done = new EntryEncoder();

  constructor(sealer: Sealer, native: Native | undefined) {
    this.#sealer = sealer;
    this.#native = native;
  }

  entries({ root, isFile, excerpt, sparse }: EntriesTask): EntriesResult {
    const problems: (FileProblem & { path: string })[] = [];
    let [files, bytes, position] = [0, 0, 0];
    for (const record of decodeExcerpt(excerpt.records)) {
      if (record.type !== "entry") throw new ExclaveError("bug", "a walked entry has content");
      const { entry } = record;
      const path = isFile || entry.path === "" ? root : `${root === "/" ? "" : root}/${entry.path}`;
      const { kept, problem } = this.#entry(path, entry, sparse[position++] === 1);
      if (problem) problems.push({ path: entry.path, ...problem });
      if (kept === undefined) continue;
      if (entry.kind === "file" || entry.kind === "hardlink") files++;
      bytes += kept;
    }
    return { type: "entries", excerpt: this.#done.take(), files, bytes, problems };
  }

  stretch({ path, stat, offset, bytes }: StretchTask): StretchResult {
    const content = new ContentWriter();
    try {
      const part = { path, seen: stat, sparse: mayHaveHoles(stat), offset, bytes };
      const read = this.#read(part, content);
      return { type: "stretch", ...read, content: content.take() };
    } catch (error) {
      return { type: "stretch", bytes: 0, content: [], problem: problemOf(error) };
    }
  }

  /** Completes one entry. `kept`: the bytes of its content, when it could be kept. */
  #entry(
    path: string,
    entry: Entry,
    sparse: boolean,
  ): { readonly kept?: number; readonly problem?: FileProblem } {
    try {
      const content = new ContentWriter();
      const part = { path, seen: entry, sparse, offset: 0, bytes: entry.size };
      const { bytes, problem } = entry.size > 0 ? this.#read(part, content) : { bytes: 0 };
      const linkTarget = entry.kind === "symlink" ? readLinkTarget(path) : entry.linkTarget;
      const isComplete = entry.kind === "hardlink" || entry.kind === "directory";
      const xattrs = isComplete ? entry.xattrs : readXattrs(path, this.#native);
      this.#done.entry({ ...entry, size: bytes, linkTarget, xattrs });
      for (const items of content.take()) this.#done.content(items);
      return { kept: bytes, ...(problem ? { problem } : {}) };
    } catch (error) {
      return { problem: problemOf(error) };
    }
  }

  /** Stores a stretch. Throws `ReplacedError`, or as `node:fs` does, when what was read is not the file. */
  #read(
    part: Stretch,
    content: ContentWriter,
  ): { readonly bytes: number; readonly problem?: FileProblem } {
    const fd = openSync(toFsPath(part.path), OPEN_FLAGS);
    try {
      let at = part.offset;
      const end = part.offset + part.bytes;
      let short = false;
      for (const extent of this.#extents(fd, part)) {
        if (extent.offset > at) content.hole(extent.offset - at);
        at = extent.offset;
        const extentEnd = extent.offset + extent.length;
        this.#sealer.seal(
          "data",
          (into) => {
            const got = readSync(fd, into, 0, Math.min(into.length, extentEnd - at), at);
            at += got;
            return got;
          },
          (id, length) => content.chunk(id, length),
        );
        if (at < extentEnd) {
          short = true;
          break;
        }
      }
      if (!short && at < end) {
        content.hole(end - at);
        at = end;
      }
      const after = fstatFile(fd, this.#native);
      if (!isSameFile(part.seen, after)) throw new ReplacedError();
      const bytes = at - part.offset;
      if (!short && isUnchanged(part.seen, after)) return { bytes };
      return { bytes, problem: { kind: "changed", why: "it was written to while it was read" } };
    } finally {
      closeSync(fd);
    }
  }

  /** The data within the stretch. */
  *#extents(fd: number, part: Stretch): Generator<Extent, void, undefined> {
    if (!part.sparse) {
      if (part.bytes > 0) yield { offset: part.offset, length: part.bytes };
      return;
    }
    const end = part.offset + part.bytes;
    for (const extent of dataExtents(fd, part.seen.size, this.#native)) {
      const from = Math.max(extent.offset, part.offset);
      const to = Math.min(extent.offset + extent.length, end);
      if (from < to) yield { offset: from, length: to - from };
      if (extent.offset >= end) return;
    }
  }
}

/** Another file took the name between the walk and the reading. */
class ReplacedError extends Error {}

/** What was read before the error is no file; the entry is reported and left out. */
function problemOf(error: unknown): FileProblem {
  if (error instanceof ExclaveError) throw error;
  if (error instanceof ReplacedError) return { kind: "vanished", why: "another took its name" };
  const code = (error as NodeJS.ErrnoException).code ?? String(error);
  return code === "ENOENT" ? { kind: "vanished", why: code } : { kind: "unreadable", why: code };
}
