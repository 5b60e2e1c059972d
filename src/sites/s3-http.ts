/**
 * One signed request to an S3 engine and its answer, over connections that are kept. It knows nothing of
 * what is asked: it signs (AWS Signature Version 4, the body's hash included), sends, bounds what comes
 * back and how long it may take, and tells an engine that does not answer from one that answers "no".
 */
import { createHash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import http, {
  type ClientRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from "node:http";
import https from "node:https";
import type { LookupFunction } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { AwsV4Signer } from "aws4fetch";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { checkS3Config, readS3Credentials, type S3Config, s3Url } from "./s3-config.ts";

export type S3ConnectionOptions = {
  /** Ends what is under way, and refuses what comes, with `interrupted`. */
  readonly signal?: AbortSignal;
  /** Without a byte for so long, the engine counts as silent. */
  readonly silenceMs?: number;
  /** How names become addresses; for tests. */
  readonly lookup?: LookupFunction;
};

export type S3Request = {
  readonly method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  /** Empty: the bucket itself. */
  readonly key?: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly parts?: readonly Uint8Array[];
  /** Where the body of a good answer goes; without it, into `body`. */
  readonly into?: Uint8Array;
  /** More than this is no answer. */
  readonly bodyBytesMax?: number;
  /** For the probe: when the request claims to be made, in milliseconds since 1970; a wrong signature. */
  readonly signedAtMs?: number;
  readonly forged?: boolean;
};

export type S3Answer = {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** Bytes written to `into`. */
  readonly filled: number;
};

export type S3Connection = {
  /** For messages: the host and bucket, no secret. */
  readonly where: string;
  /** Rejects with `site-unavailable` or `interrupted`; any status is an answer. */
  send(request: S3Request): Promise<S3Answer>;
  /** Lets go of kept connections. */
  close(): void;
};

const SILENCE_MS = 30_000;
/** The slowest line that is waited for: beyond silence + bytes at this rate, a request is given up. */
const SLOWEST_BYTES_PER_SECOND = 16 * 1024;
const SOCKETS_MAX = 32;
const BODY_BYTES_MAX = 64 * 1024;

/** Reads credentials and CA, connects to nothing yet. Throws `usage`. */
export async function connectS3(
  config: S3Config,
  options: S3ConnectionOptions = {},
): Promise<S3Connection> {
  checkS3Config(config);
  const credentials = await readS3Credentials(config.credentialsFile);
  const ca = config.caFile === undefined ? undefined : await readCa(config.caFile);
  const where = `${new URL(config.endpoint).host}/${config.bucket}`;
  const silenceMs = options.silenceMs ?? SILENCE_MS;
  const kept = { keepAlive: true, maxSockets: SOCKETS_MAX, scheduling: "lifo" } as const;
  const secure = new URL(config.endpoint).protocol === "https:";
  const agent = secure
    ? new https.Agent({ ...kept, ...(ca === undefined ? {} : { ca }) })
    : new http.Agent(kept);
  /** Signing keys of a day, made by the signer. */
  const signingKeys = new Map<string, ArrayBuffer>();

  const send = async (request: S3Request): Promise<S3Answer> => {
    const { method, parts = [], into } = request;
    const bytes = parts.reduce((sum, part) => sum + part.length, 0);
    const headers = { "x-amz-content-sha256": hashOf(parts, "sha256", "hex"), ...request.headers };
    if (signingKeys.size > 8) signingKeys.clear();
    const signed = await new AwsV4Signer({
      ...credentials,
      method,
      url: s3Url(config, request.key ?? "", request.query).href,
      headers,
      service: "s3",
      region: config.region,
      cache: signingKeys,
      ...(request.signedAtMs === undefined ? {} : { datetime: amzDate(request.signedAtMs) }),
    }).sign();
    if (request.forged) {
      const digest = randomBytes(32).toString("hex");
      const authorization = signed.headers.get("authorization") ?? "";
      signed.headers.set("authorization", authorization.replace(/[0-9a-f]{64}$/, digest));
    }
    const sent = (secure ? https : http).request(signed.url, {
      method,
      agent,
      headers: { ...Object.fromEntries(signed.headers), "content-length": `${bytes}` },
      timeout: silenceMs,
      ...(options.signal ? { signal: options.signal } : {}),
      ...(options.lookup ? { lookup: options.lookup } : {}),
    });
    const giveUp = (): void => void sent.destroy(new Error("too slow"));
    sent.once("timeout", giveUp);
    const expected = bytes + (into?.length ?? 0) + (request.bodyBytesMax ?? BODY_BYTES_MAX);
    const timer = setTimeout(giveUp, silenceMs + (expected / SLOWEST_BYTES_PER_SECOND) * 1000);
    try {
      const response = await answerTo(sent, parts);
      return await readAnswer(response, request);
    } finally {
      clearTimeout(timer);
      // An engine that answers before it has read the whole body has made up its mind.
      if (!sent.writableFinished) sent.destroy();
    }
  };

  return {
    where,
    send: (request) =>
      send(request).catch((cause: unknown) => {
        if (isExclaveError(cause)) throw cause;
        if (options.signal?.aborted) {
          throw new ExclaveError("interrupted", `a request to ${where} was stopped`, { cause });
        }
        throw new ExclaveError("site-unavailable", silent(where, cause), { cause });
      }),
    close: () => agent.destroy(),
  };
}

/** The hash of an object in parts. */
export function hashOf(
  parts: readonly Uint8Array[],
  algorithm: "md5" | "sha256",
  encoding: "hex" | "base64",
): string {
  const hash = createHash(algorithm);
  for (const part of parts) hash.update(part);
  return hash.digest(encoding);
}

async function answerTo(
  sent: ClientRequest,
  parts: readonly Uint8Array[],
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  sent.once("response", resolve);
  // It stays: a connection may break a second time while the answer is read.
  sent.on("error", reject);
  const full = parts.filter((part) => part.length > 0);
  pipeline(Readable.from(full), sent).catch(reject);
  return promise;
}

async function readAnswer(response: IncomingMessage, request: S3Request): Promise<S3Answer> {
  const { statusCode: status = 0, headers } = response;
  const into = status === 200 || status === 206 ? request.into : undefined;
  const bytesMax = request.bodyBytesMax ?? BODY_BYTES_MAX;
  const chunks: Buffer[] = [];
  let filled = 0;
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    if (into) {
      const room = chunk.subarray(0, into.length - filled);
      into.set(room, filled);
      filled += room.length;
      // Leaving the loop ends the connection: whoever asked for less sees that in the headers.
      if (room.length < chunk.length) break;
    } else {
      bytes += chunk.length;
      if (bytes > bytesMax) throw new Error(`an answer of more than ${bytesMax} bytes`);
      chunks.push(chunk);
    }
  }
  return { status, headers, body: Buffer.concat(chunks), filled };
}

async function readCa(path: string): Promise<string> {
  const pem = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new ExclaveError("usage", `the CA file ${path} cannot be read`, { cause });
  });
  if (pem.includes("BEGIN CERTIFICATE")) return pem;
  throw new ExclaveError("usage", `the CA file ${path} holds no certificate (PEM)`);
}

/** 20261122T070000Z */
function amzDate(ms: number): string {
  return new Date(ms).toISOString().replace(/[:-]|\.\d{3}/g, "");
}

function silent(where: string, cause: unknown): string {
  const code = (cause as NodeJS.ErrnoException).code ?? "";
  if (/CERT|TLS|SSL|SIGNATURE/.test(code)) {
    return `the S3 site at ${where} shows a certificate that is not believed (${code}); is the CA file right?`;
  }
  const why = code || (cause instanceof Error ? cause.message : "no reason given");
  return `the S3 site at ${where} does not answer (${why})`;
}
