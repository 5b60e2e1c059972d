import assert from "node:assert/strict";
import { once } from "node:events";
import { IncomingMessage } from "node:http";
import { Socket } from "node:net";
import { test } from "node:test";
import { code } from "../sites/conformance.ts";
import { LIMITS } from "./limits.ts";
import { readBody } from "./read-body.ts";

test("the body of a request whose connection is gone is not waited for", async () => {
  const request = new IncomingMessage(new Socket());
  request.destroy();
  await once(request, "close");
  const limits = { ...LIMITS, bodySilenceMsMax: 1 };
  await assert.rejects(readBody(request, new Uint8Array(10), limits), /broke off/);
  await assert.rejects(readBody(request, new Uint8Array(10), limits), code("site-unavailable"));
});

test("chunks are put together, and told of as they come", async () => {
  const request = new IncomingMessage(new Socket());
  const into = new Uint8Array(6);
  const filled: number[] = [];
  const read = readBody(request, into, LIMITS, (bytes) => filled.push(bytes));
  for (const chunk of ["ab", "c", "def"]) request.push(chunk);
  request.push(null);
  await read;
  assert.equal(Buffer.from(into).toString(), "abcdef");
  assert.deepEqual(filled, [2, 3, 6]);
});
