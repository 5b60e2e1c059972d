import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { chmod, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { after, before, describe, type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import {
  DeleteObjectCommand,
  GetObjectCommand,
  GetObjectRetentionCommand,
  ListObjectVersionsCommand,
  PutObjectCommand,
  PutObjectRetentionCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { type Ceph, cephMissing, startCeph } from "../../test/support/ceph.ts";
import { fakeS3 } from "../../test/support/fake-s3.ts";
import { configFor, forwardingTo, newBucket, sdkFor, serve } from "../../test/support/s3.ts";
import { isExclaveError } from "../errors.ts";
import { selfSignedCertificate } from "../site-daemon/tls.ts";
import {
  code,
  listed,
  objectName,
  readText,
  type SubjectSite,
  testSite,
  text,
} from "./conformance.ts";
import { retrying } from "./retry.ts";
import { openS3Site, type S3Site, type S3SiteOptions } from "./s3.ts";
import type { S3Config } from "./s3-config.ts";
import { openS3SiteFile } from "./s3-file.ts";

const identity = { name: "kn", country: "KN", operator: "post", hazardZone: "KN" };
const LOCK_SECONDS = 3600;
const missing = cephMissing();

/** A name that its bytes must hash to, as a shard's does. */
const hashed = (bytes: Uint8Array): string =>
  `shard/${createHash("sha256").update(bytes).digest("hex")}`;
const verify = (name: string, bytes: Uint8Array): boolean => name === hashed(bytes);

describe("sites on a real Ceph", { skip: missing ?? false }, () => {
  let ceph: Ceph;
  let sdk: S3Client;
  before(async () => {
    ceph = await startCeph();
    sdk = sdkFor(ceph);
  });
  after(async () => {
    sdk.destroy();
    await ceph.stop();
  });

  async function open(
    t: TestContext,
    config: S3Config,
    options: S3SiteOptions = {},
  ): Promise<S3Site> {
    const site = await openS3Site(config, identity, { firstLockSeconds: LOCK_SECONDS, ...options });
    t.after(() => site.close());
    return site;
  }

  async function subject(t: TestContext, options: S3SiteOptions): Promise<SubjectSite> {
    const config = await newBucket(t, ceph, options);
    const reopen = (): Promise<S3Site> => open(t, config, options);
    return { site: await reopen(), reopen };
  }

  testSite("a site in a bucket with locks", (t) => subject(t, {}));
  testSite("a site in a bucket without versions, listed in small pages", (t) =>
    subject(t, { lock: false, pageKeysMax: 50 }),
  );

  /** A site in a new bucket with one object in it, and that object as the SDK sees it. */
  async function withObject(t: TestContext, options: S3SiteOptions = {}) {
    const config = await newBucket(t, ceph);
    const site = await open(t, config, options);
    const bytes = text("the right bytes");
    const name = hashed(bytes);
    await site.put(name, [bytes]);
    const digest = name.slice("shard/".length);
    const at = { Bucket: config.bucket, Key: `kn/shard/${digest.slice(0, 2)}/${digest}` };
    return { config, site, name, bytes, at };
  }

  test("another S3 client finds the bytes, their version and their lock", async (t) => {
    const { site, name, bytes, at } = await withObject(t);
    const { Versions = [], DeleteMarkers } = await sdk.send(
      new ListObjectVersionsCommand({ Bucket: at.Bucket }),
    );
    assert.equal(DeleteMarkers, undefined);
    assert.deepEqual(
      Versions.map(({ Key, VersionId, Size, ETag }) => ({ Key, VersionId, Size, ETag })),
      [
        {
          Key: at.Key,
          VersionId: (await site.versions(name))[0]?.versionId,
          Size: bytes.length,
          ETag: `"${createHash("md5").update(bytes).digest("hex")}"`,
        },
      ],
    );
    const got = await sdk.send(new GetObjectCommand(at));
    assert.equal(await got.Body?.transformToString(), bytes.toString());
    assert.equal(got.ObjectLockMode, "COMPLIANCE");
    assert.deepEqual(got.ObjectLockRetainUntilDate, await site.retainedUntil(name));
    const lock = { ...at, VersionId: Versions[0]?.VersionId };
    await assert.rejects(sdk.send(new DeleteObjectCommand(lock)), { name: "AccessDenied" });
    await assert.rejects(
      sdk.send(new DeleteObjectCommand({ ...lock, BypassGovernanceRetention: true })),
      { name: "AccessDenied" },
    );
  });

  test("what another S3 client stored with a lock is read", async (t) => {
    const { site, at } = await withObject(t);
    const bytes = text("by the SDK");
    const name = hashed(bytes);
    const digest = name.slice("shard/".length);
    const key = `kn/shard/${digest.slice(0, 2)}/${digest}`;
    await sdk.send(new PutObjectCommand({ Bucket: at.Bucket, Key: key, Body: bytes }));
    assert.equal(await readText(site, name, 64), "by the SDK");
    assert.ok((await listed(site, "shard")).includes(name));
    assert.equal(await site.retainedUntil(name), undefined);
    await site.put(name, [bytes]);
    assert.equal((await site.versions(name)).length, 1);
    assert.ok(await site.retainedUntil(name), "putting it again locks it");
  });

  test("a delete marker hides nothing", async (t) => {
    const { config, site, name, bytes, at } = await withObject(t);
    const { DeleteMarker } = await sdk.send(new DeleteObjectCommand(at));
    assert.equal(DeleteMarker, true);
    await assert.rejects(sdk.send(new GetObjectCommand(at)), { name: "NoSuchKey" });
    for (const one of [site, await open(t, config)]) {
      assert.equal(await readText(one, name, 64), bytes.toString());
      assert.deepEqual(await one.stat(name), { name, bytes: bytes.length });
      assert.deepEqual(await listed(one, "shard"), [name]);
      await one.put(name, [bytes]);
      await assert.rejects(one.put(name, [text("others")]), code("exists"));
    }
    assert.equal((await site.versions(name)).length, 1, "nothing was stored again");
  });

  test("keys that strangers left, of any characters, do not get into a listing's way", async (t) => {
    const { config, name, at } = await withObject(t);
    const folder = "kn/shard/00/";
    const odd = ["\u0001", "&amp;", "%41", "a+b c", "é<]]>", '"', "zz", "../x", "�"];
    for (const rest of odd) {
      await sdk.send(new PutObjectCommand({ Bucket: at.Bucket, Key: folder + rest, Body: "x" }));
    }
    for (const pageKeysMax of [1, 2, 1000]) {
      const site = await open(t, config, { pageKeysMax });
      assert.deepEqual(await listed(site, "shard"), [name]);
    }
  });

  test("an object that has only a delete marker is none", async (t) => {
    const { site, at } = await withObject(t);
    const name = objectName("shard", "never");
    const digest = name.slice("shard/".length);
    const key = `kn/shard/${digest.slice(0, 2)}/${digest}`;
    await sdk.send(new DeleteObjectCommand({ Bucket: at.Bucket, Key: key }));
    assert.equal(await site.stat(name), undefined);
    await assert.rejects(site.read(name, 0, new Uint8Array(1)), code("not-found"));
    assert.ok(!(await listed(site, "shard")).includes(name));
    await site.put(name, [text("now")]);
    assert.equal(await readText(site, name, 64), "now");
  });

  for (const [how, options] of [
    ["the oldest", {}],
    ["the one that verifies", { verify }],
  ] as const) {
    test(`of versions that others put above it, readers take ${how}`, async (t) => {
      const { config, site, name, bytes, at } = await withObject(t, options);
      for (let i = 0; i < 40; i++) {
        await sdk.send(new PutObjectCommand({ ...at, Body: `forged ${i}` }));
      }
      for (const one of [site, await open(t, config, { ...options, pageKeysMax: 7 })]) {
        assert.equal(await readText(one, name, 64), bytes.toString());
        assert.equal((await one.stat(name))?.bytes, bytes.length);
        assert.deepEqual(await listed(one, "shard"), [name]);
        await one.put(name, [bytes]);
      }
    });
  }

  test("who was there first with wrong bytes is overruled by who can verify, and by nobody else", async (t) => {
    const { config, at } = await withObject(t);
    const bytes = text("what the name stands for");
    const name = hashed(bytes);
    const digest = name.slice("shard/".length);
    const key = `kn/shard/${digest.slice(0, 2)}/${digest}`;
    await sdk.send(new PutObjectCommand({ Bucket: at.Bucket, Key: key, Body: "poison" }));
    const blind = await open(t, config);
    await assert.rejects(blind.put(name, [bytes]), code("exists"));
    const seeing = await open(t, config, { verify });
    await assert.rejects(seeing.put(name, [text("more poison")]), code("exists"));
    await seeing.put(name, [bytes]);
    for (const one of [seeing, await open(t, config, { verify })]) {
      assert.equal(await readText(one, name, 64), bytes.toString());
      assert.equal((await one.stat(name))?.bytes, bytes.length);
      await one.put(name, [bytes]);
    }
    assert.equal((await seeing.versions(name)).length, 2);
    assert.ok(await seeing.retainedUntil(name), "the right one is locked");
  });

  test("a lock is extended, and never shortened", async (t) => {
    const { site, name, at } = await withObject(t);
    const first = await site.retainedUntil(name);
    assert.ok(first && first.getTime() > Date.now());
    const later = new Date(Math.ceil(Date.now() / 1000) * 1000 + 2 * LOCK_SECONDS * 1000);
    await site.extend(name, later);
    await site.extend(name, first);
    assert.deepEqual(await site.retainedUntil(name), later);
    const lock = { ...at, VersionId: (await site.versions(name))[0]?.versionId };
    const { Retention } = await sdk.send(new GetObjectRetentionCommand(lock));
    assert.deepEqual(Retention, { Mode: "COMPLIANCE", RetainUntilDate: later });
    await assert.rejects(
      sdk.send(
        new PutObjectRetentionCommand({
          ...lock,
          Retention: { Mode: "COMPLIANCE", RetainUntilDate: first },
        }),
      ),
      { name: "AccessDenied" },
    );
    await assert.rejects(site.extend(objectName("shard", "absent"), later), code("not-found"));
  });

  test("what is destroyed goes when its locks have run out, and not before", async (t) => {
    const config = await newBucket(t, ceph);
    const site = await openS3Site(config, identity, { firstLockSeconds: 4 });
    t.after(() => site.close());
    const [doomed, kept] = [objectName("shard", "doomed"), objectName("shard", "kept")];
    for (const name of [doomed, kept]) await site.put(name, [text(name)]);
    await assert.rejects(site.destroy(doomed), code("refused"));
    assert.equal(await readText(site, doomed, 200), doomed);
    const until = await site.retainedUntil(doomed);
    assert.ok(until);
    // The engine's own clock decides, so that is what is waited for.
    await delay(until.getTime() - Date.now() + 1000);
    await site.destroy(doomed);
    await site.destroy(doomed);
    assert.equal(await site.stat(doomed), undefined);
    assert.deepEqual(await listed(site, "shard"), [kept]);
  });

  test("a bucket without locks is opened only when that is asked for, and says so", async (t) => {
    const config = await newBucket(t, ceph, { lock: false });
    await assert.rejects(open(t, config), code("site-unavailable"));
    const site = await open(t, config, { lock: false });
    assert.equal(site.locks, false);
    const name = objectName("shard", "loose");
    await site.put(name, [text("loose")]);
    assert.equal(await site.retainedUntil(name), undefined);
    await assert.rejects(site.extend(name, new Date()), code("refused"));
  });

  test("credentials that the engine does not know are told apart, and never shown", async (t) => {
    const { config } = await withObject(t);
    const secretAccessKey = "not-the-secret-of-anybody";
    for (const [credentials, said] of [
      [{ accessKeyId: "nobody", secretAccessKey }, /does not know the access key/],
      [{ accessKeyId: ceph.accessKeyId, secretAccessKey }, /secret key .* is not the one/],
    ] as const) {
      const wrong = await configFor(t, { ...ceph, ...credentials, bucket: config.bucket });
      await assert.rejects(open(t, wrong), (error) => {
        assert.ok(isExclaveError(error, "site-unavailable"));
        assert.match(error.message, said);
        assert.doesNotMatch(`${error.message} ${String(error.cause)}`, /not-the-secret/);
        return true;
      });
    }
  });

  test("a bucket that is not there is a site that is gone", async (t) => {
    const { config } = await withObject(t);
    await assert.rejects(open(t, { ...config, bucket: "no-such" }), code("site-unavailable"));
  });

  test("buckets that are hosts are reached", async (t) => {
    const { config, name, bytes } = await withObject(t);
    const { port } = new URL(ceph.endpoint);
    const asked: string[] = [];
    const site = await open(
      t,
      { ...config, endpoint: `http://${ceph.domain}:${port}`, pathStyle: false },
      {
        lookup: (host, { all }, done) => {
          asked.push(host);
          if (all) done(null, [{ address: "127.0.0.1", family: 4 }]);
          else done(null, "127.0.0.1", 4);
        },
      },
    );
    assert.equal(await readText(site, name, 64), bytes.toString());
    const other = objectName("manifest", "by host");
    await site.put(other, [text("by host")]);
    assert.equal(await readText(await open(t, config), other, 64), "by host");
    assert.ok(asked.length > 0 && asked.every((host) => host === `${config.bucket}.localhost`));
  });

  test("over TLS only the given authority is believed", async (t) => {
    const { config, name, bytes } = await withObject(t);
    const made = await selfSignedCertificate({ name: "localhost", days: 1, now: new Date() });
    const tls = { key: made.keyPem, cert: made.certificatePem };
    const endpoint = await serve(t, forwardingTo(ceph.endpoint), tls);
    await assert.rejects(open(t, { ...config, endpoint }), (error) => {
      assert.ok(isExclaveError(error, "site-unavailable"));
      assert.match(error.message, /certificate that is not believed/);
      return true;
    });
    const caFile = join(dirname(config.credentialsFile), "ca.pem");
    await writeFile(caFile, made.certificatePem);
    const site = await open(t, { ...config, endpoint, caFile });
    assert.equal(await readText(site, name, 64), bytes.toString());
  });

  test("a put whose answer is lost took effect, and is put again without harm", async (t) => {
    const config = await newBucket(t, ceph);
    let losses = 1;
    const loses = ({ method }: { method?: string | undefined }): boolean =>
      method === "PUT" && losses-- > 0;
    const endpoint = await serve(t, forwardingTo(ceph.endpoint, { loses }));
    const site = await open(t, { ...config, endpoint });
    const name = objectName("shard", "lost answer");
    await assert.rejects(site.put(name, [text("took effect")]), code("site-unavailable"));
    assert.equal(await readText(site, name, 64), "took effect");
    await site.put(name, [text("took effect")]);
    assert.equal((await site.versions(name)).length, 1);

    losses = 1;
    const again = objectName("shard", "lost answer again");
    await retrying(site, { attemptsMax: 2, firstDelayMs: 1 }).put(again, [text("took effect")]);
    assert.equal((await site.versions(again)).length, 1);
    losses = 1;
    const contested = objectName("shard", "contested");
    await assert.rejects(site.put(contested, [text("first")]), code("site-unavailable"));
    await assert.rejects(site.put(contested, [text("second")]), code("exists"));
  });

  test("a put that is cut off in the middle leaves nothing, and is put again", async (t) => {
    const config = await newBucket(t, ceph);
    let cut = 1;
    const cuts = ({ method }: { method?: string | undefined }): boolean =>
      method === "PUT" && cut-- > 0;
    const endpoint = await serve(t, forwardingTo(ceph.endpoint, { cuts }));
    const site = await open(t, { ...config, endpoint });
    const bytes = Buffer.alloc(3_000_000, "half of this arrives");
    await assert.rejects(site.put(hashed(bytes), [bytes]), code("site-unavailable"));
    assert.equal(await site.stat(hashed(bytes)), undefined);
    assert.deepEqual(await listed(site, "shard"), []);
    await site.put(hashed(bytes), [bytes]);
    assert.deepEqual(await site.stat(hashed(bytes)), { name: hashed(bytes), bytes: bytes.length });
  });

  test("bytes that change on the way are not stored", async (t) => {
    const config = await newBucket(t, ceph);
    const alters = (body: Buffer): Buffer => {
      if (body.includes("payload")) body.writeUInt8(0x21, body.length - 1);
      return body;
    };
    const endpoint = await serve(t, forwardingTo(ceph.endpoint, { alters }));
    const site = await open(t, { ...config, endpoint });
    const name = objectName("shard", "altered");
    await assert.rejects(site.put(name, [text("payload")]), code("site-unavailable"));
    assert.equal(await site.stat(name), undefined);
  });

  test("parts may lie in memory that workers share", async (t) => {
    const { site } = await withObject(t);
    const memory = new Uint8Array(new SharedArrayBuffer(200_000)).fill(7);
    const name = objectName("shard", "shared memory");
    await site.put(name, [memory.subarray(0, 70_000), memory.subarray(70_000)]);
    await site.put(name, [memory]);
    const into = new Uint8Array(new SharedArrayBuffer(200_001));
    assert.equal(await site.read(name, 0, into), 200_000);
    assert.deepEqual(into.subarray(0, 200_000), memory);
  });

  test("a file describes the site, with paths from where it lies", async (t) => {
    const { config, name, bytes } = await withObject(t);
    const { credentialsFile, ...settings } = config;
    const file = join(dirname(credentialsFile), "s3.json");
    await writeFile(file, JSON.stringify({ ...settings, credentialsFile: "credentials.json" }));
    const site = await openS3SiteFile(file, identity);
    t.after(() => site.close());
    assert.equal(await readText(site, name, 64), bytes.toString());
    await writeFile(file, JSON.stringify({ ...settings, credentialsFile, secretAccessKey: "x" }));
    await assert.rejects(openS3SiteFile(file, identity), code("usage"));
  });

  test("a gateway that went away and came back is used again", async (t) => {
    const { site, name, bytes } = await withObject(t);
    await ceph.stopGateway();
    await assert.rejects(site.stat(name), code("site-unavailable"));
    await assert.rejects(site.put(name, [bytes]), code("site-unavailable"));
    await assert.rejects(listed(site, "shard"), code("site-unavailable"));
    await ceph.startGateway();
    assert.equal(await readText(site, name, 64), bytes.toString());
  });
});

test("of several versions none of which verifies yet, the choice is made anew each time", async (t) => {
  const { config } = await fakeS3(t);
  const name = objectName("ledger", "a tile that grows");
  let right = text("old tile");
  const site = await openS3Site(config, identity, {
    verify: (_, bytes) => Buffer.compare(bytes, right) === 0,
  });
  t.after(() => site.close());
  await site.put(name, [right]);
  right = text("new tile");
  await site.put(name, [right]);
  assert.equal(await readText(site, name, 64), "new tile");
  right = text("unheard of");
  assert.deepEqual(await site.stat(name), { name, bytes: 8 });
  assert.equal(await readText(site, name, 64), "old tile");
  right = text("new tile");
  assert.equal(await readText(site, name, 64), "new tile");
});

for (const [engine, lies] of [
  ["that does as AWS does", []],
  ["that does not know conditional writes", ["refuses-conditions"]],
  ["that ignores conditions, as Ceph 16 does", ["ignores-conditions"]],
] as const) {
  testSite(`a site on an engine in memory ${engine}`, async (t) => {
    const { config } = await fakeS3(t, lies);
    const reopen = async (): Promise<S3Site> => {
      const site = await openS3Site(config, identity);
      t.after(() => site.close());
      return site;
    };
    return { site: await reopen(), reopen };
  });
}

const AT = { accessKeyId: "key", secretAccessKey: "secret", bucket: "bucket" };

test("a credentials file that others may read, or of another form, is refused", async (t) => {
  const config = await configFor(t, { ...AT, endpoint: "http://127.0.0.1:1" });
  await chmod(config.credentialsFile, 0o640);
  if (process.platform !== "win32") {
    await assert.rejects(openS3Site(config, identity), code("usage"));
  }
  await chmod(config.credentialsFile, 0o600);
  for (const wrong of [
    "",
    "{}",
    '{"accessKeyId":"a"}',
    "x".repeat(10_000),
    '{"secret":"s3cr3t"}',
  ]) {
    await writeFile(config.credentialsFile, wrong);
    await assert.rejects(openS3Site(config, identity), (error) => {
      assert.ok(isExclaveError(error, "usage"));
      return !`${error.message} ${String(error.cause)}`.includes("s3cr3t");
    });
  }
  const absent = { ...config, credentialsFile: `${config.credentialsFile}.absent` };
  await assert.rejects(openS3Site(absent, identity), code("usage"));
});

test("settings that could sign or ask for something else are refused", async (t) => {
  const config = await configFor(t, { ...AT, endpoint: "http://127.0.0.1:1" });
  for (const wrong of [
    { endpoint: "127.0.0.1" },
    { endpoint: "ftp://127.0.0.1" },
    { endpoint: "http://127.0.0.1/path" },
    { endpoint: "http://user:password@127.0.0.1" },
    { bucket: "../other" },
    { bucket: "Bucket" },
    { prefix: "no-slash" },
    { prefix: "/kn/" },
    { prefix: "../" },
    { prefix: "a b/" },
    { region: "" },
    { pathStyle: false },
    { pathStyle: false, endpoint: "http://[::1]:7480" },
  ]) {
    const shown = JSON.stringify(wrong);
    await assert.rejects(openS3Site({ ...config, ...wrong }, identity), code("usage"), shown);
  }
});

test("an engine that is down, silent or no S3 is a site that is unavailable", async (t) => {
  const down = await configFor(t, { ...AT, endpoint: "http://127.0.0.1:1" });
  await assert.rejects(openS3Site(down, identity), code("site-unavailable"));

  const silent = createServer(() => undefined);
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  t.after(() => silent.close());
  const address = silent.address();
  assert.ok(address && typeof address === "object");
  const endpoint = `http://127.0.0.1:${address.port}`;
  const config = await configFor(t, { ...AT, endpoint });
  const impatient = openS3Site(config, identity, { silenceMs: 50 });
  await assert.rejects(impatient, code("site-unavailable"));

  const stop = new AbortController();
  const asking = openS3Site(config, identity, { signal: stop.signal });
  const refused = assert.rejects(asking, code("interrupted"));
  await once(silent, "connection");
  stop.abort();
  await refused;

  const page = await serve(t, (_, response) => response.end("<html><body>Welcome"));
  const web = await configFor(t, { ...AT, endpoint: page });
  await assert.rejects(openS3Site(web, identity), code("site-unavailable"));
});

test("what an engine answers is told as what it means for a site", async (t) => {
  const errorBody = (name: string): string =>
    `<?xml version="1.0"?><Error><Code>${name}</Code><Message>m</Message></Error>`;
  let answer = { status: 200, body: "<VersioningConfiguration/>" };
  const endpoint = await serve(t, (request, response) => {
    request.resume();
    response.writeHead(answer.status).end(answer.body);
  });
  const config = await configFor(t, { ...AT, endpoint });
  const site = await openS3Site(config, identity, { lock: false });
  t.after(() => site.close());
  for (const [status, body, meaning] of [
    [500, "", "site-unavailable"],
    [503, errorBody("SlowDown"), "site-unavailable"],
    [429, errorBody("TooManyRequests"), "site-unavailable"],
    [403, errorBody("AccessDenied"), "site-unavailable"],
    [403, errorBody("QuotaExceeded"), "disk-full"],
    [507, "", "disk-full"],
    [404, errorBody("NoSuchBucket"), "site-unavailable"],
    [301, errorBody("PermanentRedirect"), "site-unavailable"],
    [200, "not XML", "site-unavailable"],
    [200, `<ListVersionsResult>${"<x>".repeat(1000)}`, "site-unavailable"],
    [200, "x".repeat(8 * 1024 * 1024), "site-unavailable"],
  ] as const) {
    answer = { status, body };
    const shown = `${status} ${body.slice(0, 80)}`;
    const name = objectName("shard", "x");
    await assert.rejects(site.stat(name), code(meaning), shown);
    await assert.rejects(site.put(name, [text("x")]), code(meaning), shown);
    await assert.rejects(site.read(name, 0, new Uint8Array(1)), code(meaning), shown);
    await assert.rejects(listed(site, "shard"), code(meaning), shown);
  }
});

test("a listing without an end is given up", async (t) => {
  const endpoint = await serve(t, (request, response) => {
    request.resume();
    const again = `<IsTruncated>true</IsTruncated><NextKeyMarker>a</NextKeyMarker>`;
    const isList = request.url?.includes("versions=");
    response.end(
      isList ? `<ListVersionsResult>${again}</ListVersionsResult>` : "<VersioningConfiguration/>",
    );
  });
  const config = await configFor(t, { ...AT, endpoint });
  const site = await openS3Site(config, identity, { lock: false });
  t.after(() => site.close());
  await assert.rejects(listed(site, "shard"), code("site-unavailable"));
  await assert.rejects(site.stat(objectName("shard", "x")), code("site-unavailable"));
});

test("a listing of nothing but what is no object is given up", async (t) => {
  let pages = 0;
  const rest = `<Size>1</Size><ETag>"${"0".repeat(32)}"</ETag><LastModified>2026-01-05T10:00:00.000Z</LastModified>`;
  const endpoint = await serve(t, (request, response) => {
    request.resume();
    if (!request.url?.includes("versions=")) {
      response.end("<VersioningConfiguration/>");
      return;
    }
    pages++;
    const version = (i: number): string =>
      `<Version><Key>kn/shard/junk-${pages}-${i}</Key><VersionId>v</VersionId>${rest}</Version>`;
    const versions = Array.from({ length: 1000 }, (_, i) => version(i)).join("");
    const next = `<IsTruncated>true</IsTruncated><NextKeyMarker>kn/shard/junk-${pages}-999</NextKeyMarker>`;
    response.end(`<ListVersionsResult>${next}${versions}</ListVersionsResult>`);
  });
  const config = await configFor(t, { ...AT, endpoint });
  const site = await openS3Site(config, identity, { lock: false });
  t.after(() => site.close());
  await assert.rejects(listed(site, "shard"), /lists without end; is somebody flooding/);
  assert.ok(pages > 100 && pages < 110, `${pages} pages were asked for`);
});
