/**
 * Home's own copy of one generation of the ledger, in SQLite: entries, the hashes of complete subtrees, and
 * every checkpoint that was ever signed. Appending and signing are transactions that are durable before they
 * return, so a crash leaves the ledger as it was before or after, and no size is ever signed with two roots.
 */
import { DatabaseSync } from "node:sqlite";
import { concat } from "../crypto/bytes.ts";
import { ExclaveError, invariant } from "../errors.ts";
import { transaction } from "../platform/transaction.ts";
import {
  addCosignatures,
  bareCheckpoint,
  joinCosignatures,
  signCheckpoint,
  verifyCheckpoint,
} from "./checkpoint.ts";
import { cosignedSeconds, type Witnesses } from "./cosigned-time.ts";
import {
  decodeLedgerEntry,
  type EntryKind,
  encodeLedgerEntry,
  entryPrefix,
  type LedgerEntry,
} from "./entry.ts";
import { type LedgerKey, type LedgerVerifierKeys, verifierKeysOf } from "./log-key.ts";
import {
  consistencyProof,
  Frontier,
  inclusionProof,
  leafHash,
  type NodeReader,
  treeRoot,
} from "./merkle.ts";
import { isSameKey, type VerifierKey } from "./note.ts";
import { formatProof } from "./proof.ts";
import {
  encodeEntryBundle,
  newEntryBundles,
  newTiles,
  TILE_HEIGHT,
  TILE_WIDTH,
  tilePath,
} from "./tiles.ts";
import { shownHead, type TreeHead } from "./tree-head.ts";

