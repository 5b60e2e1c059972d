/** A worker thread that reads from the sites: gathers, opens, verifies, and writes restored files. */
import { workerData } from "node:worker_threads";
import { fromHex } from "../crypto/bytes.ts";
import { loadKernel } from "../erasure/kernel.ts";
import { ExclaveError, invariant } from "../errors.ts";
import { loadNative } from "../platform/native.ts";
import { loadOwnerNames } from "../platform/owners.ts";
import { answerTasks } from "../platform/worker-loop.ts";
import { ChunkReader } from "../vault/chunk-reader.ts";
import { deriveEpochKeys } from "../vault/epoch-keys.ts";
import {
  GatheredPack,
  type GatherOptions,
  type ShardFetch,
  type ShardRequest,
} from "../vault/gather.ts";
import { parseId } from "../vault/identifiers.ts";
import { KnownIds, newGeneration } from "../vault/known-ids.ts";
import { MANIFEST_ROW_BYTES, readManifestRow } from "../vault/manifest.ts";
import { verifyShard } from "../vault/verify-shard.ts";
import { FileWriter } from "./files/write-files.ts";
import {
  FETCH_DONE,
  FETCH_REASONS,
  type FetchMessage,
  type IndexMessage,
  type ProblemMessage,
  type ReadResult,
  type ReadTask,
  type ReadWorkerData,
} from "./read-messages.ts";
import { slownessOf } from "./shard-speeds.ts";

const data = workerData as ReadWorkerData;
const HAS_KEY = "this worker has an epoch's key";

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

/** What was asked for ahead, while it is under way or lies in memory. */
let ahead: readonly ShardRequest[] = [];

const fetchShards: ShardFetch = (requests) => {
  if (requests.length === 0) return [];
  const isThere = isSame(ahead, requests);
  // Whatever comes must not come into memory that is used for something else by then.
  if (ahead.length > 0) Atomics.wait(data.fetch, 0, 1);
  ahead = [];
  if (!isThere) {
    beginFetch(requests);
    Atomics.wait(data.fetch, 0, 1);
  }
  return requests.map((_, i) => {
    const status = Atomics.load(data.fetch, 1 + i);
    return status === FETCH_DONE ? undefined : (FETCH_REASONS[status] ?? "it could not be read");
  });
};

function fetchAhead(requests: readonly ShardRequest[]): void {
  // One at a time; what was asked for first will probably be wanted first.
  if (ahead.length > 0) return;
  ahead = requests;
  beginFetch(requests);
}

function beginFetch(requests: readonly ShardRequest[]): void {
  const message: FetchMessage = {
    type: "fetch",
    requests: requests.map(({ id, index, offset, bytes, at, ...how }) => ({
      id,
      index,
      offset,
      into: kernel.view(at, bytes),
      mayBeLate: how.mayBeLate ?? false,
      isLastResort: how.isLastResort ?? false,
    })),
  };
  Atomics.store(data.fetch, 0, 1);
  post(message);
}

function isSame(some: readonly ShardRequest[], others: readonly ShardRequest[]): boolean {
  return (
    some.length === others.length &&
    some.every((one, i) => {
      const other = others[i];
      return (
        one.id === other?.id &&
        one.index === other.index &&
        one.offset === other.offset &&
        one.bytes === other.bytes &&
        one.at === other.at
      );
    })
  );
}

/** How often shards of each index failed here: one site holds one index, so these go last. */
const failures = new Map<number, number>();

const gather: GatherOptions = {
  kernel,
  memory,
  fetch: fetchShards,
  fetchAhead,
  onProblem: (problem) => {
    failures.set(problem.index, (failures.get(problem.index) ?? 0) + 1);
    const message: ProblemMessage = { type: "problem", problem };
    post(message);
  },
  prefer: (n) => {
    const slowness = slownessOf(data.speeds, n);
    return Array.from({ length: n }, (_, i) => i).sort(
      (a, b) =>
        (failures.get(a) ?? 0) - (failures.get(b) ?? 0) ||
        (slowness[a] ?? 0) - (slowness[b] ?? 0) ||
        a - b,
    );
  },
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

const files =
  chunks &&
  new FileWriter((id, bytes) => chunks.read(id, bytes), {
    native: loadNative(),
    owners: loadOwnerNames(),
    asRoot: process.getuid?.() === 0,
    numericOwner: data.numericOwner,
  });

function work(task: ReadTask): ReadResult {
  switch (task.type) {
    case "tail":
      return { type: "bytes", bytes: readTail(task) };
    case "chunks":
      return { type: "bytes", bytes: readChunks(task.chunks) };
    case "create":
      invariant(files, HAS_KEY);
      return files.create(task);
    case "fill":
      invariant(files, HAS_KEY);
      return files.fill(task);
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
  invariant(chunks, HAS_KEY);
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
  invariant(chunks, HAS_KEY);
  const wanted = Buffer.from(list.buffer, list.byteOffset, list.byteLength);
  const parts: Uint8Array[] = [];
  for (let at = 0; at < wanted.length; at += 36) {
    parts.push(
      Uint8Array.from(chunks.read(wanted.subarray(at, at + 32), wanted.readUInt32LE(at + 32))),
    );
  }
  return Buffer.concat(parts);
}
