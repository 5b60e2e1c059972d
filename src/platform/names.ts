import { ExclaveError } from "../errors.ts";

/**
 * Names are bytes on Unix. Inside Exclave a file name or path is a *binary string*: one character
 * for each byte (U+0000 to U+00FF), so that nothing is lost, `<` compares bytewise, and string
 * operations stay fast. These functions convert at the edges.
 */

const NOT_ASCII = /[\x80-\uffff]/;
const NOT_A_BYTE = /[\u0100-\uffff]/;
const NEEDS_ESCAPE = /[^\x20-\x5b\x5d-\x7e]/;
/** Controls, line separators, and the invisible or direction-changing characters that could lie. */
const UNSHOWABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}]/u;

/** What `node:fs` wants for a binary path: the string itself when all ASCII, else its bytes. */
export function toFsPath(path: string): string | Buffer {
  if (!NOT_ASCII.test(path)) return path;
  if (NOT_A_BYTE.test(path)) {
    throw new ExclaveError("bug", `not a binary path, convert it with fromText: ${path}`);
  }
  return Buffer.from(path, "latin1");
}

/** The binary string of a name or path that came as bytes. */
export function fromFsName(name: Uint8Array): string {
  return Buffer.from(name.buffer, name.byteOffset, name.byteLength).toString("latin1");
}

/** The binary string of a name or path that a person typed (its UTF-8 bytes). */
export function fromText(text: string): string {
  return NOT_ASCII.test(text) ? Buffer.from(text, "utf8").toString("latin1") : text;
}

/**
 * A name for people: valid UTF-8 as such; control, invisible and direction-changing characters as
 * `\n`, `\x1b` or `\u{202e}`; bytes that are not UTF-8 as `\xNN`; a backslash doubled. So a hostile
 * name can neither steer a terminal nor pass for another name.
 */
export function displayName(name: string): string {
  if (!NEEDS_ESCAPE.test(name)) return name;
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const bytes = Buffer.from(name, "latin1");
  let shown = "";
  let at = 0;
  while (at < bytes.length) {
    const lead = bytes[at] ?? 0;
    const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    let character: string;
    try {
      character = decoder.decode(bytes.subarray(at, at + length));
    } catch {
      shown += `\\x${lead.toString(16).padStart(2, "0")}`;
      at += 1;
      continue;
    }
    shown += escapeCharacter(character);
    at += length;
  }
  return shown;
}

function escapeCharacter(character: string): string {
  if (character === "\\") return "\\\\";
  if (character === "\n") return "\\n";
  if (character === "\r") return "\\r";
  if (character === "\t") return "\\t";
  if (!UNSHOWABLE.test(character)) return character;
  const code = character.codePointAt(0) ?? 0;
  return code < 0x80 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
}
