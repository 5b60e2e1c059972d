/** One State at this site: its objects, what the site knows of it, and the rules by which it is served. */
import type { Logger } from "pino";
import { ExclaveError, isExclaveError } from "../errors.ts";
import type { ObjectKind } from "../sites/site.ts";
import type { Judge } from "./judge.ts";
import type { Limits } from "./limits.ts";
import type { ObjectStore } from "./store.ts";

/** What the daemon knows of a State from its ledger, and how to learn more. */
export type Following = {
  /** Reads what is new among the objects. Resolves with whether the view is another one now; never rejects. */
  follow(): Promise<boolean>;
  /** Time of the newest checkpoint that was followed; undefined before the first. */
  followedAt(): Date | undefined;
  /** Of the ledger that is followed. */
  ledger(): { readonly origin: string; readonly size: number } | undefined;
};

export type ServedGrant = {
  readonly state: string;
  readonly name: string;
  readonly quotaBytes: number;
  readonly viewSecondsMax: number;
  readonly silentSecondsMax: number;
  readonly requestsPerSecondMax?: number | undefined;
};

export type StateServiceOptions = {
  readonly grant: ServedGrant;
  readonly store: ObjectStore;
  readonly judge: Judge;
  readonly following: Following;
  readonly limits: Limits;
  readonly log: Logger;
  readonly now: () => Date;
  /** Told of every paper that was not here before. */
  readonly onPaper?: (paper: {
    readonly kind: ObjectKind;
    readonly name: string;
    readonly bytes: Uint8Array;
  }) => void;
};

/** Kinds with which the view of the ledger may change. */
const FOLLOWED: readonly ObjectKind[] = [
  "checkpoint",
  "charter",
  "decision",
  "veto",
  "freeze",
  "succession",
  "statement",
];
const HEARD = "heard";
/** A time is written down when it has moved by so much. */
const HEARD_STEP_MS = 60_000;
/** Files of the ledger that wait to be covered; more are looked at when they are read. */
const UNCOVERED_MAX = 4096;
/** Objects of which is looked at once whether they are still to be set aside. */
const ASIDE_AT_ONCE = 500;

export class StateService {
  grant: ServedGrant;
  readonly id: string;
  readonly store: ObjectStore;
  readonly judge: Judge;
  readonly following: Following;
  readonly log: Logger;
  readonly now: () => Date;
  /** Undefined when all is well with following; else why it is not. */
  trouble: string | undefined;
  /** When it was looked for something new in the ledger, by a clock that never goes back. */
  followedMs = performance.now();
  #heardAt: Date;
  readonly #limits: Limits;
  readonly #onPaper: StateServiceOptions["onPaper"];
  readonly #uncovered = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #following: Promise<void> = Promise.resolve();
  #isFollowing = false;
  #isClosed = false;

  constructor(options: StateServiceOptions) {
    this.grant = options.grant;
    this.id = options.grant.state;
    this.store = options.store;
    this.judge = options.judge;
    this.following = options.following;
    this.log = options.log;
    this.now = options.now;
    this.#limits = options.limits;
    this.#onPaper = options.onPaper;
    // A State that was never heard of is waited for from now on.
    this.#heardAt = this.store.book.time(HEARD) ?? this.#keepHeard(options.now());
  }

  /** Home is at work: a request that one of its agents signed. */
  hear(): void {
    const now = this.now();
    if (now.getTime() - this.#heardAt.getTime() > HEARD_STEP_MS) this.#keepHeard(now);
  }

  /** When home was heard of last: by a request, or by a checkpoint that was followed. */
  heardAt(): Date {
    const followedAt = this.following.followedAt();
    return followedAt && followedAt > this.#heardAt ? followedAt : this.#heardAt;
  }

  #keepHeard(now: Date): Date {
    this.store.book.keepTime(HEARD, now);
    this.#heardAt = now;
    return now;
  }

  /** Says that an object is stored, and whether it was not before. */
  stored(
    object: { readonly kind: ObjectKind; readonly name: string; readonly bytes: Uint8Array },
    isNew: boolean,
  ): void {
    const { kind, name } = object;
    if (kind === "ledger" && this.#uncovered.size < UNCOVERED_MAX) this.#uncovered.add(name);
    if (FOLLOWED.includes(kind)) this.#followSoon();
    if (isNew && ["veto", "freeze"].includes(kind)) this.#onPaper?.(object);
  }

  /** Follows what is stored by now; waits for one that is under way, and then looks again. */
  follow(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#following = this.#following.then(() => this.#followOnce());
    return this.#following;
  }

  /** Resolves when what is stored already was followed, if that is to happen at all, or after a while. */
  async settled(): Promise<void> {
    if (this.#timer === undefined && !this.#isFollowing) return;
    const followed = this.#timer === undefined ? this.#following : this.follow();
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, this.#limits.followMsMax);
    try {
      await Promise.race([followed, promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#following;
  }

  #followSoon(): void {
    if (this.#timer !== undefined || this.#isClosed) return;
    this.#timer = setTimeout(() => void this.follow(), this.#limits.followDebounceMs);
  }

  async #followOnce(): Promise<void> {
    if (this.#isClosed) return;
    this.#isFollowing = true;
    try {
      await this.following.follow();
      await this.#mendLedger();
      this.#liftQuarantine();
      this.trouble = undefined;
      this.followedMs = performance.now();
    } catch (error) {
      this.trouble = `the ledger of ${this.grant.name} cannot be followed`;
      this.log.error({ err: messageOf(error) }, "the ledger could not be followed");
    } finally {
      this.#isFollowing = false;
    }
  }

  /** Whoever had squatted on a file of the ledger loses it as soon as the ledger covers it. */
  async #mendLedger(): Promise<void> {
    for (const name of this.#uncovered) {
      const expected = this.judge.expectedLedgerFile(name);
      if (!expected) continue;
      if (await this.store.mendLedgerFile(name, expected)) {
        this.log.warn({ object: name }, "a file of the ledger was not the ledger's; it is now");
      }
      this.#uncovered.delete(name);
    }
  }

  /** What was set aside from an agent that still is one is taken in. */
  #liftQuarantine(): void {
    for (let after = ""; ; ) {
      const some = this.store.book.aside(after, ASIDE_AT_ONCE);
      const good = some.filter(({ name, owner }) => this.#isTakenNow(name, owner));
      if (good.length > 0) {
        this.store.book.lift(good.map(({ name }) => name));
        this.log.info({ objects: good.length }, "objects that were set aside are taken in");
      }
      const last = some.at(-1);
      if (!last || some.length < ASIDE_AT_ONCE) return;
      after = last.name;
    }
  }

  #isTakenNow(name: string, owner: string): boolean {
    const known = this.judge.requesterOf(owner);
    const row = this.store.find(name);
    if (!known || !row) return false;
    try {
      const kind = name.slice(0, name.indexOf("/")) as ObjectKind;
      if (this.judge.mayPut(known.requester, { kind, name }) !== "take") return false;
      if (row.shard) this.judge.mayPutShard(known.requester, { ...row.shard, state: this.id });
      return true;
    } catch (error) {
      if (isExclaveError(error) && error.code !== "bug") return false;
      throw error;
    }
  }
}

export function messageOf(error: unknown): string {
  return error instanceof ExclaveError
    ? `${error.code}: ${error.message}`
    : error instanceof Error
      ? (error.stack ?? error.message)
      : String(error);
}
