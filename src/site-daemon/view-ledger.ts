/**
 * The open ledger as a site follows it in its own objects: what is new of it since the last time, and no more. A
 * checkpoint is followed when everything that it covers is here; until then the site stays at the one before. Of a fork
 * the branch that was followed first stays.
 */
import { toBase64 } from "../crypto/bytes.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import {
  fetchFrom,
  fileName,
  type NamedCheckpoint,
  namedCheckpoints,
  readCheckpoint,
  type SignedHead,
} from "../ledger/at-sites.ts";
import { cosignedSeconds, type Witnesses } from "../ledger/cosigned-time.ts";
import { decodeLedgerEntry, GOVERNING_KINDS, type LedgerEntry } from "../ledger/entry.ts";
import type { Log } from "../ledger/log.ts";
import type { VerifierKey } from "../ledger/note.ts";
import {
  decodeEntryBundle,
  newEntryBundles,
  parseTilePath,
  TILE_WIDTH,
  type Tile,
  tilePath,
} from "../ledger/tiles.ts";
import { shownHead, type TreeHead } from "../ledger/tree-head.ts";
import { verifiedEntries } from "../ledger/verify.ts";
import type { Site } from "../sites/site.ts";
import type { GoverningKind } from "../vault/known-state.ts";
import { readDocument } from "../vault/site-documents.ts";

/** Checkpoints that are read at once; whatever more there are is read the next time. */
const NOTES_AT_ONCE_MAX = 4096;
/** Checkpoints beyond what was followed that are tried at once, the largest first. */
const HEADS_TRIED_MAX = 16;
/** Names of checkpoints that need not be read again. */
const NAMES_REMEMBERED_MAX = 100_000;
/** Checkpoints that are looked through at once for the newest that counts. */
const WINDOW_ENTRIES = 1024;
const EMPTY = new Uint8Array();

export type LedgerNotice = {
  readonly code: "fork" | "waits";
  readonly message: string;
};

export type LedgerSource = {
  readonly objects: Site;
  /** Keys of every witness that there was: their cosignatures tell times. */
  readonly cosigners: () => readonly VerifierKey[];
  /** Keeps a document that the ledger names; false when the site has it not. */
  readonly keep: (kind: GoverningKind, id: string) => Promise<boolean>;
  readonly onNotice: (notice: LedgerNotice) => void;
};

export type NewInLedger = {
  /** Entries, or cosignatures. */
  readonly isNew: boolean;
  /** Whether the times of what counted before may be others now. */
  readonly isDatedAnew: boolean;
};

export class FollowedLedger {
  readonly log: Log;
  readonly #source: LedgerSource;
  /** What was read and is of no more use, by name. */
  readonly #done = new Set<string>();
  #isFirst = true;
  #witnesses: Witnesses | undefined;
  /** Every entry before has its time. */
  #counted = 0;

  constructor(log: Log, source: LedgerSource) {
    this.log = log;
    this.#source = source;
  }

  /** Takes in what is new. Rejects with `site-unavailable`. */
  async follow(): Promise<NewInLedger> {
    const { objects } = this.#source;
    const counted = this.countedSize();
    const floor = Math.min(counted, this.log.size - 1);
    const named = await namedCheckpoints(objects, this.log.keys);
    const fresh = this.#unread(named, floor)
      .toSorted((a, b) => a.size - b.size)
      .slice(0, NOTES_AT_ONCE_MAX);
    const notes: (SignedHead & { readonly name: string })[] = [];
    for (const { name } of fresh) {
      try {
        notes.push({ name, ...(await readCheckpoint(objects, name, this.log.keys)) });
      } catch (error) {
        if (!isExclaveError(error) || error.code === "bug") throw error;
        if (error.code === "site-unavailable") throw error;
        this.#settle(name);
      }
    }
    const before = this.log.size;
    await this.#advance(notes.filter(({ head }) => head.size > before));
    const dated = await this.#date(notes.filter(({ head }) => head.size <= this.log.size));
    const isNew = this.log.size > before || dated.length > 0;
    return { isNew, isDatedAnew: dated.some((size) => size <= counted) };
  }

