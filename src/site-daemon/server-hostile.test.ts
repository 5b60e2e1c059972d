/** What the listener does with requests that are not as they must be, and when its storage fails. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { text as whole } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { connect } from "node:tls";
import { temporaryFolder } from "../../test/support/places.ts";
import {
  answerTo,
  bareSocket,
  headersOf,
  open,
  type RawRequest,
  raw,
} from "../../test/support/raw-request.ts";
import {
  AGENT_KEY,
  type ListenerOptions,
  openJudge,
  SITE_KEY,
  STATE,
  startListener,
  type TestListener,
} from "../../test/support/site-daemon.ts";
import { signingKeyFromSeed } from "../crypto/signing.ts";
import { ExclaveError } from "../errors.ts";
import { faulty, inTurn } from "../sites/fault.ts";
import { objectPath, statePath } from "../sites/wire.ts";

const STRANGER = signingKeyFromSeed(new Uint8Array(32).fill(0x77));
const BODY = Buffer.from("what a State keeps");
const NAME = `statement/${createHash("sha256").update(BODY).digest("hex")}`;
const DOCUMENT = `charter/${"cd".repeat(32)}`;

const listening = (t: TestContext, options: Partial<ListenerOptions> = {}): Promise<TestListener> =>
  startListener(t, { folder: temporaryFolder(t), ...options });

/** A put by the agent, as it must be but for what is changed. */
const put = ({ port }: TestListener, changes: Partial<RawRequest> = {}): RawRequest => ({
  port,
  method: "PUT",
  target: objectPath(STATE, NAME),
  body: BODY,
  by: AGENT_KEY,
  site: SITE_KEY.id,
  ...changes,
});

const get = (listener: TestListener, changes: Partial<RawRequest> = {}): RawRequest => {
  const { body: _, ...rest } = put(listener, { method: "GET", ...changes });
  return rest;
};

test("a request that is signed otherwise than it must be is refused, and nothing is stored", async (t) => {
  const listener = await listening(t);
  const elsewhere = "9".repeat(64);
  const good = headersOf(put(listener));
  const cases: readonly (readonly [string, Partial<RawRequest>, number])[] = [
    ["by a key that nobody knows", { by: STRANGER }, 401],
    ["to another site", { site: elsewhere }, 401],
    [
      "to another site, which a forwarder rewrote",
      { site: elsewhere, headers: { "exclave-site": SITE_KEY.id } },
      401,
    ],
    ["six minutes ago", { at: new Date(Date.now() - 360_000) }, 401],
    ["in six minutes", { at: new Date(Date.now() + 360_000) }, 401],
    [
      "for another object",
      { headers: headersOf(put(listener, { target: objectPath(STATE, DOCUMENT) })) },
      401,
    ],
    ["for another method", { headers: headersOf(put(listener, { method: "POST" })) }, 401],
    [
      "with another length",
      {
        headers: {
          ...headersOf(put(listener, { body: Buffer.from("shorter") })),
          "content-length": `${BODY.length}`,
        },
      },
      401,
    ],
    ["without a digest", { digest: false }, 400],
    [
      "with the digest of other bytes",
      { digest: `sha-256=:${createHash("sha256").update("x").digest("base64")}:` },
      422,
    ],
    ["with a signature of half its length", { headers: { signature: "exclave=:AAAA:" } }, 401],
    ["without its signature", { headers: { signature: "" } }, 401],
    [
      "with one signature input in front of another",
      { headers: { "signature-input": `x=();created=1, ${good["signature-input"]}` } },
      401,
    ],
  ];
  for (const [what, changes, status] of cases) {
    const answer = await raw(put(listener, changes));
    assert.equal(answer.status, status, `${what}: ${answer.error}`);
    assert.ok(answer.headers.date, "every answer tells the time");
    assert.equal(listener.store.find(NAME), undefined, what);
  }
  assert.equal((await raw(put(listener))).status, 201);
  assert.equal((await raw(put(listener))).status, 200, "and the same again is no error");
});

test("a replayed request does nothing, and is good for nothing else", async (t) => {
  const listener = await listening(t);
  const headers = headersOf(put(listener));
  assert.equal((await raw(put(listener, { by: undefined, headers }))).status, 201);
  assert.equal((await raw(put(listener, { by: undefined, headers }))).status, 200);
  const other = put(listener, { by: undefined, headers, body: Buffer.from("what a thief keeps") });
  assert.equal((await raw(other)).status, 422);
});