/** How long to wait for another process's transaction. */
const BUSY_MILLISECONDS = 5000;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS entries (position INTEGER PRIMARY KEY, entry BLOB NOT NULL UNIQUE) STRICT;
CREATE TABLE IF NOT EXISTS nodes (
  level INTEGER NOT NULL, position INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (level, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checkpoints (size INTEGER PRIMARY KEY, note BLOB NOT NULL) STRICT;
`;

/** How another's tree head stands to ours. */
export type Relation = "same" | "behind" | "ahead" | "fork";

/** A file of the published ledger: what C2SP tlog-tiles calls it, and its bytes. */
export type LedgerFile = { readonly path: string; readonly bytes: Uint8Array };

/** An entry and where it is. */
export type PlacedEntry = LedgerEntry & { readonly position: number };

export class Log {
  /** What verifies its checkpoints. */
  readonly keys: LedgerVerifierKeys;
  readonly #db: DatabaseSync;
  readonly #signer: LedgerKey | undefined;
  readonly #node: NodeReader;

  private constructor(db: DatabaseSync, keys: LedgerVerifierKeys, signer: LedgerKey | undefined) {
    this.#db = db;
    this.keys = keys;
    this.#signer = signer;
    const select = db.prepare("SELECT hash FROM nodes WHERE level = ? AND position = ?");
    this.#node = (level, index) => {
      const hash = select.get(level, index)?.hash;
      if (!(hash instanceof Uint8Array)) throw damaged(`node ${level}/${index} is missing`);
      return hash;
    };
  }

  /**
   * Opens or makes the ledger that these keys verify. Throws `altered` when what is there contradicts
   * itself: then nothing is signed.
   *
   * @param signer the key that signs it; without, it is read, appended to and caught up, and never signed.
   *   Throws `bad-key` when it is another ledger's
   */
  static open(path: string, keys: LedgerVerifierKeys, signer?: LedgerKey): Log {
    if (signer && !isSignerOf(signer, keys)) {
      throw new ExclaveError("bad-key", `the key does not sign the ledger ${keys[0].name}`);
    }
    const db = new DatabaseSync(path, { timeout: BUSY_MILLISECONDS });
    try {
      // FULL: what was signed before a power cut must be known after it, or it is signed again otherwise.
      db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
      db.exec(SCHEMA);
      const log = new Log(db, keys, signer);
      log.#requireSound();
      return log;
    } catch (error) {
      db.close();
      throw error;
    }
  }

  close(): void {
    this.#db.close();
  }

  get origin(): string {
    return this.keys[0].name;
  }

  /** Entries so far, whether a checkpoint covers them or not. */
  get size(): number {
    const { last } = this.#db.prepare("SELECT MAX(position) AS last FROM entries").get() ?? {};
    return last === null ? 0 : Number(last) + 1;
  }

  /** The root of the first `size` entries. Throws `bug` when there are fewer. */
  head(size = this.size): TreeHead {
    invariant(size <= this.size, "a tree of entries that there are");
    return { origin: this.origin, size, root: treeRoot(size, this.#node) };
  }

  /**
   * Appends entries in order, in one transaction, and gives the position of each. One that is there
   * already is not appended again: whoever was stopped between storing and appending may do both again.
   */
  append(entries: readonly LedgerEntry[]): readonly number[] {
    return transaction(this.#db, () => {
      const add = this.#appender();
      return entries.map((one) => add(encodeLedgerEntry(one)));
    });
  }

  /** The entry at a position. Throws `not-found` when there is none. */
  entry(position: number): LedgerEntry {
    return decodeLedgerEntry(this.#entryBytes(position));
  }

  /** Where an entry is; undefined when it is not in the ledger. */
  find(entry: LedgerEntry): number | undefined {
    const row = this.#db
      .prepare("SELECT position FROM entries WHERE entry = ?")
      .get(encodeLedgerEntry(entry));
    return row === undefined ? undefined : Number(row.position);
  }

  /** The entries of some kinds, in their order. No other is read. */
  *entriesOf(kinds: readonly EntryKind[]): Generator<PlacedEntry, void, undefined> {
    // A kind is one range of the index over the entries' bytes: "!" comes after the space.
    const select = this.#db.prepare(
      "SELECT position FROM entries INDEXED BY sqlite_autoindex_entries_1 WHERE entry >= CAST(? AS BLOB) AND entry < CAST(? AS BLOB)",
    );
    const positions = [...new Set(kinds)].flatMap((kind) => {
      const prefix = entryPrefix(kind);
      return select.all(prefix, `${prefix.slice(0, -1)}!`).map((row) => Number(row.position));
    });
    for (const position of positions.sort((a, b) => a - b)) {
      yield { position, ...this.entry(position) };
    }
  }

  /**
   * The checkpoint of all entries, signed now unless it was before. Before it is handed out it is
   * durable here, and it is never of an earlier time than the one before, whatever the clock says. The
   * caller has compared heads with the sites: see `relation`. Throws `usage` without a signer.
   */
  sign(now: Date): Uint8Array {
    const signer = this.#signer;
    if (!signer) {
      throw new ExclaveError(
        "usage",
        `the ledger ${this.origin} is only read here: it was closed, or its key is elsewhere. Nothing was signed; the newest generation takes what is new`,
      );
    }
    return transaction(this.#db, () => {
      const head = this.head();
      const signed = this.checkpoint(head.size);
      if (signed) return signed;
      const latest = this.latest();
      const before = latest ? verifyCheckpoint(latest.checkpoint, this.keys).seconds : 0;
      const seconds = Math.max(Math.floor(now.getTime() / 1000), before);
      const note = signCheckpoint(signer, head, seconds);
      this.#db.prepare("INSERT INTO checkpoints VALUES (?, ?)").run(head.size, note);
      return note;
    });
  }

  /** The newest checkpoint that was signed here; undefined before the first. */
  latest(): { readonly size: number; readonly checkpoint: Uint8Array } | undefined {
    const row = this.#db
      .prepare("SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1")
      .get();
    if (row === undefined) return undefined;
    return { size: Number(row.size), checkpoint: bytesOf(row.note) };
  }

  /** The checkpoint of that many entries, with the cosignatures that are known; undefined when none is kept. */
  checkpoint(size: number): Uint8Array | undefined {
    const row = this.#db.prepare("SELECT note FROM checkpoints WHERE size = ?").get(size);
    return row && bytesOf(row.note);
  }

  /** The checkpoints of `from` to `to` entries, both included, smallest first. */
  *checkpointsBetween(
    from: number,
    to: number,
  ): Generator<{ readonly size: number; readonly checkpoint: Uint8Array }, void, undefined> {
    // Their sizes first: a caller may take long between two, and would keep a transaction open.
    const sizes = this.#db
      .prepare("SELECT size FROM checkpoints WHERE size BETWEEN ? AND ? ORDER BY size")
      .all(from, to);
    for (const row of sizes) {
      const size = Number(row.size);
      const checkpoint = this.checkpoint(size);
      if (checkpoint) yield { size, checkpoint };
    }
  }

  /**
   * Keeps a witness's answer with the checkpoint of that many entries, and gives the checkpoint with all its
   * cosignatures. A key that had cosigned it before keeps its earlier time.
   *
   * Throws `not-found` for a size that was not signed, and as `addCosignatures` of checkpoints does.
   */
  addCosignatures(
    size: number,
    answer: Uint8Array,
    witnessKeys: readonly VerifierKey[],
  ): Uint8Array {
    return transaction(this.#db, () => {
      const kept = this.checkpoint(size);
      if (!kept) throw new ExclaveError("not-found", `no checkpoint of ${size} entries is kept`);
      const answered = addCosignatures(kept, answer, witnessKeys);
      return this.#keep(size, kept, answered, witnessKeys);
    });
  }

  /**
   * When an entry counted: when the quorum of witnesses had cosigned the first checkpoint that covers it and
   * that a quorum cosigned. Undefined while there is none.
   */
  coveredAt(position: number, witnesses: Witnesses): Date | undefined {
    for (const { checkpoint } of this.checkpointsBetween(position + 1, this.size)) {
      const seconds = cosignedSeconds(checkpoint, this.keys, witnesses);
      if (seconds !== undefined) return new Date(seconds * 1000);
    }
    return undefined;
  }

  /**
   * Takes over what was published: entries from position `start` on, and checkpoints that cover them. All
   * of it in one transaction at the end, or nothing; what comes in until then is kept on disk, so the entries
   * may be many and come slowly. Resolves with how many were new.
   *
   * Rejects with `altered` when the entries do not give the root of every checkpoint, and when they are not
   * those that are here already; as `verifyCheckpoint` throws; and with what `entries` throws.
   *
   * @param start at most `size`
   * @param checkpoints of this ledger, at least one; no entry comes after the largest
   * @param cosigners keys of witnesses whose cosignatures are kept; other lines are not
   */
  async adopt(
    start: number,
    entries: AsyncIterable<LedgerEntry> | Iterable<LedgerEntry>,
    checkpoints: readonly Uint8Array[],
    cosigners: readonly VerifierKey[] = [],
  ): Promise<number> {
    const signed = checkpoints.map((checkpoint) => ({
      checkpoint,
      head: verifyCheckpoint(checkpoint, this.keys).head,
    }));
    const end = Math.max(...signed.map(({ head }) => head.size));
    invariant(signed.length > 0 && start <= this.size, "published entries join those here");
    // A temporary table is this connection's alone, never synced, and gone after a crash.
    this.#db.exec("CREATE TEMP TABLE adopted (position INTEGER PRIMARY KEY, entry BLOB NOT NULL)");
    try {
      const insert = this.#db.prepare("INSERT INTO temp.adopted VALUES (?, ?)");
      let position = start;
      for await (const entry of entries) {
        if (position >= end) throw notPublished(`there are more entries than the ${end} signed`);
        insert.run(position++, encodeLedgerEntry(entry));
      }
      return transaction(this.#db, () => {
        const added = this.#appendAdopted();
        for (const { head, checkpoint } of signed) {
          this.#requireHead(head);
          const kept = this.checkpoint(head.size) ?? bareCheckpoint(checkpoint, this.keys);
          this.#keep(head.size, kept, checkpoint, cosigners);
        }
        return added;
      });
    } finally {
      this.#db.exec("DROP TABLE temp.adopted");
    }
  }

  /**
   * How a head that a site or witness holds, and that this ledger's key signed, stands to ours.
   * "fork": both cannot be the one ledger; nothing may be signed. "ahead": this home has forgotten
   * something, a restored backup for instance; it must catch up before it signs.
   */
  relation(head: TreeHead): Relation {
    const { size } = this;
    if (head.size > size) return "ahead";
    if (Buffer.compare(this.head(head.size).root, head.root) !== 0) return "fork";
    return head.size === size ? "same" : "behind";
  }

  /**
   * A proof, as a file that verifies offline (C2SP tlog-proof), that an entry is in the ledger.
   *
   * @param checkpoint of this ledger, with whatever cosignatures it has gathered
   */
  prove(position: number, checkpoint: Uint8Array): Uint8Array {
    const { head } = verifyCheckpoint(checkpoint, this.keys);
    if (position >= head.size) {
      throw new ExclaveError(
        "not-found",
        `the checkpoint covers ${head.size} entries, and this is entry ${position}`,
      );
    }
    const hashes = inclusionProof(position, head.size, this.#node);
    return formatProof({ index: position, hashes, checkpoint });
  }

  /** The proof for a witness that the tree of `from` entries is the beginning of the one of `to`. */
  consistency(from: number, to: number): readonly Uint8Array[] {
    return consistencyProof(from, to, this.#node);
  }

  /** Tiles and entry bundles of the tree of `to` entries that the tree of `from` entries has not. */
  *files(from: number, to: number): Generator<LedgerFile, void, undefined> {
    for (const tile of newTiles(from, to)) {
      const hashes = Array.from({ length: tile.width }, (_, i) =>
        this.#node(tile.level * TILE_HEIGHT, tile.index * TILE_WIDTH + i),
      );
      yield { path: tilePath(tile), bytes: concat(...hashes) };
    }
    for (const bundle of newEntryBundles(from, to)) {
      const first = bundle.index * TILE_WIDTH;
      const entries = Array.from({ length: bundle.width }, (_, i) => this.#entryBytes(first + i));
      yield { path: tilePath(bundle), bytes: encodeEntryBundle(entries) };
    }
  }

  /** Appends what `adopted` has beyond the entries here, and compares the others. Returns how many it appended. */
  #appendAdopted(): number {
    const before = this.size;
    const add = this.#appender();
    const rows = this.#db.prepare("SELECT position, entry FROM temp.adopted ORDER BY position");
    for (const row of rows.iterate()) {
      const position = Number(row.position);
      const entry = bytesOf(row.entry);
      const isHere = position < before;
      if (isHere && Buffer.compare(this.#entryBytes(position), entry) !== 0) {
        throw notPublished(`entry ${position} here is another one`);
      }
      if (!isHere && add(entry) !== position)
        throw notPublished(`entry ${position} is there twice`);
    }
    return this.size - before;
  }

  #requireHead(head: TreeHead): void {
    const { size } = this;
    if (head.size > size) throw notPublished(`it signs ${head.size} entries and has ${size}`);
    const ours = this.head(head.size);
    if (Buffer.compare(ours.root, head.root) !== 0) {
      throw notPublished(
        `its checkpoint is of ${shownHead(head)}, and here are ${shownHead(ours)}`,
      );
    }
  }

  /** Keeps a checkpoint with the cosignatures by those keys that another note of it has. */
  #keep(
    size: number,
    kept: Uint8Array,
    other: Uint8Array,
    witnessKeys: readonly VerifierKey[],
  ): Uint8Array {
    const note = joinCosignatures(kept, [other], witnessKeys);
    this.#db.prepare("INSERT OR REPLACE INTO checkpoints VALUES (?, ?)").run(size, note);
    return note;
  }

  /** Appends an entry, unless it is there, and gives its position. For one transaction. */
  #appender(): (entry: Uint8Array) => number {
    const frontier = Frontier.of(this.size, this.#node);
    const find = this.#db.prepare("SELECT position FROM entries WHERE entry = ?");
    const insert = this.#db.prepare("INSERT INTO entries VALUES (?, ?)");
    const insertNode = this.#db.prepare("INSERT INTO nodes VALUES (?, ?, ?)");
    return (entry) => {
      const known = find.get(entry)?.position;
      if (known !== undefined) return Number(known);
      const position = frontier.size;
      insert.run(position, entry);
      for (const { level, index, hash } of frontier.append(leafHash(entry))) {
        insertNode.run(level, index, hash);
      }
      return position;
    };
  }

  #entryBytes(position: number): Uint8Array {
    const row = this.#db.prepare("SELECT entry FROM entries WHERE position = ?").get(position);
    if (row === undefined)
      throw new ExclaveError("not-found", `the ledger has no entry ${position}`);
    return bytesOf(row.entry);
  }

  /** Whether the newest checkpoint that was signed here is still a checkpoint of what is here. */
  #requireSound(): void {
    const latest = this.latest();
    if (!latest) return;
    const { head } = verifyCheckpoint(latest.checkpoint, this.keys);
    if (head.size !== latest.size || this.relation(head) === "ahead") {
      throw damaged(`it signed ${head.size} entries and has ${this.size}`);
    }
    if (this.relation(head) === "fork") throw damaged("it holds other entries than it signed");
  }
}

function isSignerOf(signer: LedgerKey, keys: LedgerVerifierKeys): boolean {
  return verifierKeysOf(signer).every((one, i) => {
    const key = keys[i];
    return key?.name === one.name && key.id === one.id && isSameKey(key, one);
  });
}

function bytesOf(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  throw damaged("a row is not what was written");
}

function damaged(why: string): ExclaveError {
  return new ExclaveError(
    "altered",
    `the ledger at home is damaged: ${why}. Nothing was signed; the sites have it whole`,
  );
}

function notPublished(why: string): ExclaveError {
  return new ExclaveError(
    "altered",
    `the published ledger was not taken over: ${why}. The ledger at home is as it was`,
  );
}
