/**
 * What is asked of an S3 engine, one request a function, and what its refusals mean for a site. No retry
 * is in here (`retry.ts` wraps a site), and no choice between versions (`s3.ts` makes it).
 */
import { ExclaveError, isExclaveError } from "../errors.ts";
import type { S3Config } from "./s3-config.ts";
import {
  connectS3,
  hashOf,
  type S3Answer,
  type S3Connection,
  type S3ConnectionOptions,
  type S3Request,
} from "./s3-http.ts";
import {
  PAGE_BYTES_MAX,
  parseErrorCode,
  parseLockEnabled,
  parseRetention,
  parseVersioning,
  parseVersionsPage,
  type S3Page,
  type S3Retention,
} from "./s3-xml.ts";

/** What came of a PUT: stored, or why the engine declined (its own code), which is no failure. */
export type S3Put =
  | { readonly stored: true; readonly versionId: string | undefined; readonly etag: string }
  | { readonly stored: false; readonly declined: "exists" | "conflict" | "condition-unknown" };

export type S3PutOptions = {
  /** In COMPLIANCE mode; without it, no lock is asked for. */
  readonly retainUntil?: Date;
  /** Only when the engine shows nothing under this key (`If-None-Match: *`). */
  readonly ifAbsent?: boolean;
};

export type S3Client = {
  readonly where: string;
  /** Any request; the answer whatever its status. For the probe. */
  readonly send: S3Connection["send"];
  /** Rejects with `disk-full`, `site-unavailable`. The body's MD5 goes along, so that the engine checks it. */
  put(key: string, parts: readonly Uint8Array[], options: S3PutOptions): Promise<S3Put>;
  /**
   * Fills `into` from `offset` on; 0 beyond the end. Rejects with `not-found`, `site-unavailable`.
   * What it got is as long as the engine said, or it rejects.
   */
  get(key: string, versionId: string, offset: number, into: Uint8Array): Promise<number>;
  /** A page of at most `keysMax` versions whose keys begin with `prefix`. */
  versions(prefix: string, keysMax: number, from: S3Page["next"]): Promise<S3Page>;
  /** Undefined when there is no lock on the version. */
  retention(key: string, versionId: string): Promise<S3Retention | undefined>;
  /** Sets COMPLIANCE until then. Engines refuse to shorten. */
  retain(key: string, versionId: string, until: Date): Promise<void>;
  /** What the bucket says of itself: that it keeps versions, and that locks can be set in it. */
  keepsVersions(): Promise<boolean>;
  canLock(): Promise<boolean>;
  close(): void;
};

export async function openS3Client(
  config: S3Config,
  options: S3ConnectionOptions = {},
): Promise<S3Client> {
  const connection = await connectS3(config, options);
  const { where } = connection;
  /** The answer, if it is a good one. */
  const ask = async (request: S3Request): Promise<S3Answer> => {
    const answer = await connection.send(request);
    if (answer.status < 200 || answer.status >= 300) throw refusal(where, answer);
    return answer;
  };

  return {
    where,
    send: (request) => connection.send(request),
    close: () => connection.close(),

    async put(key, parts, { retainUntil, ifAbsent = false }) {
      const answer = await connection.send({
        method: "PUT",
        key,
        parts,
        headers: {
          "content-md5": hashOf(parts, "md5", "base64"),
          ...(ifAbsent ? { "if-none-match": "*" } : {}),
          ...(retainUntil ? lockHeaders(retainUntil) : {}),
        },
      });
      if (ifAbsent && answer.status === 412) return { stored: false, declined: "exists" };
      if (ifAbsent && answer.status === 409) return { stored: false, declined: "conflict" };
      if (ifAbsent && isNotImplemented(answer)) {
        return { stored: false, declined: "condition-unknown" };
      }
      if (answer.status !== 200) throw refusal(where, answer);
      const etag = (answer.headers.etag ?? "").replaceAll('"', "");
      return { stored: true, versionId: header(answer, "x-amz-version-id"), etag };
    },

    async get(key, versionId, offset, into) {
      const last = offset + into.length - 1;
      const answer = await connection.send({
        method: "GET",
        key,
        into,
        ...(versionId === "null" ? {} : { query: { versionId } }),
        headers: { range: `bytes=${offset}-${last}` },
      });
      if (answer.status === 416) return 0;
      if (answer.status !== 206 && answer.status !== 200) throw refusal(where, answer);
      const range = /^bytes (\d+)-(\d+)\//.exec(answer.headers["content-range"] ?? "");
      const start = range ? Number(range[1]) : 0;
      const promised = range
        ? Number(range[2]) - start + 1
        : Math.min(Number(answer.headers["content-length"] ?? answer.filled), into.length);
      if (start !== offset || promised > into.length || promised !== answer.filled) {
        throw new ExclaveError(
          "site-unavailable",
          `the S3 site at ${where} answered with another range than was asked for`,
        );
      }
      return answer.filled;
    },

    async versions(prefix, keysMax, from) {
      const answer = await ask({
        method: "GET",
        query: {
          "encoding-type": "url",
          "max-keys": `${keysMax}`,
          prefix,
          versions: "",
          ...(from ? { "key-marker": from.key } : {}),
          ...(from?.versionId ? { "version-id-marker": from.versionId } : {}),
        },
        bodyBytesMax: PAGE_BYTES_MAX,
      });
      return parseVersionsPage(answer.body);
    },

    async retention(key, versionId) {
      const answer = await connection.send({
        method: "GET",
        key,
        query: { retention: "", versionId },
      });
      if (answer.status === 200) return parseRetention(answer.body);
      if (UNLOCKED.includes(parseErrorCode(answer.body) ?? "")) return undefined;
      throw refusal(where, answer);
    },

    async retain(key, versionId, until) {
      await ask(retainRequest(key, versionId, "COMPLIANCE", until));
    },

    async keepsVersions() {
      const answer = await ask({ method: "GET", query: { versioning: "" } });
      return parseVersioning(answer.body) === "Enabled";
    },

    async canLock() {
      const answer = await connection.send({ method: "GET", query: { "object-lock": "" } });
      if (answer.status === 200) return parseLockEnabled(answer.body);
      if (UNLOCKED.includes(parseErrorCode(answer.body) ?? "")) return false;
      throw refusal(where, answer);
    },
  };
}

