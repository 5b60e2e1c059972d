/**
 * A kit file as numbered texts, one for each QR code:
 *
 *     exclave-kit 1/7 0f3a99c2 <base64 of up to 576 bytes>
 *
 * The eight hexadecimal digits are the first of SHA-256("exclave/v1 kit parts" || 0x00 || file). Five
 * kits may lie on one table: by them, codes of different kits are told apart, and a file that was put
 * together is known to be whole. They find mistakes, not forgery.
 */
import {
  concat,
  equalConstantTime,
  fromBase64,
  fromHex,
  toBase64,
  toHex,
  utf8,
} from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError, invariant } from "../errors.ts";
import { KIT_BYTES_MAX } from "./kit.ts";

/** A QR code of version 20 at level M holds 666 bytes, one of 25 holds 997: still read by any telephone. */
export const PART_TEXT_BYTES_MAX = 800;
const PART_BYTES = 576;
const PARTS_MAX = Math.ceil(KIT_BYTES_MAX / PART_BYTES);
const CHECK_BYTES = 4;
/** Each part twice and more: a hasty scanner's list. */
const TEXTS_MAX = 16 * PARTS_MAX;

const LABEL = concat(utf8("exclave/v1 kit parts"), Uint8Array.of(0));
const PART = /^exclave-kit ([1-9]\d?)\/([1-9]\d?) ([0-9a-f]{8}) ([A-Za-z0-9+/]+={0,2})$/;

/** The texts of a kit file of 1 to 32768 bytes, in ASCII, each of at most 800 characters. */
export function splitKit(kit: Uint8Array): readonly string[] {
  invariant(kit.byteLength > 0 && kit.byteLength <= KIT_BYTES_MAX, "a kit is 1 to 32768 bytes");
  const count = Math.ceil(kit.byteLength / PART_BYTES);
  return Array.from({ length: count }, (_, i) => {
    const part = toBase64(kit.subarray(i * PART_BYTES, (i + 1) * PART_BYTES));
    return `exclave-kit ${i + 1}/${count} ${toHex(check(kit))} ${part}`;
  });
}

/**
 * The kit file of its scanned texts, in any order, some perhaps more than once.
 *
 * @throws ExclaveError `malformed` for a text that is no part, for parts of different kits, and for missing ones,
 *   which it names; `altered` when the parts do not make the file that was split
 */
export function joinKit(texts: readonly string[]): Uint8Array {
  if (texts.length === 0 || texts.length > TEXTS_MAX) {
    throw new ExclaveError(
      "malformed",
      `There are ${texts.length} codes; a kit has 1 to ${PARTS_MAX}.`,
    );
  }
  const parts = new Map<number, string>();
  let kit: { readonly count: number; readonly check: string } | undefined;
  for (const text of texts) {
    const { number, count, check, contents } = readPart(text);
    kit ??= { count, check };
    if (
      kit.count !== count ||
      kit.check !== check ||
      (parts.get(number) ?? contents) !== contents
    ) {
      throw new ExclaveError(
        "malformed",
        "The codes are of more than one kit. Scan those of one kit only.",
      );
    }
    parts.set(number, contents);
  }
  const numbers = Array.from({ length: kit?.count ?? 0 }, (_, i) => i + 1);
  const missing = numbers.filter((number) => !parts.has(number));
  if (missing.length > 0) {
    throw new ExclaveError(
      "malformed",
      `Of the ${numbers.length} codes of the kit, these are missing: ${missing.join(", ")}.`,
    );
  }
  const bytes = concat(...numbers.map((number) => fromBase64(parts.get(number) ?? "")));
  if (!equalConstantTime(check(bytes), fromHex(kit?.check ?? "", CHECK_BYTES))) {
    throw new ExclaveError(
      "altered",
      "The codes are complete, and one of them was read wrongly. Scan them again.",
    );
  }
  return bytes;
}

function readPart(text: string): {
  readonly number: number;
  readonly count: number;
  readonly check: string;
  readonly contents: string;
} {
  const trimmed = text.length > 2 * PART_TEXT_BYTES_MAX ? "" : text.trim();
  const [, number = "", count = "", check = "", contents = ""] =
    trimmed.length > PART_TEXT_BYTES_MAX ? [] : (PART.exec(trimmed) ?? []);
  if (number === "" || Number(number) > Number(count) || Number(count) > PARTS_MAX) {
    throw new ExclaveError("malformed", "A code is not part of a kit.");
  }
  return { number: Number(number), count: Number(count), check, contents };
}

function check(kit: Uint8Array): Uint8Array {
  return sha256(LABEL, kit).subarray(0, CHECK_BYTES);
}
