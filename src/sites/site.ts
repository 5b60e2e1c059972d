/**
 * A place that stores. The narrow interface that every kind of site implements and that
 * `conformance.ts` holds all of them to.
 *
 * Objects are immutable and named by content; what is behind a name is judged by whoever reads it, so
 * a site needs to be believed in nothing.
 */

/** Who and where a site is; the ground on which placement is judged. */
export type SiteIdentity = {
  /** Short and unique in the State: "kn". */
  readonly name: string;
  /** ISO 3166-1 alpha-2: "KN". */
  readonly country: string;
  /** Who runs it. */
  readonly operator: string;
  /** What one disaster can take: an island, a flood plain, a grid. */
  readonly hazardZone: string;
};

export type CallOptions = {
  /** A call that is aborted rejects soon, with `site-unavailable`; a site that cannot abort goes on to its end. */
  readonly signal?: AbortSignal | undefined;
  /** Nobody else is left to ask: the call is made also where the site is left alone for a while; see `circuit.ts`. */
  readonly isLastResort?: boolean | undefined;
};

export type ObjectInfo = { readonly name: string; readonly bytes: number };

export type Site = {
  readonly identity: SiteIdentity;

  /**
   * Stores an object, the parts one after another, and resolves when it is durable: a power cut a
   * moment later loses nothing. Storing the same bytes again is no error. The caller leaves the parts
   * alone until the promise settles.
   *
   * Rejects with `exists` when the name holds other bytes, `disk-full`, or `site-unavailable`; after any
   * of these the object is either whole or absent, never in part, and storing it again is safe. So it is
   * after an abort.
   */
  put(name: string, parts: readonly Uint8Array[], options?: CallOptions): Promise<void>;

  /**
   * Fills `into` with the object's bytes from `offset` on and resolves with how many there were: fewer
   * than asked only at the object's end. Rejects with `not-found` or `site-unavailable`. Once it has settled,
   * `into` is left alone.
   */
  read(name: string, offset: number, into: Uint8Array, options?: CallOptions): Promise<number>;

  /** The object's size, or undefined when there is none. Rejects with `site-unavailable`. */
  stat(name: string): Promise<ObjectInfo | undefined>;

  /** The name of every object of the kind, in no particular order. Rejects with `site-unavailable`. */
  list(kind: ObjectKind): AsyncIterable<string>;
};

/** What a site holds; the first part of an object's name. */
export const OBJECT_KINDS = [
  "shard",
  "manifest",
  "statement",
  "wrap",
  "charter",
  "decision",
  "veto",
  "freeze",
  "succession",
  "annex",
  "share-set",
  "receipt",
  "check",
  "opening",
  "site-receipt",
  "site",
  "checkpoint",
  "ledger",
] as const;
export type ObjectKind = (typeof OBJECT_KINDS)[number];

/** Names are `kind/` and then these characters, at most 80 of them: safe on every file system and in every URL. */
const NAME = new RegExp(`^(${OBJECT_KINDS.join("|")})/([0-9a-f]{2}[0-9a-z.-]{0,78})$`);

/** Takes a name apart, or undefined when no object may be called so. */
export function parseObjectName(
  name: string,
): { readonly kind: ObjectKind; readonly rest: string } | undefined {
  const match = NAME.exec(name);
  if (!match?.[1] || !match[2]) return undefined;
  return { kind: match[1] as ObjectKind, rest: match[2] };
}

/** The largest document (anything but a shard) that is read from a site. */
export const DOCUMENT_BYTES_MAX = 1024 * 1024;
