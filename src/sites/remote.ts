/** A site that enforces, over the network: the client's side of docs/site-protocol.md. */
import { sha256 } from "../crypto/hash.ts";
import { contentDigest } from "../crypto/http-signature.ts";
import type { PublicSigningKey, SigningKey } from "../crypto/signing.ts";
import { encodeJson, type JsonValue, parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError, invariant } from "../errors.ts";
import type { Answer, Head, Pace } from "./remote-exchange.ts";
import { REMOTE_LIMITS, type RemoteLimits } from "./remote-limits.ts";
import { listNames } from "./remote-list.ts";
import { RemoteCaller } from "./remote-request.ts";
import {
  type CallOptions,
  DOCUMENT_BYTES_MAX,
  type ObjectInfo,
  type ObjectKind,
  parseObjectName,
  type Site,
  type SiteIdentity,
} from "./site.ts";
import { openSiteReceipt } from "./site-receipt.ts";
import { objectPath, RECEIPT_OBJECTS_MAX, statePath, WITNESS_PATH } from "./wire.ts";

/** A checkpoint with its proof is short; what a witness answers is too. */
const WITNESS_ANSWER_BYTES_MAX = 64 * 1024;
/** That it is stored takes no words. */
const STORED_ANSWER_BYTES_MAX = 1024;

export type RemoteOptions = {
  /** "https://host:port". */
  readonly url: string;
  readonly identity: SiteIdentity;
  /** The State's id, hex. */
  readonly state: string;
  /** The site's key, as the charter pins it; undefined to learn which one it is. */
  readonly site: PublicSigningKey | undefined;
  /** Who asks; undefined: requests are not signed. */
  readonly signer: SigningKey | undefined;
  readonly now?: () => Date;
  readonly limits?: Partial<RemoteLimits>;
  /** How fast bodies go and come; see `bandwidth.ts`. */
  readonly pace?: Pace;
  /** How to wait before a call is tried again; for tests. */
  readonly wait?: (ms: number, signal?: AbortSignal) => Promise<unknown>;
};

/** What a witness says; https://c2sp.org/tlog-witness. */
export type WitnessAnswer = {
  readonly status: number;
  readonly contentType: string;
  readonly body: Uint8Array;
};

/**
 * As a `Site`. A put also rejects with `refused` by the charter's rules, `untrusted` when the site does not know the key
 * that signs, and `altered` when what came there was not what its name says; a read of a shard with `refused`. What
 * the site sets aside until its view of the ledger is fresh was put: its receipts tell.
 */
export type RemoteSite = Site & {
  /** The site's key: the pinned one, or the one that it has shown. */
  readonly key: PublicSigningKey;
  /**
   * The site's signed receipt for these objects, at most 4096: an envelope, verified, that speaks of each of them.
   * Who does not hold it against the bytes again must not have it from anybody else.
   */
  readonly receipts: (names: readonly string[]) => Promise<Uint8Array>;
  /** What the site thinks of the State: its own words, for people. */
  readonly status: () => Promise<JsonValue>;
  /** Asks the site, as a witness, to cosign; the answer as it is, whatever its status. */
  readonly addCheckpoint: (body: Uint8Array) => Promise<WitnessAnswer>;
  /** Closes the connections. What is under way fails. */
  readonly close: () => Promise<void>;
};

/** Connects to a site. Rejects with `site-unavailable`, and with `untrusted` when it is not the site that answers. */
export async function openRemoteSite(options: RemoteOptions): Promise<RemoteSite> {
  const { identity, state, signer, pace, now = () => new Date() } = options;
  const caller = new RemoteCaller({
    name: identity.name,
    url: new URL(options.url),
    key: options.site,
    signer,
    now,
    limits: { ...REMOTE_LIMITS, ...options.limits },
    pace,
    wait: options.wait,
  });
  try {
    const key = await caller.meet();
    return new ConnectedSite({ identity, state, key, caller });
  } catch (error) {
    await caller.close();
    throw error;
  }
}

type Connected = {
  readonly identity: SiteIdentity;
  readonly state: string;
  readonly key: PublicSigningKey;
  readonly caller: RemoteCaller;
};

class ConnectedSite implements RemoteSite {
  readonly identity: SiteIdentity;
  readonly key: PublicSigningKey;
  readonly #state: string;
  readonly #caller: RemoteCaller;

  constructor({ identity, state, key, caller }: Connected) {
    this.identity = identity;
    this.key = key;
    this.#state = state;
    this.#caller = caller;
  }

