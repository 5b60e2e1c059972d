/**
 * Bytes and their text forms. Everything returned is a plain `Uint8Array`, never a `Buffer`: a
 * Buffer's `slice` shares memory where a `Uint8Array`'s copies. Decoding is strict, so that one value
 * has one spelling and a name can be compared as a string.
 */
import { timingSafeEqual } from "node:crypto";
import { ExclaveError } from "../errors.ts";

const encoder = new TextEncoder();

/** The same memory seen as a plain `Uint8Array`. */
export function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** UTF-8 of a string. Throws `malformed` for lone surrogates, which UTF-8 would silently merge into U+FFFD. */
export function utf8(text: string): Uint8Array {
  if (!text.isWellFormed()) throw new ExclaveError("malformed", "text holds a lone surrogate");
  return encoder.encode(text);
}

/** The string of UTF-8 bytes, a leading BOM kept. Throws `malformed` for anything that is not UTF-8. */
export function fromUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new ExclaveError("malformed", "bytes are not UTF-8", { cause });
  }
}

/** Lower-case hexadecimal. */
export function toHex(bytes: Uint8Array): string {
  return view(bytes).toString("hex");
}

/** Bytes of lower-case hexadecimal, of exactly `length` bytes when given. Throws `malformed` otherwise. */
export function fromHex(text: string, length?: number): Uint8Array {
  if (
    text.length % 2 !== 0 ||
    (length !== undefined && text.length !== 2 * length) ||
    !/^[0-9a-f]*$/.test(text)
  ) {
    throw new ExclaveError(
      "malformed",
      "text is not lower-case hexadecimal of the expected length",
    );
  }
  return plain(Buffer.from(text, "hex"));
}

/** Standard base64 with padding (RFC 4648, section 4). */
export function toBase64(bytes: Uint8Array): string {
  return view(bytes).toString("base64");
}

/**
 * Bytes of standard base64. Throws `malformed` for what `toBase64` would not have written: another
 * alphabet, white space, missing padding, or non-zero bits after the last byte.
 */
export function fromBase64(text: string): Uint8Array {
  const bytes = Buffer.from(text, "base64");
  if (bytes.toString("base64") !== text)
    throw new ExclaveError("malformed", "text is not canonical base64");
  return plain(bytes);
}

/** A new array of the parts one after another. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.byteLength;
  const out = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.byteLength;
  }
  return out;
}

/** Whether two byte strings are equal, in time that depends on their lengths alone. */
export function equalConstantTime(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && timingSafeEqual(a, b);
}

/**
 * Overwrites secrets with zeros. Best effort, as everywhere with a garbage collector: copies that the
 * engine or OpenSSL made are not reached, and strings cannot be wiped at all.
 */
export function wipe(...secrets: readonly Uint8Array[]): void {
  for (const secret of secrets) secret.fill(0);
}

const RELEASED_BYTES_MIN = 128 * 1024;

/**
 * Gives the memory behind `bytes` back at once, rather than when garbage is next collected; the view
 * is empty afterwards. For results that Node's ciphers and compressors allocate anew for every call: at
 * gigabytes a second, what waits for the collector would be most of the process. Never for a view of
 * something shared, such as `Buffer.from` makes.
 */
export function release(bytes: Uint8Array): void {
  const { buffer } = bytes;
  // Small results may lie in Node's pool (64 KiB), which others use too and which cannot be given back.
  if (buffer instanceof ArrayBuffer && buffer.byteLength >= RELEASED_BYTES_MIN) buffer.transfer(0);
}

function view(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
