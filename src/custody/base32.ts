/**
 * Crockford's base32 (https://www.crockford.com/base32.html) for what people read and type: digits and
 * capitals without I, L, O and U. Written in capitals, which are of one height on paper; read back in
 * either case, with O as 0 and I and L as 1.
 */
import { ExclaveError } from "../errors.ts";

export const BASE32_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const VALUES: ReadonlyMap<string, number> = new Map(
  Array.from(BASE32_ALPHABET, (character, value) => [character, value]),
);

/** What people put between characters: white space, and dashes as word processors make of them. */
const SEPARATORS = /[\s_=.\-\u00ad\u2010-\u2015\u2212]/g;

/** ceil(8 * length / 5) characters, the bits behind the last byte zero. */
export function toBase32(bytes: Uint8Array): string {
  let text = "";
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    bits += 8;
    for (; bits >= 5; bits -= 5) text += BASE32_ALPHABET.charAt((held >>> (bits - 5)) & 31);
    held &= (1 << bits) - 1;
  }
  return bits === 0 ? text : text + BASE32_ALPHABET.charAt((held << (5 - bits)) & 31);
}

/**
 * The bytes of what `toBase32` wrote, after `normaliseBase32`. Throws `malformed` for a character
 * outside the alphabet, a length that no number of bytes has, and bits that are not zero behind the
 * last byte: one value has one spelling.
 */
export function fromBase32(text: string): Uint8Array {
  const bytes = new Uint8Array(Math.floor((text.length * 5) / 8));
  if (Math.ceil((bytes.byteLength * 8) / 5) !== text.length) {
    throw new ExclaveError("malformed", `no bytes are written as ${text.length} base32 characters`);
  }
  let at = 0;
  let bits = 0;
  let held = 0;
  for (const character of text) {
    held = (held << 5) | base32Value(character);
    bits += 5;
    if (bits < 8) continue;
    bits -= 8;
    bytes[at++] = held >>> bits;
    held &= (1 << bits) - 1;
  }
  if (held !== 0) throw new ExclaveError("malformed", "base32 text does not end where bytes do");
  return bytes;
}

/** 0 to 31. Throws `malformed` for what is no single character of the alphabet, capitals only. */
export function base32Value(character: string): number {
  const value = VALUES.get(character);
  if (value === undefined) {
    throw new ExclaveError("malformed", "a character is none of the 32 that are used");
  }
  return value;
}

/**
 * What a person typed, as `toBase32` would have written it: without separators, in capitals, O as 0,
 * I and L as 1. Only ASCII letters are raised: elsewhere capitals can have another length.
 */
export function normaliseBase32(typed: string): string {
  return typed
    .replace(SEPARATORS, "")
    .replace(/[a-z]/g, (letter) => letter.toUpperCase())
    .replaceAll("O", "0")
    .replace(/[IL]/g, "1");
}

/** Groups of four characters; the last one may be shorter. */
export function inGroups(text: string, separator: string): string {
  return (text.match(/.{1,4}/g) ?? []).join(separator);
}
