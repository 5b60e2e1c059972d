/**
 * Holds what comes in against its name, before anybody is told that it is stored. docs/site-protocol.md, section 4.
 * A shard is verified while it arrives, so that a wrong one is found out at its first wrong block.
 */
import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError } from "../errors.ts";
import { checkpointName } from "../ledger/at-sites.ts";
import { openCheckpoint, requireLog } from "../ledger/checkpoint.ts";
import { HASH_BYTES } from "../ledger/merkle.ts";
import { parseNote, type VerifierKey } from "../ledger/note.ts";
import { decodeEntryBundle, parseTilePath } from "../ledger/tiles.ts";
import { parseTreeHead } from "../ledger/tree-head.ts";
import { DOCUMENT_BYTES_MAX, type ObjectKind, parseObjectName } from "../sites/site.ts";
import { openStatement, openWrap } from "../vault/documents.ts";
import type { KnownState } from "../vault/known-state.ts";
import { decodeManifest } from "../vault/manifest.ts";
import {
  BLOCK_BYTES,
  FRONT_START_BYTES,
  frontBytesOf,
  isBlock,
  parseFront,
  parseShardName,
  type ShardFront,
  shardBytes,
} from "../vault/shard.ts";
import { SHARD_BYTES_MAX } from "./limits.ts";

const LEDGER_FILE =
  /^[0-9a-f]{8}\.tile\.(entries|[0-9]{1,2})\.((?:x[0-9]{3}\.)*[0-9]{3})(?:\.p\.([0-9]{1,3}))?$/;
const CHECKPOINT = /^[0-9a-f]{8}\.(0|[1-9][0-9]{0,15})\.[0-9a-f]{16}$/;
const DIGEST = /^[0-9a-f]{64}$/;

/** What objects of a kind may be called at a site that enforces. Throws `malformed`. */
export function requireName(name: string): ObjectKind {
  const parsed = parseObjectName(name);
  if (!parsed) throw noSuchName();
  const { kind, rest } = parsed;
  if (kind === "shard") parseShardName(name);
  else if (kind === "ledger") ledgerPath(rest);
  else if (!(kind === "checkpoint" ? CHECKPOINT : DIGEST).test(rest)) throw noSuchName();
  return kind;
}

/** The longest object of a kind, in bytes. */
export function bytesMaxOf(kind: ObjectKind): number {
  return kind === "shard" ? SHARD_BYTES_MAX : DOCUMENT_BYTES_MAX;
}

/** The C2SP path of a file of the ledger, from its name without the kind. Throws `malformed`. */
export function ledgerPath(rest: string): string {
  const [, level, index, width] = LEDGER_FILE.exec(rest) ?? [];
  if (level === undefined || index === undefined) throw noSuchName();
  const path = `tile/${level}/${index.replaceAll(".", "/")}${width === undefined ? "" : `.p/${width}`}`;
  parseTilePath(path);
  return path;
}

/** Verifies a shard while it fills a buffer. */
export class ShardVerifier {
  readonly #bytes: Uint8Array;
  readonly #name: string;
  readonly #state: string;
  readonly #admit: (front: ShardFront) => void;
  #front: ShardFront | undefined;
  #frontBytes: number | undefined;
  #blocks = 0;

  /**
   * @param bytes the buffer that it fills, exactly as long as the whole shard is said to be
   * @param admit asked once, as soon as it is certain what the shard is of; it throws for one that is not taken
   */
  constructor(
    bytes: Uint8Array,
    name: string,
    state: string,
    admit: (front: ShardFront) => void = () => undefined,
  ) {
    this.#bytes = bytes;
    this.#name = name;
    this.#state = state;
    this.#admit = admit;
  }

