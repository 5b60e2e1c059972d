/** What the main thread and the workers of `protect` say to each other. */

import type { EpochContext } from "../vault/identifiers.ts";
import type { KnownIdsGeneration } from "../vault/known-ids.ts";
import type { PackKind } from "../vault/pack.ts";
import type { FileStat } from "./files/stat.ts";

export type SealWorkerData = {
  readonly epochKey: Uint8Array;
  readonly context: EpochContext;
  readonly k: number;
  readonly n: number;
  readonly known: readonly KnownIdsGeneration[];
  /** One word: whether the slot for shards is free (`SLOT_*`). */
  readonly slot: Int32Array<SharedArrayBuffer>;
};

export const SLOT_FREE = 0;
export const SLOT_BUSY = 1;
/** The main thread gave up; the worker must not wait for ever. */
export const SLOT_ABORTED = 2;

/** A stretch of a file to be read and stored. */
export type FileTask = {
  /** Absolute binary path. */
  readonly path: string;
  readonly stat: FileStat;
  readonly offset: number;
  readonly bytes: number;
};

export type SealTask =
  | { readonly type: "files"; readonly files: readonly FileTask[] }
  /** The next piece of a stream; one stream of each name at a time in a worker. */
  | {
      readonly type: "push";
      readonly stream: "entries" | "content";
      readonly kind: PackKind;
      readonly bytes: Uint8Array<ArrayBuffer>;
      readonly end: boolean;
    }
  /** One chunk of a tail. */
  | { readonly type: "tail"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly type: "flush" };

/** A chunk of a stream; `pack` when this call stored it. */
export type StoredChunk = { readonly id: string; readonly bytes: number; readonly pack?: string };

export type FileProblem = {
  readonly kind: "vanished" | "unreadable" | "changed";
  readonly why: string;
};

/** What became of a stretch of a file. */
export type FileResult = {
  readonly content: readonly Uint8Array[];
  readonly bytes: number;
  readonly problem?: FileProblem;
};

export type SealResult =
  | { readonly type: "files"; readonly files: readonly FileResult[] }
  | {
      readonly type: "chunks";
      readonly chunks: readonly StoredChunk[];
      readonly content: readonly Uint8Array[];
    }
  | { readonly type: "flushed" };

/** A sealed and dispersed pack, whose shards lie in the worker's memory until the slot is freed. */
export type PackMessage = {
  readonly type: "pack";
  readonly pack: string;
  readonly kind: PackKind;
  readonly id: string;
  readonly packBytes: number;
  readonly rawBytes: number;
  readonly storedBytes: number;
  readonly incompressibleBytes: number;
  readonly table: Uint8Array;
  /** Views of the worker's shared memory. */
  readonly shards: readonly Uint8Array[];
};
