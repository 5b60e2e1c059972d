/** `protect`: one snapshot of a register, committed when it is durable at the write quorum of sites. */
import { join } from "node:path";
import { ExclaveError } from "../errors.ts";
import { acquaint } from "../governance/acquaint.ts";
import { settle } from "../governance/decide.ts";
import { publishCheckpoint, requireCurrent } from "../governance/ledger-at-sites.ts";
import { takeObjections } from "../governance/objections.ts";
import { witnessNeeds } from "../governance/witnessing.ts";
import { loadNative } from "../platform/native.ts";
import { checkPlacement } from "../sites/placement.ts";
import type { SiteIdentity } from "../sites/site.ts";
import type { Catalog, SnapshotRow } from "../vault/catalog.ts";
import { epochKeyIdOf, type SnapshotRoot } from "../vault/documents.ts";
import {
  type Home,
  identityOf,
  type PartConfig,
  type RegisterConfig,
  writeQuorum,
} from "../vault/home.ts";
import { type DocumentId, parseId } from "../vault/identifiers.ts";
import { lockRegister } from "../vault/lock.ts";
import { openSites } from "../vault/open-sites.ts";
import { type DurableAt, QuorumWriter } from "../vault/quorum-writer.ts";
import { commitSnapshot } from "./commit.ts";
import { EntrySink } from "./entry-sink.ts";
import { beginEpoch, openEpoch } from "./epoch.ts";
import { ParentEntries } from "./files/parent-entries.ts";
import {
  type PartProgress,
  type Problem,
  type ProtectFilesOptions,
  protectFiles,
} from "./files/protect-files.ts";
import { importForHome } from "./import-snapshots.ts";
import { loadKnown } from "./known-packs.ts";
import { repairShards } from "./repair.ts";
import { defaultWorkers, SealSession, type StoredBytes } from "./seal-session.ts";
import type { Receipted } from "./site-receipts.ts";
import { protectStream } from "./stream-part.ts";

/** Beyond this share of bytes in frames that would not compress, the input is said to be compressed already. */
const INCOMPRESSIBLE_SHARE = 0.5;
/** Below this many bytes nothing is concluded from them. */
const INCOMPRESSIBLE_BYTES_MIN = 16 * 1024 * 1024;
/** Problems that a report holds one by one; all are counted, and each is told as it happens. */
const PROBLEMS_KEPT_MAX = 1000;

export type ProtectOptions = {
  readonly home: Home;
  readonly catalog: Catalog;
  readonly register: string;
  /** What a register of kind `stream` is read from. */
  readonly input?: AsyncIterable<Uint8Array>;
  /** Awaited before the snapshot is committed; throws to refuse it. */
  readonly beforeCommit?: () => Promise<void>;
  readonly now: Date;
  readonly workers?: number;
  readonly onProgress?: (progress: ProtectProgress) => void;
  readonly onProblem?: (part: string, problem: Problem) => void;
  readonly onNotice?: (notice: string) => void;
};

export type ProtectProgress = {
  readonly files: number;
  readonly bytes: number;
  readonly newBytes: number;
  readonly storedBytes: number;
  readonly phase: "reading" | "storing" | "committing";
};

export type ProtectReport = {
  readonly snapshot: DocumentId;
  readonly register: string;
  readonly sequence: number;
  readonly epoch: number;
  readonly time: string;
  readonly files: number;
  readonly bytes: number;
  readonly unchangedFiles: number;
  readonly unchangedBytes: number;
  readonly stored: StoredBytes;
  /** Counted in full; the first thousand one by one. */
  readonly problemCount: number;
  readonly problems: readonly (Problem & { readonly part: string })[];
  /** True unless something was unreadable, vanished or changed while it was read. */
  readonly complete: boolean;
  readonly failedSites: Readonly<Record<string, string>>;
  /** Sites that have all of it. */
  readonly durableAt: DurableAt;
  /** What the sites that enforce signed for. */
  readonly receipts: readonly Receipted[];
  readonly seconds: number;
};

export async function protect(options: ProtectOptions): Promise<ProtectReport> {
  const register = options.home.register(options.register);
  const unlock = lockRegister(options.home, parseId("RegisterId", register.id), register.name);
  try {
    return await protectLocked(options, register);
  } finally {
    unlock();
  }
}

