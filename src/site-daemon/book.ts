/**
 * What a site must not forget of a State and cannot read off its objects: what agents used of their day, what was set
 * aside, what was promised to be kept, what was removed and why. No cache, so every row is durable before anything
 * follows from it.
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { ExclaveError } from "../errors.ts";
import { transaction } from "../platform/transaction.ts";
import { QUOTA_STEPS } from "./limits.ts";

const BUSY_MILLISECONDS = 5000;
/** Days of which the use is remembered. */
const DAYS_KEPT = 7;
/** A promise is written a little longer than it was given, so that not every receipt is a flush. */
const PROMISE_STEP_SECONDS = 6 * 3600;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS used (
  day TEXT NOT NULL, owner TEXT NOT NULL, bytes INTEGER NOT NULL, objects INTEGER NOT NULL,
  PRIMARY KEY (day, owner)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quarantine (
  name TEXT PRIMARY KEY, owner TEXT NOT NULL, since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS promises (
  register TEXT NOT NULL, epoch INTEGER NOT NULL, until INTEGER NOT NULL,
  PRIMARY KEY (register, epoch)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS removals (
  register TEXT NOT NULL, epoch INTEGER NOT NULL, began INTEGER NOT NULL,
  objects INTEGER NOT NULL, bytes INTEGER NOT NULL, ended INTEGER,
  PRIMARY KEY (register, epoch)
) STRICT, WITHOUT ROWID;
`;

export type Allowance = { readonly bytes: number; readonly objects: number };

/** What was removed of an epoch of a register. */
export type Removal = {
  readonly register: string;
  readonly epoch: number;
  readonly began: Date;
  readonly objects: number;
  readonly bytes: number;
  /** Undefined while it is under way, or was cut short. */
  readonly ended: Date | undefined;
};

/** An object that is set aside, and the key id of who stored it. */
export type Aside = { readonly name: string; readonly owner: string };

type Used = { bytes: number; objects: number };
type Day = { readonly now: Used; readonly durable: Used };

export class Book {
  readonly #db: DatabaseSync;
  /** By day and owner. What is durable is at least what is used, so a crash gives nobody more than a day's quota. */
  readonly #days = new Map<string, Day>();
  readonly #aside: StatementSync;
  /** At most sites nothing ever is, and every read of an object asks. */
  #isAnyAside: boolean;

  /** Opens or makes it. Throws `malformed` for a file that is none. */
  constructor(path: string) {
    this.#db = new DatabaseSync(path, { timeout: BUSY_MILLISECONDS });
    try {
      this.#db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
      this.#db.exec(SCHEMA);
      this.#aside = this.#db.prepare("SELECT 1 FROM quarantine WHERE name = ?");
      this.#isAnyAside = this.aside("", 1).length > 0;
    } catch (cause) {
      this.#db.close();
      throw new ExclaveError("malformed", `${path} is not what this site wrote there`, { cause });
    }
  }

  close(): void {
    this.#db.close();
  }

  /**
   * Counts an object to the owner's day. Throws `refused` when that would be more than is allowed, and then
   * counts nothing. Durable when it returns, in steps: see `QUOTA_STEPS`.
   *
   * @param day UTC, "2026-01-31"
   */
  spend(owner: string, day: string, bytes: number, allowed: Allowance): void {
    const { now, durable } = this.#day(day, owner);
    const next = { bytes: now.bytes + bytes, objects: now.objects + 1 };
    if (next.bytes > allowed.bytes || next.objects > allowed.objects) {
      const what =
        next.bytes > allowed.bytes ? `${allowed.bytes} bytes` : `${allowed.objects} objects`;
      throw new ExclaveError(
        "refused",
        `the quota of ${what} a day is used up. Nothing was stored; a new day begins at midnight UTC, and a decision can change the quota`,
      );
    }
    if (next.bytes > durable.bytes || next.objects > durable.objects) {
      const ahead = {
        bytes: Math.min(allowed.bytes, next.bytes + Math.ceil(allowed.bytes / QUOTA_STEPS)),
        objects: Math.min(allowed.objects, next.objects + Math.ceil(allowed.objects / QUOTA_STEPS)),
      };
      this.#db
        .prepare("INSERT OR REPLACE INTO used VALUES (?, ?, ?, ?)")
        .run(day, owner, ahead.bytes, ahead.objects);
      Object.assign(durable, ahead);
    }
    Object.assign(now, next);
  }

  /** Gives back what was counted for an object that was not stored. */
  giveBack(owner: string, day: string, bytes: number): void {
    const { now } = this.#day(day, owner);
    now.bytes = Math.max(0, now.bytes - bytes);
    now.objects = Math.max(0, now.objects - 1);
  }

  /** What the owner used of the day. */
  used(owner: string, day: string): Allowance {
    return { ...this.#day(day, owner).now };
  }

  #day(day: string, owner: string): Day {
    const key = `${day} ${owner}`;
    const known = this.#days.get(key);
    if (known) return known;
    const row = this.#db
      .prepare("SELECT bytes, objects FROM used WHERE day = ? AND owner = ?")
      .get(day, owner);
    const used = { bytes: Number(row?.bytes ?? 0), objects: Number(row?.objects ?? 0) };
    const fresh = { now: { ...used }, durable: { ...used } };
    this.#days.set(key, fresh);
    this.#forgetOldDays(day);
    return fresh;
  }

  #forgetOldDays(day: string): void {
    const oldest = new Date(Date.parse(day) - DAYS_KEPT * 86_400_000).toISOString().slice(0, 10);
    for (const key of this.#days.keys()) if (key < oldest) this.#days.delete(key);
    this.#db.prepare("DELETE FROM used WHERE day < ?").run(oldest);
  }

  /** Sets an object aside. Call it before the object is stored: it is never there and not set aside. */
  setAside(name: string, owner: string, now: Date): void {
    this.#isAnyAside = true;
    this.#db
      .prepare("INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?)")
      .run(name, owner, now.getTime());
  }

  isAside(name: string): boolean {
    return this.#isAnyAside && this.#aside.get(name) !== undefined;
  }

  lift(names: readonly string[]): void {
    transaction(this.#db, () => {
      const remove = this.#db.prepare("DELETE FROM quarantine WHERE name = ?");
      for (const name of names) remove.run(name);
    });
    this.#isAnyAside = this.aside("", 1).length > 0;
  }

  /** What is set aside, in order of names: at most `count` after the one that is given. */
  aside(after: string, count: number): readonly Aside[] {
    return this.#db
      .prepare("SELECT name, owner FROM quarantine WHERE name > ? ORDER BY name LIMIT ?")
      .all(after, count)
      .map(({ name, owner }) => ({ name: String(name), owner: String(owner) }));
  }

  get asideCount(): number {
    const row = this.#db.prepare("SELECT count(*) AS count FROM quarantine").get();
    return Number(row?.count ?? 0);
  }

  /** Promises to keep the shards of these epochs; never shortens what was promised. */
  promise(
    epochs: readonly { readonly register: string; readonly epoch: number }[],
    until: Date,
  ): void {
    const seconds = Math.ceil(until.getTime() / 1000);
    const short = epochs.filter(
      (one) => (this.promisedUntil(one)?.getTime() ?? 0) < seconds * 1000,
    );
    if (short.length === 0) return;
    transaction(this.#db, () => {
      const keep = this.#db.prepare("INSERT OR REPLACE INTO promises VALUES (?, ?, ?)");
      for (const { register, epoch } of short)
        keep.run(register, epoch, seconds + PROMISE_STEP_SECONDS);
    });
  }

  /** Undefined when nothing was promised. */
  promisedUntil({
    register,
    epoch,
  }: {
    readonly register: string;
    readonly epoch: number;
  }): Date | undefined {
    const row = this.#db
      .prepare("SELECT until FROM promises WHERE register = ? AND epoch = ?")
      .get(register, epoch);
    return row && new Date(Number(row.until) * 1000);
  }

  /** A time that must survive a restart: when home was heard of, when an alarm was raised. */
  time(name: string): Date | undefined {
    const row = this.#db.prepare("SELECT value FROM facts WHERE name = ?").get(name);
    return row && new Date(String(row.value));
  }

  keepTime(name: string, time: Date | undefined): void {
    if (time === undefined) this.#db.prepare("DELETE FROM facts WHERE name = ?").run(name);
    else {
      this.#db.prepare("INSERT OR REPLACE INTO facts VALUES (?, ?)").run(name, time.toISOString());
    }
  }

  beginRemoval(register: string, epoch: number, now: Date): void {
    this.#db
      .prepare("INSERT OR IGNORE INTO removals VALUES (?, ?, ?, 0, 0, NULL)")
      .run(register, epoch, now.getTime());
  }

  /** Adds what was removed, and says when it was all. */
  noteRemoval(register: string, epoch: number, removed: Allowance, ended: Date | undefined): void {
    this.#db
      .prepare(
        "UPDATE removals SET objects = objects + ?, bytes = bytes + ?, ended = ? WHERE register = ? AND epoch = ?",
      )
      .run(removed.objects, removed.bytes, ended?.getTime() ?? null, register, epoch);
  }

  removals(): readonly Removal[] {
    return this.#db
      .prepare("SELECT * FROM removals ORDER BY began")
      .all()
      .map((row) => ({
        register: String(row.register),
        epoch: Number(row.epoch),
        began: new Date(Number(row.began)),
        objects: Number(row.objects),
        bytes: Number(row.bytes),
        ended: row.ended === null ? undefined : new Date(Number(row.ended)),
      }));
  }
}

export function dayOf(now: Date): string {
  return now.toISOString().slice(0, 10);
}
