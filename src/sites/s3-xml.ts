/**
 * The XML that S3 engines answer with, as typed values. Only what is asked for is looked at. No entity
 * but XML's own five is known, a document type ends the reading, and depth and size are bounded, so that
 * an engine cannot make its reader work for it.
 */
import { XMLParser } from "fast-xml-parser";
import { z } from "zod";
import { ExclaveError } from "../errors.ts";

/** One version of an object, as the engine tells it. */
export type S3Version = {
  /** "null" where the bucket keeps no versions. */
  readonly versionId: string;
  readonly bytes: number;
  /** Hexadecimal; the MD5 of what was stored by a single PUT, on most engines. */
  readonly etag: string;
  readonly storedAt: Date;
};

/** A page of a listing: versions by key, each key's newest first; delete markers are left out. */
export type S3Page = {
  readonly versions: readonly (S3Version & { readonly key: string })[];
  /** Where the next page begins; undefined at the end. */
  readonly next: { readonly key: string; readonly versionId: string } | undefined;
};

export type S3Retention = { readonly mode: string; readonly until: Date };

/** A page of 1000 keys is below a mebibyte. */
export const PAGE_BYTES_MAX = 4 * 1024 * 1024;
const DEPTH_MAX = 12;
const LISTED: readonly string[] = ["Version", "DeleteMarker"];

const parser = new XMLParser({
  ignoreAttributes: true,
  ignoreDeclaration: true,
  removeNSPrefix: true,
  parseTagValue: false,
  processEntities: false,
  maxNestedTags: DEPTH_MAX,
  isArray: (name) => LISTED.includes(name),
});

const entityFree = z.string().max(4096).transform(decodeEntities);
const instant = z
  .string()
  .max(64)
  .transform((value) => new Date(value))
  .refine((date) => !Number.isNaN(date.getTime()));
const size = z
  .string()
  .regex(/^\d{1,15}$/)
  .transform(Number);
const etag = entityFree.transform((value) => value.replaceAll('"', ""));
const versionSchema = z.object({
  Key: entityFree,
  VersionId: entityFree,
  Size: size,
  ETag: etag,
  LastModified: instant,
});
const pageSchema = z.object({
  EncodingType: z.string().max(32).optional(),
  IsTruncated: z.enum(["true", "false"]).optional(),
  NextKeyMarker: entityFree.optional(),
  NextVersionIdMarker: entityFree.optional(),
  Version: z.array(versionSchema).optional(),
  DeleteMarker: z.array(z.object({ Key: entityFree, VersionId: entityFree })).optional(),
});
const retentionSchema = z.object({ Mode: z.string().max(32), RetainUntilDate: instant });
const errorSchema = z.object({ Code: z.string().regex(/^[0-9A-Za-z.]{1,64}$/) });
const versioningSchema = z.object({ Status: z.string().max(32).optional() });
const lockSchema = z.object({ ObjectLockEnabled: z.string().max(32).optional() });
const uploadSchema = z.object({ UploadId: entityFree });

export function parseVersionsPage(xml: Uint8Array): S3Page {
  const page = readElement(xml, "ListVersionsResult", pageSchema);
  // Asked for, because XML cannot hold every key that somebody may have stored.
  const decode = page.EncodingType === "url" ? decodeKey : (key: string): string => key;
  const versions = (page.Version ?? []).map((one) => ({
    key: decode(one.Key),
    versionId: one.VersionId,
    bytes: one.Size,
    etag: one.ETag,
    storedAt: one.LastModified,
  }));
  if (page.IsTruncated !== "true") return { versions, next: undefined };
  const versionId = page.NextVersionIdMarker ?? "";
  // The next page begins behind the item of this version. Its key tells better than the marker does, which
  // some engines encode and others, Ceph 16 among them, leave as it is.
  const key = [...(page.Version ?? []), ...(page.DeleteMarker ?? [])]
    .filter((item) => item.VersionId === versionId)
    .map((item) => decode(item.Key))
    .sort()
    .at(-1);
  const marker = key ?? decode(page.NextKeyMarker ?? "");
  if (!marker) throw notS3("a listing that goes on, and not where");
  return { versions, next: { key: marker, versionId } };
}

export function parseRetention(xml: Uint8Array): S3Retention {
  const { Mode, RetainUntilDate } = readElement(xml, "Retention", retentionSchema);
  return { mode: Mode, until: RetainUntilDate };
}

/** "Enabled", "Suspended", or undefined for a bucket that never kept versions. */
export function parseVersioning(xml: Uint8Array): string | undefined {
  return readElement(xml, "VersioningConfiguration", versioningSchema).Status;
}

/** True when the bucket says that locks can be set in it. */
export function parseLockEnabled(xml: Uint8Array): boolean {
  const { ObjectLockEnabled } = readElement(xml, "ObjectLockConfiguration", lockSchema);
  return ObjectLockEnabled === "Enabled";
}

export function parseUploadId(xml: Uint8Array): string {
  return readElement(xml, "InitiateMultipartUploadResult", uploadSchema).UploadId;
}

/** The code of an error answer, or undefined when it is none: a proxy's page, or a HEAD. */
export function parseErrorCode(xml: Uint8Array): string | undefined {
  try {
    return readElement(xml, "Error", errorSchema).Code;
  } catch {
    return undefined;
  }
}

function readElement<T extends z.ZodType>(xml: Uint8Array, name: string, schema: T): z.output<T> {
  if (xml.length > PAGE_BYTES_MAX) throw notS3("an answer that is too large");
  const text = Buffer.from(xml).toString("utf8");
  if (text.includes("<!")) throw notS3("a document type or comment");
  const element = parse(text)[name];
  // An empty element comes as an empty string.
  const parsed = schema.safeParse(element === "" ? {} : element);
  if (!parsed.success) throw notS3(`no ${name} that can be read`);
  return parsed.data;
}

function parse(text: string): Record<string, unknown> {
  try {
    const document: unknown = parser.parse(text, true);
    if (typeof document === "object" && document) return document as Record<string, unknown>;
  } catch {
    // What the parser says of it could quote what is in it.
  }
  throw notS3("something that is not XML");
}

const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  "#34": '"',
  "#39": "'",
};

function decodeEntities(text: string): string {
  return text.replace(/&([a-z0-9#]{2,4});/g, (whole, name: string) => ENTITIES[name] ?? whole);
}

/** A key that is no proper encoding is nobody's of ours; it stays as it came. */
function decodeKey(key: string): string {
  try {
    return decodeURIComponent(key.replaceAll("+", " "));
  } catch {
    return key;
  }
}

function notS3(what: string): ExclaveError {
  return new ExclaveError(
    "site-unavailable",
    `an S3 engine answered with ${what}. Is the endpoint one of S3?`,
  );
}
