/** What tests of S3 sites share: buckets, credentials, and a proxy that does to requests what networks do. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import http, { type IncomingMessage, type ServerResponse } from "node:http";
import https from "node:https";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import type { TestContext } from "node:test";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import type { S3Config } from "../../src/sites/s3-config.ts";
import type { Ceph } from "./ceph.ts";
import { temporaryFolder } from "./places.ts";

/** The SDK of AWS, which shares no code with ours and so may judge it. */
export function sdkFor(ceph: Ceph): S3Client {
  return new S3Client({
    endpoint: ceph.endpoint,
    region: "default",
    forcePathStyle: true,
    credentials: { accessKeyId: ceph.accessKeyId, secretAccessKey: ceph.secretAccessKey },
  });
}

/** A setting for a bucket, with a credentials file of the test. */
export async function configFor(
  t: TestContext,
  at: {
    readonly endpoint: string;
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly bucket: string;
  },
): Promise<S3Config> {
  const { endpoint, bucket, accessKeyId, secretAccessKey } = at;
  const credentialsFile = join(temporaryFolder(t), "credentials.json");
  const credentials = JSON.stringify({ accessKeyId, secretAccessKey });
  await writeFile(credentialsFile, credentials, { mode: 0o600 });
  return { endpoint, region: "default", bucket, prefix: "kn/", pathStyle: true, credentialsFile };
}

let buckets = 0;

/** A new bucket of the Ceph, and its setting. */
export async function newBucket(
  t: TestContext,
  ceph: Ceph,
  { lock = true }: { readonly lock?: boolean } = {},
): Promise<S3Config> {
  const bucket = `bucket-${++buckets}`;
  const sdk = sdkFor(ceph);
  await sdk.send(new CreateBucketCommand({ Bucket: bucket, ObjectLockEnabledForBucket: lock }));
  sdk.destroy();
  return configFor(t, { ...ceph, bucket });
}

export type Answering = (request: IncomingMessage, response: ServerResponse) => void;

/** An HTTP server of the test, or with a certificate an HTTPS one. Its URL. */
export async function serve(
  t: TestContext,
  answering: Answering,
  tls?: { readonly key: string; readonly cert: string },
): Promise<string> {
  const server = tls ? https.createServer(tls, answering) : http.createServer(answering);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  assert.ok(address && typeof address === "object");
  return `${tls ? "https://localhost" : "http://127.0.0.1"}:${address.port}`;
}

/**
 * Hands requests on to an engine as they are (the signature covers the host), and its answers back.
 *
 * @param loses asked when the engine has answered: true keeps the answer back and cuts the connection
 * @param cuts asked before a body is read: true passes on half of it and cuts both connections
 * @param alters changes a body on the way in
 */
export function forwardingTo(
  endpoint: string,
  {
    loses = () => false,
    cuts = () => false,
    alters = (body) => body,
  }: {
    readonly loses?: (request: IncomingMessage) => boolean;
    readonly cuts?: (request: IncomingMessage) => boolean;
    readonly alters?: (body: Buffer, request: IncomingMessage) => Buffer;
  } = {},
): Answering {
  const { port } = new URL(endpoint);
  const forward = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { url: path = "/", method, headers } = request;
    const onward = http.request({ host: "127.0.0.1", port, path, method, headers });
    const isCut = cuts(request);
    const body = alters(await buffer(request), request);
    if (isCut) {
      onward.on("error", () => undefined);
      onward.write(body.subarray(0, body.length / 2), () => {
        onward.destroy();
        request.socket.destroy();
      });
      return;
    }
    onward.end(body);
    const [answer]: IncomingMessage[] = await once(onward, "response");
    assert.ok(answer);
    const answered = await buffer(answer);
    if (loses(request)) {
      request.socket.destroy();
      return;
    }
    response.writeHead(answer.statusCode ?? 0, answer.headers);
    response.end(answered);
  };
  return (request, response) => {
    forward(request, response).catch(() => request.socket.destroy());
  };
}
