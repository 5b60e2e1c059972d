/**
 * The objects of one State: where they are stored, what is known of them, and what must not be forgotten.
 *
 * The order of a put: what is set aside is noted as such; the object is durable; the index knows it; and only then is
 * it acknowledged. Killed in between, an object is stored that nobody was told of: putting it again finds it, and so
 * does the sweep when the site starts again.
 */
import { join } from "node:path";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { OBJECT_KINDS, type ObjectKind } from "../sites/site.ts";
import { FRONT_START_BYTES, frontBytesOf, parseFront, parseShardName } from "../vault/shard.ts";
import { Book } from "./book.ts";
import { GOVERNANCE_RESERVE_BYTES } from "./limits.ts";
import { type IndexRow, ObjectIndex, type ShardFacts } from "./object-index.ts";
import type { Storage } from "./storage.ts";
import { requireName } from "./verify-object.ts";

/** Stored bytes are compared in pieces of this size. */
const COMPARE_BYTES = 256 * 1024;

/** An object that was held against its name. */
export type VerifiedObject = {
  readonly name: string;
  readonly kind: ObjectKind;
  readonly bytes: Uint8Array;
  readonly shard: ShardFacts | undefined;
  /** Key id of who sends it; empty for a stranger. */
  readonly owner: string;
  readonly quarantine: boolean;
  /** Whether no other bytes could have this name: stored ones that differ have then gone bad. */
  readonly isNamedByHash: boolean;
};

export type PutOutcome = {
  /** False when the same bytes were there. */
  readonly isNew: boolean;
  readonly quarantined: boolean;
  /** The stored copy had gone bad, and is now as its name says. */
  readonly healed: boolean;
};

export type StoreOptions = {
  /** Holds index.sqlite and book.sqlite. */
  readonly folder: string;
  readonly state: string;
  readonly storage: Storage;
  readonly now: () => Date;
};

export class ObjectStore {
  readonly state: string;
  readonly storage: Storage;
  readonly index: ObjectIndex;
  readonly book: Book;
  readonly #now: () => Date;
  /** Puts under one name go one after another. */
  readonly #busy = new Map<string, Promise<unknown>>();
  /** Bytes of objects that are on their way, which the quota of the State counts too. */
  #bytesComing = 0;
  #bytes: number;

  private constructor(options: StoreOptions, index: ObjectIndex, book: Book) {
    this.state = options.state;
    this.storage = options.storage;
    this.#now = options.now;
    this.index = index;
    this.book = book;
    this.#bytes = index.bytes;
  }

  /** Opens it; after a crash, or without its index, it first looks at what there is. */
  static async open(options: StoreOptions): Promise<ObjectStore> {
    const index = ObjectIndex.open(join(options.folder, "index.sqlite"), options.state);
    try {
      const book = new Book(join(options.folder, "book.sqlite"));
      try {
        if (!index.wasClean) await fillIndex(index, options);
        return new ObjectStore(options, index, book);
      } catch (error) {
        book.close();
        throw error;
      }
    } catch (error) {
      index.abandon();
      throw error;
    }
  }

  close(): void {
    this.book.close();
    this.index.close();
  }

  /** Bytes of all objects. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Sets room aside in the State's quota for an object that comes. Throws `refused` when there is none. Call `release`
   * with the same number when it was stored, or was not.
   */
  reserve(bytes: number, quotaBytes: number, isGovernance: boolean): void {
    const most = quotaBytes + (isGovernance ? GOVERNANCE_RESERVE_BYTES : 0);
    if (this.#bytes + this.#bytesComing + bytes > most) {
      throw new ExclaveError(
        "refused",
        `the State's ${quotaBytes} bytes at this site are used up. Nothing was stored; the site's operator can grant more`,
      );
    }
    this.#bytesComing += bytes;
  }

  release(bytes: number): void {
    this.#bytesComing -= bytes;
  }

  find(name: string): IndexRow | undefined {
    return this.index.find(name);
  }

  isAside(name: string): boolean {
    return this.book.isAside(name);
  }

  /** Stores what was verified; durable when it resolves. Rejects as `Site.put` does. */
  put(object: VerifiedObject): Promise<PutOutcome> {
    return this.#inTurn(object.name, () => this.#put(object));
  }

