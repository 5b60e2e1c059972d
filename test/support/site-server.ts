/**
 * A site for tests of its clients: the protocol of docs/site-protocol.md over any `Site`, honest and small. It lets
 * every signed request through whose key it knows; what a test wants to go wrong, it does itself, in `before`.
 */
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import type { TLSSocket } from "node:tls";
import { sha256 } from "../../src/crypto/hash.ts";
import { claimedSignature, contentDigest, isSignedBy } from "../../src/crypto/http-signature.ts";
import { type SigningKey, signingKeyFromSeed } from "../../src/crypto/signing.ts";
import { ExclaveError, isExclaveError } from "../../src/errors.ts";
import { selfSignedCertificate } from "../../src/site-daemon/tls.ts";
import { signEndorsement } from "../../src/sites/endorsement.ts";
import type { ObjectKind, Site } from "../../src/sites/site.ts";
import { signSiteReceipt } from "../../src/sites/site-receipt.ts";
import {
  CLOCK_SKEW_SECONDS_MAX,
  IDENTITY_PATH,
  LIST_PAGE_NAMES,
  nameFromPath,
  statePath,
  statusOf,
} from "../../src/sites/wire.ts";

const DAY_MS = 86_400_000;
const BODY_BYTES_MAX = 64 * 1024 * 1024;

export const SERVED_STATE = "5a".repeat(32);
export const SERVER_KEY = signingKeyFromSeed(new Uint8Array(32).fill(0x51));
export const CLIENT_KEY = signingKeyFromSeed(new Uint8Array(32).fill(0x52));

/** One request that came in, with the answer that is being made. */
export type Incoming = {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** "GET /v1/…". */
  readonly line: string;
  /** 1 for the first request, the identity's not counted. */
  readonly count: number;
};

export type SiteServerOptions = {
  readonly objects: Site;
  /** Called before each request but that for the identity; true when it has dealt with it. */
  readonly before?: (incoming: Incoming) => boolean | Promise<boolean>;
  /** What it says when it is asked who it is; by default an endorsement for a day. */
  readonly identity?: (tls: string) => Uint8Array;
  readonly now?: () => Date;
  readonly pageNames?: number;
  readonly port?: number;
};

export type SiteServer = {
  readonly url: string;
  readonly port: number;
  /** Id of its TLS key. */
  readonly tls: string;
  /** Every request line, the identity's too. */
  readonly lines: readonly string[];
  /** Connections that were made, in all. */
  readonly connections: () => number;
  readonly stop: () => Promise<void>;
};

