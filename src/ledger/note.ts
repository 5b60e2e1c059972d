/**
 * Signed notes (C2SP signed-note): a text, an empty line, and signature lines of the form "em dash,
 * space, key name, space, base64 of key id and signature". What a signature covers depends on the type
 * of its key and is not decided here.
 */
import type { KeyObject } from "node:crypto";
import { concat, fromBase64, fromUtf8, toBase64, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ED25519, importPublic, ML_DSA_44 } from "../crypto/key-objects.ts";
import { ExclaveError, invariant } from "../errors.ts";
import { malformed } from "./text.ts";

/** As many as Go's reader takes; a policy of 32 logs and 32 witnesses knows 64 keys. */
export const NOTE_SIGNATURES_MAX = 100;
/** Room for 64 signatures of 5 kB, the largest that C2SP expects, in base64 and with their key names. */
export const NOTE_BYTES_MAX = 512 * 1024;
/** As a cosigned message has one byte for the length of a name (C2SP tlog-cosignature). */
export const KEY_NAME_BYTES_MAX = 255;
/** A name, an ML-DSA-44 key in base64, and what joins them, is about 2 kB. */
const VERIFIER_KEY_CHARACTERS_MAX = 4096;
const KEY_ID_BYTES = 4;

/** Ed25519 over the text of the note (C2SP signed-note). */
export const NOTE_ED25519 = 0x01;
/** Ed25519 over a time and a checkpoint (C2SP tlog-cosignature). */
export const COSIGNATURE_ED25519 = 0x04;
/** ML-DSA-44 over names, a time and a tree head (C2SP tlog-cosignature). */
export const COSIGNATURE_ML_DSA_44 = 0x06;

/** The signature types that Exclave makes and verifies; keys of all others are unknown. */
export type SignatureType =
  | typeof NOTE_ED25519
  | typeof COSIGNATURE_ED25519
  | typeof COSIGNATURE_ML_DSA_44;

/** A public key together with its name and what it signs; a "vkey" in C2SP's texts. */
export interface VerifierKey {
  readonly name: string;
  /** The first four bytes of a hash, as an unsigned number: a hint, and no proof of anything. */
  readonly id: number;
  readonly type: SignatureType;
  /** 32 bytes of Ed25519 (RFC 8032), or 1312 of ML-DSA-44 (FIPS 204). */
  readonly publicBytes: Uint8Array;
  readonly key: KeyObject;
}

/** One signature line. */
export interface NoteSignature {
  readonly name: string;
  readonly keyId: number;
  /** What follows the key id; its form depends on the key's type. */
  readonly signature: Uint8Array;
}

/** A note whose signatures nobody has verified. */
export interface Note {
  /** Ends in a newline. */
  readonly text: string;
  /** At least one, in the order of the lines. */
  readonly signatures: readonly NoteSignature[];
}

/** A key that signed a note, and what of its signatures says most. */
export interface Signed {
  readonly key: VerifierKey;
  readonly signature: NoteSignature;
  /** When it was signed, in seconds since 1970; 0 when the signature tells no time. */
  readonly seconds: number;
}

/** The time of a signature of that key over that text, 0 for none, or undefined when it does not verify. */
export type SignatureCheck = (
  key: VerifierKey,
  text: string,
  signature: Uint8Array,
) => number | undefined;

/**
 * The note of its bytes. Throws `malformed` for anything over `NOTE_BYTES_MAX` or
 * `NOTE_SIGNATURES_MAX`, that is not UTF-8, holds control characters below U+0020 other than newline,
 * does not end with an empty line and signature lines, or spells a signature in another than
 * canonical base64.
 */
export function parseNote(bytes: Uint8Array): Note {
  const { text, end } = readText(bytes);
  if (end < 0) throw malformed("a note has no empty line before its signatures");
  return {
    // The last empty line separates; others belong to the text, whose final newline stays with it.
    text: text.slice(0, end + 1),
    signatures: signatureLines(text.slice(end + 2)),
  };
}