  async #put(object: VerifiedObject): Promise<PutOutcome> {
    const { name, bytes, shard, owner, quarantine } = object;
    const known = this.index.find(name);
    const aside = this.book.isAside(name);
    if (known && known.bytes === bytes.length && (await this.#holds(name, bytes))) {
      if (aside && !quarantine) this.book.lift([name]);
      return { isNew: false, quarantined: aside && quarantine, healed: false };
    }
    // Noted before there is anything: nothing that is to be set aside is ever there without being so.
    const setAside = quarantine && !known;
    if (setAside) this.book.setAside(name, owner, this.#now());
    let healed = false;
    try {
      await this.storage.site.put(name, [bytes]);
    } catch (error) {
      if (!object.isNamedByHash || !isExclaveError(error, "exists")) throw error;
      // These bytes are what the name says, so those that are stored have gone bad.
      await this.storage.replace(name, [bytes]);
      healed = true;
      if (known) {
        this.index.heal(name, bytes.length);
        this.#bytes += bytes.length - known.bytes;
      }
    }
    if (aside && !quarantine) this.book.lift([name]);
    const isNew = this.#note(name, bytes.length, owner, shard);
    return { isNew, quarantined: setAside || (aside && quarantine), healed };
  }

  /**
   * Stores a file of the ledger, whose name says nothing of its bytes: until the ledger covers it, the newest
   * counts. Rejects with `altered` when it is not what the ledger says.
   *
   * @param expected asked at the moment of storing
   */
  putLedgerFile(
    object: VerifiedObject,
    expected: (name: string) => Uint8Array | undefined,
  ): Promise<PutOutcome> {
    const { name, bytes, owner } = object;
    return this.#inTurn(name, async () => {
      const covered = expected(name);
      if (covered && !isSame(covered, bytes)) {
        throw new ExclaveError(
          "altered",
          `${name} is not what the ledger says. Nothing was stored; what is there stays`,
        );
      }
      const known = this.index.find(name);
      if (known && known.bytes === bytes.length && (await this.#holds(name, bytes))) {
        return { isNew: false, quarantined: false, healed: false };
      }
      await this.storage.replace(name, [bytes]);
      if (known) {
        this.index.resize(name, bytes.length);
        this.#bytes += bytes.length - known.bytes;
        return { isNew: false, quarantined: false, healed: false };
      }
      return {
        isNew: this.#note(name, bytes.length, owner, undefined),
        quarantined: false,
        healed: false,
      };
    });
  }

  /** Puts the ledger's own bytes where a file of it has others; true when it had. */
  mendLedgerFile(name: string, expected: Uint8Array): Promise<boolean> {
    return this.#inTurn(name, async () => {
      const known = this.index.find(name);
      if (!known || (known.bytes === expected.length && (await this.#holds(name, expected)))) {
        return false;
      }
      await this.storage.replace(name, [expected]);
      this.index.resize(name, expected.length);
      this.#bytes += expected.length - known.bytes;
      return true;
    });
  }

  /** Removes an object, durably. Only the sweep of what a ripe decision destroys calls this. */
  remove(name: string): Promise<void> {
    return this.#inTurn(name, async () => {
      const known = this.index.find(name);
      await this.storage.remove(name);
      this.index.remove(name);
      this.#bytes -= known?.bytes ?? 0;
    });
  }

  /** Fills `into` from an object, as `Site.read`. */
  read(name: string, offset: number, into: Uint8Array): Promise<number> {
    return this.storage.site.read(name, offset, into);
  }

  #note(name: string, bytes: number, owner: string, shard: ShardFacts | undefined): boolean {
    const storedAt = this.#now();
    const isNew = this.index.add({
      name,
      bytes,
      storedAt,
      owner,
      retainUntil: new Date(0),
      shard,
    });
    if (isNew) this.#bytes += bytes;
    return isNew;
  }

  /** Whether exactly these bytes are stored. False when they cannot be read, too. */
  async #holds(name: string, bytes: Uint8Array): Promise<boolean> {
    const piece = Buffer.allocUnsafe(Math.min(COMPARE_BYTES, bytes.length));
    for (let at = 0; at < bytes.length; at += piece.length) {
      const wanted = bytes.subarray(at, at + piece.length);
      const stored = piece.subarray(0, wanted.length);
      try {
        if ((await this.read(name, at, stored)) !== wanted.length) return false;
      } catch (error) {
        if (isExclaveError(error, "not-found")) return false;
        throw error;
      }
      if (!stored.equals(wanted)) return false;
    }
    const info = await this.storage.site.stat(name);
    return info?.bytes === bytes.length;
  }

  async #inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
    const before = this.#busy.get(name) ?? Promise.resolve();
    const mine = before.then(work, work);
    const settled = mine.catch(() => undefined);
    this.#busy.set(name, settled);
    try {
      return await mine;
    } finally {
      if (this.#busy.get(name) === settled) this.#busy.delete(name);
    }
  }
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

async function fillIndex(index: ObjectIndex, options: StoreOptions): Promise<void> {
  const { storage } = options;
  async function* names(): AsyncIterable<string> {
    for (const kind of OBJECT_KINDS) yield* storage.site.list(kind);
  }
  await index.fill(names(), (name) => describe(storage, options, name));
}

/** What the index notes of an object that is there; undefined for what this site would not have taken. */
async function describe(
  storage: Storage,
  { now }: StoreOptions,
  name: string,
): Promise<IndexRow | undefined> {
  try {
    const kind = requireName(name);
    const info = await storage.site.stat(name);
    if (!info) return undefined;
    return {
      name,
      bytes: info.bytes,
      storedAt: (await storage.storedAt(name)) ?? now(),
      owner: "",
      retainUntil: new Date(0),
      shard: kind === "shard" ? await shardFactsOf(storage, name) : undefined,
    };
  } catch (error) {
    if (isExclaveError(error) && ["malformed", "altered", "not-found"].includes(error.code)) {
      return undefined;
    }
    throw error;
  }
}

/** Reads a shard's front and verifies it. Throws `malformed`, `altered`, `not-found`. */
export async function shardFactsOf(storage: Storage, name: string): Promise<ShardFacts> {
  const { id, index } = parseShardName(name);
  const start = new Uint8Array(FRONT_START_BYTES);
  await storage.site.read(name, 0, start);
  const front = new Uint8Array(frontBytesOf(start));
  await storage.site.read(name, 0, front);
  const { dispersal } = parseFront(front, id, index);
  return {
    register: dispersal.register,
    epoch: dispersal.epoch,
    k: dispersal.k,
    n: dispersal.n,
  };
}
