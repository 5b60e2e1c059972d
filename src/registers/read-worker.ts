/** A worker thread that reads from the sites: gathers, opens, verifies, and writes restored files. */
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  renameSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { workerData } from "node:worker_threads";
import { fromHex } from "../crypto/bytes.ts";
import { loadKernel } from "../erasure/kernel.ts";
import { ExclaveError, invariant } from "../errors.ts";
import { toFsPath } from "../platform/names.ts";
import { loadNative } from "../platform/native.ts";
import { loadOwnerNames } from "../platform/owners.ts";
import { answerTasks } from "../platform/worker-loop.ts";
import { ChunkReader } from "../vault/chunk-reader.ts";
import { contentItems } from "../vault/entries.ts";
import { deriveEpochKeys } from "../vault/epoch-keys.ts";
import { GatheredPack, type GatherOptions, type ShardFetch } from "../vault/gather.ts";
import { parseId } from "../vault/identifiers.ts";
import { KnownIds, newGeneration } from "../vault/known-ids.ts";
import { MANIFEST_ROW_BYTES, readManifestRow } from "../vault/manifest.ts";
import { verifyShard } from "../vault/verify-shard.ts";
import { applyMetadata } from "./files/apply-metadata.ts";
import { refusal } from "./files/restore-files.ts";
import {
  FETCH_DONE,
  FETCH_REASONS,
  type FetchMessage,
  type IndexMessage,
  type ProblemMessage,
  type ReadResult,
  type ReadTask,
  type ReadWorkerData,
  type WriteFailure,
  type WriteTask,
} from "./read-messages.ts";

const data = workerData as ReadWorkerData;
const native = loadNative();
const owners = loadOwnerNames();
const asRoot = process.getuid?.() === 0;

const index: { rows: Buffer; chunks: KnownIds } = {
  rows: Buffer.alloc(0),
  chunks: new KnownIds([newGeneration(0, 2)]),
};

const post = answerTasks<ReadTask, ReadResult>(work, (message) => {
  const { refs, chunks: generations } = message as IndexMessage;
  index.rows = Buffer.from(refs.buffer, refs.byteOffset, refs.byteLength);
  index.chunks = new KnownIds(generations);
});

const memoryBytes = data.gatherBytes;
const kernel = loadKernel(memoryBytes + 4096);
const memory = { offset: kernel.alloc(memoryBytes), bytes: memoryBytes };

const fetchShards: ShardFetch = (requests) => {
  if (requests.length === 0) return [];
  const message: FetchMessage = {
    type: "fetch",
    requests: requests.map(({ id, index, offset, bytes, at }) => ({
      id,
      index,
      offset,
      into: kernel.view(at, bytes),
    })),
  };
  Atomics.store(data.fetch, 0, 1);
  post(message);
  Atomics.wait(data.fetch, 0, 1);
  return requests.map((_, i) => {
    const status = Atomics.load(data.fetch, 1 + i);
    return status === FETCH_DONE ? undefined : (FETCH_REASONS[status] ?? "it could not be read");
  });
};

/** How often shards of each index failed here: one site holds one index, so these go last. */
const failures = new Map<number, number>();

const gather: GatherOptions = {
  kernel,
  memory,
  fetch: fetchShards,
  onProblem: (problem) => {
    failures.set(problem.index, (failures.get(problem.index) ?? 0) + 1);
    const message: ProblemMessage = { type: "problem", problem };
    post(message);
  },
  prefer: (n) =>
    Array.from({ length: n }, (_, i) => i).sort(
      (a, b) => (failures.get(a) ?? 0) - (failures.get(b) ?? 0) || a - b,
    ),
};

const chunks = data.epoch
  ? new ChunkReader(
      deriveEpochKeys(data.epoch.key, data.epoch.context),
      {
        find: (id) => index.chunks.value(id),
        ref: (ordinal) => readManifestRow(index.rows, ordinal * MANIFEST_ROW_BYTES),
      },
      gather,
    )
  : undefined;

