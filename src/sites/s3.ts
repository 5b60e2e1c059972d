/**
 * A site in a bucket of an S3 engine: storage, and not enforcing. What keeps is the engine's Object Lock
 * in COMPLIANCE mode, which `probe.ts` tries before anybody relies on it.
 *
 *   PREFIX shard/ab/ab12…      the key of shard/ab12…, as in a directory site
 *
 * S3 overwrites: whoever holds credentials can store a newer version under any key, or a delete marker. So
 * nothing here is read by its key alone. Delete markers are ignored, and of several versions the oldest
 * counts, or with `verify` the oldest that is right. Object Lock keeps that one where it is.
 *
 * A put is: list the versions; compare, when there are some; else store, and list again. Of writers that
 * met, the one whose version is the oldest is confirmed and the others get `exists`. A put that failed
 * and yet took effect is found by the first listing of the next one.
 */
import { ExclaveError, isExclaveError } from "../errors.ts";
import { openS3Client, orWhenAbsent, refusal, type S3Client } from "./s3-client.ts";
import type { S3Config } from "./s3-config.ts";
import { hashOf, type S3ConnectionOptions } from "./s3-http.ts";
import type { S3Page, S3Version } from "./s3-xml.ts";
import {
  type ObjectInfo,
  type ObjectKind,
  parseObjectName,
  type Site,
  type SiteIdentity,
} from "./site.ts";

export type S3SiteOptions = S3ConnectionOptions & {
  /** False opens a bucket without locks or versions as well: anyone with credentials can delete there. */
  readonly lock?: boolean;
  /** How long what is put is locked at first. Short, so that what never gets committed can go. */
  readonly firstLockSeconds?: number;
  /** True when these are the bytes that the name stands for; asked where a name has several versions. */
  readonly verify?: (name: string, bytes: Uint8Array) => boolean;
  /** Keys a page of a listing, and the clock; for tests. */
  readonly pageKeysMax?: number;
  readonly now?: () => number;
};

export type S3Site = Site & {
  /** True when what is put is locked. */
  readonly locks: boolean;
  /** The versions of an object, oldest first, without delete markers; of very many only the oldest. */
  versions(name: string): Promise<readonly S3Version[]>;
  /** Until when the engine says that it keeps the version that counts; undefined without a lock. */
  retainedUntil(name: string): Promise<Date | undefined>;
  /**
   * Has the version that counts kept until then, or longer; it is never shortened. Rejects with
   * `not-found`, `site-unavailable`, and `refused` at a site that does not lock.
   */
  extend(name: string, until: Date): Promise<void>;
  /**
   * Removes every version of an object; absent ones are no error. Rejects with `refused` while one of them is locked:
   * what could go has gone then. For a site that enforces, and only when the State decided it.
   */
  destroy(name: string): Promise<void>;
  /** Lets go of connections; what is under way may fail. */
  close(): void;
};

const FIRST_LOCK_SECONDS = 24 * 3600;
const PAGE_KEYS_MAX = 1000;
/** Beyond this somebody floods the name, and whoever reads should know. */
const VERSIONS_MAX = 20_000;
/** Keys of no object, or further versions of one, that a list may have one behind the other. */
const SKIPPED_MAX = 100_000;
/** Of so many versions a wrong one may come first. */
const CANDIDATES_MAX = 32;
/** More than any shard has; a version above it is none of ours. */
const VERIFIED_BYTES_MAX = 64 * 1024 * 1024;
const REMEMBERED_MAX = 4096;

/**
 * Opens the bucket. Throws `usage` when a setting is wrong, and `site-unavailable` when the engine does not
 * answer, does not know the credentials, or the bucket has no versions and locks (unless `lock` is false).
 */
export async function openS3Site(
  config: S3Config,
  identity: SiteIdentity,
  options: S3SiteOptions = {},
): Promise<S3Site> {
  const client = await openS3Client(config, options);
  try {
    const keepsVersions = await client.keepsVersions();
    const locks = options.lock ?? true;
    if (locks && !(keepsVersions && (await client.canLock()))) {
      throw new ExclaveError(
        "site-unavailable",
        `the bucket at ${client.where} ${keepsVersions ? "has no object lock" : "keeps no versions"}, so anyone with its credentials could destroy what is in it. Nothing was changed; make a bucket with object lock`,
      );
    }
    return new BucketSite(client, identity, config.prefix, { locks, keepsVersions }, options);
  } catch (error) {
    client.close();
    throw error;
  }
}