test("there is no request that removes, replaces or shortens", async (t) => {
  const listener = await listening(t);
  await raw(put(listener));
  for (const method of ["DELETE", "PATCH", "POST", "MOVE", "COPY", "OPTIONS"]) {
    const { status, error } = await raw(get(listener, { method }));
    assert.deepEqual([status, error], [400, "malformed"], method);
  }
  for (const body of [Buffer.from(""), BODY.subarray(1), Buffer.from("something else")]) {
    const { status, error } = await raw(put(listener, { body }));
    assert.deepEqual([status, error], [409, "exists"]);
  }
  assert.deepEqual((await raw(get(listener))).body, BODY);
});

test("one object has one path", async (t) => {
  const listener = await listening(t);
  await raw(put(listener));
  const path = objectPath(STATE, NAME);
  for (const target of [
    path.replace("statement", "state%6dent"),
    `${path}?x=1`,
    `${path}?`,
    path.replace("/objects/", "/objects/../objects/"),
    path.replace("/objects/", "/objects//"),
    `${path}/`,
    path.toUpperCase(),
    `https://site.example${path}`,
  ]) {
    const { status } = await raw(get(listener, { target }));
    assert.ok(status === 400 || status === 404, `${target}: ${status}`);
  }
});

test("a State that is not served looks as one that never was, signed or not", async (t) => {
  const listener = await listening(t);
  const answers = [];
  for (const by of [AGENT_KEY, STRANGER, undefined]) {
    for (const state of ["ab".repeat(32), "cd".repeat(32)]) {
      const { status, body, headers } = await raw(
        get(listener, { by, target: objectPath(state, NAME) }),
      );
      answers.push(JSON.stringify([status, body.toString(), Object.keys(headers)]));
    }
  }
  const absent = await raw(get(listener));
  assert.equal(absent.status, 404);
  assert.equal(new Set(answers).size, 1);
  assert.equal(JSON.parse(answers[0] ?? "")[1], absent.body.toString());
});

test("strangers are given what is for everybody, and told nothing of the rest", async (t) => {
  const listener = await listening(t);
  const charter = put(listener, { target: objectPath(STATE, DOCUMENT) });
  assert.equal((await raw(charter)).status, 201);
  const shard = `shard/${"ab".repeat(32)}.00`;
  await raw(put(listener, { target: objectPath(STATE, shard), digest: false }));
  const by = undefined;
  assert.equal((await raw(get(listener, { by, target: objectPath(STATE, DOCUMENT) }))).status, 200);
  assert.equal(
    (await raw(get(listener, { by, target: `${statePath(STATE)}/list/charter` }))).status,
    200,
  );
  const there = await raw(get(listener, { by, target: objectPath(STATE, shard) }));
  const absent = await raw(
    get(listener, { by, target: objectPath(STATE, `shard/${"ac".repeat(32)}.00`) }),
  );
  assert.equal(there.status, 401);
  assert.deepEqual(there.body, absent.body);
  for (const path of ["list/shard", "status"]) {
    assert.equal(
      (await raw(get(listener, { by, target: `${statePath(STATE)}/${path}` }))).status,
      401,
    );
  }
});

test("a body that is not wanted is not waited for", async (t) => {
  const listener = await listening(t, { limits: { discardMsMax: 200 } });
  for (const changes of [{ by: STRANGER }, { target: objectPath("ab".repeat(32), NAME) }]) {
    const sent = open(put(listener, { ...changes, body: Buffer.alloc(1000) }));
    sent.flushHeaders();
    const { status } = await answerTo(sent);
    assert.ok(status === 401 || status === 404, "it is answered before the body is there");
    sent.destroy();
  }
  const long = put(listener, { body: Buffer.alloc(1024 * 1024 + 1) });
  assert.equal((await raw(long)).status, 413);
});

