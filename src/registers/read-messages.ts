/** What the main thread and the workers that read (restore, check, rebuild) say to each other. */
import { LATE, type ShardProblem } from "../vault/gather.ts";
import type { EpochContext } from "../vault/identifiers.ts";
import type { KnownIdsGeneration } from "../vault/known-ids.ts";
import { AHEAD_MAX } from "../vault/read-ahead.ts";

export type ReadWorkerData = {
  /** Absent for who only checks shards. */
  readonly epoch?: { readonly key: Uint8Array; readonly context: EpochContext };
  /** Memory for gathering the largest pack there is. */
  readonly gatherBytes: number;
  /** Memory for each window that is fetched ahead. */
  readonly aheadBytes: number;
  /** `FETCH_SLOTS` times: 1 while a fetch is under way, then one `FETCH_*` for each request. */
  readonly fetch: Int32Array<SharedArrayBuffer>;
  /** What to expect of each shard index; see `ShardSpeeds`. */
  readonly speeds: Int32Array<SharedArrayBuffer>;
  readonly numericOwner: boolean;
};

/**
 * The index of an epoch, once it is known: manifest rows by pack ordinal, and chunk id → (pack ordinal,
 * chunk ordinal).
 */
export type IndexMessage = {
  readonly type: "index";
  readonly refs: Uint8Array;
  readonly chunks: readonly KnownIdsGeneration[];
  /** From which shards packs are fetched ahead; see `ShardSpool`. */
  readonly chosen: Int32Array<SharedArrayBuffer>;
};

/** Fetches that a worker may have under way: the one that it waits for, and those ahead. */
export const FETCH_SLOTS = 1 + AHEAD_MAX;
export const FETCH_REQUESTS_MAX = 64;
export const FETCH_SLOT_WORDS = 1 + FETCH_REQUESTS_MAX;
export const FETCH_DONE = 0;
export const FETCH_NOT_FOUND = 1;
export const FETCH_UNAVAILABLE = 2;
export const FETCH_SHORT = 3;
export const FETCH_LATE = 4;
export const FETCH_REFUSED = 5;
/** It was not made: the site is left alone for a while, and others can be asked. */
export const FETCH_LEFT_ALONE = 6;
/** Not damage by itself: of epochs that are closed a site shows only some shards to an agent. */
export const REFUSED_BY_CHARTER =
  "the site refuses it by the charter: its epoch is closed, and exclave decide propose release opens it; or another home has taken over from this one";
export const FETCH_REASONS: Readonly<Record<number, string>> = {
  [FETCH_NOT_FOUND]: "the site has no such shard",
  [FETCH_UNAVAILABLE]: "the site does not answer",
  [FETCH_SHORT]: "the shard is cut short",
  [FETCH_LATE]: LATE,
  [FETCH_REFUSED]: REFUSED_BY_CHARTER,
  [FETCH_LEFT_ALONE]: LATE,
};

/** Asks the main thread to fill each `into`, a view of the worker's shared memory. */
export type FetchMessage = {
  readonly type: "fetch";
  readonly slot: number;
  readonly requests: readonly {
    readonly id: string;
    readonly index: number;
    readonly offset: number;
    readonly into: Uint8Array;
    readonly mayBeLate: boolean;
    readonly isLastResort: boolean;
  }[];
};

export type ProblemMessage = { readonly type: "problem"; readonly problem: ShardProblem };

/** Files to be created below `target` (absolute, binary): whole entry records with their content. */
export type CreateTask = {
  readonly type: "create";
  readonly target: string;
  readonly overwrite: boolean;
  readonly records: Uint8Array<ArrayBuffer>;
};

/** A stretch of a file that exists, at an absolute binary path. */
export type FillTask = {
  readonly type: "fill";
  readonly path: string;
  readonly offset: number;
  readonly content: readonly Uint8Array[];
};

export type WriteProblem = {
  /** Binary: of an entry within the part, or of a `FillTask`. */
  readonly path: string;
  /** "lost": its content cannot be had. "refused": the target would not take it. "metadata": it is there, not with everything. */
  readonly kind: "lost" | "refused" | "metadata";
  readonly why: string;
};

export type WriteResult = {
  readonly type: "written";
  /** Files that are there whole, and bytes written. */
  readonly files: number;
  readonly bytes: number;
  readonly problems: readonly WriteProblem[];
};

export type ReadTask =
  /** Chunks of tail packs, by the packs' manifest rows and the chunks' ids, in the order they were stored. */
  | { readonly type: "tail"; readonly rows: Uint8Array; readonly ids: readonly string[] }
  /** Chunks that the index knows, one after another: 36 bytes each, id and length. */
  | { readonly type: "chunks"; readonly chunks: Uint8Array }
  | CreateTask
  | FillTask
  /** Lost shards of a pack, made anew from the others. */
  | { readonly type: "rebuild"; readonly row: Uint8Array; readonly indices: readonly number[] }
  /** Whole shards, against their names. */
  | {
      readonly type: "verify";
      readonly shards: readonly { readonly id: string; readonly index: number }[];
    };

export type ReadResult =
  | {
      readonly type: "rebuilt";
      readonly shards: readonly { readonly index: number; readonly parts: readonly Uint8Array[] }[];
    }
  | { readonly type: "bytes"; readonly bytes: Uint8Array }
  | WriteResult
  | {
      readonly type: "verified";
      readonly shards: readonly { readonly bytes: number; readonly problem?: string }[];
    };
