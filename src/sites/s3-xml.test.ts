import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isExclaveError } from "../errors.ts";
import { code } from "./conformance.ts";
import {
  PAGE_BYTES_MAX,
  parseErrorCode,
  parseLockEnabled,
  parseRetention,
  parseUploadId,
  parseVersioning,
  parseVersionsPage,
} from "./s3-xml.ts";

const xml = (text: string): Uint8Array => Buffer.from(text);
const VERSION =
  "<Version><Key>a%26b+c</Key><VersionId>v&amp;1</VersionId><IsLatest>true</IsLatest>" +
  "<LastModified>2026-11-22T07:02:08.131Z</LastModified><ETag>&quot;0a&quot;</ETag><Size>3</Size></Version>";
const page = (inner: string): Uint8Array =>
  xml(`<?xml version="1.0"?><ListVersionsResult xmlns="http://s3/">${inner}</ListVersionsResult>`);

test("a page of versions is read, one version or many, markers left out", () => {
  const version = {
    key: "a%26b+c",
    versionId: "v&1",
    bytes: 3,
    etag: "0a",
    storedAt: new Date("2026-11-22T07:02:08.131Z"),
  };
  const marker = "<DeleteMarker><Key>k</Key><VersionId>m</VersionId></DeleteMarker>";
  assert.deepEqual(parseVersionsPage(page("")), { versions: [], next: undefined });
  assert.deepEqual(parseVersionsPage(xml("<ListVersionsResult/>")).versions, []);
  assert.deepEqual(parseVersionsPage(page(marker)).versions, []);
  assert.deepEqual(parseVersionsPage(page(VERSION)).versions, [version]);
  assert.equal(parseVersionsPage(page(VERSION + marker + VERSION)).versions.length, 2);
  const encoded = parseVersionsPage(page(`<EncodingType>url</EncodingType>${VERSION}`));
  assert.equal(encoded.versions[0]?.key, "a&b c");
});

test("a page that goes on says where", () => {
  const next = "<NextKeyMarker>k</NextKeyMarker><NextVersionIdMarker>v</NextVersionIdMarker>";
  const more = "<IsTruncated>true</IsTruncated>";
  assert.deepEqual(parseVersionsPage(page(more + next)).next, { key: "k", versionId: "v" });
  assert.equal(parseVersionsPage(page(next)).next, undefined);
  assert.throws(() => parseVersionsPage(page(more)), code("site-unavailable"));
  // Whether the marker is encoded or not, the item it stands for says its key.
  const type = "<EncodingType>url</EncodingType>";
  for (const marker of ["a&amp;b+c", "a%26b+c"]) {
    const at = `<NextKeyMarker>${marker}</NextKeyMarker><NextVersionIdMarker>v&amp;1</NextVersionIdMarker>`;
    const { next: place } = parseVersionsPage(page(type + more + at + VERSION));
    assert.deepEqual(place, { key: "a&b c", versionId: "v&1" });
  }
});

test("what is no such answer, or means to hurt, is refused", () => {
  const bomb =
    '<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><ListVersionsResult>&b;</ListVersionsResult>';
  for (const bad of [
    "",
    "text",
    "<html><body>Welcome</body></html>",
    "<ListVersionsResult>",
    bomb,
    `<ListVersionsResult>${"<a>".repeat(40)}${"</a>".repeat(40)}</ListVersionsResult>`,
    `<ListVersionsResult>${VERSION.replace("<Size>3</Size>", "<Size>-3</Size>")}</ListVersionsResult>`,
    `<ListVersionsResult>${VERSION.replace("<Size>3</Size>", "")}</ListVersionsResult>`,
    `<ListVersionsResult>${VERSION.replace("2026", "soon")}</ListVersionsResult>`,
    `<ListVersionsResult>${" ".repeat(PAGE_BYTES_MAX)}</ListVersionsResult>`,
  ]) {
    assert.throws(() => parseVersionsPage(xml(bad)), code("site-unavailable"), bad.slice(0, 100));
  }
  const entity = VERSION.replace("v&amp;1", "&lol;&#x41;");
  assert.equal(parseVersionsPage(page(entity)).versions[0]?.versionId, "&lol;&#x41;");
});

test("small answers are read", () => {
  assert.equal(parseVersioning(xml("<VersioningConfiguration/>")), undefined);
  const enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
  assert.equal(parseVersioning(xml(enabled)), "Enabled");
  const lock =
    "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
  assert.equal(parseLockEnabled(xml(lock)), true);
  assert.equal(parseLockEnabled(xml("<ObjectLockConfiguration/>")), false);
  const until = "<RetainUntilDate>2026-11-22T07:03:38Z</RetainUntilDate>";
  assert.deepEqual(parseRetention(xml(`<Retention><Mode>COMPLIANCE</Mode>${until}</Retention>`)), {
    mode: "COMPLIANCE",
    until: new Date("2026-11-22T07:03:38Z"),
  });
  assert.throws(() => parseRetention(xml("<Retention/>")), code("site-unavailable"));
  const upload =
    "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
  assert.equal(parseUploadId(xml(upload)), "u");
  assert.equal(parseErrorCode(xml("<Error><Code>NoSuchKey</Code></Error>")), "NoSuchKey");
  for (const none of ["", "<html/>", "<Error/>", "<Error><Code>\u001b[31m</Code></Error>"]) {
    assert.equal(parseErrorCode(xml(none)), undefined);
  }
});

test("any bytes give a page or one error", () => {
  const words = [
    "<",
    ">",
    "/",
    "ListVersionsResult",
    "Version",
    "Key",
    "&amp;",
    "]]>",
    "<![CDATA[",
    "x",
    "\0",
  ];
  const text = fc.array(fc.constantFrom(...words), { maxLength: 40 }).map((all) => all.join(""));
  fc.assert(
    fc.property(fc.oneof(text, fc.string()), (inner) => {
      for (const bytes of [xml(inner), page(inner)]) {
        try {
          parseVersionsPage(bytes);
        } catch (error) {
          assert.ok(isExclaveError(error, "site-unavailable"), String(error));
        }
      }
    }),
  );
});