test("a body that comes too slowly, or breaks off, is no object", async (t) => {
  const listener = await listening(t, { limits: { bodySilenceMsMax: 300 } });
  const slow = open(put(listener));
  slow.write(BODY.subarray(0, 5));
  const { status, error } = await answerTo(slow);
  assert.deepEqual([status, error], [503, "site-unavailable"]);
  const half = open(put(listener));
  half.write(BODY.subarray(0, 5));
  half.on("error", () => undefined);
  await once(half, "socket");
  half.destroy();
  const { status: after } = await raw(put(listener));
  assert.equal(after, 201, "nothing of it was stored");
  assert.equal(listener.site.room.bytesTaken, 0, "and its memory is free again");
});

test("who finds no room for a body waits before it is read, and is served when there is some", async (t) => {
  const bodyBytesInFlightMax = 256 * 1024;
  const listener = await listening(t, {
    limits: {
      bodyBytesInFlightMax,
      stateBytesInFlightMax: bodyBytesInFlightMax,
      roomMsMax: 60_000,
    },
  });
  const names = ["01", "02"].map((digits) => `shard/${digits.repeat(32)}.00`);
  const big = randomBytes(200 * 1024);
  const begun = names.map((name) =>
    open(put(listener, { target: objectPath(STATE, name), body: big, digest: false })),
  );
  const [first, second] = begun;
  assert.ok(first && second);
  const answers = begun.map(answerTo);
  first.write(big.subarray(0, 1000));
  while (listener.site.room.bytesTaken === 0) await new Promise(setImmediate);
  second.end(big);
  while (listener.site.room.waiting === 0) await new Promise(setImmediate);
  assert.ok(listener.site.room.bytesTaken <= bodyBytesInFlightMax);
  first.end(big.subarray(1000));
  assert.deepEqual(
    (await Promise.all(answers)).map(({ status }) => status),
    [201, 201],
  );
});

test("who takes nothing of an answer is cut off, and holds up nobody meanwhile", async (t) => {
  const listener = await listening(t, {
    limits: { readSilenceMsMax: 500, readPiecesMax: 1, readPieceBytes: 16_384 },
  });
  const target = objectPath(STATE, `shard/${"ab".repeat(32)}.00`);
  const body = randomBytes(30_000_000);
  await raw(put(listener, { target, body, digest: false }));
  const accepted = once(listener.site.server, "secureConnection");
  const slow = open(get(listener, { target }));
  slow.end();
  const [socket] = await accepted;
  const closed = once(socket, "close");
  const [response] = await once(slow, "response");
  response.on("error", () => undefined);
  const { body: got } = await raw(get(listener, { target, range: "bytes=100-199" }));
  assert.deepEqual(got, body.subarray(100, 200));
  await closed;
});

test("ranges are the ones of RFC 9110 that the protocol has, and no others", async (t) => {
  const listener = await listening(t);
  await raw(put(listener));
  const size = BODY.length;
  const cases: readonly (readonly [string, number, string])[] = [
    ["bytes=0-3", 206, BODY.toString().slice(0, 4)],
    [`bytes=${size - 1}-${size + 100}`, 206, BODY.toString().slice(-1)],
    ["bytes=5-", 206, BODY.toString().slice(5)],
    [`bytes=${size}-${size}`, 416, ""],
    ["bytes=3-2", 416, ""],
    ["bytes=-3", 400, ""],
    ["bytes=0-1,2-3", 400, ""],
    ["items=0-1", 400, ""],
  ];
  for (const [range, status, expected] of cases) {
    const answer = await raw(get(listener, { range }));
    assert.equal(answer.status, status, range);
    if (status === 206) assert.equal(answer.body.toString(), expected);
  }
  const unsigned = await raw(get(listener, { headers: { range: "bytes=0-3" } }));
  assert.equal(unsigned.status, 401, "a range is signed for");
});

test("who asks too much is told when to come back, and keeps nobody else away", async (t) => {
  const rate = { perSecond: 0.01, burst: 5 };
  const listener = await listening(t, {
    limits: {
      requestsPerSecond: {
        state: { perSecond: 1000, burst: 1000 },
        address: { perSecond: 1000, burst: 1000 },
        stranger: rate,
        failures: { perSecond: 0.01, burst: 2 },
        monitor: rate,
      },
    },
  });
  const target = `${statePath(STATE)}/list/charter`;
  const statuses = [];
  for (let i = 0; i < 8; i++) {
    const answer = await raw(get(listener, { by: undefined, target }));
    statuses.push(answer.status);
    if (answer.status === 429) assert.ok(Number(answer.headers["retry-after"]) >= 1);
  }
  assert.ok(statuses.includes(200) && statuses.includes(429), statuses.join(" "));
  assert.equal((await raw(get(listener, { target }))).status, 200, "who is known is served");
  const failed = [];
  for (let i = 0; i < 3; i++)
    failed.push((await raw(get(listener, { target, by: STRANGER }))).status);
  assert.deepEqual(failed, [401, 401, 429], "bad signatures are not looked at for ever");
});