  /**
   * Checkpoints to read. Of the small ones, which told their times before, only those that came while this site was
   * at work: they may tell of another history.
   */
  #unread(named: readonly NamedCheckpoint[], floor: number): readonly NamedCheckpoint[] {
    const isBounded = named.length <= NAMES_REMEMBERED_MAX;
    if (this.#isFirst && isBounded) {
      for (const { name, size } of named) if (size <= floor) this.#settle(name);
    }
    this.#isFirst = false;
    return named.filter(({ name, size }) => (isBounded || size > floor) && !this.#done.has(name));
  }

  /** Keys whose cosignatures are kept. */
  cosigners(): readonly VerifierKey[] {
    return this.#source.cosigners();
  }

  /** Whose cosignatures say what counts: those of the charter in force. */
  believe(witnesses: Witnesses): void {
    if (JSON.stringify(witnesses) === JSON.stringify(this.#witnesses)) return;
    this.#witnesses = witnesses;
    this.#counted = 0;
  }

  /** The entries of the newest checkpoint that enough witnesses cosigned: all of them have their times. */
  countedSize(): number {
    const witnesses = this.#witnesses;
    if (!witnesses) return 0;
    for (let to = this.log.size; to > this.#counted; to -= WINDOW_ENTRIES) {
      const from = Math.max(this.#counted + 1, to - WINDOW_ENTRIES + 1);
      let newest = 0;
      for (const { size, checkpoint } of this.log.checkpointsBetween(from, to)) {
        const isCounted = cosignedSeconds(checkpoint, this.log.keys, witnesses) !== undefined;
        if (isCounted) newest = size;
      }
      if (newest > 0) {
        this.#counted = newest;
        break;
      }
    }
    return this.#counted;
  }

  /** Goes on to the largest of these checkpoints that can be followed. */
  async #advance(notes: readonly (SignedHead & { readonly name: string })[]): Promise<void> {
    let whole = Number.POSITIVE_INFINITY;
    let tried = 0;
    for (const note of notes.toSorted((a, b) => b.head.size - a.head.size)) {
      // What lacks a document is not looked at again for another checkpoint that covers it.
      if (note.head.size > whole) continue;
      if (tried++ >= HEADS_TRIED_MAX) return;
      const found = await this.#adopt(note);
      if (found === "done") return;
      if (found === "fork") this.#settle(note.name);
      else whole = found.whole;
    }
  }

  /** Follows one checkpoint, or says why not: of another branch, or whole only up to some entry. */
  async #adopt({
    head,
    checkpoint,
  }: SignedHead): Promise<"done" | "fork" | { readonly whole: number }> {
    const { keep, cosigners, onNotice } = this.#source;
    const waits = (message: string): void =>
      onNotice({
        code: "waits",
        message: `the checkpoint of ${head.size} entries is not followed yet: ${message}`,
      });
    try {
      for await (const { position, kind, envelope } of this.#entriesTo(head)) {
        if (!GOVERNING_KINDS.some((one) => one === kind)) continue;
        // To go on without a veto would let whoever hides it decide.
        if (await keep(kind as GoverningKind, envelope)) continue;
        waits(`${kind} ${envelope}, which it names, is not here`);
        return { whole: position };
      }
      await this.log.adopt(this.log.size, this.#entriesTo(head), [checkpoint], cosigners());
      return "done";
    } catch (error) {
      if (!isExclaveError(error) || error.code === "bug") throw error;
      if (error.code === "site-unavailable") throw error;
      if (error.code === "altered" && (await this.#isWhole(head))) {
        this.#noticeFork(head);
        return "fork";
      }
      waits(error.message);
      return { whole: head.size - 1 };
    }
  }

  /** The entries that a checkpoint covers beyond what was followed, as the files here say; not believed. */
  async *#entriesTo(
    head: TreeHead,
  ): AsyncGenerator<LedgerEntry & { readonly position: number }, void, undefined> {
    const from = this.log.size;
    for (const bundle of newEntryBundles(from, head.size)) {
      const path = tilePath(bundle);
      const bytes = await readDocument(this.#source.objects, fileName(head.origin, path));
      if (!bytes) throw new ExclaveError("not-found", `its file ${path} is not here`);
      for (const [i, entry] of decodeEntryBundle(bytes, bundle.width).entries()) {
        const position = bundle.index * TILE_WIDTH + i;
        if (position >= from) yield { position, ...decodeLedgerEntry(entry) };
      }
    }
  }

  /** Whether the files here, by themselves, are what a checkpoint signs: then it is our branch that differs. */
  async #isWhole(head: TreeHead): Promise<boolean> {
    try {
      const fetch = fetchFrom([this.#source.objects], head.origin);
      for await (const _ of verifiedEntries(head, fetch)) return true;
      return false;
    } catch (error) {
      if (!isExclaveError(error) || error.code === "bug") throw error;
      return false;
    }
  }

  /** Takes in the cosignatures of checkpoints of what was followed. Returns the sizes of those that were new. */
  async #date(
    notes: readonly (SignedHead & { readonly name: string })[],
  ): Promise<readonly number[]> {
    const ours = notes.filter(({ head }) => this.log.relation(head) !== "fork");
    for (const { head } of notes.filter((one) => !ours.includes(one))) this.#noticeFork(head);
    for (const { name } of notes) this.#settle(name);
    if (ours.length === 0) return [];
    const kept = () => ours.map(({ head }) => toBase64(this.log.checkpoint(head.size) ?? EMPTY));
    const before = kept();
    const checkpoints = ours.map(({ checkpoint }) => checkpoint);
    await this.log.adopt(this.log.size, [], checkpoints, this.#source.cosigners());
    return kept().flatMap((note, i) => (note === before[i] ? [] : [ours[i]?.head.size ?? 0]));
  }

  #noticeFork(head: TreeHead): void {
    const ours = this.log.head(Math.min(head.size, this.log.size));
    this.#source.onNotice({
      code: "fork",
      message: `the ledger has forked: this site followed ${shownHead(ours)}, and the same keys signed ${shownHead(head)}. The first is followed on; people must find out which is right`,
    });
  }

