import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { GetObjectRetentionCommand, ListObjectVersionsCommand } from "@aws-sdk/client-s3";
import { type Ceph, cephMissing, startCeph } from "../../test/support/ceph.ts";
import { fakeS3, type Lie } from "../../test/support/fake-s3.ts";
import { configFor, newBucket, sdkFor } from "../../test/support/s3.ts";
import { isExclaveError } from "../errors.ts";
import { code, objectName, text } from "./conformance.ts";
import { probeS3 } from "./probe.ts";
import {
  brokenPromises,
  PROMISES,
  type ProbeReport,
  type PromiseName,
  requireTrustworthy,
} from "./probe-report.ts";
import { openS3Site } from "./s3.ts";

const missing = cephMissing();
const identity = { name: "kn", country: "KN", operator: "post", hazardZone: "KN" };

/** The names of the promises that were not held. */
function broken(report: ProbeReport): readonly PromiseName[] {
  return report.results.filter(({ held }) => !held).map(({ name }) => name);
}

describe("probing a real Ceph", { skip: missing ?? false }, () => {
  let ceph: Ceph;
  before(async () => {
    ceph = await startCeph();
  });
  after(() => ceph.stop());

  test("Ceph 16 holds what a site needs, and what it lacks is named", async (t) => {
    const config = await newBucket(t, ceph);
    const report = await probeS3(config);
    assert.deepEqual(brokenPromises(report), []);
    assert.equal(report.trustworthy, true);
    requireTrustworthy(report);
    // Later versions of Ceph do better; this one is what Debian 12 has.
    const lacks = report.results.filter(({ held }) => !held);
    assert.deepEqual(
      lacks.map(({ name, needed, detail }) => ({ name, needed, detail })),
      [
        { name: "wrong-checksum-refused", needed: false, detail: "it answered 200" },
        {
          name: "conditional-write",
          needed: false,
          detail: "ignored: both writes were taken",
        },
        { name: "multipart-locked", needed: false, detail: "stored without its lock" },
      ],
    );
    const seen = (name: PromiseName) => report.results.find((one) => one.name === name)?.detail;
    assert.equal(seen("locked-not-deleted"), "it answered 403 AccessDenied; it stays");
    assert.equal(seen("wrong-md5-refused"), "it answered 400 BadDigest");
    assert.equal(seen("old-request-refused"), "it answered 403 RequestTimeTooSkewed");

    // What the AWS SDK finds of it afterwards: one canary, locked for minutes, and nothing else.
    const sdk = sdkFor(ceph);
    t.after(() => sdk.destroy());
    const bucket = { Bucket: config.bucket };
    const { Versions = [], DeleteMarkers } = await sdk.send(new ListObjectVersionsCommand(bucket));
    assert.equal(DeleteMarkers, undefined);
    assert.equal(Versions.length, 1);
    const { Key, VersionId } = Versions[0]!;
    assert.match(Key ?? "", /^kn\/probe\/[0-9a-f]{32}$/);
    const { Retention } = await sdk.send(
      new GetObjectRetentionCommand({ ...bucket, Key, VersionId }),
    );
    const end = Retention?.RetainUntilDate?.getTime() ?? Number.POSITIVE_INFINITY;
    assert.ok(end < Date.now() + 10 * 60_000, "it can go soon");
  });

  test("a bucket without locks is found out", async (t) => {
    const config = await newBucket(t, ceph, { lock: false });
    const report = await probeS3(config);
    assert.equal(report.trustworthy, false);
    assert.ok(broken(report).includes("versions-kept"));
    assert.ok(broken(report).includes("locks-offered"));
    assert.ok(broken(report).includes("canary-stored"));
    assert.throws(() => requireTrustworthy(report), code("check-failed"));
  });
});

test("an engine that does as S3 should is trusted, and leaves a site no doubt", async (t) => {
  const { config } = await fakeS3(t);
  const report = await probeS3(config);
  assert.deepEqual(broken(report), []);
  assert.equal(report.trustworthy, true);
  assert.deepEqual(Object.keys(report), [
    "kind",
    "format",
    "endpoint",
    "region",
    "bucket",
    "prefix",
    "engine",
    "probedAt",
    "results",
    "trustworthy",
  ]);
  assert.deepEqual(
    report.results.map(({ name }) => name),
    Object.keys(PROMISES),
  );
  assert.deepEqual(JSON.parse(JSON.stringify(report)), report);
});