/** Starts a server that is stopped after the test. */
export async function startSiteServer(
  t: TestContext,
  options: SiteServerOptions,
): Promise<SiteServer> {
  const { now = () => new Date() } = options;
  const made = await selfSignedCertificate({ name: "kn", days: 2, now: new Date() });
  const valid = {
    from: new Date(now().getTime() - DAY_MS),
    until: new Date(now().getTime() + DAY_MS),
  };
  const identity =
    options.identity?.(made.tlsKeyId) ?? signEndorsement(SERVER_KEY, made.tlsKeyId, valid);
  const lines: string[] = [];
  let [connections, count] = [0, 0];
  const server: Server = createServer(
    { key: made.keyPem, cert: made.certificatePem, minVersion: "TLSv1.3" },
    (request, response) => {
      const line = `${request.method} ${request.url}`;
      lines.push(line);
      response.setHeader("date", now().toUTCString());
      if (request.url === IDENTITY_PATH) {
        response.end(identity);
        return;
      }
      void answer({ request, response, line, count: ++count }, options);
    },
  );
  const sockets = new Set<TLSSocket>();
  server.on("secureConnection", (socket) => {
    connections++;
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("tlsClientError", () => undefined);
  server.listen(options.port ?? 0, "127.0.0.1");
  await once(server, "listening");
  const stop = async (): Promise<void> => {
    if (!server.listening) return;
    const closed = once(server, "close");
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  t.after(stop);
  const { port } = server.address() as AddressInfo;
  const url = `https://127.0.0.1:${port}`;
  return { url, port, tls: made.tlsKeyId, lines, connections: () => connections, stop };
}

async function answer(incoming: Incoming, options: SiteServerOptions): Promise<void> {
  const { request, response } = incoming;
  response.on("error", () => undefined);
  request.on("error", () => undefined);
  try {
    if (await options.before?.(incoming)) return;
    await serve(incoming, options);
  } catch (error) {
    if (response.headersSent || response.destroyed) return;
    const code = isExclaveError(error) ? error.code : "bug";
    sendProblem(response, statusOf(code), code, String(error));
  }
}

/** Answers as a site answers that refuses. */
export function sendProblem(
  response: ServerResponse,
  status: number,
  code: string,
  message = "no",
  headers: Record<string, string> = {},
): void {
  const body = JSON.stringify({ error: code, message });
  // Without its length, Node's client takes an answer to HEAD for one that ends with the connection.
  const length = { "content-length": `${Buffer.byteLength(body)}` };
  response.writeHead(status, { "content-type": "application/json", ...length, ...headers });
  response.end(body);
}

/** Serves the request as an honest site. */
export async function serve(
  { request, response }: Incoming,
  { objects, now = () => new Date(), pageNames = LIST_PAGE_NAMES }: SiteServerOptions,
): Promise<void> {
  await requireSignature(request, now());
  const [path = "", query = ""] = (request.url ?? "").split("?");
  if (path === "/v1/witness/add-checkpoint") {
    response.writeHead(409, { "content-type": "text/x.tlog.size" }).end("17\n");
    return;
  }
  const root = `${statePath(SERVED_STATE)}/`;
  if (!path.startsWith(root)) throw new ExclaveError("not-found", "no such State");
  const [what = "", kind = "", rest = ""] = path.slice(root.length).split("/");
  switch (`${request.method} ${what}`) {
    case "GET status":
      response.end('{"size":3}');
      return;
    case "POST receipts":
      response.end(await receiptFor(objects, await bodyOf(request), now()));
      return;
    case "GET list":
      response.end(
        await page(objects, kind as ObjectKind, query.replace(/^after=/, ""), pageNames),
      );
      return;
  }
  const name = nameFromPath(kind, rest);
  if (what !== "objects" || !name) throw new ExclaveError("malformed", "no such request");
  if (request.method === "PUT") {
    const body = await bodyOf(request);
    const wasThere = (await objects.stat(name)) !== undefined;
    await objects.put(name, [body]);
    response.writeHead(wasThere ? 200 : 201).end();
    return;
  }
  const info = await objects.stat(name);
  if (!info) throw new ExclaveError("not-found", "no such object");
  if (request.method === "HEAD") {
    response.writeHead(200, { "content-length": info.bytes }).end();
    return;
  }
  await sendRange(objects, info, request, response);
}

async function sendRange(
  objects: Site,
  { name, bytes }: { readonly name: string; readonly bytes: number },
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
  const [first, last] = [Number(from ?? 0), Math.min(Number(to ?? bytes), bytes - 1)];
  if (from !== undefined && first >= bytes) {
    sendProblem(response, 416, "malformed", "the object ends before that");
    return;
  }
  const body = new Uint8Array(last - first + 1);
  await objects.read(name, first, body);
  const range = { "content-range": `bytes ${first}-${last}/${bytes}` };
  response.writeHead(from === undefined ? 200 : 206, {
    "content-length": body.length,
    ...(from === undefined ? {} : range),
  });
  response.end(body);
}

async function requireSignature(request: IncomingMessage, now: Date): Promise<void> {
  const header = (name: string): string | undefined => request.headers[name] as string | undefined;
  if (request.method === "POST" && request.url?.startsWith("/v1/witness/")) return;
  const claimed = claimedSignature(header("signature-input"));
  const signed = {
    method: request.method ?? "",
    target: request.url ?? "",
    site: header("exclave-site") ?? "",
    range: header("range"),
    contentLength: header("content-length"),
    contentDigest: header("content-digest"),
  };
  const headers = { input: header("signature-input"), signature: header("signature") };
  const key: SigningKey | undefined = claimed.keyId === CLIENT_KEY.id ? CLIENT_KEY : undefined;
  const skew = Math.abs(claimed.created - now.getTime() / 1000);
  if (
    !key ||
    signed.site !== SERVER_KEY.id ||
    skew > CLOCK_SKEW_SECONDS_MAX ||
    !(await isSignedBy(signed, headers, key.publicKey, claimed))
  ) {
    throw new ExclaveError("untrusted", "the request is not signed by anybody known, or not now");
  }
}

/** The whole body, held to its length and digest. */
async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) throw new ExclaveError("malformed", "too long");
    chunks.push(chunk);
  }
  const body = Buffer.concat(chunks);
  const { "content-digest": digest, "content-length": length } = request.headers;
  const isShard = request.url?.includes("/objects/shard/");
  if (Number(length) !== bytes || (!isShard && digest !== contentDigest(sha256(body)))) {
    throw new ExclaveError("altered", "the body is not what its digest says");
  }
  return body;
}

async function page(
  objects: Site,
  kind: ObjectKind,
  after: string,
  pageNames: number,
): Promise<string> {
  const names: string[] = [];
  for await (const name of objects.list(kind)) names.push(name.slice(kind.length + 1));
  const left = names.filter((name) => name > after).sort();
  const lines = left.slice(0, pageNames).map((name) => `${name}\n`);
  return lines.join("") + (left.length > pageNames ? "\n" : "");
}

async function receiptFor(objects: Site, body: Buffer, now: Date): Promise<Uint8Array> {
  const { objects: names } = JSON.parse(body.toString()) as { readonly objects: readonly string[] };
  const infos = await Promise.all(names.map((name) => objects.stat(name)));
  return signSiteReceipt(SERVER_KEY, {
    state: SERVED_STATE,
    time: now,
    retainUntil: new Date(now.getTime() + DAY_MS),
    objects: infos.flatMap((info) => (info ? [{ ...info, storedAt: now }] : [])),
    missing: names.filter((_, i) => !infos[i]),
  });
}
