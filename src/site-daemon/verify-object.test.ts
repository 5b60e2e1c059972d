import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { shardsOf } from "../../test/support/shards.ts";
import { altered, tries } from "../../test/support/vault.ts";
import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { isExclaveError } from "../errors.ts";
import { code } from "../sites/conformance.ts";
import { parseId } from "../vault/identifiers.ts";
import { encodeManifest } from "../vault/manifest.ts";
import {
  bytesMaxOf,
  ledgerPath,
  requireName,
  ShardVerifier,
  verifyDocument,
} from "./verify-object.ts";

const STATE = "ab".repeat(32);
const OTHER = "cd".repeat(32);
const REGISTER = "11".repeat(16);
const shards = shardsOf({
  state: STATE,
  register: REGISTER,
  epoch: 7,
  k: 2,
  n: 3,
  packBytes: 100_000,
});
const { name, parts } = shards.next().value;
const shard = new Uint8Array(Buffer.concat(parts));
const ground = { state: STATE, known: undefined, logs: new Map() };

/** Verifies what comes in pieces of that size. */
function verify(bytes: Uint8Array, step = bytes.length, as = name, state = STATE): ShardVerifier {
  const verifier = new ShardVerifier(bytes, as, state);
  for (let filled = 0; filled < bytes.length; ) {
    filled = Math.min(bytes.length, filled + step);
    verifier.arrived(filled);
  }
  return verifier;
}

test("a shard verifies by its name, in whatever pieces it comes", () => {
  for (const step of [1, 100, 16_384, 65_536, shard.length]) {
    const { dispersal, index } = verify(shard, step).finish();
    assert.deepEqual([dispersal.register, dispersal.epoch, index], [REGISTER, 7, 0]);
  }
});

test("no byte of a shard can be another, and none be missing or too many", () => {
  fc.assert(
    fc.property(fc.nat(shard.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      assert.throws(
        () => verify(altered(shard, at, mask), 16_384).finish(),
        (error) =>
          isExclaveError(error, "altered") ||
          isExclaveError(error, "malformed") ||
          isExclaveError(error, "refused"),
      );
    }),
    tries(300),
  );
  const longer = new Uint8Array(shard.length + 16_384);
  longer.set(shard);
  for (const bytes of [
    shard.slice(0, -1),
    shard.slice(0, 200),
    shard.slice(0, 100),
    new Uint8Array(),
    longer,
  ]) {
    assert.throws(
      () => verify(bytes, 1000).finish(),
      (error) => isExclaveError(error, "altered") || isExclaveError(error, "malformed"),
      `${bytes.length} bytes`,
    );
  }
  assert.throws(() => new ShardVerifier(shard, name, STATE).finish(), code("altered"));
  assert.throws(() => verify(shard, 16_384, name.replace(".00", ".01")), code("altered"));
  assert.throws(() => verify(shard, 16_384, name, OTHER), code("refused"));
});

test("a wrong shard is found out at its first wrong block, and one that may not come at its front", () => {
  const wrong = altered(shard, shard.length - 20_000, 1);
  const verifier = new ShardVerifier(wrong, name, STATE);
  verifier.arrived(shard.length - 40_000);
  assert.throws(() => verifier.arrived(shard.length - 1), code("altered"));
  const asked: string[] = [];
  const judged = new ShardVerifier(shard, name, STATE, ({ dispersal }) => {
    asked.push(dispersal.register);
  });
  judged.arrived(136);
  judged.arrived(2000);
  judged.arrived(shard.length);
  assert.deepEqual(asked, [REGISTER], "it is asked once, before the body is there");
});

test("documents are what their names say", () => {
  const bytes = Buffer.from("a paper");
  const digest = toHex(sha256(bytes));
  verifyDocument("charter", `charter/${digest}`, bytes, ground);
  assert.throws(
    () => verifyDocument("charter", `charter/${"ab".repeat(32)}`, bytes, ground),
    code("altered"),
  );
  const context = {
    state: parseId("StateId", STATE),
    register: parseId("RegisterId", REGISTER),
    epoch: 1,
  };
  const manifest = encodeManifest(context, []);
  const its = `manifest/${toHex(sha256(manifest))}`;
  verifyDocument("manifest", its, manifest, ground);
  assert.throws(
    () => verifyDocument("manifest", its, manifest, { ...ground, state: OTHER }),
    code("refused"),
  );
  assert.throws(
    () => verifyDocument("statement", `statement/${digest}`, bytes, ground),
    code("refused"),
  );
});

test("names are those of the format, and every other is none", () => {
  const digest = "ab".repeat(32);
  for (const good of [
    `shard/${digest}.31`,
    `charter/${digest}`,
    "ledger/1f2e3d4c.tile.0.000.p.4",
    "ledger/1f2e3d4c.tile.entries.x001.234",
    `checkpoint/1f2e3d4c.12.${"0".repeat(16)}`,
  ]) {
    assert.ok(requireName(good));
  }
  for (const bad of [
    `shard/${digest}`,
    `shard/${digest}.32`,
    `charter/${digest}.00`,
    `charter/${digest.slice(1)}`,
    "ledger/1f2e3d4c.tile.0.000.p.0",
    "ledger/1f2e3d4c.tile.0.x000.001",
    "ledger/1f2e3d4c.checkpoint",
    `checkpoint/1f2e3d4c.012.${"0".repeat(16)}`,
    `checkpoint/1f2e3d4c.${"9".repeat(17)}.${"0".repeat(16)}`,
  ]) {
    assert.throws(() => requireName(bad), code("malformed"), bad);
  }
  assert.equal(ledgerPath("1f2e3d4c.tile.entries.x001.234.p.5"), "tile/entries/x001/234.p/5");
  assert.ok(bytesMaxOf("shard") > 64 * 1024 * 1024);
});

test("a file of the ledger is a tile of its width, or a bundle of so many entries", () => {
  const tile = "ledger/1f2e3d4c.tile.0.000.p.4";
  verifyDocument("ledger", tile, new Uint8Array(128), ground);
  assert.throws(
    () => verifyDocument("ledger", tile, new Uint8Array(127), ground),
    code("malformed"),
  );
  const bundle = "ledger/1f2e3d4c.tile.entries.000.p.1";
  verifyDocument("ledger", bundle, Uint8Array.of(0, 1, 65), ground);
  assert.throws(
    () => verifyDocument("ledger", bundle, Uint8Array.of(0, 2, 65), ground),
    code("malformed"),
  );
});
