import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { damage, logKey, survives, witnessKeys } from "../../test/support/ledger.ts";
import { concat, fromBase64, toBase64, utf8 } from "../crypto/bytes.ts";
import { ED25519, exportPublic, importPrivate } from "../crypto/key-objects.ts";
import { checkSignature } from "./cosignature.ts";
import { verifierKeysOf } from "./log-key.ts";
import {
  COSIGNATURE_ED25519,
  COSIGNATURE_ML_DSA_44,
  formatNote,
  formatSignatureLine,
  formatVerifierKey,
  isSameKey,
  NOTE_ED25519,
  type NoteSignature,
  openNote,
  parseNote,
  parseSignatureLines,
  parseVerifierKey,
  verifierKey,
} from "./note.ts";

const malformed = { code: "malformed" };

/** Keys, text and signatures of golang.org/x/mod, sumdb/note/note_test.go. */
const PETER_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const PETER_SECRET = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const ENOCH_KEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
const TEXT =
  "If you think cryptography is the answer to your problem,\n" +
  "then you don't know what your problem is.\n";
const PETER_LINE =
  "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const ENOCH_LINE =
  "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";
const peter = parseVerifierKey(PETER_KEY);
const enoch = parseVerifierKey(ENOCH_KEY);
const open = (text: string, keys = [peter]): readonly string[] =>
  openNote(utf8(text), keys, checkSignature).signed.map(({ key }) => key.name);

test("verifier keys of golang.org/x/mod and transparency-dev/formats are read, and written back", () => {
  const keys: readonly (readonly [string, string, number, number])[] = [
    [PETER_KEY, "PeterNeumann", 0xc74f20a3, NOTE_ED25519],
    [ENOCH_KEY, "EnochRoot", 0xaf0cfe78, NOTE_ED25519],
    [
      "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
      "sum.golang.org",
      0x033de0ae,
      NOTE_ED25519,
    ],
    [
      "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
      "remora.n621.de",
      0xda77ade7,
      COSIGNATURE_ED25519,
    ],
  ];
  for (const [text, name, id, type] of keys) {
    const key = parseVerifierKey(text);
    assert.deepEqual([key.name, key.id, key.type], [name, id, type]);
    assert.equal(formatVerifierKey(key), text);
  }
});

test("Peter's public key is that of his secret one", () => {
  const secret = importPrivate(ED25519, fromBase64(PETER_SECRET).subarray(1));
  assert.deepEqual(exportPublic(ED25519, secret), peter.publicBytes);
});

test("a part of a verifier key, and one with any character changed, is refused (note_test.go)", () => {
  for (let from = 0; from < PETER_KEY.length; from++)
    for (let to = from + 1; to <= PETER_KEY.length; to++)
      if (from > 0 || to < PETER_KEY.length)
        assert.throws(() => parseVerifierKey(PETER_KEY.slice(from, to)), malformed);
  for (let at = 0; at < PETER_KEY.length; at++) {
    const next = String.fromCharCode(PETER_KEY.charCodeAt(at) + 1);
    const mangled = PETER_KEY.slice(0, at) + next + PETER_KEY.slice(at + 1);
    assert.throws(() => parseVerifierKey(mangled), malformed, mangled);
  }
  for (const text of [
    // A wrong length and an unknown type, each with the id to match.
    "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
    "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    PETER_KEY.replace("c74f20a3", "C74F20A3"),
    `${PETER_KEY}\n`,
    `${PETER_KEY}+`,
    `PeterNeumann+c74f20a3+${"A".repeat(8000)}`,
    "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    "bananas.sigstore.dev+12344556",
    "PeterNeumann+c74f20a3+",
  ])
    assert.throws(() => parseVerifierKey(text), malformed, text);
});

test("key names have no white space of Unicode, no plus, and at most 255 bytes", () => {
  const make = (name: string) => () => verifierKey(name, NOTE_ED25519, peter.publicBytes);
  for (const name of ["a", "日本", "a".repeat(255), "\u{1f512}"])
    assert.equal(make(name)().name, name);
  const spaces = [
    " ",
    "\t",
    "\n",
    "\u0085",
    "\u00a0",
    "\u1680",
    "\u2003",
    "\u2028",
    "\u202f",
    "\u3000",
  ];
  for (const name of ["", "+", "a+b", "a".repeat(256), "\ud800", ...spaces.map((s) => `a${s}b`)])
    assert.throws(make(name), malformed, JSON.stringify(name));
});

test("a key of the wrong length for its type is refused", () => {
  const [ed25519, mlDsa44] = verifierKeysOf(logKey);
  assert.throws(() => verifierKey("a", COSIGNATURE_ML_DSA_44, ed25519.publicBytes), malformed);
  assert.throws(() => verifierKey("a", NOTE_ED25519, mlDsa44.publicBytes), malformed);
});

