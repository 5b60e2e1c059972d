import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import {
  generateHybridIdentity,
  generateX25519Identity,
  identityToRecipient,
} from "age-encryption";
import { utf8 } from "../crypto/bytes.ts";
import { isExclaveError } from "../errors.ts";
import { checkRecipient, openWithIdentity, sealToRecipient } from "./age-recipient.ts";

const identity = await generateHybridIdentity();
const recipient = await identityToRecipient(identity);
const contents = utf8("contents");
const armored = await sealToRecipient(contents, recipient);

test("what is sealed to a recipient opens with its identity, pasted with spaces around or not", async () => {
  assert.deepEqual(await openWithIdentity(armored, identity), contents);
  assert.deepEqual(await openWithIdentity(armored, ` ${identity}\n`), contents);
  assert.match(armored, /^-----BEGIN AGE ENCRYPTED FILE-----\n/);
});

test("only post-quantum recipients are taken, and whole ones", async () => {
  const old = await identityToRecipient(await generateX25519Identity());
  await assert.rejects(checkRecipient(old), { code: "usage", message: /post-quantum/ });
  await assert.rejects(sealToRecipient(contents, old), { code: "usage" });
  const at = recipient.length - 20;
  const slip =
    recipient.slice(0, at) + (recipient[at] === "q" ? "p" : "q") + recipient.slice(at + 1);
  for (const bad of ["", "age", "age1pq1", recipient.slice(1), recipient.slice(0, -1), slip]) {
    await assert.rejects(checkRecipient(bad), { code: "usage", message: /no age recipient/ });
  }
  await assert.rejects(checkRecipient(`age1pq1${"q".repeat(10_000)}`), { code: "usage" });
  await checkRecipient(recipient);
});

test("an identity given for a recipient is not in the message", async () => {
  await assert.rejects(checkRecipient(identity), (error) => {
    assert.ok(isExclaveError(error, "usage"));
    assert.equal(error.cause, undefined);
    return !error.message.includes(identity);
  });
});

test("another identity, another kind and no identity are told, and not quoted", async () => {
  const other = await generateHybridIdentity();
  const old = await generateX25519Identity();
  for (const [bad, why] of [
    [other, /does not open this kit/],
    [old, /what was typed is none/],
    ["hunter2 hunter2", /what was typed is none/],
    [`${identity}q`, /what was typed is none/],
    ["", /what was typed is none/],
  ] as const) {
    await assert.rejects(openWithIdentity(armored, bad), (error) => {
      assert.ok(isExclaveError(error, "wrong-passphrase"));
      assert.match(error.message, why);
      return bad === "" || !inspect(error).includes(bad);
    });
  }
});

test("damage is told apart from another identity", async () => {
  const at = armored.length - 60;
  const damaged = armored.slice(0, at) + (armored[at] === "A" ? "B" : "A") + armored.slice(at + 1);
  await assert.rejects(openWithIdentity(damaged, identity), { code: "bad-key" });
  await assert.rejects(openWithIdentity(armored.slice(0, 300), identity), { code: "bad-key" });
  await assert.rejects(openWithIdentity("", identity), { code: "bad-key" });
});