/** Which promises each lie breaks, and no others. */
const LIES: readonly (readonly [Lie, readonly PromiseName[]])[] = [
  [
    "deletes-locked-in-bulk",
    ["bulk-delete-refused", "lock-not-shortened", "lock-not-weakened", "lock-extended"],
  ],
  [
    "deletes-locked-with-bypass",
    [
      "bypass-refused",
      "bulk-delete-refused",
      "lock-not-shortened",
      "lock-not-weakened",
      "lock-extended",
    ],
  ],
  ["says-deleted-and-keeps", ["locked-not-deleted", "bypass-refused", "multipart-locked"]],
  ["shortens-locks", ["lock-not-shortened", "lock-not-weakened"]],
  ["weakens-locks", ["lock-not-weakened"]],
  ["keeps-locks-as-they-were", ["lock-extended"]],
  ["ignores-conditions", ["conditional-write"]],
  ["refuses-conditions", ["conditional-write"]],
  ["ignores-md5", ["wrong-md5-refused"]],
  ["ignores-checksums", ["wrong-checksum-refused"]],
  ["ignores-signatures", ["signature-checked", "old-request-refused", "wrong-hash-refused"]],
  ["lists-late", ["listed-at-once", "oldest-listed-last", "multipart-locked"]],
  ["lists-oldest-first", ["oldest-listed-last"]],
  ["ignores-ranges", ["range-read"]],
  ["clock-is-wrong", ["clock"]],
  ["parts-without-lock", ["multipart-locked"]],
];

for (const [lie, promises] of LIES) {
  test(`an engine that ${lie.replaceAll("-", " ")} is named for it`, async (t) => {
    const { config } = await fakeS3(t, [lie]);
    const report = await probeS3(config);
    assert.deepEqual(broken(report), promises);
    assert.equal(report.trustworthy, !promises.some((name) => PROMISES[name].needed));
    if (report.trustworthy) return requireTrustworthy(report);
    assert.throws(
      () => requireTrustworthy(report),
      (error) => {
        assert.ok(isExclaveError(error, "check-failed"));
        const named = promises.filter((name) => PROMISES[name].needed);
        return named.every((name) => error.message.includes(name));
      },
    );
  });
}

for (const [lie, promise] of [
  ["deletes-what-is-locked", "locked-not-deleted"],
  ["takes-no-lock", "lock-shown"],
  ["overwrites", "overwriting-keeps"],
  ["deletes-all-versions", "deleting-keeps"],
  ["stores-other-bytes", "read-back"],
] as const) {
  test(`an engine that ${lie.replaceAll("-", " ")} is not trusted`, async (t) => {
    const { config } = await fakeS3(t, [lie]);
    const report = await probeS3(config);
    assert.equal(report.trustworthy, false);
    assert.ok(broken(report).includes(promise), broken(report).join());
  });
}

test("one that takes the header of a lock and deletes all the same, ignores conditions and wrong checksums, is named for each", async (t) => {
  const { config } = await fakeS3(t, [
    "deletes-what-is-locked",
    "ignores-conditions",
    "ignores-md5",
    "ignores-checksums",
  ]);
  const report = await probeS3(config);
  assert.equal(report.trustworthy, false);
  for (const name of [
    "locked-not-deleted",
    "wrong-md5-refused",
    "wrong-checksum-refused",
    "conditional-write",
  ] as const) {
    assert.ok(broken(report).includes(name), name);
  }
  const [first] = brokenPromises(report);
  assert.match(
    first ?? "",
    /^locked-not-deleted \(a locked version cannot be deleted\): it answered 200; it is gone$/,
  );
});

test("canaries of earlier probes are cleared away when their locks have run out", async (t) => {
  const { config, versions } = await fakeS3(t);
  await probeS3(config);
  for (const [, stored] of versions) {
    for (const version of stored) {
      if (version.lock) version.lock.until = new Date(0).toISOString();
    }
  }
  const before = [...versions].filter(([, stored]) => stored.length > 0).map(([key]) => key);
  assert.ok(before.length > 0);
  await probeS3(config);
  for (const key of before) assert.deepEqual(versions.get(key), []);
});

test("a probe that cannot begin says why, and a lock too short for it is no proof", async (t) => {
  const nobody = { accessKeyId: "key", secretAccessKey: "secret", bucket: "bucket" };
  const down = await configFor(t, { ...nobody, endpoint: "http://127.0.0.1:1" });
  await assert.rejects(probeS3(down), code("site-unavailable"));
  const { config } = await fakeS3(t);
  const stranger = await configFor(t, { ...nobody, endpoint: config.endpoint });
  await assert.rejects(probeS3(stranger), code("site-unavailable"));
  const report = await probeS3(config, { lockSeconds: -1 });
  assert.equal(report.trustworthy, false);
});

test("a site does not confirm what an engine did not store", async (t) => {
  for (const lie of ["stores-other-bytes", "lists-late"] as const) {
    const { config } = await fakeS3(t, [lie]);
    const site = await openS3Site(config, identity);
    t.after(() => site.close());
    const put = site.put(objectName("shard", "x"), [text("these bytes")]);
    await assert.rejects(put, code("site-unavailable"), lie);
  }
});