test("golang's signed notes verify, with one key known and with both", () => {
  assert.deepEqual(open(`${TEXT}\n${PETER_LINE}`), ["PeterNeumann"]);
  assert.deepEqual(open(`${TEXT}\n${PETER_LINE}${ENOCH_LINE}`), ["PeterNeumann"]);
  assert.deepEqual(open(`${TEXT}\n${PETER_LINE}${ENOCH_LINE}`, [enoch, peter]), [
    "PeterNeumann",
    "EnochRoot",
  ]);
  const { text, signatures } = parseNote(utf8(`${TEXT}\n${PETER_LINE}${ENOCH_LINE}`));
  assert.equal(text, TEXT);
  assert.deepEqual(
    signatures.map(({ name, keyId }) => [name, keyId]),
    [
      ["PeterNeumann", 0xc74f20a3],
      ["EnochRoot", 0xaf0cfe78],
    ],
  );
  assert.deepEqual(signatures.map(formatSignatureLine), [PETER_LINE, ENOCH_LINE]);
});

test("a note without a trusted signature is refused, and so is one with a bad signature of a known key", () => {
  assert.throws(() => open(`${TEXT}\n${ENOCH_LINE}`), { code: "untrusted" });
  assert.throws(() => open(`${TEXT}\n${PETER_LINE}`, []), { code: "untrusted" });
  const bad = `${PETER_LINE.slice(0, 60)}ABCD${PETER_LINE.slice(60)}`;
  assert.throws(() => open(`${TEXT}\n${bad}`), { code: "altered" });
  assert.throws(() => open(`${TEXT}\n${PETER_LINE}${bad}`), { code: "altered" });
  assert.throws(() => open(`${TEXT}more\n\n${PETER_LINE}`), { code: "altered" });
  // A bad signature of a key that nobody asked about says nothing.
  const unknown = `${ENOCH_LINE.slice(0, 60)}ABCD${ENOCH_LINE.slice(60)}`;
  assert.deepEqual(open(`${TEXT}\n${unknown}${PETER_LINE}`), ["PeterNeumann"]);
});

test("a known name with an unknown id, or an unknown name with a known id, is an unknown key", () => {
  const misnamed = PETER_LINE.replace("PeterNeumann", "CarmenSandiego");
  const otherId = PETER_LINE.replace("x08g", "xxxx");
  for (const line of [misnamed, otherId])
    assert.throws(() => open(`${TEXT}\n${line}`), { code: "untrusted" });
});

test("a key that signed twice, and a key that is listed twice, counts once", () => {
  assert.deepEqual(open(`${TEXT}\n${PETER_LINE}${PETER_LINE}`), ["PeterNeumann"]);
  assert.deepEqual(open(`${TEXT}\n${PETER_LINE}`, [peter, parseVerifierKey(PETER_KEY)]), [
    "PeterNeumann",
  ]);
  const clash = { ...enoch, name: peter.name, id: peter.id };
  assert.throws(() => open(`${TEXT}\n${PETER_LINE}`, [peter, clash]), malformed);
});

test("the example of signed-note is read: its text has an empty line of its own", () => {
  const text =
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n";
  const line =
    "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
  const note = parseNote(utf8(`${text}\n${line}`));
  assert.equal(note.text, text);
  assert.equal(note.signatures[0]?.name, "quasimodo.example/salvatore");
  assert.equal(note.signatures[0]?.signature.byteLength, 64);
  assert.deepEqual(formatNote(note), utf8(`${text}\n${line}`));
});

test("what is no note is refused", () => {
  for (const text of [
    "",
    "\n",
    TEXT,
    `${TEXT}\n`,
    `${TEXT}${PETER_LINE}`,
    `${TEXT}\n${PETER_LINE.slice(0, -1)}`,
    `${TEXT}\n${PETER_LINE}${ENOCH_LINE.slice(0, -1)}`,
    `${TEXT}\n${PETER_LINE}${ENOCH_LINE.slice(0, 20)}`,
    `${TEXT}\n${PETER_LINE.replace("AM=\n", "AM= more\n")}`,
    `${TEXT}\n${PETER_LINE.replace("AM=\n", "AM= \n")}`,
    `${TEXT}\n${PETER_LINE}\n`,
    `${TEXT}\n\n${PETER_LINE}Unexpected line.\n`,
    `\u0001${TEXT}\n${PETER_LINE}`,
    `${TEXT}\t\n\n${PETER_LINE}`,
    `${TEXT}\n${PETER_LINE}`.replaceAll("\n", "\r\n"),
    `${TEXT}\n${PETER_LINE.replace("—", "-")}`,
    `${TEXT}\n${PETER_LINE.replace("— ", "—  ")}`,
    `${TEXT}\n${PETER_LINE.replace("PeterNeumann", "Bad Name")}`,
    `${TEXT}\n${PETER_LINE.replace("PeterNeumann", "Bad+Name")}`,
    `${TEXT}\n${PETER_LINE.replace("PeterNeumann", "Bad\u00a0Name")}`,
    `${TEXT}\n${PETER_LINE.replace("AM=\n", "AM\n")}`,
    `${TEXT}\n${PETER_LINE.replace("AM=\n", "AN=\n")}`,
    `${TEXT}\n${PETER_LINE.replace("/", "_")}`,
    `${TEXT}\n— PeterNeumann x08gow==\n`,
    `${TEXT}\n— PeterNeumann \n`,
    `${TEXT}\n— PeterNeumann\n`,
  ])
    assert.throws(() => parseNote(utf8(text)), malformed, JSON.stringify(text));
  assert.throws(
    () => parseNote(concat(Uint8Array.of(0xff), utf8(`${TEXT}\n${PETER_LINE}`))),
    malformed,
  );
});