class BucketSite implements S3Site {
  readonly identity: SiteIdentity;
  readonly locks: boolean;
  readonly #client: S3Client;
  readonly #prefix: string;
  readonly #keepsVersions: boolean;
  readonly #options: S3SiteOptions;
  /** Which version of a name counts, most recently used last; at most `REMEMBERED_MAX`. */
  readonly #chosen = new Map<string, S3Version>();
  /** Some engines do not know `If-None-Match` for a PUT. */
  #knowsCondition = true;

  constructor(
    client: S3Client,
    identity: SiteIdentity,
    prefix: string,
    bucket: { readonly locks: boolean; readonly keepsVersions: boolean },
    options: S3SiteOptions,
  ) {
    this.identity = identity;
    this.locks = bucket.locks;
    this.#client = client;
    this.#prefix = prefix;
    this.#keepsVersions = bucket.keepsVersions;
    this.#options = options;
  }

  async put(name: string, parts: readonly Uint8Array[]): Promise<void> {
    const key = this.#keyOf(name);
    const before = await this.#choose(name, key);
    if (before && (await this.#holds(key, before, parts))) {
      await this.#keepLocked(key, before);
      return;
    }
    if (before && !(await this.#isWrong(name, key, before, parts))) throw existing(name);

    const stored = await this.#store(key, parts, before === undefined);
    const after = await this.#choose(name, key);
    if (!after) {
      throw new ExclaveError(
        "site-unavailable",
        stored
          ? `the S3 site at ${this.#client.where} does not list what it has just stored`
          : `another writer is at ${name} at the S3 site ${this.#client.where}; try again`,
      );
    }
    if (after.versionId === stored?.versionId && after.etag === stored.etag) return;
    if (!(await this.#holds(key, after, parts))) throw existing(name);
    await this.#keepLocked(key, after);
  }

  async read(name: string, offset: number, into: Uint8Array): Promise<number> {
    const key = this.#keyOf(name);
    const known = this.#chosen.get(name);
    if (known) {
      this.#chosen.delete(name);
      this.#chosen.set(name, known);
      try {
        return await this.#fill(key, known, offset, into);
      } catch (error) {
        if (!isExclaveError(error, "not-found")) throw error;
        // Gone since, as a lock may run out. Another version may count now.
        this.#chosen.delete(name);
      }
    }
    return this.#fill(key, await this.#need(name, key), offset, into);
  }

  async stat(name: string): Promise<ObjectInfo | undefined> {
    const version = await this.#choose(name, this.#keyOf(name));
    return version && { name, bytes: version.bytes };
  }

  async *list(kind: ObjectKind): AsyncIterable<string> {
    const top = `${this.#prefix}${kind}/`;
    let last = "";
    let skipped = 0;
    for await (const { key } of this.#pages(top, Number.POSITIVE_INFINITY)) {
      const rest = key.slice(top.length + 3);
      const name = `${kind}/${rest}`;
      // Under another key than its own nobody would find it. The versions of a key stand together.
      if (name === last || !parseObjectName(name) || key !== this.#keyOf(name)) {
        if (++skipped > SKIPPED_MAX) throw this.#endless();
        continue;
      }
      [last, skipped] = [name, 0];
      yield name;
    }
  }

  async versions(name: string): Promise<readonly S3Version[]> {
    return this.#candidates(this.#keyOf(name));
  }

  async retainedUntil(name: string): Promise<Date | undefined> {
    const key = this.#keyOf(name);
    const { versionId } = await this.#need(name, key);
    return (await this.#client.retention(key, versionId))?.until;
  }

  async extend(name: string, until: Date): Promise<void> {
    const key = this.#keyOf(name);
    if (!this.locks) {
      throw new ExclaveError("refused", `the S3 site at ${this.#client.where} does not lock`);
    }
    await this.#retain(key, await this.#need(name, key), until);
  }

  async destroy(name: string): Promise<void> {
    const key = this.#keyOf(name);
    this.#chosen.delete(name);
    let locked = false;
    for await (const { key: found, versionId } of this.#pages(key, VERSIONS_MAX)) {
      if (found !== key) break;
      const answer = await this.#client.send({ method: "DELETE", key, query: { versionId } });
      if (answer.status === 403) locked = true;
      else if (![200, 204, 404].includes(answer.status)) throw refusal(this.#client.where, answer);
    }
    if (!locked) return;
    throw new ExclaveError(
      "refused",
      `${name} is locked at ${this.#client.where}; it can be removed when its lock has run out`,
    );
  }

  close(): void {
    this.#client.close();
  }

  /** Stores a version and makes sure that the engine has the bytes it was given. Undefined: it has another. */
  async #store(
    key: string,
    parts: readonly Uint8Array[],
    isFirst: boolean,
  ): Promise<{ readonly versionId: string; readonly etag: string } | undefined> {
    const ifAbsent = isFirst && this.#knowsCondition;
    const lock = this.locks ? { retainUntil: this.#firstLockEnd() } : {};
    const put = await this.#client.put(key, parts, { ...lock, ifAbsent });
    if (!put.stored) {
      if (put.declined !== "condition-unknown") return undefined;
      this.#knowsCondition = false;
      return this.#store(key, parts, false);
    }
    const versionId = put.versionId ?? "null";
    if (this.locks && versionId === "null") {
      throw new ExclaveError(
        "site-unavailable",
        `the S3 site at ${this.#client.where} keeps no version of what it stores; has versioning been suspended?`,
      );
    }
    if (put.etag !== hashOf(parts, "md5", "hex")) {
      // An engine that encrypts has other ETags; only the bytes themselves tell.
      const bytes = totalBytes(parts);
      const version = { versionId, bytes, etag: put.etag, storedAt: new Date(0) };
      if (!(await orWhenAbsent(this.#holds(key, version, parts), false))) {
        throw new ExclaveError(
          "site-unavailable",
          `the S3 site at ${this.#client.where} has stored other bytes than it was given`,
        );
      }
    }
    return { versionId, etag: put.etag };
  }

  /** The version of the name that counts, asked for anew, or undefined. */
  async #choose(name: string, key: string): Promise<S3Version | undefined> {
    const candidates = await this.#candidates(key);
    const mustVerify = candidates.length > 1 && this.#options.verify !== undefined;
    const verified = mustVerify ? await this.#firstVerified(name, key, candidates) : undefined;
    const chosen = verified ?? candidates[0];
    this.#chosen.delete(name);
    // Not remembered: what the next overwriting would change, and the first of several of which none is right yet.
    const isFinal = this.#keepsVersions && (!mustVerify || verified !== undefined);
    if (chosen && isFinal) {
      this.#chosen.set(name, chosen);
      if (this.#chosen.size > REMEMBERED_MAX) {
        const oldest = this.#chosen.keys().next();
        if (!oldest.done) this.#chosen.delete(oldest.value);
      }
    }
    return chosen;
  }

  async #need(name: string, key: string): Promise<S3Version> {
    const version = await this.#choose(name, key);
    if (!version) throw new ExclaveError("not-found", `no object ${name}`);
    return version;
  }

  async #firstVerified(
    name: string,
    key: string,
    candidates: readonly S3Version[],
  ): Promise<S3Version | undefined> {
    for (const candidate of candidates) {
      if (await this.#verifies(name, key, candidate)) return candidate;
    }
    return undefined;
  }

  async #verifies(name: string, key: string, version: S3Version): Promise<boolean> {
    if (version.bytes > VERIFIED_BYTES_MAX) return false;
    const bytes = new Uint8Array(version.bytes);
    await this.#fill(key, version, 0, bytes);
    return this.#options.verify?.(name, bytes) ?? false;
  }

  /** True when what stands under the name is not what it stands for, and these bytes are. */
  async #isWrong(
    name: string,
    key: string,
    version: S3Version,
    parts: readonly Uint8Array[],
  ): Promise<boolean> {
    if (!this.#options.verify?.(name, Buffer.concat(parts))) return false;
    return !(await this.#verifies(name, key, version));
  }

  /** True when the version has exactly these bytes, byte by byte: an ETag is an MD5, and those can be made. */
  async #holds(key: string, version: S3Version, parts: readonly Uint8Array[]): Promise<boolean> {
    if (version.bytes !== totalBytes(parts)) return false;
    const bytes = Buffer.alloc(version.bytes);
    await this.#fill(key, version, 0, bytes);
    let at = 0;
    return parts.every((part) => {
      at += part.length;
      return bytes.subarray(at - part.length, at).equals(part);
    });
  }

  async #fill(key: string, version: S3Version, offset: number, into: Uint8Array): Promise<number> {
    const wanted = Math.max(0, Math.min(into.length, version.bytes - offset));
    if (wanted === 0) return 0;
    const got = await this.#client.get(key, version.versionId, offset, into.subarray(0, wanted));
    if (got === wanted) return got;
    throw new ExclaveError(
      "site-unavailable",
      `the S3 site at ${this.#client.where} has fewer bytes of an object than it lists`,
    );
  }

  /**
   * Of a version that somebody else has stored: locks it if they did not, or if less than half of a first
   * lock is left. Not sooner, so that putting again does not write again each time.
   */
  async #keepLocked(key: string, version: S3Version): Promise<void> {
    if (this.locks) await this.#retain(key, version, this.#firstLockEnd(), 0.5);
  }

  /** Locks a version until then, unless what is left of its lock is `enough` of that. */
  async #retain(key: string, version: S3Version, until: Date, enough = 1): Promise<void> {
    const lock = await this.#client.retention(key, version.versionId);
    const now = this.#now();
    const enoughMs = now + (until.getTime() - now) * enough;
    if (lock?.mode === "COMPLIANCE" && lock.until.getTime() >= enoughMs) return;
    await this.#client.retain(key, version.versionId, until);
  }

  /** The oldest versions of a key, oldest first. */
  async #candidates(key: string): Promise<readonly S3Version[]> {
    const oldest: S3Version[] = [];
    let count = 0;
    for await (const { key: found, ...version } of this.#pages(key, VERSIONS_MAX)) {
      // Keys come sorted, so this one's versions come before its neighbours'.
      if (found !== key) break;
      oldest.unshift(version);
      if (++count > CANDIDATES_MAX) oldest.pop();
    }
    return oldest;
  }

  /** Every version whose key begins so, in the engine's order: by key, newest first. */
  async *#pages(prefix: string, versionsMax: number): AsyncIterable<S3Page["versions"][number]> {
    const keysMax = this.#options.pageKeysMax ?? PAGE_KEYS_MAX;
    let from: S3Page["next"];
    let count = 0;
    do {
      const page: S3Page = await this.#client.versions(prefix, keysMax, from);
      yield* page.versions;
      count += page.versions.length;
      const { next } = page;
      if (count > versionsMax || (next && isSamePlace(next, from))) {
        throw this.#endless();
      }
      from = next;
    } while (from);
  }

  #endless(): ExclaveError {
    return new ExclaveError(
      "site-unavailable",
      `the S3 site at ${this.#client.where} lists without end; is somebody flooding the bucket?`,
    );
  }

  #firstLockEnd(): Date {
    const seconds = this.#options.firstLockSeconds ?? FIRST_LOCK_SECONDS;
    return new Date(this.#now() + seconds * 1000);
  }

  #now(): number {
    return (this.#options.now ?? Date.now)();
  }

  #keyOf(name: string): string {
    const parsed = parseObjectName(name);
    if (!parsed) {
      throw new ExclaveError("malformed", `no object may be called ${JSON.stringify(name)}`);
    }
    return `${this.#prefix}${parsed.kind}/${parsed.rest.slice(0, 2)}/${parsed.rest}`;
  }
}

function isSamePlace(one: S3Page["next"], other: S3Page["next"]): boolean {
  return one?.key === other?.key && one?.versionId === other?.versionId;
}

function totalBytes(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

function existing(name: string): ExclaveError {
  return new ExclaveError(
    "exists",
    `${name} exists with other bytes; objects are written once. Nothing that was there was changed`,
  );
}