async function protectLocked(
  options: ProtectOptions,
  register: RegisterConfig,
): Promise<ProtectReport> {
  const { home, catalog, now } = options;
  const notice = options.onNotice ?? (() => undefined);
  const startedMs = performance.now();
  const id = parseId("RegisterId", register.id);
  // Throws when this home has been superseded, before anything is written.
  void home.term;

  const places = await openSites(home, register);
  await acquaint(home, places);
  const held = await requireCurrent(home, places, notice);
  await takeObjections(home, places, now, notice);
  await settle(home, now);
  requireDecided(home, register);
  const writer = new QuorumWriter(places, writeQuorum(register));
  for (const [site, why] of writer.failedSites) notice(`site ${site} does not take part: ${why}`);
  await importForHome(home, catalog, writer, places, id, now, notice);
  // Also what a run before took into the ledger, and was stopped before any site had it.
  await publishCheckpoint(home, writer, held);

  const epoch =
    (await openEpoch(home, register, now)) ??
    (await beginEpoch(home, catalog, register, now, (name, bytes) =>
      writer.putEverywhere(name, bytes),
    ));
  const known = await loadKnown({
    catalog,
    cachePath: home.cachePath,
    places,
    epoch,
  });
  if (known.lostPacks > 0) {
    notice(
      `${known.lostPacks} packs that the catalog lists can no longer be had from any ${register.k} sites; what they held is read and stored again`,
    );
  }
  // What the snapshot builds on survives as many losses as what it adds.
  const repair = await repairShards({ catalog, register, places, enough: writeQuorum(register) });
  for (const [site, { shards }] of Object.entries(repair.repaired)) {
    notice(`${shards} shards that ${site} lacked were made anew from other sites`);
  }
  for (const why of repair.problems) notice(`a pack could not be repaired: ${why}`);
  const session = new SealSession({
    catalog,
    register,
    context: epoch.context,
    epochKey: epoch.key,
    writer,
    known: known.ids,
    workers: options.workers ?? defaultWorkers(),
    onStored: () => undefined,
  });
  const sinks: EntrySink[] = [];
  try {
    const parent = catalog.latestSnapshot(id);
    // What the snapshot before refers to is there only when nothing of its epoch was lost.
    const usableParent =
      parent?.epoch === epoch.context.epoch && known.lostPacks === 0 && !known.rewriteIndex
        ? parent
        : undefined;
    const run = new PartsRun(options, register, session, usableParent, sinks);
    const parts = await run.all();
    run.progress("storing");
    await session.flush();
    await options.beforeCommit?.();
    run.progress("committing");

    const sequence = (parent?.sequence ?? 0) + 1;
    const root = {
      name: register.name,
      complete: run.complete,
      k: register.k,
      survive: register.survive,
      sites: register.sites.map((site) => admittedSite(home, site)),
      parts,
    };
    const {
      snapshot: committed,
      receipts,
      locks,
    } = await commitSnapshot({
      home,
      catalog,
      session,
      writer,
      known,
      context: epoch.context,
      epochKeyId: epochKeyIdOf(epoch.key, epoch.context),
      sequence,
      ...(parent ? { previous: parent.id } : {}),
      now,
      root,
    });
    for (const [i, sink] of sinks.entries()) {
      await sink.keepAs(entriesFile(home, committed, i));
    }
    run.noteIncompressible(notice);
    for (const { site, problem } of locks) {
      if (problem !== undefined) notice(`site ${site} did not lock all of it for long: ${problem}`);
    }
    for (const { site, problem } of receipts) {
      if (problem !== undefined) notice(`site ${site} gave no whole receipt: ${problem}`);
    }
    for (const need of await witnessNeeds(home)) notice(need);
    return {
      snapshot: committed,
      register: register.name,
      sequence,
      epoch: epoch.context.epoch,
      time: now.toISOString(),
      ...run.totals(),
      stored: session.stored,
      problemCount: run.problemCount,
      problems: run.problems,
      complete: run.complete,
      failedSites: Object.fromEntries(writer.failedSites),
      durableAt: writer.durableAt,
      receipts,
      seconds: (performance.now() - startedMs) / 1000,
    };
  } finally {
    await session.close();
    for (const sink of sinks) await sink.discard();
  }
}

/** Throws `untrusted` unless the State decided that the register is protected so. */
function requireDecided(home: Home, register: RegisterConfig): void {
  const decided = home.charter.registers.find(({ id }) => id === register.id);
  if (
    decided?.k === register.k &&
    decided.survive === register.survive &&
    decided.sites.join() === register.sites.join()
  ) {
    return;
  }
  const retired = [...home.known.history.enacted.values()].some(
    ({ decision: { order } }) => order.kind === "retire-register" && order.register === register.id,
  );
  throw new ExclaveError(
    "untrusted",
    retired && !decided
      ? `register "${register.name}" was retired by decision. Nothing was written; its recovery points can still be restored`
      : `the State has not decided yet that register "${register.name}" is protected so: exclave decide list. Nothing was written`,
  );
}

/** The cached entry stream of a part of a snapshot. */
export function entriesFile(home: Home, snapshot: DocumentId, part: number): string {
  return join(home.cachePath, `entries-${snapshot}-${part}`);
}

/** The parts of one run, one after another. */
class PartsRun {
  problemCount = 0;
  complete = true;
  readonly problems: (Problem & { readonly part: string })[] = [];
  readonly #options: ProtectOptions;
  readonly #register: RegisterConfig;
  readonly #session: SealSession;
  readonly #parent: SnapshotRow | undefined;
  readonly #sinks: EntrySink[];
  readonly #done: PartProgress[] = [];

