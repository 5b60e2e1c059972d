/** `restore`: brings a recovery point of a register back, into a directory or, for a stream, to standard output. */
import { mkdirSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { toHex } from "../crypto/bytes.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { favourSmallHeaps } from "../platform/memory.ts";
import { fromText } from "../platform/names.ts";
import type { Catalog, SnapshotRow } from "../vault/catalog.ts";
import { openStatement, type SnapshotRoot } from "../vault/documents.ts";
import { contentItems, EntryDecoder, type EntryRecord } from "../vault/entries.ts";
import type { ShardProblem } from "../vault/gather.ts";
import type { Home, RegisterConfig } from "../vault/home.ts";
import { type EpochContext, parseId, type RegisterId } from "../vault/identifiers.ts";
import type { KnownState } from "../vault/known-state.ts";
import { isOpen, openSites, type SitePlace } from "../vault/open-sites.ts";
import { EpochReader, encodeRef, inGroups, startReadPool } from "./epoch-reader.ts";
import { compilePathPatterns } from "./files/patterns.ts";
import { RestoreFiles, type RestoreProblem } from "./files/restore-files.ts";
import { defaultWorkers } from "./seal-session.ts";
import { chooseSnapshot, rootOf, type SnapshotChoice } from "./snapshots.ts";

/** Damaged shards that a report names one by one. */
const SHARD_PROBLEMS_KEPT_MAX = 1000;

/** What a restore goes by: a home, or what the sites told who has none. */
export type RestoreSource = {
  readonly known: KnownState;
  /** A directory for what is kept meanwhile. */
  readonly cachePath: string;
  /** Throws `unknown-name`. */
  readonly register: (name: string) => RegisterConfig;
  /** Undefined when it is not here. */
  readonly epochKey: (register: RegisterId, epoch: number) => Promise<Uint8Array | undefined>;
  /** In the order of the register's shards. */
  readonly places: (register: RegisterConfig) => Promise<readonly SitePlace[]>;
};

export function homeAsSource(home: Home): RestoreSource {
  return {
    known: home.known,
    cachePath: home.cachePath,
    register: (name) => home.register(name),
    epochKey: (register, epoch) => home.epochKey(register, epoch),
    places: (register) => openSites(home, register),
  };
}

export type RestoreOptions = {
  readonly source: RestoreSource;
  readonly catalog: Catalog;
  readonly register: string;
  readonly choice: SnapshotChoice;
  /** A directory, made when it does not exist; or where the bytes of a stream go. */
  readonly target: string | ((bytes: Uint8Array) => Promise<void>);
  /** Only entries that one of these patterns names; everything when empty. */
  readonly paths: readonly string[];
  readonly overwrite: boolean;
  /** Restore what can be had rather than stop at the first file that cannot. */
  readonly keepGoing: boolean;
  readonly numericOwner: boolean;
  readonly workers?: number;
  readonly onProgress?: (progress: RestoreProgress) => void;
  readonly onProblem?: (problem: RestoreProblem) => void;
  readonly onNotice?: (notice: string) => void;
};

export type RestoreProgress = {
  files: number;
  bytes: number;
  /** Of the whole recovery point. */
  readonly filesTotal: number;
  readonly bytesTotal: number;
};

export type RestoreReport = {
  readonly snapshot: string;
  readonly time: string;
  readonly files: number;
  readonly bytes: number;
  readonly problems: readonly RestoreProblem[];
  readonly problemCount: number;
  /** Shards that were missing or damaged and were made good from the others, with their site. */
  readonly shardProblems: readonly (ShardProblem & { readonly site: string })[];
  readonly seconds: number;
};

export async function restore(options: RestoreOptions): Promise<RestoreReport> {
  const startedMs = performance.now();
  favourSmallHeaps();
  const { source, catalog } = options;
  const register = source.register(options.register);
  const snapshot = chooseSnapshot(catalog, register, options.choice);
  openStatement(snapshot.envelope, source.known);
  const root = rootOf(snapshot);
  const progress: RestoreProgress = {
    files: 0,
    bytes: 0,
    filesTotal: root.parts.reduce((sum, part) => sum + part.files, 0),
    bytesTotal: root.parts.reduce((sum, part) => sum + part.bytes, 0),
  };
  const shardProblems = new Map<string, ShardProblem & { readonly site: string }>();
  const onShardProblem = (problem: ShardProblem): void => {
    if (shardProblems.size >= SHARD_PROBLEMS_KEPT_MAX) return;
    shardProblems.set(problem.shard, { ...problem, site: root.sites[problem.index]?.name ?? "?" });
  };
  const reader = await openReader(options, register, snapshot, root, onShardProblem);
  const problems: RestoreProblem[] = [];
  let problemCount = 0;
  const onWritten = (files: number, bytes: number): void => {
    progress.files += files;
    progress.bytes += bytes;
    options.onProgress?.(progress);
  };
  try {
    await reader.loadIndex(root);
    for (const part of root.parts) {
      const records = partRecords(reader, part);
      if (typeof options.target === "function") {
        try {
          await streamOut(reader, records, options.target, onWritten);
        } catch (error) {
          if (!isExclaveError(error, "not-enough-shards")) throw error;
          const lost = {
            path: part.name,
            shown: part.name,
            kind: "lost",
            why: error.message,
          } as const;
          throw lostError(lost, shardProblems);
        }
        continue;
      }
      const target = prepareTarget(options.target, root.parts.length > 1 ? part.name : undefined);
      const files = new RestoreFiles({
        pool: reader.pool,
        stretches: (chunks) => reader.stretches(chunks),
        plan: (stretches) => reader.plan(stretches),
        target: target.path,
        ownsTarget: target.made && options.paths.length === 0,
        scratchFile: join(source.cachePath, `restore-${process.pid}`),
        wanted: compilePathPatterns(options.paths),
        overwrite: options.overwrite,
        numericOwner: options.numericOwner,
        onWritten,
        onProblem: (problem) => {
          problemCount++;
          if (problems.length < SHARD_PROBLEMS_KEPT_MAX) problems.push(problem);
          options.onProblem?.(problem);
          if (problem.kind === "lost" && !options.keepGoing)
            throw lostError(problem, shardProblems);
        },
      });
      await files.run(records);
    }
  } finally {
    await reader.close();
  }
  return {
    snapshot: snapshot.id,
    time: snapshot.time,
    files: progress.files,
    bytes: progress.bytes,
    problems,
    problemCount,
    shardProblems: [...shardProblems.values()],
    seconds: (performance.now() - startedMs) / 1000,
  };
}

/** What happened, what is safe, what to do: when a file cannot be had. */
function lostError(
  problem: RestoreProblem,
  shardProblems: ReadonlyMap<string, { readonly site: string; readonly why: string }>,
): ExclaveError {
  const sites = new Map([...shardProblems.values()].map(({ site, why }) => [site, why]));
  const where = [...sites].map(([site, why]) => `${site}: ${why}`).join("; ");
  return new ExclaveError(
    "not-enough-shards",
    `${problem.shown} cannot be restored: ${problem.why} (${where || "no site named"}). What was restored before is whole. Bring back a site, or take the rest with --keep-going`,
  );
}

async function openReader(
  options: RestoreOptions,
  register: RegisterConfig,
  snapshot: SnapshotRow,
  root: SnapshotRoot,
  onProblem: (problem: ShardProblem) => void,
): Promise<EpochReader> {
  const { source, catalog } = options;
  const context: EpochContext = {
    state: source.known.id,
    register: parseId("RegisterId", register.id),
    epoch: snapshot.epoch,
  };
  const key = await source.epochKey(context.register, context.epoch);
  if (!key) {
    throw new ExclaveError(
      "bad-key",
      `the key of this recovery point is not at this home; \`exclave recover\` opens it with the recovery key`,
    );
  }
  const places = await source.places(register);
  for (const place of places) {
    if (!isOpen(place))
      options.onNotice?.(`site ${place.name} does not take part: ${place.problem}`);
  }
  const open = places.filter(isOpen).length;
  if (open < root.k) {
    throw new ExclaveError(
      "site-unavailable",
      `${root.k} sites are needed and ${open} answer (${places.flatMap((place) => (isOpen(place) ? [] : [place.problem])).join("; ")}). Nothing was written`,
    );
  }
  const startPool = () =>
    startReadPool({
      workers: options.workers ?? defaultWorkers(),
      places,
      shapes: catalog.shapes(context.register, context.epoch),
      epoch: { key, context },
      numericOwner: options.numericOwner,
      spoolFile: join(source.cachePath, `spool-${process.pid}`),
      onProblem,
    });
  return new EpochReader(startPool, catalog, source.cachePath, context);
}

/** The entry records of a part of a snapshot, decoded and held to the rules. */
export async function* partRecords(
  reader: EpochReader,
  part: SnapshotRoot["parts"][number],
): AsyncGenerator<EntryRecord> {
  const decoder = new EntryDecoder();
  for await (const block of reader.stream(part.entries)) yield* decoder.push(block);
  decoder.end();
}

/** The directory to restore into, which exists then, and whether it was made for it. Throws `unsafe-target`. */
function prepareTarget(
  target: string,
  part: string | undefined,
): { readonly path: string; readonly made: boolean } {
  const path = part === undefined ? target : join(target, part);
  try {
    const made = mkdirSync(path, { recursive: true }) !== undefined;
    const real = realpathSync(path);
    if (statSync(real).isDirectory()) return { path: fromText(real), made };
  } catch (cause) {
    throw new ExclaveError("unsafe-target", `cannot restore into ${path}: ${String(cause)}`, {
      cause,
    });
  }
  throw new ExclaveError("unsafe-target", `cannot restore into ${path}: it is no directory`);
}

/** Sends the content of the one file of a stream. */
async function streamOut(
  reader: EpochReader,
  records: AsyncGenerator<EntryRecord>,
  write: (bytes: Uint8Array) => Promise<void>,
  onWritten: (files: number, bytes: number) => void,
): Promise<void> {
  for await (const block of reader.read(streamLists(records))) {
    await write(block);
    onWritten(0, block.length);
  }
  onWritten(1, 0);
}

/** The chunks of the one file of a stream, in lists. Throws `usage` for anything else. */
async function* streamLists(records: AsyncGenerator<EntryRecord>): AsyncGenerator<Uint8Array> {
  let files = 0;
  for await (const record of records) {
    if (record.type === "entry") {
      files++;
      if (record.entry.kind !== "file" || files > 1) {
        throw new ExclaveError(
          "usage",
          "only a register that is one stream can go to standard output",
        );
      }
      continue;
    }
    const refs = [...contentItems(record.items)].map((item) => {
      if (item.type !== "chunk") throw new ExclaveError("malformed", "a stream has a hole");
      return encodeRef(toHex(item.id), item.bytes);
    });
    yield* inGroups(Buffer.concat(refs));
  }
}
