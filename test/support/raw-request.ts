/** Requests to a site as nobody's client makes them: wrong on purpose, slow, half, or replayed. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from "node:http";
import { request as begin } from "node:https";
import type { TestContext } from "node:test";
import { connect, type TLSSocket } from "node:tls";
import { contentDigest, signRequest } from "../../src/crypto/http-signature.ts";
import type { SigningKey } from "../../src/crypto/signing.ts";

export type RawAnswer = {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** Of a refusal. */
  readonly error: string | undefined;
};

export type RawRequest = {
  readonly port: number;
  readonly method: string;
  readonly target: string;
  readonly body?: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
  /** Who signs, for which site; unsigned when absent. */
  readonly by?: SigningKey | undefined;
  readonly site?: string;
  /** When it says that it was signed. */
  readonly at?: Date;
  /** A body that puts a shard has no digest. */
  readonly digest?: string | false;
  readonly range?: string;
};

/** The headers of a request, signed as the protocol has it. */
export function headersOf(request: RawRequest): Record<string, string> {
  const { method, target, body, by, site = "", at = new Date(), range } = request;
  const sha256 = createHash("sha256")
    .update(body ?? new Uint8Array())
    .digest();
  const digest =
    body === undefined || request.digest === false
      ? undefined
      : (request.digest ?? contentDigest(sha256));
  const contentLength = body === undefined ? undefined : String(body.length);
  const headers: Record<string, string> = {
    ...(contentLength === undefined ? {} : { "content-length": contentLength }),
    ...(digest === undefined ? {} : { "content-digest": digest }),
    ...(range === undefined ? {} : { range }),
  };
  if (!by) return { ...headers, ...request.headers };
  const created = Math.floor(at.getTime() / 1000);
  const signed = signRequest(
    { method, target, site, range, contentLength, contentDigest: digest },
    by,
    created,
  );
  return { ...headers, "exclave-site": site, ...signed, ...request.headers };
}

/** Begins a request on a connection of its own; the caller writes the body. */
export function open(request: RawRequest): ClientRequest {
  const { port, method, target } = request;
  return begin({
    host: "127.0.0.1",
    port,
    method,
    path: target,
    headers: headersOf(request),
    agent: false,
    rejectUnauthorized: false,
    minVersion: "TLSv1.3",
  });
}

/** Sends a request and reads the whole answer. */
export async function raw(request: RawRequest): Promise<RawAnswer> {
  const sent = open(request);
  const answer = answerTo(sent);
  sent.end(request.body);
  return answer;
}

/** The answer to a request, whatever becomes of the rest of its body. */
export function answerTo(sent: ClientRequest): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    sent.on("error", reject);
    sent.on("response", (response: IncomingMessage) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const body = Buffer.concat(chunks);
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body,
          error: errorIn(body),
        });
      });
    });
  });
}

function errorIn(body: Buffer): string | undefined {
  try {
    const parsed: unknown = JSON.parse(body.toString());
    if (typeof parsed === "object" && parsed !== null && "error" in parsed)
      return String(parsed.error);
  } catch {
    return undefined;
  }
  return undefined;
}

/** A bare connection, gone after the test. */
export async function bareSocket(t: TestContext, port: number): Promise<TLSSocket> {
  const socket = connect({
    host: "127.0.0.1",
    port,
    rejectUnauthorized: false,
    minVersion: "TLSv1.3",
  });
  t.after(() => socket.destroy());
  socket.on("error", () => undefined);
  await once(socket, "secureConnect");
  return socket;
}
