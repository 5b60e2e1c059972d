/** Writes restored files, in a worker thread: content, metadata, and their names last where they replace something. */
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  renameSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { threadId } from "node:worker_threads";
import { ExclaveError } from "../../errors.ts";
import { toFsPath } from "../../platform/names.ts";
import { contentItems, decodeExcerpt, type Entry } from "../../vault/entries.ts";
import type { CreateTask, FillTask, WriteProblem, WriteResult } from "../read-messages.ts";
import { type ApplyOptions, applyMetadata } from "./apply-metadata.ts";

/** The chunk of that id and length; valid until the next call. */
export type ReadChunk = (id: Uint8Array, bytes: number) => Uint8Array;

const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
export const EXISTS = "it exists already and was left as it is; --overwrite replaces it";

export class FileWriter {
  readonly #read: ReadChunk;
  readonly #apply: ApplyOptions;
  #draftCount = 0;

  constructor(read: ReadChunk, apply: ApplyOptions) {
    this.#read = read;
    this.#apply = apply;
  }

  /** Creates files, each whole or not at all. */
  create(task: CreateTask): WriteResult {
    const result = { type: "written" as const, files: 0, bytes: 0, problems: [] };
    let open: Entry | undefined;
    let content: Uint8Array[] = [];
    const finish = (): void => {
      if (open) this.#createFile(task, open, content, result);
      content = [];
    };
    for (const record of decodeExcerpt(task.records)) {
      if (record.type === "content") {
        content.push(record.items);
      } else {
        finish();
        open = record.entry;
      }
    }
    finish();
    return result;
  }

  /** Writes a stretch of a file that exists. */
  fill({ path, offset, content }: FillTask): WriteResult {
    try {
      const fd = openSync(toFsPath(path), O_WRONLY | O_NOFOLLOW);
      try {
        const bytes = this.#writeContent(fd, offset, content);
        return { type: "written", files: 0, bytes, problems: [] };
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      return { type: "written", files: 0, bytes: 0, problems: [{ path, ...failure(error) }] };
    }
  }

  #createFile(
    task: CreateTask,
    entry: Entry,
    content: readonly Uint8Array[],
    result: { files: number; bytes: number; problems: WriteProblem[] },
  ): void {
    const path = `${task.target}/${entry.path}`;
    let draft: string | undefined;
    try {
      let fd = createNew(path);
      if (fd === undefined) {
        // What exists is replaced only by what is there whole.
        if (!task.overwrite || lstatSync(toFsPath(path)).isDirectory()) {
          result.problems.push({ path: entry.path, kind: "refused", why: EXISTS });
          return;
        }
        draft = this.#draftPath(path);
        fd = openSync(toFsPath(draft), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
      }
      const created = draft ?? path;
      try {
        const bytes = this.#writeContent(fd, 0, content);
        if (bytes !== entry.size) {
          throw new ExclaveError("malformed", "its content is not as long as recorded");
        }
        for (const why of applyMetadata(created, { ...entry, kind: "file" }, this.#apply, fd)) {
          result.problems.push({ path: entry.path, kind: "metadata", why });
        }
        if (draft !== undefined) renameSync(toFsPath(draft), toFsPath(path));
        result.files++;
        result.bytes += bytes;
      } catch (error) {
        // A file that could not be had whole is not left behind in part under its name.
        unlinkSync(toFsPath(created));
        throw error;
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      result.problems.push({ path: entry.path, ...failure(error) });
    }
  }

  /** A name beside `path` for what is not whole yet. */
  #draftPath(path: string): string {
    const folder = path.slice(0, path.lastIndexOf("/") + 1);
    return `${folder}.exclave-${process.pid}-${threadId}-${this.#draftCount++}`;
  }

  /** Returns how many bytes the content stands for, holes included. */
  #writeContent(fd: number, offset: number, content: readonly Uint8Array[]): number {
    let at = offset;
    let endsInHole = false;
    for (const record of content) {
      for (const item of contentItems(record)) {
        endsInHole = item.type === "hole";
        if (item.type === "chunk") writeAt(fd, this.#read(item.id, item.bytes), at);
        at += item.bytes;
      }
    }
    if (endsInHole) ftruncateSync(fd, Math.max(at, fstatSync(fd).size));
    return at - offset;
  }
}

/** Opens a new file of that name; undefined when there is something already. */
function createNew(path: string): number | undefined {
  try {
    return openSync(toFsPath(path), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return undefined;
    throw error;
  }
}

function writeAt(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(fd, bytes, done, bytes.length - done, position + done);
  }
}

/** What a file's failure is; anything that neither we nor the system meant to throw is a mistake of ours. */
function failure(error: unknown): Pick<WriteProblem, "kind" | "why"> {
  if (error instanceof ExclaveError && error.code !== "bug")
    return { kind: "lost", why: error.message };
  if (typeof (error as NodeJS.ErrnoException).errno !== "number") throw error;
  return { kind: "refused", why: refusal(error) };
}

/** Why the target would not take an entry. */
export function refusal(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "EEXIST") return EXISTS;
  if (code === "ENOSPC") return "the disk is full";
  return code ?? String(error);
}
