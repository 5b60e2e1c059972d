/** A worker thread of `protect`: reads files, and takes everything through to finished shards. */
import { workerData } from "node:worker_threads";
import { toHex } from "../crypto/bytes.ts";
import { ExclaveError } from "../errors.ts";
import { loadNative } from "../platform/native.ts";
import { answerTasks } from "../platform/worker-loop.ts";
import { ContentWriter } from "../vault/entries.ts";
import { deriveEpochKeys } from "../vault/epoch-keys.ts";
import { KnownIds, type KnownIdsGeneration } from "../vault/known-ids.ts";
import { type OnChunk, type SealedStream, Sealer } from "../vault/sealer.ts";
import { FileSealer } from "./files/seal-files.ts";
import {
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
const known = new KnownIds(data.known);

const post = answerTasks<SealTask, SealResult>(work, (message) => {
  known.addGeneration((message as { readonly generation: KnownIdsGeneration }).generation);
});

const sealer = new Sealer({
  keys: deriveEpochKeys(data.epochKey, data.context),
  known,
  slots: data.slots.length,
  k: data.k,
  n: data.n,
  awaitSlot: (slot) => {
    Atomics.wait(data.slots, slot, SLOT_BUSY);
    if (Atomics.load(data.slots, slot) === SLOT_ABORTED) {
      throw new ExclaveError("interrupted", "the work was stopped");
    }
  },
  store: (sealed, dispersed, slot) => {
    Atomics.compareExchange(data.slots, slot, SLOT_FREE, SLOT_BUSY);
    const message: PackMessage = {
      type: "pack",
      slot,
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
const files = new FileSealer(sealer, loadNative());
const streams = new Map<string, SealedStream>();

function work(task: SealTask): SealResult {
  switch (task.type) {
    case "entries":
      return files.entries(task);
    case "stretch":
      return files.stretch(task);
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