  /** So many bytes have arrived by now. Throws `altered` as soon as they cannot be the shard of that name. */
  arrived(filled: number): void {
    this.#front ??= this.#readFront(filled);
    const front = this.#front;
    if (!front) return;
    for (;;) {
      const at = (this.#frontBytes ?? 0) + this.#blocks * BLOCK_BYTES;
      if (at + BLOCK_BYTES > filled) return;
      if (!isBlock(front, this.#blocks, this.#bytes.subarray(at, at + BLOCK_BYTES))) {
        throw new ExclaveError("altered", `block ${this.#blocks} is not that of ${this.#name}`);
      }
      this.#blocks++;
    }
  }

  /** What the shard is of, when every byte of it was verified. Throws `altered`. */
  finish(): ShardFront {
    const whole = (this.#frontBytes ?? 0) + this.#blocks * BLOCK_BYTES;
    if (this.#front && whole === this.#bytes.length) return this.#front;
    throw new ExclaveError("altered", `what came is not the whole of ${this.#name}`);
  }

  #readFront(filled: number): ShardFront | undefined {
    if (this.#bytes.length < FRONT_START_BYTES) {
      throw new ExclaveError("altered", `what came is too short to be ${this.#name}`);
    }
    if (filled < FRONT_START_BYTES) return undefined;
    this.#frontBytes ??= frontBytesOf(this.#bytes);
    if (filled < Math.min(this.#frontBytes, this.#bytes.length)) return undefined;
    const { id, index } = parseShardName(this.#name);
    const front = parseFront(this.#bytes.subarray(0, filled), id, index);
    if (shardBytes(front.dispersal) !== this.#bytes.length) {
      throw new ExclaveError(
        "altered",
        `${this.#name} has ${shardBytes(front.dispersal)} bytes, not ${this.#bytes.length}`,
      );
    }
    if (front.dispersal.state !== this.#state) {
      throw new ExclaveError("refused", "the shard is another State's. Nothing was stored");
    }
    this.#admit(front);
    return front;
  }
}

/** What is needed to judge a document. */
export type DocumentGround = {
  readonly state: string;
  /** Undefined before the ledger was followed for the first time. */
  readonly known: KnownState | undefined;
  /** Keys of the ledgers that are known, by origin. */
  readonly logs: ReadonlyMap<string, readonly VerifierKey[]>;
};

/**
 * Throws `altered` when a document's bytes are not what its name says, `malformed` when they are none of that kind, and
 * `untrusted` when it is not signed by whom it must be.
 */
export function verifyDocument(
  kind: ObjectKind,
  name: string,
  bytes: Uint8Array,
  ground: DocumentGround,
): void {
  const rest = name.slice(kind.length + 1);
  if (kind === "checkpoint") verifyCheckpointObject(name, bytes, ground);
  else if (kind === "ledger") verifyLedgerFile(rest, bytes);
  else verifyNamedByHash(kind, name, bytes, ground);
}

function verifyNamedByHash(
  kind: ObjectKind,
  name: string,
  bytes: Uint8Array,
  ground: DocumentGround,
): void {
  const rest = name.slice(kind.length + 1);
  if (toHex(sha256(bytes)) !== rest) {
    throw new ExclaveError("altered", `what came does not have the hash that ${name} is called by`);
  }
  if (kind === "manifest" && decodeManifest(bytes).context.state !== ground.state) {
    throw new ExclaveError("refused", "the manifest is another State's. Nothing was stored");
  }
  if (kind !== "statement" && kind !== "wrap") return;
  if (!ground.known) {
    throw new ExclaveError("refused", `before the ledger was followed, no ${kind} can be judged`);
  }
  if (kind === "statement") openStatement(bytes, ground.known);
  else openWrap(bytes, ground.known);
}

/** By its name, and when its ledger is known, by the ledger's keys: readers give up at a site that is full of junk. */
function verifyCheckpointObject(name: string, bytes: Uint8Array, { logs }: DocumentGround): void {
  const head = parseTreeHead(parseNote(bytes).text);
  if (checkpointName(head, bytes) !== name) {
    throw new ExclaveError("altered", `what came is another checkpoint than ${name}`);
  }
  const keys = logs.get(head.origin);
  if (keys) requireLog(openCheckpoint(bytes, keys), keys);
}

function verifyLedgerFile(rest: string, bytes: Uint8Array): void {
  const { level, width } = parseTilePath(ledgerPath(rest));
  if (level === "entries") decodeEntryBundle(bytes, width);
  else if (bytes.length !== width * HASH_BYTES) {
    throw new ExclaveError("malformed", `a tile of ${width} hashes has another length`);
  }
}

function noSuchName(): ExclaveError {
  return new ExclaveError("malformed", "no object may be called so");
}