test("connections beyond the limit are closed before they cost anything", async (t) => {
  const listener = await listening(t, { limits: { connectionsPerAddressMax: 3 } });
  for (let i = 0; i < 3; i++) await bareSocket(t, listener.port);
  const fourth = connect({ host: "127.0.0.1", port: listener.port, rejectUnauthorized: false });
  t.after(() => fourth.destroy());
  await assert.rejects(once(fourth, "secureConnect"));
});

test("what is no HTTP, and headers that never end, are cut off", async (t) => {
  const listener = await listening(t, { limits: { headerMsMax: 500 } });
  const junk = await bareSocket(t, listener.port);
  junk.write(`GET / HTTP/1.1\r\nx: ${"y".repeat(20_000)}\r\n\r\n`);
  assert.match(await whole(junk), /^HTTP\/1.1 (431|400)/);
  const slow = await bareSocket(t, listener.port);
  slow.write("GET / HTTP/1.1\r\nhost: x\r\n");
  assert.match(await whole(slow), /^(HTTP\/1.1 408|$)/);
  assert.equal((await raw(put(listener))).status, 201);
});

test("bodies without a length are refused", async (t) => {
  const listener = await listening(t);
  const socket = await bareSocket(t, listener.port);
  const { "content-length": _, ...signed } = headersOf(put(listener));
  const chunked = { ...signed, "transfer-encoding": "chunked" };
  const lines = Object.entries(chunked).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(
    `PUT ${objectPath(STATE, NAME)} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${lines.join("")}\r\n3\r\nabc\r\n0\r\n\r\n`,
  );
  assert.match(await whole(socket), /^HTTP\/1.1 40[01]/);
  assert.equal(listener.store.find(NAME), undefined);
});

test("nothing is acknowledged that is not stored, however storing fails; afterwards all is well", async (t) => {
  const full = new ExclaveError("disk-full", "no space left");
  const listener = await listening(t, {
    around: (storage) => ({
      ...storage,
      site: faulty(
        storage.site,
        inTurn("put", [
          { kind: "fail-before", error: full },
          { kind: "fail-before" },
          { kind: "fail-after" },
          undefined,
        ]),
      ),
    }),
  });
  const first = await raw(put(listener));
  assert.deepEqual([first.status, first.error], [507, "disk-full"]);
  const second = await raw(put(listener));
  assert.deepEqual([second.status, second.error], [503, "site-unavailable"]);
  assert.ok(second.headers["retry-after"]);
  const third = await raw(put(listener));
  assert.equal(third.status, 503, "it took effect, and yet nobody knows");
  assert.equal(listener.store.find(NAME), undefined);
  assert.equal((await raw(put(listener))).status, 201);
  assert.deepEqual((await raw(get(listener))).body, BODY);
});

test("a copy that cannot be read is refused, and cut off where its beginning was sent", async (t) => {
  const listener = await listening(t, {
    limits: { readPieceBytes: 16_384 },
    around: (storage) => ({
      ...storage,
      site: faulty(
        storage.site,
        inTurn("read", [
          { kind: "short-read", bytes: 3 },
          { kind: "fail-before" },
          undefined,
          { kind: "fail-before" },
        ]),
      ),
    }),
  });
  const target = objectPath(STATE, `shard/${"ab".repeat(32)}.00`);
  await raw(put(listener, { target, body: randomBytes(100_000), digest: false }));
  for (const range of ["bytes=0-9", "bytes=0-9"]) {
    const { status, error } = await raw(get(listener, { target, range }));
    assert.deepEqual([status, error], [503, "site-unavailable"]);
  }
  await assert.rejects(raw(get(listener, { target })), "half an object is not taken for one");
  assert.equal((await raw(get(listener, { target }))).body.length, 100_000);
});

