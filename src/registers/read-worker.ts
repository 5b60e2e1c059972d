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
import { type DispersedRef, GatheredPack, type GatherOptions } from "../vault/gather.ts";
import { type DispersalId, parseId } from "../vault/identifiers.ts";
import { KnownIds, newGeneration } from "../vault/known-ids.ts";
import { MANIFEST_ROW_BYTES, readManifestRow } from "../vault/manifest.ts";
import { AHEAD_MAX, ReadAhead } from "../vault/read-ahead.ts";
import { verifyShard } from "../vault/verify-shard.ts";
import { FileWriter } from "./files/write-files.ts";
import type {
  IndexMessage,
  ProblemMessage,
  ReadResult,
  ReadTask,
  ReadWorkerData,
} from "./read-messages.ts";
import { ShardFetcher } from "./shard-fetcher.ts";
import { slownessOf } from "./shard-speeds.ts";

const data = workerData as ReadWorkerData;
/** More than are open at once. */
const PACKS_REMEMBERED_MAX = 16;
const HAS_KEY = "this worker has an epoch's key";

const index: { rows: Buffer; chunks: KnownIds; chosen: Int32Array } = {
  rows: Buffer.alloc(0),
  chosen: new Int32Array(),
  chunks: new KnownIds([newGeneration(0, 2)]),
};

const post = answerTasks<ReadTask, ReadResult>(work, (message) => {
  const { refs, chunks: generations, chosen } = message as IndexMessage;
  index.rows = Buffer.from(refs.buffer, refs.byteOffset, refs.byteLength);
  index.chunks = new KnownIds(generations);
  index.chosen = chosen;
});

const { gatherBytes, aheadBytes } = data;
const kernel = loadKernel(gatherBytes + AHEAD_MAX * aheadBytes + 4096);
const memory = { offset: kernel.alloc(gatherBytes), bytes: gatherBytes };

const fetcher = new ShardFetcher({
  control: data.fetch,
  ahead: { offset: kernel.alloc(AHEAD_MAX * aheadBytes), bytes: aheadBytes },
  view: (offset, bytes) => kernel.view(offset, bytes),
  post,
});

/** How often shards of each index failed here: one site holds one index, so these go last. */
const failures = new Map<number, number>();

/** Of packs that were opened last: a bit for each shard that they are fetched ahead from. */
const fetchedFrom = new Map<DispersalId, number>();

const prefer = ({ id, n }: DispersedRef): readonly number[] => {
  const slowness = slownessOf(data.speeds, n);
  const bits = fetchedFrom.get(id) ?? 0;
  const isNot = (index: number): number => 1 - ((bits >>> index) & 1);
  return Array.from({ length: n }, (_, i) => i).sort(
    (a, b) =>
      isNot(a) - isNot(b) ||
      (failures.get(a) ?? 0) - (failures.get(b) ?? 0) ||
      (slowness[a] ?? 0) - (slowness[b] ?? 0) ||
      a - b,
  );
};

const refOf = (ordinal: number): DispersedRef => {
  const ref = readManifestRow(index.rows, ordinal * MANIFEST_ROW_BYTES);
  fetchedFrom.delete(ref.id);
  fetchedFrom.set(ref.id, ordinal < index.chosen.length ? Atomics.load(index.chosen, ordinal) : 0);
  const [oldest] = fetchedFrom.keys();
  if (fetchedFrom.size > PACKS_REMEMBERED_MAX && oldest) fetchedFrom.delete(oldest);
  return ref;
};

const gather: GatherOptions = {
  kernel,
  memory,
  fetch: fetcher.fetch,
  ahead: new ReadAhead({
    isFetched: ({ id }) => (fetchedFrom.get(id) ?? 0) !== 0,
    isBusy: (slot) => fetcher.isBusy(slot),
    fetch: (slot, ranges) => fetcher.fetchAhead(slot, ranges),
  }),
  onProblem: (problem) => {
    failures.set(problem.index, (failures.get(problem.index) ?? 0) + 1);
    const message: ProblemMessage = { type: "problem", problem };
    post(message);
  },
  prefer,
};

const chunks = data.epoch
  ? new ChunkReader(
      deriveEpochKeys(data.epoch.key, data.epoch.context),
      {
        find: (id) => index.chunks.value(id),
        ref: refOf,
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
          verifyShard(kernel, memory, fetcher.fetch, parseId("DispersalId", id), index),
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
