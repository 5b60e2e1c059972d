import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import {
  armor,
  Decrypter,
  Encrypter,
  generateX25519Identity,
  identityToRecipient,
} from "age-encryption";
import fc from "fast-check";
import { isExclaveError } from "../errors.ts";
import { fromUtf8, plain, utf8 } from "./bytes.ts";
import { generatePassphrase, openKeyFile, sealKeyFile } from "./key-file.ts";

const PASSPHRASE = "correct horse";
const fast = { workFactor: 10 };
const contents = utf8("a secret");

test("a key file opens with its passphrase, and is armored", async () => {
  const file = await sealKeyFile(contents, PASSPHRASE, fast);
  assert.match(fromUtf8(file), /^-----BEGIN AGE ENCRYPTED FILE-----\n/);
  assert.deepEqual(await openKeyFile(file, PASSPHRASE), contents);
});

test("the default work factor is age's own, 18", async () => {
  const file = await sealKeyFile(contents, PASSPHRASE);
  const header = Buffer.from(armor.decode(fromUtf8(file))).toString("latin1");
  assert.match(header, /\n-> scrypt \S{22} 18\n/);
});

test("age's own tools open our files, and we theirs, armored or binary", async () => {
  const decrypter = new Decrypter();
  decrypter.addPassphrase(PASSPHRASE);
  const ours = await sealKeyFile(contents, PASSPHRASE, fast);
  assert.equal(await decrypter.decrypt(armor.decode(fromUtf8(ours)), "text"), "a secret");
  const encrypter = new Encrypter();
  encrypter.setPassphrase(PASSPHRASE);
  encrypter.setScryptWorkFactor(10);
  const theirs = await encrypter.encrypt(contents);
  assert.deepEqual(await openKeyFile(theirs, PASSPHRASE), contents);
  const crlf = armor.encode(theirs).replaceAll("\n", "\r\n");
  assert.deepEqual(await openKeyFile(utf8(crlf), PASSPHRASE), contents);
});

test("a wrong passphrase is told apart from a damaged file, and is not in the message", async () => {
  const file = await sealKeyFile(contents, PASSPHRASE, fast);
  await assert.rejects(openKeyFile(file, "hunter2 hunter2"), (error) => {
    assert.ok(isExclaveError(error, "wrong-passphrase"));
    return !error.message.includes("hunter2");
  });
  await assert.rejects(openKeyFile(file.subarray(0, -40), PASSPHRASE), { code: "bad-key" });
  await assert.rejects(openKeyFile(utf8("hello"), PASSPHRASE), { code: "bad-key" });
  await assert.rejects(openKeyFile(new Uint8Array(), PASSPHRASE), { code: "bad-key" });
  await assert.rejects(openKeyFile(Uint8Array.of(0xff), PASSPHRASE), { code: "bad-key" });
});

test("a file that is sealed to a key rather than a passphrase is of the wrong kind", async () => {
  const encrypter = new Encrypter();
  encrypter.addRecipient(await identityToRecipient(await generateX25519Identity()));
  await assert.rejects(openKeyFile(await encrypter.encrypt(contents), PASSPHRASE), {
    code: "bad-key",
  });
});

test("a work factor that would exhaust memory is refused before scrypt runs", async () => {
  const binary = armor.decode(fromUtf8(await sealKeyFile(contents, PASSPHRASE, fast)));
  const greedy = Buffer.from(
    Buffer.from(binary).toString("latin1").replace(" 10\n", " 30\n"),
    "latin1",
  );
  await assert.rejects(openKeyFile(greedy, PASSPHRASE), { code: "bad-key" });
});

test("one altered bit anywhere is refused", async () => {
  const binary = armor.decode(fromUtf8(await sealKeyFile(contents, PASSPHRASE, fast)));
  // The work factor's own digits aside: other values only take longer to fail.
  const digits = Buffer.from(binary).toString("latin1").indexOf(" 10\n") + 1;
  await fc.assert(
    fc.asyncProperty(fc.nat(binary.length - 1), fc.nat(7), async (at, bit) => {
      fc.pre(at < digits || at > digits + 1);
      const altered = Uint8Array.from(binary);
      altered[at]! ^= 1 << bit;
      await assert.rejects(
        openKeyFile(altered, PASSPHRASE),
        (error) => isExclaveError(error, "bad-key") || isExclaveError(error, "wrong-passphrase"),
      );
    }),
    { numRuns: 60 },
  );
});

test("sizes and settings are bounded", async () => {
  const encrypter = new Encrypter();
  encrypter.setPassphrase(PASSPHRASE);
  encrypter.setScryptWorkFactor(10);
  const large = await encrypter.encrypt(new Uint8Array(512 * 1024));
  await assert.rejects(openKeyFile(large, PASSPHRASE), { code: "bad-key" });
  await assert.rejects(openKeyFile(new Uint8Array(512 * 1024 + 1), PASSPHRASE), {
    code: "bad-key",
  });
  await assert.rejects(sealKeyFile(new Uint8Array(), PASSPHRASE, fast), { code: "bug" });
  await assert.rejects(sealKeyFile(new Uint8Array(256 * 1024 + 1), PASSPHRASE, fast), {
    code: "bug",
  });
  await assert.rejects(sealKeyFile(contents, PASSPHRASE, { workFactor: 21 }), { code: "bug" });
  for (const passphrase of ["", "\ud800"]) {
    await assert.rejects(sealKeyFile(contents, passphrase, fast), { code: "usage" });
    await assert.rejects(openKeyFile(contents, passphrase), { code: "usage" });
  }
  const largest = plain(randomBytes(256 * 1024));
  assert.deepEqual(
    await openKeyFile(await sealKeyFile(largest, PASSPHRASE, fast), PASSPHRASE),
    largest,
  );
});

test("a generated passphrase spells all its random bits in an unambiguous alphabet", () => {
  assert.match(generatePassphrase(), /^[0-9a-hjkmnp-tv-z]{4}(?:-[0-9a-hjkmnp-tv-z]{4}){6}$/);
  assert.notEqual(generatePassphrase(), generatePassphrase());
  const counting = (length: number) => Uint8Array.from({ length }, (_, i) => i);
  assert.equal(generatePassphrase(counting), "0123-4567-89ab-cdef-ghjk-mnpq-rstv");
  const offset = (length: number) => Uint8Array.from({ length }, (_, i) => 0xe0 + i + 4);
  assert.equal(generatePassphrase(offset), "4567-89ab-cdef-ghjk-mnpq-rstv-wxyz");
  assert.throws(() => generatePassphrase(() => new Uint8Array(3)), { code: "bug" });
});