test("quotas refuse what is too much whole, and count what is stored alone", async (t) => {
  const allowed = { bytes: 2 * BODY.length, objects: 3 };
  const listener = await listening(t, { judge: openJudge({ allowance: () => allowed }) });
  const shard = (n: number) => objectPath(STATE, `shard/0${n}${"ab".repeat(31)}.00`);
  const send = (n: number, body = BODY) =>
    raw(put(listener, { target: shard(n), body, digest: false }));
  assert.equal((await send(1)).status, 201);
  assert.equal((await send(1)).status, 200, "the same again costs nothing");
  assert.equal((await send(1)).status, 200);
  assert.equal((await send(2)).status, 201);
  const over = await send(3);
  assert.deepEqual([over.status, over.error], [403, "refused"]);
  // What governs the State is not kept away by that.
  const decision = put(listener, { target: objectPath(STATE, `decision/${"ab".repeat(32)}`) });
  assert.equal((await raw(decision)).status, 201);
});

test("the State's quota holds for bodies that are still on their way", async (t) => {
  const listener = await listening(t, { quotaBytes: 1000 });
  const shard = (n: number) => objectPath(STATE, `shard/0${n}${"ab".repeat(31)}.00`);
  const body = Buffer.alloc(600);
  const first = open(put(listener, { target: shard(1), body, digest: false }));
  const answer = answerTo(first);
  first.write(body.subarray(0, 10));
  while (listener.site.room.bytesTaken === 0) await new Promise(setImmediate);
  const { status } = await raw(put(listener, { target: shard(2), body, digest: false }));
  assert.equal(status, 403);
  first.end(body.subarray(10));
  assert.equal((await answer).status, 201);
});

test("a store that was not closed knows all its objects when it is opened again", async (t) => {
  const folder = temporaryFolder(t);
  const before = await listening(t, { folder });
  await raw(put(before));
  before.store.index.remove(NAME);
  await before.close();
  const { DatabaseSync } = await import("node:sqlite");
  const db = new DatabaseSync(join(folder, "index.sqlite"));
  db.exec("UPDATE meta SET value = 'no' WHERE key = 'clean'");
  db.close();
  const after = await listening(t, { folder });
  assert.equal(after.store.find(NAME)?.bytes, BODY.length);
  assert.equal(after.store.bytes, BODY.length);
  assert.deepEqual((await raw(get(after))).body, BODY);
});

test("what a listing names is a page at a time, and told when there is more", async (t) => {
  const listener = await listening(t);
  const kind = "manifest";
  for (let i = 0; i < 10_001; i++) {
    const rest = i.toString(16).padStart(64, "0");
    const storedAt = new Date();
    const retainUntil = new Date(0);
    listener.store.index.add({
      name: `${kind}/${rest}`,
      bytes: 1,
      storedAt,
      owner: "",
      retainUntil,
      shard: undefined,
    });
  }
  const { body } = await raw(get(listener, { target: `${statePath(STATE)}/list/${kind}` }));
  assert.ok(body.toString().endsWith("\n\n"));
  const after = (9999).toString(16).padStart(64, "0");
  const rest = await raw(
    get(listener, { target: `${statePath(STATE)}/list/${kind}?after=${after}` }),
  );
  assert.equal(rest.body.toString(), `${(10_000).toString(16).padStart(64, "0")}\n`);
});

test("every answer is counted, refusals too, under labels of which there are few", async (t) => {
  const listener = await listening(t);
  await raw(put(listener));
  await raw(get(listener));
  await raw(get(listener, { range: "bytes=0-3" }));
  await raw(get(listener, { by: STRANGER }));
  await raw(get(listener, { target: `/made/up/${"x".repeat(100)}` }));
  const text = await listener.metrics.text();
  for (const line of [
    'exclave_site_requests_total{route="put",status="201"} 1',
    'exclave_site_requests_total{route="get",status="200"} 1',
    'exclave_site_requests_total{route="get",status="206"} 1',
    'exclave_site_requests_total{route="get",status="401"} 1',
    'exclave_site_requests_total{route="other",status="400"} 1',
    'exclave_site_refusals_total{code="untrusted"} 1',
    `exclave_site_body_bytes_total{direction="in"} ${BODY.length}`,
    `exclave_site_body_bytes_total{direction="out"} ${BODY.length + 4}`,
  ]) {
    assert.ok(text.includes(line), `${line}\n${text}`);
  }
  assert.ok(!text.includes("xxx"));
});