test("100 signatures are read and 101 are not; 64 of 5 kB fit, and more than 512 KiB does not", () => {
  const note = (count: number, bytes: number) => ({
    text: TEXT,
    signatures: Array.from({ length: count }, (_, i): NoteSignature => {
      return { name: `key${i}`, keyId: i, signature: new Uint8Array(bytes) };
    }),
  });
  assert.equal(parseNote(formatNote(note(100, 64))).signatures.length, 100);
  assert.equal(parseNote(formatNote(note(64, 5000))).signatures.length, 64);
  assert.throws(() => formatNote(note(101, 64)), { code: "bug" });
  assert.throws(() => formatNote(note(100, 5000)), { code: "bug" });
  assert.throws(() => parseNote(utf8(`${TEXT}\n${PETER_LINE.repeat(101)}`)), malformed);
  assert.throws(() => parseNote(utf8(`${"a".repeat(512 * 1024)}\n\n${PETER_LINE}`)), malformed);
});

test("what would not be read back is not written", () => {
  const signatures = [{ name: "a", keyId: 1, signature: Uint8Array.of(1) }];
  const bug = { code: "bug" };
  assert.throws(() => formatNote({ text: "no newline", signatures }), bug);
  assert.throws(() => formatNote({ text: "tab\t\n", signatures }), bug);
  assert.throws(() => formatNote({ text: TEXT, signatures: [] }), bug);
  for (const name of ["", "a b", "a+b", "a\nb"])
    assert.throws(() => formatNote({ text: TEXT, signatures: [{ ...signatures[0]!, name }] }), bug);
});

test("signature lines alone, as a witness answers, are read; with a text they are not", () => {
  assert.equal(parseSignatureLines(utf8(PETER_LINE + ENOCH_LINE)).length, 2);
  for (const text of [
    "",
    "\n",
    PETER_LINE.slice(0, -1),
    `${TEXT}\n${PETER_LINE}`,
    `${PETER_LINE}\n`,
  ])
    assert.throws(() => parseSignatureLines(utf8(text)), malformed);
});

test("two verifier keys with one public key are known for it, whatever their names and types", () => {
  const same = verifierKey("other", COSIGNATURE_ED25519, peter.publicBytes);
  assert.ok(isSameKey(peter, same));
  assert.ok(!isSameKey(peter, enoch));
  assert.notEqual(same.id, peter.id);
});

test("damaged notes are refused as malformed, altered or untrusted, and keep the text when they are not", () => {
  const note = utf8(`${TEXT}\n${PETER_LINE}${ENOCH_LINE}`);
  fc.assert(
    fc.property(fc.nat(), fc.nat(), fc.nat(255), (kind, at, value) => {
      const bytes = damage(note, kind, at, value);
      let text: string | undefined;
      survives(() => {
        ({ text } = openNote(bytes, [peter], checkSignature).note);
      });
      assert.ok(text === undefined || text === TEXT);
    }),
    { numRuns: 2000 },
  );
});

test("damaged verifier keys are refused, or are another key by another name", () => {
  const texts = [...verifierKeysOf(logKey), ...witnessKeys.flatMap(verifierKeysOf)].map(
    formatVerifierKey,
  );
  fc.assert(
    fc.property(
      fc.constantFrom(...texts),
      fc.nat(),
      fc.nat(),
      fc.nat(255),
      (text, kind, at, value) => {
        const bytes = damage(utf8(text), kind, at, value);
        const read = Buffer.from(bytes).toString();
        if (survives(() => parseVerifierKey(read)) === "read")
          assert.equal(formatVerifierKey(parseVerifierKey(read)), read);
      },
    ),
    { numRuns: 1000 },
  );
  assert.equal(toBase64(peter.publicBytes).length, 44);
});