  constructor(
    options: ProtectOptions,
    register: RegisterConfig,
    session: SealSession,
    parent: SnapshotRow | undefined,
    sinks: EntrySink[],
  ) {
    this.#options = options;
    this.#register = register;
    this.#session = session;
    this.#parent = parent;
    this.#sinks = sinks;
  }

  async all(): Promise<SnapshotRoot["parts"]> {
    const parts: SnapshotRoot["parts"] = [];
    for (const [index, part] of this.#register.parts.entries()) {
      const { home } = this.#options;
      const scratch = join(home.cachePath, `entries-new-${this.#register.id}-${index}`);
      const sink = new EntrySink(this.#session, scratch);
      this.#sinks.push(sink);
      const totals = await this.#part(part, index, sink, scratch);
      this.#done.push(totals);
      parts.push({
        name: part.name,
        kind: part.kind,
        source: part.path,
        excludes: part.excludes,
        oneFileSystem: part.oneFileSystem,
        entries: await sink.end(),
        files: totals.files,
        bytes: totals.bytes,
      });
    }
    return parts;
  }

  totals(): PartProgress {
    const sum = (field: keyof PartProgress): number =>
      this.#done.reduce((total, part) => total + part[field], 0);
    return {
      files: sum("files"),
      bytes: sum("bytes"),
      unchangedFiles: sum("unchangedFiles"),
      unchangedBytes: sum("unchangedBytes"),
    };
  }

  progress(phase: ProtectProgress["phase"], current?: PartProgress): void {
    const totals = this.totals();
    this.#options.onProgress?.({
      files: totals.files + (current?.files ?? 0),
      bytes: totals.bytes + (current?.bytes ?? 0),
      newBytes: this.#session.stored.rawBytes,
      storedBytes: this.#session.stored.packBytes,
      phase,
    });
  }

  /** Says once that the input will not deduplicate or compress, when that is so. */
  noteIncompressible(notice: (text: string) => void): void {
    const { rawBytes, incompressibleBytes } = this.#session.stored;
    if (
      rawBytes < INCOMPRESSIBLE_BYTES_MIN ||
      incompressibleBytes < rawBytes * INCOMPRESSIBLE_SHARE
    )
      return;
    const share = Math.round((100 * incompressibleBytes) / rawBytes);
    notice(
      `${share} % of what was new is compressed or encrypted already. It is safe, and costs its full size; if it comes from a dump, dump it plain, so that successive recovery points can share what did not change`,
    );
  }

  async #part(
    part: PartConfig,
    index: number,
    sink: EntrySink,
    scratch: string,
  ): Promise<PartProgress> {
    const onProgress = (progress: PartProgress) => this.progress("reading", progress);
    if (part.kind === "stream") {
      return protectStream({
        session: this.#session,
        sink,
        part,
        input: this.#options.input ?? emptyInput(),
        now: this.#options.now,
        scratchFile: `${scratch}-content`,
        onProgress,
      });
    }
    const parent = this.#parentOf(index);
    const native = loadNative();
    if (!native) {
      this.#options.onNotice?.(
        "extended attributes, device nodes, holes and times below a microsecond are not kept on this machine: its native library could not be loaded",
      );
    }
    return protectFiles({
      session: this.#session,
      sink,
      part,
      native,
      ...(parent ? { parent } : {}),
      onProblem: (problem) => this.#problem(part.name, problem),
      onProgress,
    });
  }

  /** The entry stream of the snapshot before, where it may be built on and its cache is there. */
  #parentOf(part: number): ProtectFilesOptions["parent"] {
    const parent = this.#parent;
    const entries = parent && ParentEntries.open(entriesFile(this.#options.home, parent.id, part));
    return entries && { entries, startedMs: Date.parse(parent.time) };
  }

  #problem(part: string, problem: Problem): void {
    if (problem.kind !== "not-kept") this.complete = false;
    this.problemCount++;
    if (this.problems.length < PROBLEMS_KEPT_MAX) this.problems.push({ part, ...problem });
    this.#options.onProblem?.(part, problem);
  }
}

async function* emptyInput(): AsyncGenerator<Uint8Array> {}

/** A site as the charter has it: after a recovery home may not know yet where it is. */
function admittedSite(home: Home, site: string): SiteIdentity {
  const found = home.charter.sites.find((one) => one.name === site) ?? home.site(site);
  const { name, country, operator, hazardZone } = found;
  return { name, country, operator, hazardZone };
}

/** Refuses a placement that would let one place read or withhold; for `register add`. */
export function requireLawfulPlacement(
  home: Home,
  register: Pick<RegisterConfig, "sites" | "k">,
  accepted: readonly string[],
): void {
  checkPlacement(
    register.sites.map((site) => identityOf(home.site(site))),
    register.k,
    accepted,
  );
}