/** The bytes of a note. Throws `bug` for what `parseNote` would refuse, or read as another note. */
export function formatNote(note: Note): Uint8Array {
  const lines = note.signatures.map(formatSignatureLine).join("");
  const bytes = utf8(`${note.text}\n${lines}`);
  invariant(note.text.endsWith("\n"), "the text of a note ends in a newline");
  invariant(!/[\x00-\x09\x0b-\x1f]/.test(note.text), "a note has no control characters");
  invariant(
    note.signatures.length > 0 && note.signatures.length <= NOTE_SIGNATURES_MAX,
    "a note has 1 to 100 signatures",
  );
  invariant(bytes.byteLength <= NOTE_BYTES_MAX, "a note has at most 512 KiB");
  return bytes;
}

/** The signature lines that a witness answers with. Throws `malformed` as `parseNote` does. */
export function parseSignatureLines(bytes: Uint8Array): NoteSignature[] {
  return signatureLines(readText(bytes).text);
}

/** One signature line, with its newline. */
export function formatSignatureLine({ name, keyId, signature }: NoteSignature): string {
  invariant(isKeyName(name), "a key name has neither spaces nor a plus");
  const id = new Uint8Array(KEY_ID_BYTES);
  new DataView(id.buffer).setUint32(0, keyId);
  return `\u2014 ${name} ${toBase64(concat(id, signature))}\n`;
}

/**
 * Verifies a note: signatures by keys that are not in `keys` are ignored, all others must verify.
 * Returns the keys that signed, each once however many lines it has, and then with the latest time.
 *
 * Throws `malformed` as `parseNote` does, and when two of the keys cannot be told apart by name and id;
 * `altered` when any signature by one of the keys does not verify; `untrusted` when none is by one.
 */
export function openNote(
  bytes: Uint8Array,
  keys: readonly VerifierKey[],
  check: SignatureCheck,
): { readonly note: Note; readonly signed: readonly Signed[] } {
  const known = new Map<string, VerifierKey>();
  for (const key of keys) {
    const other = known.get(keyLabel(key.name, key.id));
    if (other !== undefined && Buffer.compare(other.publicBytes, key.publicBytes) !== 0)
      throw malformed(`two keys have the name and id ${keyLabel(key.name, key.id)}`);
    known.set(keyLabel(key.name, key.id), key);
  }
  const note = parseNote(bytes);
  const signed = new Map<VerifierKey, Signed>();
  for (const signature of note.signatures) {
    const key = known.get(keyLabel(signature.name, signature.keyId));
    if (key === undefined) continue;
    const seconds = check(key, note.text, signature.signature);
    if (seconds === undefined)
      throw new ExclaveError(
        "altered",
        `a note does not match its signature by ${keyLabel(key.name, key.id)}`,
      );
    if (seconds >= (signed.get(key)?.seconds ?? 0)) signed.set(key, { key, signature, seconds });
  }
  if (signed.size === 0)
    throw new ExclaveError("untrusted", "a note is not signed by any trusted key");
  return { note, signed: [...signed.values()] };
}

/** A verifier key of its parts. Throws `malformed` for a bad name or a key that is none of that type. */
export function verifierKey(
  name: string,
  type: SignatureType,
  publicBytes: Uint8Array,
): VerifierKey {
  if (!isKeyName(name) || utf8(name).byteLength > KEY_NAME_BYTES_MAX)
    throw malformed("a key name is 1 to 255 bytes without spaces and plus");
  const form = type === COSIGNATURE_ML_DSA_44 ? ML_DSA_44 : ED25519;
  const copy = Uint8Array.from(publicBytes);
  return { name, id: keyIdOf(name, type, copy), type, publicBytes: copy, key: importKey() };

  function importKey(): KeyObject {
    try {
      return importPublic(form, copy);
    } catch (cause) {
      throw malformed(`the key ${name} is not a public ${form.name} key`, cause);
    }
  }
}

