/**
 * A site on a Ceph of three disks, one of which dies while objects are being written. What was confirmed
 * is there afterwards, and what was not confirmed is whole or absent.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { isExclaveError } from "../src/errors.ts";
import { listed } from "../src/sites/conformance.ts";
import { retrying } from "../src/sites/retry.ts";
import { openS3Site } from "../src/sites/s3.ts";
import { cephMissing, startCeph } from "./support/ceph.ts";
import { newBucket } from "./support/s3.ts";

const OBJECTS = process.env.SLOW ? 2000 : 150;
/** Objects confirmed before the disk dies; the rest is written while it dies and afterwards. */
const BEFORE = 50;
const WRITERS = 8;
const OBJECT_BYTES = 64 * 1024;
const identity = { name: "kn", country: "KN", operator: "post", hazardZone: "KN" };

const missing = cephMissing();

test("a disk that dies under load takes nothing with it that was confirmed", {
  skip: missing ?? false,
}, async (t) => {
  const ceph = await startCeph({ osds: 3 });
  t.after(() => ceph.stop());
  const config = await newBucket(t, ceph);
  const engine = await openS3Site(config, identity);
  t.after(() => engine.close());
  const site = retrying(engine, { attemptsMax: 5, firstDelayMs: 200 });

  const contents = Array.from({ length: OBJECTS }, (_, i) =>
    Buffer.alloc(OBJECT_BYTES, `${i} and so on, `),
  );
  const nameOf = (bytes: Uint8Array): string =>
    `shard/${createHash("sha256").update(bytes).digest("hex")}`;
  const confirmed = new Map<string, Buffer>();
  const waiting = [...contents];
  let died: Promise<void> | undefined;
  await Promise.all(
    Array.from({ length: WRITERS }, async () => {
      for (let bytes = waiting.pop(); bytes; bytes = waiting.pop()) {
        if (confirmed.size >= BEFORE) died ??= ceph.killOsd(1);
        try {
          await site.put(nameOf(bytes), [bytes]);
          confirmed.set(nameOf(bytes), bytes);
        } catch (error) {
          if (!isExclaveError(error, "site-unavailable")) throw error;
        }
      }
    }),
  );
  assert.ok(died, "a disk died");
  await died;
  t.diagnostic(`${confirmed.size} of ${OBJECTS} puts were confirmed`);
  assert.ok(confirmed.size > BEFORE, "writing went on with two disks");

  const again = await openS3Site(config, identity);
  t.after(() => again.close());
  const found = await listed(again, "shard");
  for (const [name, bytes] of confirmed) {
    assert.ok(found.includes(name), `${name} is listed`);
    const into = Buffer.alloc(OBJECT_BYTES + 1);
    assert.equal(await again.read(name, 0, into), OBJECT_BYTES);
    assert.ok(into.subarray(0, OBJECT_BYTES).equals(bytes));
    assert.ok(await again.retainedUntil(name), "its lock is there as well");
  }
  for (const bytes of contents.filter((one) => !confirmed.has(nameOf(one)))) {
    const into = Buffer.alloc(OBJECT_BYTES + 1);
    if ((await again.stat(nameOf(bytes))) === undefined) continue;
    assert.equal(await again.read(nameOf(bytes), 0, into), OBJECT_BYTES);
    assert.ok(into.subarray(0, OBJECT_BYTES).equals(bytes), "whole, if it is there at all");
  }
  for (const bytes of contents) await again.put(nameOf(bytes), [bytes]);
  assert.equal((await listed(again, "shard")).length, OBJECTS);
});
