/**
 * What this site saw itself, and when: the first sight of each paper in the ledger, and the papers that people brought
 * here. No cache: a delay that this site enforces begins with what stands here, so every row is durable before
 * anything follows from it, and no row ever changes.
 */
import { DatabaseSync } from "node:sqlite";
import {
  type Decision,
  type Freeze,
  type OpenedPaper,
  type PaperKind,
  readPayload,
  type Veto,
} from "../charter/decision.ts";
import type { Succession } from "../charter/succession.ts";
import { fromHex, toHex } from "../crypto/bytes.ts";
import { envelopeId } from "../crypto/dsse.ts";
import { ExclaveError } from "../errors.ts";
import type { TreeHead } from "../ledger/tree-head.ts";
import { transaction } from "../platform/transaction.ts";

const BUSY_MILLISECONDS = 5000;
/** The newest time is written again when it has moved by so much. */
const CLOCK_STEP_MILLISECONDS = 60_000;
/** Papers that were brought here and that the ledger does not name. */
export const PAPERS_MAX = 1000;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS sights (id TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS papers (
  kind TEXT NOT NULL, id TEXT NOT NULL, keys TEXT NOT NULL, at INTEGER NOT NULL,
  payload BLOB NOT NULL, envelope BLOB NOT NULL, PRIMARY KEY (kind, id, keys)
) STRICT;
CREATE TABLE IF NOT EXISTS heads (
  origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root TEXT NOT NULL, at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clock (one INTEGER PRIMARY KEY CHECK (one = 1), newest INTEGER NOT NULL) STRICT;
`;

type Papers = { decision: Decision; veto: Veto; freeze: Freeze; succession: Succession };

/** A paper that was brought here, with signatures that were good then. */
export type Delivered<K extends PaperKind = PaperKind> = {
  readonly kind: K;
  /** SHA-256 of the payload. */
  readonly id: string;
  /** SHA-256 of the envelope: the name of the object. */
  readonly object: string;
  readonly keyIds: readonly string[];
  readonly paper: Papers[K];
  readonly payload: Uint8Array;
  readonly envelope: Uint8Array;
  readonly at: Date;
};

export class Sight {
  readonly #db: DatabaseSync;
  readonly #sights: Map<string, Date>;
  #delivered: readonly Delivered[];
  #newestMs: number;
  #writtenMs: number;

  private constructor(db: DatabaseSync) {
    this.#db = db;
    this.#sights = new Map(
      db
        .prepare("SELECT id, at FROM sights")
        .all()
        .map((row) => [String(row.id), new Date(Number(row.at))]),
    );
    this.#delivered = db.prepare("SELECT * FROM papers ORDER BY at, rowid").all().map(deliveredOf);
    const newest = db.prepare("SELECT newest FROM clock").get()?.newest;
    this.#newestMs = Number(newest ?? 0);
    this.#writtenMs = this.#newestMs;
  }

  static open(path: string): Sight {
    const db = new DatabaseSync(path, { timeout: BUSY_MILLISECONDS });
    try {
      // FULL: a first sight that a power cut took back would begin a delay anew, and a veto would be gone.
      db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
      db.exec(SCHEMA);
      return new Sight(db);
    } catch (error) {
      db.close();
      throw error;
    }
  }

  close(): void {
    this.#db.close();
  }

  /** The time, and never one before the newest that was seen: a clock that is set back moves no delay. */
  now(clock: Date): Date {
    this.#newestMs = Math.max(this.#newestMs, clock.getTime());
    if (this.#newestMs - this.#writtenMs >= CLOCK_STEP_MILLISECONDS) this.#writeClock();
    return new Date(this.#newestMs);
  }

  /** When the site first saw a paper or charter in the ledger, by its object's id. */
  of(id: string): Date | undefined {
    return this.#sights.get(id);
  }

  /** Notes what is in the ledger; what was seen before keeps its time. */
  see(ids: Iterable<string>, now: Date): void {
    const fresh = [...new Set(ids)].filter((id) => !this.#sights.has(id));
    if (fresh.length === 0) return;
    transaction(this.#db, () => {
      const insert = this.#db.prepare("INSERT OR IGNORE INTO sights VALUES (?, ?)");
      for (const id of fresh) insert.run(id, now.getTime());
      this.#writeClock();
    });
    for (const id of fresh) this.#sights.set(id, now);
  }

  /** Papers that were brought here, the first one first. */
  get delivered(): readonly Delivered[] {
    return this.#delivered;
  }

  /**
   * Keeps a paper, unless it is here with the same signatures, in whatever envelope. Returns whether it was new.
   *
   * @param isNamed whether the ledger has it; the others are bounded, and so are those of each key
   * @param keysMax keys that may sign papers: each can fill its part of the room, and no other's
   * @throws ExclaveError `refused` when there is no room
   */
  deliver(
    kind: PaperKind,
    { id, keyIds, payload, envelope }: OpenedPaper<PaperKind>,
    now: Date,
    {
      isNamed,
      keysMax,
    }: { readonly isNamed: (paper: Delivered) => boolean; readonly keysMax: number },
  ): boolean {
    const keys = keyIds.toSorted();
    const same = this.#delivered.find(
      (one) => one.kind === kind && one.id === id && keys.every((key) => one.keyIds.includes(key)),
    );
    if (same) return false;
    const waiting = this.#delivered.filter((one) => !isNamed(one));
    const ofKey = (key: string): number => waiting.filter((one) => one.keyIds.includes(key)).length;
    const share = Math.max(1, Math.floor(PAPERS_MAX / Math.max(1, keysMax)));
    if (waiting.length >= PAPERS_MAX || keys.every((key) => ofKey(key) >= share)) {
      throw new ExclaveError(
        "refused",
        "the site keeps as many papers by these signatories as it has room for, and the ledger names none of them yet. The paper was not taken",
      );
    }
    transaction(this.#db, () => {
      this.#db
        .prepare("INSERT INTO papers VALUES (?, ?, ?, ?, ?, ?)")
        .run(kind, id, keys.join(" "), now.getTime(), payload, envelope);
      this.#writeClock();
    });
    const paper = readPayload(kind, payload);
    const object = envelopeId(envelope);
    this.#delivered = [
      ...this.#delivered,
      { kind, id, object, keyIds: keys, paper, payload, envelope, at: now },
    ];
    return true;
  }

  /** The newest checkpoint of a ledger that was followed here. */
  head(origin: string): TreeHead | undefined {
    const row = this.#db.prepare("SELECT size, root FROM heads WHERE origin = ?").get(origin);
    return row && { origin, size: Number(row.size), root: fromHex(String(row.root), 32) };
  }

  /** Notes the newest checkpoint that was followed, and says when that was first. */
  headSeen({ origin, size, root }: TreeHead, now: Date): Date {
    const hex = toHex(root);
    const row = this.#db
      .prepare("SELECT at FROM heads WHERE origin = ? AND size = ? AND root = ?")
      .get(origin, size, hex);
    if (row) return new Date(Number(row.at));
    this.#db
      .prepare("INSERT OR REPLACE INTO heads VALUES (?, ?, ?, ?)")
      .run(origin, size, hex, now.getTime());
    return now;
  }

  #writeClock(): void {
    this.#db.prepare("INSERT OR REPLACE INTO clock VALUES (1, ?)").run(this.#newestMs);
    this.#writtenMs = this.#newestMs;
  }
}

function deliveredOf(row: Record<string, unknown>): Delivered {
  const { kind, id, keys, at, payload, envelope } = row;
  if (!(payload instanceof Uint8Array && envelope instanceof Uint8Array)) {
    throw new ExclaveError("altered", "what this site keeps of papers is damaged");
  }
  const paperKind = kind as PaperKind;
  return {
    kind: paperKind,
    id: String(id),
    object: envelopeId(envelope),
    keyIds: String(keys).split(" "),
    paper: readPayload(paperKind, payload),
    payload,
    envelope,
    at: new Date(Number(at)),
  };
}