  #settle(name: string): void {
    if (this.#done.size >= NAMES_REMEMBERED_MAX) this.#done.clear();
    this.#done.add(name);
  }
}

const FILE = /^tile\.(entries|\d{1,2})\.((?:x\d{3}\.)*\d{3})(?:\.p\.(\d{1,3}))?$/;

/** The tile that the end of an object's name stands for; undefined for no file of a ledger. */
export function tileNamed(rest: string): Tile | undefined {
  const [, level, index, width] = FILE.exec(rest) ?? [];
  if (level === undefined || index === undefined) return undefined;
  const partial = width === undefined ? "" : `.p/${width}`;
  try {
    return parseTilePath(`tile/${level}/${index.replaceAll(".", "/")}${partial}`);
  } catch (error) {
    if (isExclaveError(error, "malformed")) return undefined;
    throw error;
  }
}

/** The bytes of a tile of a ledger, once its first `size` entries make it up; undefined before. */
export function tileBytes(log: Log, tile: Tile, size: number): Uint8Array | undefined {
  const hashes = tile.index * TILE_WIDTH + tile.width;
  const entries = tile.level === "entries" ? hashes : hashes * TILE_WIDTH ** tile.level;
  if (entries > size) return undefined;
  const path = tilePath(tile);
  // The tree of so many entries is the first that has it, and so it is among what the last entry brought.
  for (const file of log.files(entries - 1, entries)) if (file.path === path) return file.bytes;
  return undefined;
}
