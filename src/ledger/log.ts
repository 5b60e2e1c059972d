/**
 * Home's own copy of the ledger, in SQLite: entries, the hashes of complete subtrees, and every checkpoint
 * that was ever signed. Appending and signing are transactions that are durable before they return, so a
 * crash leaves the ledger as it was before or after, and no size is ever signed with two roots.
 */
import { DatabaseSync } from "node:sqlite";
import { concat } from "../crypto/bytes.ts";
import { ExclaveError, invariant } from "../errors.ts";
import { transaction } from "../platform/transaction.ts";
import { signCheckpoint, verifyCheckpoint } from "./checkpoint.ts";
import { decodeLedgerEntry, encodeLedgerEntry, type LedgerEntry } from "./entry.ts";
import { type LedgerKey, verifierKeysOf } from "./log-key.ts";
import {
  consistencyProof,
  Frontier,
  inclusionProof,
  leafHash,
  type NodeReader,
  treeRoot,
} from "./merkle.ts";
import { formatProof } from "./proof.ts";
import {
  encodeEntryBundle,
  newEntryBundles,
  newTiles,
  TILE_HEIGHT,
  TILE_WIDTH,
  tilePath,
} from "./tiles.ts";
import type { TreeHead } from "./tree-head.ts";

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

export class Log {
  readonly #db: DatabaseSync;
  readonly #key: LedgerKey;
  readonly #node: NodeReader;

  private constructor(db: DatabaseSync, key: LedgerKey) {
    this.#db = db;
    this.#key = key;
    const select = db.prepare("SELECT hash FROM nodes WHERE level = ? AND position = ?");
    this.#node = (level, index) => {
      const hash = select.get(level, index)?.hash;
      if (!(hash instanceof Uint8Array)) throw damaged(`node ${level}/${index} is missing`);
      return hash;
    };
  }

  /**
   * Opens or makes the ledger that this key signs. Throws `altered` when what is there contradicts
   * itself: then nothing is signed.
   */
  static open(path: string, key: LedgerKey): Log {
    const db = new DatabaseSync(path, { timeout: BUSY_MILLISECONDS });
    try {
      // FULL: what was signed before a power cut must be known after it, or it is signed again otherwise.
      db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
      db.exec(SCHEMA);
      const log = new Log(db, key);
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

  /** Entries so far, whether a checkpoint covers them or not. */
  get size(): number {
    const { last } = this.#db.prepare("SELECT MAX(position) AS last FROM entries").get() ?? {};
    return last === null ? 0 : Number(last) + 1;
  }

  /** The root of the first `size` entries. Throws `bug` when there are fewer. */
  head(size = this.size): TreeHead {
    invariant(size <= this.size, "a tree of entries that there are");
    return { origin: this.#key.name, size, root: treeRoot(size, this.#node) };
  }

  /**
   * Appends entries in order, in one transaction, and gives the position of each. One that is there
   * already is not appended again: whoever was stopped between storing and appending may do both again.
   */
  append(entries: readonly LedgerEntry[]): readonly number[] {
    return transaction(this.#db, () => {
      const frontier = Frontier.of(this.size, this.#node);
      const find = this.#db.prepare("SELECT position FROM entries WHERE entry = ?");
      const insert = this.#db.prepare("INSERT INTO entries VALUES (?, ?)");
      const insertNode = this.#db.prepare("INSERT INTO nodes VALUES (?, ?, ?)");
      return entries.map((one) => {
        const entry = encodeLedgerEntry(one);
        const known = find.get(entry)?.position;
        if (known !== undefined) return Number(known);
        const position = frontier.size;
        insert.run(position, entry);
        for (const { level, index, hash } of frontier.append(leafHash(entry))) {
          insertNode.run(level, index, hash);
        }
        return position;
      });
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

  /**
   * The checkpoint of all entries, signed now unless it was before. Before it is handed out it is
   * durable here. The caller has compared heads with the sites: see `relation`.
   */
  sign(now: Date): Uint8Array {
    return transaction(this.#db, () => {
      const head = this.head();
      const signed = this.#checkpoint(head.size);
      if (signed) return signed;
      const note = signCheckpoint(this.#key, head, Math.floor(now.getTime() / 1000));
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
    const { head } = verifyCheckpoint(checkpoint, verifierKeysOf(this.#key));
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

  #checkpoint(size: number): Uint8Array | undefined {
    const row = this.#db.prepare("SELECT note FROM checkpoints WHERE size = ?").get(size);
    return row && bytesOf(row.note);
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
    const { head } = verifyCheckpoint(latest.checkpoint, verifierKeysOf(this.#key));
    if (head.size !== latest.size || this.relation(head) === "ahead") {
      throw damaged(`it signed ${head.size} entries and has ${this.size}`);
    }
    if (this.relation(head) === "fork") throw damaged("it holds other entries than it signed");
  }
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
