/** What the main thread and the workers of `protect` say to each other. */

import type { Excerpt } from "../vault/entries.ts";
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
  /** A word for each slot for shards: whether it is free (`SLOT_*`). */
  readonly slots: Int32Array<SharedArrayBuffer>;
};

export const SLOT_FREE = 0;
export const SLOT_BUSY = 1;
/** The main thread gave up; the worker must not wait for ever. */
export const SLOT_ABORTED = 2;

/** Entries to be completed: files read and stored, links and attributes read. */
export type EntriesTask = {
  readonly type: "entries";
  /** The absolute binary path that the entries' paths start from; the one entry's own when `isFile`. */
  readonly root: string;
  readonly isFile: boolean;
  /** As the walk saw them: without content, link targets of symlinks, and attributes but for directories. */
  readonly excerpt: Excerpt;
  /** For each entry, 1 when it may have holes. */
  readonly sparse: Uint8Array<ArrayBuffer>;
};

/** A stretch of a large file to be read and stored. */
export type StretchTask = {
  readonly type: "stretch";
  /** Absolute binary path. */
  readonly path: string;
  readonly stat: FileStat;
  readonly offset: number;
  readonly bytes: number;
};

export type SealTask =
  | EntriesTask
  | StretchTask
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

/** What became of entries: the complete ones, in order, and what was wrong with others or with their content. */
export type EntriesResult = {
  readonly type: "entries";
  readonly excerpt: Excerpt;
  /** Files among them, other names of files included, and the bytes of their content. */
  readonly files: number;
  readonly bytes: number;
  /** By path within the part. Entries that vanished or are unreadable are not in the excerpt. */
  readonly problems: readonly (FileProblem & { readonly path: string })[];
};

export type StretchResult = {
  readonly type: "stretch";
  readonly content: readonly Uint8Array[];
  readonly bytes: number;
  readonly problem?: FileProblem;
};

export type SealResult =
  | EntriesResult
  | StretchResult
  | {
      readonly type: "chunks";
      readonly chunks: readonly StoredChunk[];
      readonly content: readonly Uint8Array[];
    }
  | { readonly type: "flushed" };

/** A sealed and dispersed pack, whose shards lie in the worker's memory until the slot is freed. */
export type PackMessage = {
  readonly type: "pack";
  readonly slot: number;
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
