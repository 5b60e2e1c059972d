/**
 * Bytes as text for paper, to be typed back by a person who gets tired:
 *
 *       1: ABCD EFGH JKMN PQRS TVWX YZ01 2345 6789 = C4
 *       2: 00QX 7M = 9K
 *     END: 7K2M 9X
 *
 * Crockford base32, 20 bytes a line. The two characters behind a line check this line and its number,
 * so that the line with the slip is known as soon as it is typed: a CRC of 10 bits, which finds with
 * certainty every change of one character, every exchange of two neighbours (both are bursts of at
 * most 10 bits: Peterson and Brown, "Cyclic codes for error detection", 1961), and every line that
 * stands in another one's place; of other slips it misses one in 1024. The six characters at the end
 * check the whole: 30 bits of SHA-256. Both find slips, not forgery; what is typed is sealed, and its
 * seal finds that.
 */
import { concat, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError, invariant } from "../errors.ts";
import {
  BASE32_ALPHABET,
  base32Value,
  fromBase32,
  inGroups,
  normaliseBase32,
  toBase32,
} from "./base32.ts";

export const SHARE_TEXT_BYTES_MAX = 4096;
const LINE_CHARACTERS = 32;
const LINE_CHECK_CHARACTERS = 2;
const END_CHECK_CHARACTERS = 6;
const LINES_MAX = Math.ceil((SHARE_TEXT_BYTES_MAX * 8) / 5 / LINE_CHARACTERS);
/** Six times what the longest text needs, for whoever likes spaces. */
const TEXT_CHARACTERS_MAX = 64 * 1024;

/** Not followed by a fourth character, which would make it a group of a line without number. */
const END_LINE = /^\s*end[:\s]+/i;

/** x^10 + x^9 + x^5 + x^4 + x + 1 without its first term: the CRC-10 of ITU-T I.610. */
const POLYNOMIAL = 0x233;
const END_LABEL = concat(utf8("exclave/v1 share text"), Uint8Array.of(0));

/**
 * The text of 1 to 4096 bytes: its lines, ending with the one that begins with END; no line break
 * behind it. Throws `bug` for other lengths.
 */
export function encodeShareText(bytes: Uint8Array): string {
  invariant(
    bytes.byteLength > 0 && bytes.byteLength <= SHARE_TEXT_BYTES_MAX,
    "a share text holds 1 to 4096 bytes",
  );
  const text = toBase32(bytes);
  const lines: string[] = [];
  for (let at = 0; at < text.length; at += LINE_CHARACTERS) {
    const line = text.slice(at, at + LINE_CHARACTERS);
    const number = lines.length + 1;
    lines.push(`${`${number}`.padStart(3)}: ${inGroups(line, " ")} = ${lineCheck(number, line)}`);
  }
  return [...lines, `END: ${inGroups(endCheck(bytes), " ")}`].join("\n");
}

/**
 * The bytes of a text as `encodeShareText` writes it, whatever its case, spaces, dashes, empty lines
 * and look-alikes (O for 0, I and L for 1); a line's number may be left out. Throws, naming the first
 * bad line by its number, `altered` where a check does not fit and `malformed` for another form.
 */
export function decodeShareText(text: string): Uint8Array {
  if (text.length > TEXT_CHARACTERS_MAX) throw malformed("The text is far too long.");
  const lines = text.split(/[\r\n\u2028\u2029]+/).filter((line) => line.trim() !== "");
  const end = lines.findIndex((line) => END_LINE.test(line));
  const body = end < 0 ? lines : lines.slice(0, end);
  if (body.length > LINES_MAX) throw malformed(`There are more than ${LINES_MAX} lines.`);
  // Lines first: a slip in the third is the better answer to a text that also lacks its end.
  const contents = body.map((line, i) => decodeShareLine(line, i + 1));
  const short = contents.findIndex(
    (line, i) => i < body.length - 1 && line.length !== LINE_CHARACTERS,
  );
  if (short >= 0) {
    throw malformed(`Line ${short + 1} is too short, and other lines follow it.`);
  }
  if (end < 0) throw malformed("The last line, which begins with END, is missing.");
  if (end !== lines.length - 1) throw malformed("Something follows the line that begins with END.");
  if (end === 0) throw malformed("There is nothing before the line that begins with END.");
  let bytes: Uint8Array;
  try {
    bytes = fromBase32(contents.join(""));
  } catch (cause) {
    throw malformed(`Line ${end} does not end where it should.`, cause);
  }
  const given = lines[end]?.replace(END_LINE, "") ?? "";
  if (normaliseBase32(given) !== endCheck(bytes)) {
    throw new ExclaveError(
      "altered",
      "Every line fits its own check, but the line that begins with END does not fit the whole. Compare that line first, then whether all lines come from one sheet.",
    );
  }
  return bytes;
}

/**
 * One line as typed, checked by itself, so that a person can be told at once: its base32 characters
 * (at most 32) in capitals, check and number taken off.
 *
 * @param number 1, 2, 3 …; where the line stands
 * @throws ExclaveError `altered` where the check does not fit, `malformed` for another form; both name the line
 */
export function decodeShareLine(line: string, number: number): string {
  const colon = line.indexOf(":");
  if (colon >= 0 && normaliseBase32(line.slice(0, colon)).replace(/^0+(?=.)/, "") !== `${number}`) {
    throw malformed(`Line ${number} is missing, or another line stands in its place.`);
  }
  const characters = normaliseBase32(line.slice(colon + 1));
  const length = characters.length - LINE_CHECK_CHARACTERS;
  if (length < 1 || length > LINE_CHARACTERS) {
    throw malformed(
      `Line ${number} has ${characters.length} characters, and at most ${LINE_CHARACTERS + LINE_CHECK_CHARACTERS} with its check; compare it with the paper.`,
    );
  }
  const data = characters.slice(0, length);
  let check: string;
  try {
    check = lineCheck(number, data);
  } catch (cause) {
    throw malformed(
      `Line ${number} holds a character that is never used; compare it with the paper.`,
      cause,
    );
  }
  if (characters.slice(length) !== check) {
    throw new ExclaveError(
      "altered",
      `Line ${number} does not fit its check, the two characters at its end; compare it with the paper.`,
    );
  }
  return data;
}

function lineCheck(number: number, characters: string): string {
  // The number is what the register starts from; each start gives another check, whatever follows.
  let crc = number;
  for (const character of characters) {
    const value = base32Value(character);
    for (let bit = 4; bit >= 0; bit--) {
      const out = (crc >>> 9) ^ ((value >>> bit) & 1);
      crc = ((crc << 1) & 0x3ff) ^ (out === 0 ? 0 : POLYNOMIAL);
    }
  }
  return BASE32_ALPHABET.charAt(crc >>> 5) + BASE32_ALPHABET.charAt(crc & 31);
}

function endCheck(bytes: Uint8Array): string {
  return toBase32(sha256(END_LABEL, bytes)).slice(0, END_CHECK_CHARACTERS);
}

function malformed(message: string, cause?: unknown): ExclaveError {
  return new ExclaveError("malformed", message, cause === undefined ? undefined : { cause });
}
