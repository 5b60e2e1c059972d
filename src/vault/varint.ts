/** Growing byte buffers with variable-length integers (LEB128), and their bounded reader. */
import { ExclaveError, invariant } from "../errors.ts";

/** Appends to a buffer that doubles as needed. */
export class ByteWriter {
  #bytes: Buffer;
  #used = 0;

  constructor(room = 4096) {
    this.#bytes = Buffer.alloc(room);
  }

  get length(): number {
    return this.#used;
  }

  /** What was written; valid until the next write. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#used);
  }

  clear(): void {
    this.#used = 0;
  }

  /** True when `bytes` begins with what was written. */
  isStartOf(bytes: Uint8Array): boolean {
    const used = this.#used;
    return bytes.length >= used && this.#bytes.compare(bytes, 0, used, 0, used) === 0;
  }

  u8(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#used++] = value;
  }

  /** An unsigned integer up to 2^53 - 1. */
  varint(value: number): void {
    invariant(Number.isSafeInteger(value) && value >= 0, "a varint is unsigned and exact");
    this.#reserve(8);
    let rest = value;
    while (rest >= 128) {
      this.#bytes[this.#used++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    this.#bytes[this.#used++] = rest;
  }

  /** A signed integer, zigzag-coded, of magnitude below 2^52. */
  signed(value: number): void {
    this.varint(value < 0 ? -2 * value - 1 : 2 * value);
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  /** A byte string with its length before it. */
  bytes(bytes: Uint8Array): void {
    this.varint(bytes.length);
    this.raw(bytes);
  }

  /** A binary string (one character a byte) with its length before it. */
  binary(text: string): void {
    this.varint(text.length);
    this.#reserve(text.length);
    this.#bytes.write(text, this.#used, "latin1");
    this.#used += text.length;
  }

  #reserve(more: number): void {
    if (this.#used + more <= this.#bytes.length) return;
    const larger = Buffer.alloc(Math.max(this.#bytes.length * 2, this.#used + more));
    this.#bytes.copy(larger, 0, 0, this.#used);
    this.#bytes = larger;
  }
}

/** Reads what `ByteWriter` wrote. Throws `malformed` at the end of the bytes and on non-canonical integers. */
export class ByteReader {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#at = at;
  }

  get at(): number {
    return this.#at;
  }

  get done(): boolean {
    return this.#at === this.#bytes.length;
  }

  u8(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw cutShort();
    this.#at++;
    return byte;
  }

  varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.u8();
      value += (byte & 127) * scale;
      if (!Number.isSafeInteger(value))
        throw new ExclaveError("malformed", "an integer is too large");
      if (byte < 128) {
        if (byte === 0 && scale > 1) throw new ExclaveError("malformed", "an integer is padded");
        return value;
      }
      if (scale > 2 ** 49) throw new ExclaveError("malformed", "an integer is too long");
    }
  }

  signed(): number {
    const value = this.varint();
    return value % 2 === 1 ? -(value + 1) / 2 : value / 2;
  }

  /** The next `length` bytes, not copied. */
  raw(length: number): Uint8Array {
    if (length > this.#bytes.length - this.#at) throw cutShort();
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  bytes(lengthMax: number): Uint8Array {
    return this.raw(this.#bounded(lengthMax));
  }

  binary(lengthMax: number): string {
    const length = this.#bounded(lengthMax);
    if (length > this.#bytes.length - this.#at) throw cutShort();
    this.#at += length;
    return this.#bytes.toString("latin1", this.#at - length, this.#at);
  }

  #bounded(lengthMax: number): number {
    const length = this.varint();
    if (length > lengthMax) throw new ExclaveError("malformed", "a field is longer than it may be");
    return length;
  }
}

function cutShort(): ExclaveError {
  return new ExclaveError("malformed", "a record is cut short");
}
