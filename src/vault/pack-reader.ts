/** Opens sealed packs. Knows nothing of dispersal: it is given a way to read ranges of the pack. */
import { zstdDecompressSync } from "node:zlib";
import { KEY_COMMITMENT_BYTES, keyCommitment, open as openSealed } from "../crypto/aead.ts";
import { equalConstantTime, release } from "../crypto/bytes.ts";
import { ExclaveError } from "../errors.ts";
import type { EpochKeys } from "./epoch-keys.ts";
import type { PackId } from "./identifiers.ts";
import {
  decodeLocator,
  decodeTable,
  type Frame,
  LOCATOR_POSITION,
  PACK_CONTEXT_BYTES,
  PACK_HEADER_BYTES,
  packContext,
  positionAad,
  positionNonce,
  readPackContext,
  TABLE_POSITION,
} from "./pack.ts";

const OUTPUT_SLACK_BYTES = 64;

/**
 * Reads `length` bytes of the pack at `offset`; `onward` when what follows will probably be read next.
 * What it returns is used before the next call.
 */
export type PackRange = (offset: number, length: number, onward: boolean) => Uint8Array;

/** One pack, its header verified. Frames are authenticated as they are read. */
export class PackReader {
  readonly pack: PackId;
  readonly #packBytes: number;
  readonly #range: PackRange;
  readonly #context: Uint8Array;
  readonly #key: Uint8Array;
  readonly #sealedLocator: Uint8Array;
  #frames: readonly Frame[] | undefined;

  /**
   * Throws `altered` when the header is not that of this pack under these keys, `malformed` when there
   * is no room for one.
   */
  constructor(keys: EpochKeys, pack: PackId, packBytes: number, range: PackRange) {
    if (packBytes < PACK_HEADER_BYTES) {
      throw new ExclaveError("malformed", `pack ${pack} is shorter than a pack's header`);
    }
    this.pack = pack;
    this.#packBytes = packBytes;
    this.#range = range;
    const header = Uint8Array.from(range(0, PACK_HEADER_BYTES, false));
    this.#context = packContext(keys.context, pack, readPackContext(header).kind);
    const stated = header.subarray(0, PACK_CONTEXT_BYTES);
    const commitment = header.subarray(
      PACK_CONTEXT_BYTES,
      PACK_CONTEXT_BYTES + KEY_COMMITMENT_BYTES,
    );
    this.#key = keys.packKey(this.#context);
    if (
      !equalConstantTime(stated, this.#context) ||
      !equalConstantTime(commitment, keyCommitment(this.#key, this.#context))
    ) {
      throw new ExclaveError("altered", `pack ${pack} does not belong to this epoch and its key`);
    }
    this.#sealedLocator = header.subarray(PACK_CONTEXT_BYTES + KEY_COMMITMENT_BYTES);
  }

  /** Its frames, from the sealed table. */
  frames(): readonly Frame[] {
    this.#frames ??= decodeTable(this.table(), this.#packBytes);
    return this.#frames;
  }

  /** Its table in plaintext, for the index. */
  table(): Uint8Array {
    const plain = this.#openAt(this.#sealedLocator, LOCATOR_POSITION);
    const locator = decodeLocator(plain, this.#packBytes);
    return this.#openAt(this.#range(locator.offset, locator.sealedBytes, false), TABLE_POSITION);
  }

  /**
   * The plaintext of frame `position`, whose place is `frame`. In memory of its own, which the caller
   * may `release`.
   */
  readFrame(position: number, frame: Frame): Uint8Array {
    const plain = this.#openAt(this.#range(frame.offset, frame.sealedBytes, true), position);
    if (frame.codec === "stored") return plain;
    const raw = decompress(plain, frame.rawBytes, this.pack);
    release(plain);
    if (raw.length !== frame.rawBytes) {
      throw new ExclaveError("malformed", `a frame of pack ${this.pack} has a wrong length`);
    }
    return raw;
  }

  #openAt(sealed: Uint8Array, position: number): Uint8Array {
    const aad = positionAad(this.#context, position);
    return openSealed(this.#key, positionNonce(position), aad, sealed);
  }
}

/** `rawBytes` is bounded by the table; what would grow beyond it is refused while it grows. */
function decompress(plain: Uint8Array, rawBytes: number, pack: PackId): Uint8Array {
  try {
    // A little more than will come, so that it comes in one piece.
    return zstdDecompressSync(plain, {
      chunkSize: rawBytes + OUTPUT_SLACK_BYTES,
      maxOutputLength: rawBytes + OUTPUT_SLACK_BYTES,
    });
  } catch (cause) {
    throw new ExclaveError("malformed", `a frame of pack ${pack} does not decompress`, { cause });
  }
}