function isNotImplemented(answer: S3Answer): boolean {
  return answer.status === 501 || parseErrorCode(answer.body) === "NotImplemented";
}

export function lockHeaders(until: Date): Readonly<Record<string, string>> {
  return {
    "x-amz-object-lock-mode": "COMPLIANCE",
    "x-amz-object-lock-retain-until-date": wholeSeconds(until),
  };
}

export function retainRequest(
  key: string,
  versionId: string,
  mode: "COMPLIANCE" | "GOVERNANCE",
  until: Date,
): S3Request {
  const parts = [
    Buffer.from(
      `<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Mode>${mode}</Mode><RetainUntilDate>${wholeSeconds(until)}</RetainUntilDate></Retention>`,
    ),
  ];
  return {
    method: "PUT",
    key,
    query: { retention: "", versionId },
    headers: { "content-md5": hashOf(parts, "md5", "base64"), "content-type": "application/xml" },
    parts,
  };
}

/** ISO 8601 without a fraction, which not every engine reads; rounded up, never shorter than asked. */
function wholeSeconds(date: Date): string {
  const up = new Date(Math.ceil(date.getTime() / 1000) * 1000);
  return up.toISOString().replace(".000Z", "Z");
}

export function header(answer: S3Answer, name: string): string | undefined {
  const value = answer.headers[name];
  return typeof value === "string" ? value : undefined;
}

/** How engines say that there is no lock, on a version or in a bucket. */
const UNLOCKED: readonly string[] = [
  "NoSuchObjectLockConfiguration",
  "ObjectLockConfigurationNotFoundError",
  "InvalidRequest",
  "NotImplemented",
];
const FULL = ["QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"];
const ABSENT = ["NoSuchKey", "NoSuchVersion"];
/** What the engine's code means, for whoever has to act. Of its own words nothing is repeated. */
const ADVICE: Readonly<Record<string, string>> = {
  AccessDenied: "the credentials may not do this in this bucket; nothing was changed",
  InvalidAccessKeyId: "it does not know the access key of the credentials file",
  SignatureDoesNotMatch: "the secret key of the credentials file is not the one it knows",
  RequestTimeTooSkewed: "its clock and ours are too far apart; set ours right",
  NoSuchBucket: "there is no such bucket; make it, with object lock, or correct the name",
  PermanentRedirect: "the bucket is in another region; give the endpoint of that one",
  NotImplemented: "it lacks what a site needs",
};

/** What an answer that is no success means. A missing bucket is a site that is gone, not an absent object. */
export function refusal(where: string, answer: S3Answer): ExclaveError {
  const code = parseErrorCode(answer.body);
  const shown = `${answer.status}${code ? ` ${code}` : ""}`;
  if (code && FULL.includes(code)) return full(where, shown);
  if (answer.status === 507) return full(where, shown);
  if (answer.status === 404 && (!code || ABSENT.includes(code))) {
    return new ExclaveError("not-found", `no such object at ${where}`);
  }
  const advice = code === undefined ? undefined : ADVICE[code];
  return new ExclaveError(
    "site-unavailable",
    `the S3 site at ${where} answered ${shown}${advice ? `: ${advice}` : ""}`,
  );
}

function full(where: string, shown: string): ExclaveError {
  return new ExclaveError(
    "disk-full",
    `the S3 site at ${where} takes no more (${shown}); its quota must grow`,
  );
}

/** What to do when the thing asked for is not there. */
export async function orWhenAbsent<T>(work: Promise<T>, otherwise: T): Promise<T> {
  return work.catch((error: unknown) => {
    if (isExclaveError(error, "not-found")) return otherwise;
    throw error;
  });
}