  async put(name: string, parts: readonly Uint8Array[], options: CallOptions = {}): Promise<void> {
    const kind = requireKind(name);
    const answer = await this.#caller.call({
      method: "PUT",
      target: objectPath(this.#state, name),
      parts,
      digest: kind === "shard" ? undefined : contentDigest(sha256(...parts)),
      room: () => new Uint8Array(STORED_ANSWER_BYTES_MAX),
      signal: options.signal,
    });
    if (answer.status !== 200 && answer.status !== 201) throw this.#caller.failure(answer);
  }

  async read(
    name: string,
    offset: number,
    into: Uint8Array,
    options: CallOptions = {},
  ): Promise<number> {
    const kind = requireKind(name);
    if (into.length === 0) {
      if (await this.stat(name)) return 0;
      throw new ExclaveError("not-found", `no object ${name}`);
    }
    const answer = await this.#caller.call({
      method: "GET",
      target: objectPath(this.#state, name),
      range: `bytes=${offset}-${offset + into.length - 1}`,
      answerBytes: into.length,
      signal: options.signal,
      room: (head) => into.subarray(0, this.#expected(head, offset, into.length)),
    });
    if (answer.status === 416) return 0;
    if (answer.status >= 300) throw this.#refusal(kind, this.#caller.failure(answer));
    const expected = this.#expected(answer, offset, into.length);
    if (!answer.whole || answer.body.length !== expected) {
      throw this.#odd("answered with another number of bytes than it said");
    }
    return expected;
  }

  async stat(name: string): Promise<ObjectInfo | undefined> {
    requireKind(name);
    const answer = await this.#caller.call({
      method: "HEAD",
      target: objectPath(this.#state, name),
      room: () => new Uint8Array(),
    });
    const { status, headers } = answer;
    if (status === 404) return undefined;
    if (status !== 200) throw this.#odd(`does not say whether it has an object (${status})`);
    const bytes = wholeNumber(headers["content-length"]);
    if (bytes === undefined) throw this.#odd("did not say how long an object is");
    return { name, bytes };
  }

  list(kind: ObjectKind): AsyncIterable<string> {
    return listNames(this.#caller, this.#state, kind);
  }

  async receipts(names: readonly string[]): Promise<Uint8Array> {
    invariant(names.length <= RECEIPT_OBJECTS_MAX, "a receipt is asked for 4096 objects at most");
    const body = encodeJson({ objects: [...names] });
    const answer = await this.#caller.call({
      method: "POST",
      target: `${statePath(this.#state)}/receipts`,
      parts: [body],
      digest: contentDigest(sha256(body)),
      answerBytes: DOCUMENT_BYTES_MAX,
      room: () => new Uint8Array(DOCUMENT_BYTES_MAX),
    });
    const envelope = this.#document(answer);
    const { objects, missing } = openSiteReceipt(envelope, this.key, this.#state);
    const spoken = [...objects.map(([name]) => name), ...missing].sort();
    const asked = [...new Set(names)].sort();
    if (spoken.length !== asked.length || spoken.some((name, i) => name !== asked[i])) {
      throw new ExclaveError(
        "untrusted",
        `site ${this.identity.name} gave a receipt for other objects than it was asked for`,
      );
    }
    return envelope;
  }

  async status(): Promise<JsonValue> {
    const answer = await this.#caller.call({
      method: "GET",
      target: `${statePath(this.#state)}/status`,
      answerBytes: DOCUMENT_BYTES_MAX,
      room: () => new Uint8Array(DOCUMENT_BYTES_MAX),
    });
    return parseStrictJson(this.#document(answer));
  }

  async addCheckpoint(body: Uint8Array): Promise<WitnessAnswer> {
    const answer = await this.#caller.call({
      method: "POST",
      target: `${WITNESS_PATH}/add-checkpoint`,
      parts: [body],
      digest: contentDigest(sha256(body)),
      room: () => new Uint8Array(WITNESS_ANSWER_BYTES_MAX),
    });
    if (!answer.whole) throw this.#odd("gave a longer answer than a witness has");
    const { status, headers } = answer;
    return { status, contentType: headers["content-type"] ?? "", body: answer.body };
  }

  close(): Promise<void> {
    return this.#caller.close();
  }

  /** How many bytes the answer to a range must have. Throws when it is of another range than was asked for. */
  #expected({ status, headers }: Head, offset: number, bytesMax: number): number {
    if (status === 200) {
      // A site that does not know ranges sends the whole; it is used when that is what was asked for.
      const whole = wholeNumber(headers["content-length"]);
      if (offset === 0 && whole !== undefined && whole <= bytesMax) return whole;
    }
    const [, from, to, total] =
      /^bytes ([0-9]{1,15})-([0-9]{1,15})\/([0-9]{1,15})$/.exec(headers["content-range"] ?? "") ??
      [];
    const bytes = Number(to) + 1 - offset;
    const isAll = bytes === bytesMax || (bytes < bytesMax && Number(to) + 1 === Number(total));
    if (status === 206 && Number(from) === offset && bytes > 0 && isAll) return bytes;
    throw this.#odd("answered with another part of an object than it was asked for");
  }

  /** The body of an answer that is a document. */
  #document(answer: Answer): Uint8Array {
    if (answer.status !== 200) throw this.#caller.failure(answer);
    if (!answer.whole) throw this.#odd("gave a longer document than there is");
    return Uint8Array.from(answer.body);
  }

  #odd(what: string): ExclaveError {
    return new ExclaveError("site-unavailable", `site ${this.identity.name} ${what}`);
  }

  /** What a read rejects with: no site can stop a run by an error that nobody counts with. */
  #refusal(kind: ObjectKind, error: ExclaveError): ExclaveError {
    const isOurs = error.code === "not-found" || (error.code === "refused" && kind === "shard");
    return isOurs ? error : new ExclaveError("site-unavailable", error.message, { cause: error });
  }
}

/** Throws `malformed` for what no object may be called. */
function requireKind(name: string): ObjectKind {
  const parsed = parseObjectName(name);
  if (parsed) return parsed.kind;
  throw new ExclaveError("malformed", `no object may be called ${JSON.stringify(name)}`);
}

/** A count of bytes in a header. */
function wholeNumber(text: string | undefined): number | undefined {
  return /^[0-9]{1,15}$/.test(text ?? "") ? Number(text) : undefined;
}