/**
 * The key of its text form `<name>+<hex key id>+<base64 of type and key>`. Throws `malformed` for
 * another form, an id in other than 8 lower-case digits or that is not the key's, and for a signature
 * type that Exclave does not verify.
 */
export function parseVerifierKey(text: string): VerifierKey {
  const form = /^([^+]*)\+([0-9a-f]{8})\+(.*)$/su;
  const [, name, id, material] =
    (text.length <= VERIFIER_KEY_CHARACTERS_MAX ? form.exec(text) : null) ?? [];
  if (name === undefined || id === undefined || material === undefined)
    throw malformed("a verifier key does not consist of name, id and key");
  const bytes = fromBase64(material);
  const [type] = bytes;
  if (!isSignatureType(type)) throw malformed("a verifier key is of an unknown signature type");
  const key = verifierKey(name, type, bytes.subarray(1));
  if (key.id !== Number.parseInt(id, 16))
    throw malformed(`the id of the verifier key ${name} is not that of its key`);
  return key;
}

/** The text form of a key. */
export function formatVerifierKey(key: VerifierKey): string {
  return `${keyLabel(key.name, key.id)}+${toBase64(concat(Uint8Array.of(key.type), key.publicBytes))}`;
}

/** Whether two verifier keys hold the same public key, whatever their names and types say. */
export function isSameKey(a: VerifierKey, b: VerifierKey): boolean {
  return Buffer.compare(a.publicBytes, b.publicBytes) === 0;
}

/** The key id: SHA-256(name || 0x0a || type || public key), its first four bytes as a big-endian number. */
export function keyIdOf(name: string, type: SignatureType, publicBytes: Uint8Array): number {
  const digest = sha256(utf8(name), Uint8Array.of(0x0a, type), publicBytes);
  return new DataView(digest.buffer, digest.byteOffset).getUint32(0);
}

/** At least one character, no Unicode white space, no plus. */
function isKeyName(name: string): boolean {
  return name.isWellFormed() && /^[^\p{White_Space}+]+$/u.test(name);
}

function isSignatureType(type: number | undefined): type is SignatureType {
  return type === NOTE_ED25519 || type === COSIGNATURE_ED25519 || type === COSIGNATURE_ML_DSA_44;
}

/** Name and id as a verifier key begins; no name has a plus, so no two pairs share a label. */
function keyLabel(name: string, id: number): string {
  return `${name}+${id.toString(16).padStart(8, "0")}`;
}

/** The text of a note's bytes, and where its last empty line begins. */
function readText(bytes: Uint8Array): { readonly text: string; readonly end: number } {
  if (bytes.byteLength > NOTE_BYTES_MAX) throw malformed("a note is too large");
  const text = fromUtf8(bytes);
  if (/[\x00-\x09\x0b-\x1f]/.test(text)) throw malformed("a note holds a control character");
  return { text, end: text.lastIndexOf("\n\n") };
}

function signatureLines(text: string): NoteSignature[] {
  const lines = text.split("\n");
  if (lines.pop() !== "" || lines.length === 0)
    throw malformed("a note does not end with a whole signature line");
  if (lines.length > NOTE_SIGNATURES_MAX) throw malformed("a note has too many signatures");
  return lines.map((line) => {
    const [dash, name, base64, ...more] = line.split(" ");
    if (dash !== "\u2014" || name === undefined || base64 === undefined || more.length > 0)
      throw malformed("a line is not a signature line");
    if (!isKeyName(name)) throw malformed("a signature line has a bad key name");
    const bytes = fromBase64(base64);
    if (bytes.byteLength <= KEY_ID_BYTES) throw malformed("a signature line holds no signature");
    return {
      name,
      keyId: new DataView(bytes.buffer, bytes.byteOffset).getUint32(0),
      signature: bytes.slice(KEY_ID_BYTES),
    };
  });
}
