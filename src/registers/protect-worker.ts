/** A worker thread of `protect`: reads files, and takes everything through to finished shards. */
import { closeSync, constants, openSync, readSync } from "node:fs";
import { workerData } from "node:worker_threads";
import { toHex } from "../crypto/bytes.ts";
import { ExclaveError } from "../errors.ts";
import { toFsPath } from "../platform/names.ts";
import { loadNative } from "../platform/native.ts";
import { answerTasks } from "../platform/worker-loop.ts";
import { ContentWriter } from "../vault/entries.ts";
import { deriveEpochKeys } from "../vault/epoch-keys.ts";
import { KnownIds, type KnownIdsGeneration } from "../vault/known-ids.ts";
import { type OnChunk, type SealedStream, Sealer } from "../vault/sealer.ts";
import { dataExtents, type Extent, mayHaveHoles } from "./files/holes.ts";
import { fstatFile, isSameFile, isUnchanged } from "./files/stat.ts";
import {
  type FileProblem,
  type FileResult,
  type FileTask,
  type PackMessage,
  type SealResult,
  type SealTask,
  type SealWorkerData,
  SLOT_ABORTED,
  SLOT_BUSY,
  SLOT_FREE,
  type StoredChunk,
} from "./protect-messages.ts";

const data = workerData as SealWorkerData;
const native = loadNative();
const known = new KnownIds(data.known);

const post = answerTasks<SealTask, SealResult>(work, (message) => {
  known.addGeneration((message as { readonly generation: KnownIdsGeneration }).generation);
});

const sealer = new Sealer({
  keys: deriveEpochKeys(data.epochKey, data.context),
  known,
  k: data.k,
  n: data.n,
  awaitSlot: () => {
    Atomics.wait(data.slot, 0, SLOT_BUSY);
    if (Atomics.load(data.slot, 0) === SLOT_ABORTED) {
      throw new ExclaveError("interrupted", "the work was stopped");
    }
  },
  store: (sealed, dispersed) => {
    Atomics.compareExchange(data.slot, 0, SLOT_FREE, SLOT_BUSY);
    const message: PackMessage = {
      type: "pack",
      pack: sealed.pack,
      kind: sealed.kind,
      id: dispersed.id,
      packBytes: sealed.bytes.length,
      rawBytes: sealed.rawBytes,
      storedBytes: sealed.storedBytes,
      incompressibleBytes: sealed.incompressibleBytes,
      table: sealed.table,
      shards: dispersed.shards,
    };
    post(message);
  },
});
const streams = new Map<string, SealedStream>();

function work(task: SealTask): SealResult {
  switch (task.type) {
    case "files":
      return { type: "files", files: task.files.map(sealFile) };
    case "push":
      return pushStream(task);
    case "tail": {
      const { chunks, onChunk } = collector();
      sealer.sealWhole("tail", task.bytes, onChunk);
      return { type: "chunks", chunks, content: [] };
    }
    case "flush":
      sealer.flush();
      return { type: "flushed" };
  }
}

function collector(): { readonly chunks: StoredChunk[]; readonly onChunk: OnChunk } {
  const chunks: StoredChunk[] = [];
  return {
    chunks,
    onChunk: (id, bytes, pack) => {
      chunks.push({ id: toHex(id), bytes, ...(pack === undefined ? {} : { pack }) });
    },
  };
}

function streamOf(kind: "entries" | "data"): SealedStream {
  let stream = streams.get(kind);
  if (!stream) {
    stream = sealer.openStream(kind);
    streams.set(kind, stream);
  }
  return stream;
}

function pushStream(task: SealTask & { readonly type: "push" }): SealResult {
  const stream = streamOf(task.stream === "entries" ? "entries" : "data");
  if (task.stream === "entries") {
    const { chunks, onChunk } = collector();
    stream.push(task.bytes, onChunk);
    if (task.end) stream.end(onChunk);
    return { type: "chunks", chunks, content: [] };
  }
  const content = new ContentWriter();
  const onChunk: OnChunk = (id, bytes) => content.chunk(id, bytes);
  stream.push(task.bytes, onChunk);
  if (task.end) stream.end(onChunk);
  return { type: "chunks", chunks: [], content: content.take() };
}

function sealFile(task: FileTask): FileResult {
  const content = new ContentWriter();
  let bytes = 0;
  let fd: number;
  try {
    // Not followed, and not waited for, should something else have taken the file's name.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    fd = openSync(toFsPath(task.path), flags);
  } catch (error) {
    return { content: [], bytes: 0, problem: problemOf(error) };
  }
  try {
    let at = task.offset;
    const end = task.offset + task.bytes;
    let short = false;
    for (const extent of stretch(fd, task)) {
      if (extent.offset > at) content.hole(extent.offset - at);
      at = extent.offset;
      const extentEnd = extent.offset + extent.length;
      sealer.seal(
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
    bytes = at - task.offset;
    const after = fstatFile(fd, native);
    if (!isSameFile(task.stat, after)) {
      return { content: [], bytes: 0, problem: { kind: "vanished", why: "another took its name" } };
    }
    const same = !short && isUnchanged(task.stat, after);
    const problem: FileProblem = { kind: "changed", why: "it was written to while it was read" };
    return { content: content.take(), bytes, ...(same ? {} : { problem }) };
  } catch (error) {
    if (error instanceof ExclaveError) throw error;
    // What was read before the error is no file; the entry is reported and left out.
    return { content: [], bytes: 0, problem: problemOf(error) };
  } finally {
    closeSync(fd);
  }
}

/** The data within the task's stretch of the file. */
function* stretch(fd: number, task: FileTask): Generator<Extent, void, undefined> {
  if (!mayHaveHoles(task.stat)) {
    if (task.bytes > 0) yield { offset: task.offset, length: task.bytes };
    return;
  }
  const end = task.offset + task.bytes;
  for (const extent of dataExtents(fd, task.stat.size, native)) {
    const from = Math.max(extent.offset, task.offset);
    const to = Math.min(extent.offset + extent.length, end);
    if (from < to) yield { offset: from, length: to - from };
    if (extent.offset >= end) return;
  }
}

function problemOf(error: unknown): FileProblem {
  const code = (error as NodeJS.ErrnoException).code ?? String(error);
  return code === "ENOENT" ? { kind: "vanished", why: code } : { kind: "unreadable", why: code };
}