function work(task: ReadTask): ReadResult {
  switch (task.type) {
    case "tail":
      return { type: "bytes", bytes: readTail(task) };
    case "chunks":
      return { type: "bytes", bytes: readChunks(task.chunks) };
    case "write":
      return { type: "written", files: task.files.map(writeFile) };
    case "rebuild": {
      const ref = readManifestRow(Buffer.from(task.row), 0);
      const shards = task.indices.map((index) => {
        const { front, piece } = new GatheredPack(ref, gather).rebuild(index);
        return { index, parts: [front, piece] };
      });
      return { type: "rebuilt", shards };
    }
    case "verify":
      return {
        type: "verified",
        shards: task.shards.map(({ id, index }) =>
          verifyShard(kernel, memory, fetchShards, parseId("DispersalId", id), index),
        ),
      };
  }
}

function readTail(task: ReadTask & { readonly type: "tail" }): Uint8Array {
  invariant(chunks, "this worker has an epoch's key");
  const rows = Buffer.from(task.rows.buffer, task.rows.byteOffset, task.rows.byteLength);
  let at = 0;
  const parts: Uint8Array[] = [];
  for (const id of task.ids) {
    let chunk = chunks.readFrom(readManifestRow(rows, at), fromHex(id));
    while (!chunk) {
      at += MANIFEST_ROW_BYTES;
      if (at >= rows.length)
        throw new ExclaveError("not-found", "a tail lacks a chunk that it should have");
      chunk = chunks.readFrom(readManifestRow(rows, at), fromHex(id));
    }
    parts.push(Uint8Array.from(chunk));
  }
  return Buffer.concat(parts);
}

function readChunks(list: Uint8Array): Uint8Array {
  invariant(chunks, "this worker has an epoch's key");
  const wanted = Buffer.from(list.buffer, list.byteOffset, list.byteLength);
  const parts: Uint8Array[] = [];
  for (let at = 0; at < wanted.length; at += 36) {
    parts.push(
      Uint8Array.from(chunks.read(wanted.subarray(at, at + 32), wanted.readUInt32LE(at + 32))),
    );
  }
  return Buffer.concat(parts);
}

function writeFile(task: WriteTask): {
  bytes: number;
  failure?: WriteFailure;
  warnings: readonly string[];
} {
  const path = toFsPath(task.path);
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const created = task.mode === "create";
  let fd: number;
  try {
    fd = openSync(path, O_WRONLY | O_NOFOLLOW | (created ? O_CREAT | O_EXCL : 0), 0o600);
  } catch (error) {
    return { bytes: 0, failure: failure(error), warnings: [] };
  }
  try {
    const bytes = writeContent(fd, task);
    const warnings = created
      ? applyMetadata(
          task.path,
          { ...task.entry, kind: "file" },
          { native, owners, asRoot, numericOwner: data.numericOwner },
        )
      : [];
    if (task.finalPath !== undefined) renameSync(path, toFsPath(task.finalPath));
    return { bytes, warnings };
  } catch (error) {
    // A file that could not be had whole is not left behind in part under its name.
    if (created) unlinkSync(path);
    return { bytes: 0, failure: failure(error), warnings: [] };
  } finally {
    closeSync(fd);
  }
}

/** What a file's failure is; anything that neither we nor the system meant to throw is a mistake of ours. */
function failure(error: unknown): WriteFailure {
  if (error instanceof ExclaveError && error.code !== "bug")
    return { kind: "lost", why: error.message };
  if (typeof (error as NodeJS.ErrnoException).errno !== "number") throw error;
  return { kind: "refused", why: refusal(error) };
}

function writeContent(fd: number, task: WriteTask): number {
  invariant(chunks, "this worker has an epoch's key");
  let at = task.offset;
  let endsInHole = false;
  for (const record of task.content) {
    for (const item of contentItems(record)) {
      endsInHole = item.type === "hole";
      if (item.type === "chunk") writeAt(fd, chunks.read(item.id, item.bytes), at);
      at += item.bytes;
    }
  }
  if (task.mode === "create" && at !== task.entry.size) {
    throw new ExclaveError("malformed", "its content is not as long as recorded");
  }
  if (endsInHole) ftruncateSync(fd, Math.max(at, fstatSync(fd).size));
  return at - task.offset;
}

function writeAt(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(fd, bytes, done, bytes.length - done, position + done);
  }
}
