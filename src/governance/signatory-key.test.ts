import assert from "node:assert/strict";
import { test } from "node:test";
import {
  Decrypter,
  generateHybridIdentity,
  generateIdentity,
  identityToRecipient,
} from "age-encryption";
import { fromBase64, toBase64, utf8 } from "../crypto/bytes.ts";
import { isExclaveError } from "../errors.ts";
import {
  type Card,
  isOpenedKeyFile,
  newSignatoryKey,
  openSignatoryKey,
  readCard,
  seatsOfCards,
} from "./signatory-key.ts";

const PASSPHRASE = "Saltfish-Hummingbird-47";
const WHO = {
  name: "Ana Sosa",
  office: "Minister of Justice",
  institution: "Government of Belize",
  jurisdiction: "BZ",
  until: "2030-01-31T00:00:00Z",
};
const SEAL = { passphrase: PASSPHRASE, workFactor: 10 };

const refused = (code: string) => (error: unknown) => {
  assert.ok(isExclaveError(error), String(error));
  assert.equal(error.code, code, error.message);
  assert.doesNotMatch(error.message, /AGE-SECRET-KEY-(PQ-)?1|Saltfish/);
  return true;
};

/** The card with something else in its payload, under the signature that it had. */
function altered(card: Uint8Array, change: (card: Card) => object): Uint8Array {
  const envelope = JSON.parse(Buffer.from(card).toString()) as { payload: string };
  const said = JSON.parse(Buffer.from(fromBase64(envelope.payload)).toString()) as Card;
  return utf8(
    JSON.stringify({ ...envelope, payload: toBase64(utf8(JSON.stringify(change(said)))) }),
  );
}

test("a key opens with its passphrase alone, and signs with the key that its card shows", async () => {
  const { id, keyFile, card } = await newSignatoryKey(WHO, SEAL);
  assert.equal((await openSignatoryKey(keyFile, { passphrase: PASSPHRASE })).id, id);
  assert.equal(readCard(card).key.id, id);
  const { name, office, institution, jurisdiction, until } = readCard(card).card;
  assert.deepEqual({ name, office, institution, jurisdiction, until }, WHO);
  await assert.rejects(
    openSignatoryKey(keyFile, { passphrase: "another" }),
    refused("wrong-passphrase"),
  );
  await assert.rejects(openSignatoryKey(keyFile, { identity: "AGE" }), refused("wrong-passphrase"));
});

test("a key sealed to an age recipient opens with its identity, and with what age has opened", async () => {
  for (const identity of [await generateIdentity(), await generateHybridIdentity()]) {
    const recipient = await identityToRecipient(identity);
    const { id, keyFile } = await newSignatoryKey(WHO, { recipient });
    assert.equal((await openSignatoryKey(keyFile, { identity })).id, id);
    assert.ok(!isOpenedKeyFile(keyFile));
    const other = await generateIdentity();
    await assert.rejects(
      openSignatoryKey(keyFile, { identity: other }),
      refused("wrong-passphrase"),
    );
    await assert.rejects(openSignatoryKey(keyFile, { passphrase: PASSPHRASE }), refused("bad-key"));

    const decrypter = new Decrypter();
    decrypter.addIdentity(identity);
    const { armor } = await import("age-encryption");
    const opened = await decrypter.decrypt(armor.decode(Buffer.from(keyFile).toString()));
    assert.ok(isOpenedKeyFile(opened));
    assert.equal((await openSignatoryKey(opened, { opened: true })).id, id);
  }
});

test("an identity given for a recipient is refused, and not repeated", async () => {
  const identity = await generateIdentity();
  await assert.rejects(newSignatoryKey(WHO, { recipient: identity }), refused("usage"));
  await assert.rejects(newSignatoryKey(WHO, { recipient: "age1nonsense" }), refused("usage"));
});

test("a card that was altered, or signed by another key than it shows, is refused", async () => {
  const { card } = await newSignatoryKey(WHO, SEAL);
  const { card: other } = await newSignatoryKey({ ...WHO, name: "Lu Xi" }, SEAL);
  const claimed = (one: Card) => ({ ...one, office: "Prime Minister" });
  assert.throws(() => readCard(altered(card, claimed)), refused("altered"));
  const stolen = { key: readCard(other).card.key };
  assert.throws(
    () => readCard(altered(card, (one) => ({ ...one, ...stolen }))),
    refused("untrusted"),
  );
  assert.throws(
    () => readCard(altered(card, (one) => ({ ...one, more: 1 }))),
    refused("malformed"),
  );
  assert.throws(() => readCard(utf8("{}")), refused("malformed"));
  const doubled = Buffer.from(card).toString().replace("{", '{"payloadType":"x",');
  assert.throws(() => readCard(utf8(doubled)), refused("malformed"));
});

test("a card says only what a charter can", async () => {
  for (const wrong of [
    { office: "Minister\u202e" },
    { name: "" },
    { jurisdiction: "Belize" },
    { until: "2030-02-30T00:00:00Z" },
  ]) {
    await assert.rejects(newSignatoryKey({ ...WHO, ...wrong }, SEAL), refused("usage"));
  }
});

test("seats are called by their offices, have deputies, and no person or key twice", async () => {
  const cardOf = async (name: string, office: string) => {
    const { card } = await newSignatoryKey({ ...WHO, name, office }, SEAL);
    return readCard(card);
  };
  const holder = await cardOf("Ana Sosa", "Député du Président");
  const deputy = await cardOf("Lu Xi", "Deputy");
  const third = await cardOf("Mari Tamm", "Député du Président");
  const seats = seatsOfCards([[holder, deputy], [third]], (name) => `person ${name}`);
  assert.deepEqual(
    seats.map(({ name, office, people }) => [name, office, people.map(({ person }) => person)]),
    [
      ["depute-du-president", "Député du Président", ["person Ana Sosa", "person Lu Xi"]],
      ["depute-du-president-2", "Député du Président", ["person Mari Tamm"]],
    ],
  );
  const twin = await cardOf("Ana Sosa", "Envoy");
  assert.throws(() => seatsOfCards([[holder], [twin]], (name) => name), refused("usage"));
  assert.throws(() => seatsOfCards([[holder], [holder]], (name) => name), refused("usage"));
});
