/**
 * An S3 engine of a few lines, in memory, that can be told to lie. Honest, it does what AWS S3 does, as far as
 * the probe looks; each lie is one that some engine has been seen to tell.
 */
import { createHash, randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { buffer } from "node:stream/consumers";
import type { TestContext } from "node:test";
import { AwsV4Signer } from "aws4fetch";
import type { S3Config } from "../../src/sites/s3-config.ts";
import { configFor, serve } from "./s3.ts";

export type Lie =
  | "deletes-what-is-locked"
  | "deletes-locked-in-bulk"
  | "deletes-locked-with-bypass"
  | "says-deleted-and-keeps"
  | "takes-no-lock"
  | "shortens-locks"
  | "weakens-locks"
  | "keeps-locks-as-they-were"
  | "ignores-conditions"
  | "refuses-conditions"
  | "ignores-md5"
  | "ignores-checksums"
  | "ignores-signatures"
  | "overwrites"
  | "deletes-all-versions"
  | "lists-late"
  | "lists-oldest-first"
  | "ignores-ranges"
  | "clock-is-wrong"
  | "stores-other-bytes"
  | "parts-without-lock";

type Version = {
  readonly id: string;
  bytes: Buffer;
  readonly isMarker: boolean;
  lock?: { mode: string; until: string } | undefined;
};
type Refusal = { readonly status: number; readonly code: string };
type Asked = {
  readonly request: IncomingMessage;
  readonly key: string;
  readonly query: URLSearchParams;
  readonly body: Buffer;
  readonly header: (name: string) => string | undefined;
};

const CREDENTIALS = { accessKeyId: "fake", secretAccessKey: "fake-secret" };
const digest = (bytes: Uint8Array, algorithm: string): Buffer =>
  createHash(algorithm).update(bytes).digest();
const refuse = (status: number, code: string): Refusal => ({ status, code });
const isRefusal = (value: unknown): value is Refusal =>
  typeof value === "object" && value !== null && "code" in value;

/** Starts it and makes the setting for it. What it holds is in `versions`, by key, newest first. */
export async function fakeS3(
  t: TestContext,
  lies: readonly Lie[] = [],
): Promise<{ readonly config: S3Config; readonly versions: ReadonlyMap<string, Version[]> }> {
  const told = new Set(lies);
  const objects = new Map<string, Version[]>();
  const uploads = new Map<string, { readonly lock: Version["lock"]; parts: Buffer[] }>();

  const answering = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? "/", `http://${request.headers.host}`);
    const header = (name: string): string | undefined => {
      const value = request.headers[name];
      return typeof value === "string" ? value : undefined;
    };
    const key = url.pathname.split("/").slice(2).join("/");
    const asked: Asked = {
      request,
      key,
      query: url.searchParams,
      body: await buffer(request),
      header,
    };
    if (told.has("clock-is-wrong")) response.setHeader("date", new Date(0).toUTCString());
    const refused = await whyNot(asked, url);
    if (refused) return send(response, refused);
    send(response, handle(asked, response));
  };

  const send = (response: ServerResponse, answer: Refusal | Buffer | string): void => {
    if (isRefusal(answer)) {
      response.writeHead(answer.status).end(`<Error><Code>${answer.code}</Code></Error>`);
    } else response.end(answer);
  };

  const whyNot = async (asked: Asked, url: URL): Promise<Refusal | undefined> => {
    const { header, body, request } = asked;
    if (!told.has("ignores-signatures")) {
      const signed = /SignedHeaders=([^,]+)/.exec(header("authorization") ?? "")?.[1] ?? "";
      const names = signed.split(";").filter((name) => !/^(host|x-amz-date)$/.test(name));
      const headers = Object.fromEntries(names.map((name) => [name, header(name) ?? ""]));
      const datetime = header("x-amz-date") ?? "";
      const again = await new AwsV4Signer({
        ...CREDENTIALS,
        method: request.method ?? "",
        url: url.href,
        headers,
        service: "s3",
        region: "default",
        datetime,
      }).sign();
      if (again.headers.get("authorization") !== header("authorization")) {
        return refuse(403, "SignatureDoesNotMatch");
      }
      const iso = datetime.replace(/^(....)(..)(..T..)(..)(..)Z$/, "$1-$2-$3:$4:$5Z");
      if (Math.abs(Date.parse(iso) - Date.now()) > 15 * 60_000) {
        return refuse(403, "RequestTimeTooSkewed");
      }
      if (header("x-amz-content-sha256") !== digest(body, "sha256").toString("hex")) {
        return refuse(400, "XAmzContentSHA256Mismatch");
      }
    }
    const md5 = header("content-md5");
    if (md5 && md5 !== digest(body, "md5").toString("base64") && !told.has("ignores-md5")) {
      return refuse(400, "BadDigest");
    }
    const sha256 = header("x-amz-checksum-sha256");
    const isWrong = sha256 && sha256 !== digest(body, "sha256").toString("base64");
    return isWrong && !told.has("ignores-checksums") ? refuse(400, "BadDigest") : undefined;
  };

  const handle = (asked: Asked, response: ServerResponse): Refusal | Buffer | string => {
    const { request, key, query, body } = asked;
    if (key === "") {
      if (query.has("versioning")) {
        return "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
      }
      if (query.has("object-lock")) {
        return "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
      }
      if (query.has("versions")) return list(query.get("prefix") ?? "");
      if (query.has("delete")) return bulkDelete(body.toString());
      return refuse(501, "NotImplemented");
    }
    const versions = objects.get(key) ?? [];
    const versionId = query.get("versionId");
    const version = versions.find(({ id }) => id === versionId);
    switch (request.method) {
      case "PUT":
        if (query.has("retention")) return version ? retain(version, body.toString()) : absent();
        if (query.has("uploadId")) {
          uploads.get(query.get("uploadId") ?? "")?.parts.push(body);
          response.setHeader("etag", `"${digest(body, "md5").toString("hex")}"`);
          return "";
        }
        return store(asked, response);
      case "POST": {
        const upload = uploads.get(query.get("uploadId") ?? "");
        if (upload) {
          const lock = told.has("parts-without-lock") ? undefined : upload.lock;
          add(key, Buffer.concat(upload.parts), lock);
          return "<CompleteMultipartUploadResult/>";
        }
        const id = randomBytes(8).toString("hex");
        uploads.set(id, { lock: lockOf(asked), parts: [] });
        return `<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`;
      }
      case "GET":
        if (!version) return absent();
        if (query.has("retention")) {
          if (!version.lock) return refuse(404, "NoSuchObjectLockConfiguration");
          const { mode, until } = version.lock;
          return `<Retention><Mode>${mode}</Mode><RetainUntilDate>${until}</RetainUntilDate></Retention>`;
        }
        return range(asked, version, response);
      case "DELETE":
        if (versionId === null) return mark(key, response);
        if (!version) return "";
        return remove(key, version, asked);
      default:
        return refuse(501, "NotImplemented");
    }
  };

  const absent = (): Refusal => refuse(404, "NoSuchVersion");
  const isLocked = ({ lock }: Version): boolean =>
    lock !== undefined && Date.parse(lock.until) > Date.now();
  const lockOf = ({ header }: Asked): Version["lock"] => {
    const mode = header("x-amz-object-lock-mode");
    const until = header("x-amz-object-lock-retain-until-date");
    return mode && until && !told.has("takes-no-lock") ? { mode, until } : undefined;
  };

  const add = (key: string, bytes: Buffer, lock: Version["lock"]): Version => {
    const id = randomBytes(8).toString("hex");
    const kept = told.has("overwrites") ? [] : (objects.get(key) ?? []);
    const stored = told.has("stores-other-bytes") ? bytes.subarray(1) : bytes;
    const version: Version = { id, bytes: Buffer.from(stored), isMarker: false, lock };
    objects.set(key, [version, ...kept]);
    return version;
  };

  const store = (asked: Asked, response: ServerResponse): Refusal | string => {
    const { key, body, header } = asked;
    const current = objects.get(key)?.[0];
    if (header("if-none-match") && told.has("refuses-conditions")) {
      return refuse(501, "NotImplemented");
    }
    const isConditional = header("if-none-match") === "*" && !told.has("ignores-conditions");
    if (isConditional && current && !current.isMarker) return refuse(412, "PreconditionFailed");
    const { id, bytes } = add(key, body, lockOf(asked));
    response.setHeader("x-amz-version-id", id);
    response.setHeader("etag", `"${digest(bytes, "md5").toString("hex")}"`);
    return "";
  };

  const range = (
    { header }: Asked,
    version: Version,
    response: ServerResponse,
  ): Refusal | Buffer => {
    const [, first = "0", last = "0"] = /^bytes=(\d+)-(\d+)$/.exec(header("range") ?? "") ?? [];
    if (told.has("ignores-ranges")) return version.bytes;
    if (Number(first) >= version.bytes.length) return refuse(416, "InvalidRange");
    const part = version.bytes.subarray(Number(first), Number(last) + 1);
    const end = Number(first) + part.length - 1;
    response.statusCode = 206;
    response.setHeader("content-range", `bytes ${first}-${end}/${version.bytes.length}`);
    return part;
  };

  const retain = (version: Version, xml: string): Refusal | string => {
    const mode = /<Mode>(\w+)</.exec(xml)?.[1] ?? "";
    const until = /<RetainUntilDate>([^<]+)</.exec(xml)?.[1] ?? "";
    const { lock } = version;
    if (lock?.mode === "COMPLIANCE" && isLocked(version)) {
      if (mode !== "COMPLIANCE" && !told.has("weakens-locks")) return refuse(403, "AccessDenied");
      const isSooner = Date.parse(until) < Date.parse(lock.until);
      if (isSooner && !told.has("shortens-locks")) return refuse(403, "AccessDenied");
    }
    if (!told.has("keeps-locks-as-they-were")) version.lock = { mode, until };
    return "";
  };

  const mark = (key: string, response: ServerResponse): string => {
    if (told.has("deletes-all-versions")) {
      objects.delete(key);
      return "";
    }
    const id = randomBytes(8).toString("hex");
    const marker: Version = { id, bytes: Buffer.alloc(0), isMarker: true };
    objects.set(key, [marker, ...(objects.get(key) ?? [])]);
    response.setHeader("x-amz-version-id", id);
    return "";
  };

  const remove = (key: string, version: Version, { header }: Asked): Refusal | string => {
    const bypasses =
      told.has("deletes-locked-with-bypass") && header("x-amz-bypass-governance-retention");
    if (isLocked(version) && !told.has("deletes-what-is-locked") && !bypasses) {
      return told.has("says-deleted-and-keeps") ? "" : refuse(403, "AccessDenied");
    }
    take(key, version);
    return "";
  };

  const take = (key: string, version: Version): void => {
    objects.set(
      key,
      (objects.get(key) ?? []).filter((one) => one !== version),
    );
  };

  const bulkDelete = (xml: string): string => {
    const key = /<Key>([^<]+)</.exec(xml)?.[1] ?? "";
    const id = /<VersionId>([^<]+)</.exec(xml)?.[1] ?? "";
    const version = objects.get(key)?.find((one) => one.id === id);
    if (version && isLocked(version) && !told.has("deletes-locked-in-bulk")) {
      return "<DeleteResult><Error><Code>AccessDenied</Code></Error></DeleteResult>";
    }
    if (version) take(key, version);
    return "<DeleteResult/>";
  };

  const list = (prefix: string): string => {
    const keys = [...objects.keys()].filter((key) => key.startsWith(prefix)).sort();
    const items = keys.flatMap((key) => {
      const versions = (objects.get(key) ?? []).filter(({ isMarker }) => !isMarker);
      if (told.has("lists-late")) versions.shift();
      if (told.has("lists-oldest-first")) versions.reverse();
      return versions.map(
        ({ id, bytes }) =>
          `<Version><Key>${key}</Key><VersionId>${id}</VersionId><Size>${bytes.length}</Size>` +
          `<ETag>&quot;${digest(bytes, "md5").toString("hex")}&quot;</ETag><LastModified>2026-01-01T00:00:00Z</LastModified></Version>`,
      );
    });
    return `<ListVersionsResult>${items.join("")}<IsTruncated>false</IsTruncated></ListVersionsResult>`;
  };

  const endpoint = await serve(t, (request, response) => {
    answering(request, response).catch(() => request.socket.destroy());
  });
  const config = await configFor(t, { ...CREDENTIALS, endpoint, bucket: "fake-bucket" });
  return { config, versions: objects };
}
