/** What goes wrong between a client and a site, and what comes of it. */
import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { type TestContext, test } from "node:test";
import { emptyDirectory, QUICK, remotePair } from "../../test/support/remote-site.ts";
import {
  type Incoming,
  SERVED_STATE,
  SERVER_KEY,
  type SiteServerOptions,
  sendProblem,
  serve,
  startSiteServer,
} from "../../test/support/site-server.ts";
import { sha256 } from "../crypto/hash.ts";
import { isExclaveError } from "../errors.ts";
import { code, listed, objectName, readText, text } from "./conformance.ts";
import type { RemoteOptions } from "./remote.ts";
import type { Site } from "./site.ts";
import { openSiteReceipt } from "./site-receipt.ts";

const name = objectName("shard", "remote");
const HOUR_MS = 3_600_000;

/** A pair whose server does something else with the first so many requests, and counts them all. */
async function troubled(
  t: TestContext,
  times: number,
  trouble: (incoming: Incoming, options: SiteServerOptions) => boolean | Promise<boolean>,
  client: Partial<RemoteOptions> = {},
): Promise<Awaited<ReturnType<typeof remotePair>> & { readonly asked: () => number }> {
  const objects = await emptyDirectory(t);
  let asked = 0;
  const before = (incoming: Incoming): boolean | Promise<boolean> => {
    asked++;
    return incoming.count <= times && trouble(incoming, { objects });
  };
  const pair = await remotePair(t, { objects, before }, client);
  return { ...pair, bare: objects, asked: () => asked };
}

/** Lets the connection go, without a word. */
function cut({ response }: { readonly response: ServerResponse }): true {
  response.socket?.destroy();
  return true;
}

/** Takes the body up to so many bytes, and cuts. */
function cutAfter(bytes: number): (incoming: Incoming) => true {
  return (incoming) => {
    let got = 0;
    incoming.request.on("data", (chunk: Buffer) => {
      got += chunk.length;
      if (got >= bytes) cut(incoming);
    });
    incoming.request.on("end", () => cut(incoming));
    return true;
  };
}

/** Does what was asked, and cuts before a word of it is said. */
async function cutAnswer(incoming: Incoming, options: SiteServerOptions): Promise<true> {
  const { response } = incoming;
  response.writeHead = () => response;
  response.end = () => {
    cut(incoming);
    return response;
  };
  await serve(incoming, options);
  return true;
}

/** Says how long the answer is, gives half of it, and cuts. */
function halfAnswer({ request, response }: Incoming): boolean {
  if (request.method === "HEAD") return false;
  response.writeHead(200, { "content-length": 10 });
  response.write("half!", () => response.socket?.destroy());
  return true;
}

function later({ response }: Incoming): true {
  sendProblem(response, 503, "site-unavailable", "later");
  return true;
}

const CUTS: Readonly<
  Record<string, (incoming: Incoming, options: SiteServerOptions) => true | Promise<true>>
> = {
  "before the body": cut,
  "during the body": cutAfter(700_000),
  "after the body: stored, yet the answer was lost": cutAnswer,
};
for (const [when, trouble] of Object.entries(CUTS)) {
  test(`a put whose connection is cut ${when} is repeated, and is no error`, async (t) => {
    const whole = Buffer.alloc(3_000_000, 7);
    const { site, bare, asked } = await troubled(t, 2, trouble);
    await site.put(name, [whole.subarray(0, 10), whole.subarray(10)]);
    assert.equal((await bare.stat(name))?.bytes, whole.length);
    assert.equal(asked(), 3);
  });

  test(`a put whose connection is always cut ${when} fails in the end`, async (t) => {
    const { site, asked } = await troubled(t, 99, trouble);
    await assert.rejects(site.put(name, [Buffer.alloc(3_000_000)]), code("site-unavailable"));
    // The connection was there before: that this one failed might have meant nothing.
    assert.equal(asked(), QUICK.attemptsMax! + 1);
  });
}

test("a put whose answer was lost does not take other bytes for its own", async (t) => {
  const { site, bare } = await troubled(t, 1, cutAnswer);
  await bare.put(name, [text("other")]);
  await assert.rejects(site.put(name, [text("mine")]), code("exists"));
});

for (const status of [429, 500, 502, 503, 504]) {
  test(`${status} passes`, async (t) => {
    const { site, asked } = await troubled(t, 2, ({ response }) => {
      sendProblem(response, status, "site-unavailable", "later");
      return true;
    });
    await site.put(name, [text("whole")]);
    assert.equal(await readText(site, name, 9), "whole");
    assert.equal(asked(), 4);
  });
}

test("a site that says later is asked again no sooner than it said, where that is bearable", async (t) => {
  const waits: number[] = [];
  const wait = async (ms: number): Promise<void> => {
    waits.push(ms);
  };
  const busy = ({ response }: Incoming): true => {
    sendProblem(response, 503, "site-unavailable", "busy", { "retry-after": "7" });
    return true;
  };
  const { site } = await troubled(t, 2, busy, { wait });
  assert.equal(await site.stat(name), undefined);
  assert.deepEqual(waits, [7000, 7000]);
});

test("each attempt waits about twice as long as the one before, and no two calls the same", async (t) => {
  const waits: number[] = [];
  const wait = async (ms: number): Promise<void> => {
    waits.push(ms);
  };
  const limits = { firstDelayMs: 100_000, delayMsMax: 400_000, attemptsMax: 6 };
  const fail = (incoming: Incoming): true => cut(incoming);
  const { site } = await troubled(t, 99, fail, { wait, limits });
  await assert.rejects(site.stat(name), code("site-unavailable"));
  for (const [i, most] of [100_000, 200_000, 400_000, 400_000, 400_000].entries()) {
    assert.ok(waits[i]! >= most / 2 && waits[i]! <= most, `${waits[i]} is about ${most}`);
  }
  assert.equal(new Set(waits).size, 5);
});

test("a site that says much later is not waited for", async (t) => {
  const { site, asked } = await troubled(t, 99, ({ response }) => {
    sendProblem(response, 503, "site-unavailable", "rebuilding", { "retry-after": "3600" });
    return true;
  });
  await assert.rejects(site.read(name, 0, new Uint8Array(1)), /site kn: rebuilding/);
  assert.equal(asked(), 1);
});

const FINAL = [
  { status: 400, said: "malformed" },
  { status: 401, said: "untrusted" },
  { status: 403, said: "refused" },
  { status: 409, said: "exists" },
  { status: 413, said: "malformed" },
  { status: 422, said: "altered" },
  { status: 507, said: "disk-full" },
] as const;
for (const { status, said } of FINAL) {
  test(`${status} ${said} is final, and says what the site said`, async (t) => {
    const { site, asked } = await troubled(t, 99, ({ response }) => {
      sendProblem(response, status, said, "by \u001b[31mrule 7");
      return true;
    });
    await assert.rejects(site.put(name, [text("x")]), (error: Error) => {
      assert.equal(error.message, "site kn: by  [31mrule 7");
      return code(said)(error);
    });
    assert.equal(asked(), 1);
  });
}

test("a refusal that comes before the body was read is understood, and the body is not sent on", async (t) => {
  const { site } = await troubled(t, 1, ({ response }) => {
    sendProblem(response, 403, "refused", "quota");
    return true;
  });
  const whole = Buffer.alloc(8 * 1024 * 1024, 1);
  const putting = site.put(name, [whole]);
  await assert.rejects(putting, /site kn: quota|lost the connection|closed the connection/);
  // The connection was given up with the body, and there is another for what comes next.
  await site.put(name, [whole]);
  assert.equal((await site.stat(name))?.bytes, whole.length);
});

test("a read that is refused says so of a shard; of all else the site is as one that is away", async (t) => {
  const { site } = await troubled(t, 99, ({ response }) => {
    sendProblem(response, 403, "refused", "a closed epoch");
    return true;
  });
  const into = new Uint8Array(1);
  await assert.rejects(site.read(name, 0, into), code("refused"));
  await assert.rejects(
    site.read(objectName("charter", "a"), 0, into),
    (error: Error) => /a closed epoch/.test(error.message) && code("site-unavailable")(error),
  );
  await assert.rejects(site.stat(name), code("site-unavailable"));
  await assert.rejects(listed(site, "charter"), code("site-unavailable"));
});

for (const status of [301, 302, 307, 308, 404, 418, 511]) {
  test(`a stranger's ${status} on the way is neither followed nor believed`, async (t) => {
    let strange = 0;
    const { site, asked } = await troubled(t, 99, ({ response, line }) => {
      if (line.includes("/elsewhere")) strange++;
      response.writeHead(status, { location: "/elsewhere" }).end("<html>");
      return true;
    });
    await assert.rejects(site.put(name, [text("x")]), code("site-unavailable"));
    await assert.rejects(site.read(name, 0, new Uint8Array(1)), code("site-unavailable"));
    assert.equal(strange, 0);
    assert.equal(asked(), 2);
  });
}

test("an error as long as the sea is cut", async (t) => {
  let sent = 0;
  const { site } = await troubled(t, 99, ({ response }) => {
    response.writeHead(403);
    const more = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536, 0x20))) sent += 65_536;
    };
    response.on("drain", more);
    more();
    return true;
  });
  await assert.rejects(site.read(name, 0, new Uint8Array(1)), code("site-unavailable"));
  assert.ok(sent < 64 * 1024 * 1024);
});

/** How an answer to `bytes=10-29` of an object of 100 bytes goes wrong. */
const WRONG: Readonly<Record<string, (response: ServerResponse) => void>> = {
  "is longer than was asked": (response) => {
    response.writeHead(206, { "content-range": "bytes 10-29/100", "content-length": 21 });
    response.end(Buffer.alloc(21, 1));
  },
  "is longer, in chunks": (response) => {
    response.writeHead(206, { "content-range": "bytes 10-29/100" });
    response.write(Buffer.alloc(15, 1));
    response.end(Buffer.alloc(15, 1));
  },
  "is shorter than its range": (response) => {
    response.writeHead(206, { "content-range": "bytes 10-29/100", "content-length": 19 });
    response.end(Buffer.alloc(19, 1));
  },
  "is of a range that begins elsewhere": (response) => {
    response.writeHead(206, { "content-range": "bytes 11-30/100" }).end(Buffer.alloc(20, 1));
  },
  "is of a longer range": (response) => {
    response.writeHead(206, { "content-range": "bytes 10-30/100" }).end(Buffer.alloc(21, 1));
  },
  "is of a part that ends before the object does": (response) => {
    response.writeHead(206, { "content-range": "bytes 10-19/100" }).end(Buffer.alloc(10, 1));
  },
  "has no range": (response) => {
    response.writeHead(206).end(Buffer.alloc(20, 1));
  },
  "is of the whole object": (response) => {
    response.writeHead(200, { "content-length": 100 }).end(Buffer.alloc(100, 1));
  },
  "is nothing, well formed": (response) => {
    response.writeHead(204).end();
  },
  "has a head without end": (response) => {
    response.writeHead(206, { "content-range": "bytes 10-29/100", "x-more": "y".repeat(60_000) });
    response.end(Buffer.alloc(20, 1));
  },
};
for (const [what, respond] of Object.entries(WRONG)) {
  test(`an answer that ${what} is no answer, and nothing beyond what was asked is written`, async (t) => {
    const { site } = await troubled(t, 99, ({ response }) => {
      respond(response);
      return true;
    });
    const around = new Uint8Array(60).fill(0xee);
    await assert.rejects(site.read(name, 10, around.subarray(20, 40)), code("site-unavailable"));
    assert.ok(around.subarray(0, 20).every((byte) => byte === 0xee));
    assert.ok(around.subarray(40).every((byte) => byte === 0xee));
  });
}

test("an answer that breaks off in the middle is asked for again", async (t) => {
  const { site, bare, asked } = await troubled(t, 2, ({ response }) => {
    response.writeHead(206, { "content-range": "bytes 0-4/5", "content-length": 5 });
    response.write("wr", () => response.socket?.destroy());
    return true;
  });
  await bare.put(name, [text("right")]);
  assert.equal(await readText(site, name, 5), "right");
  assert.equal(asked(), 3);
});

test("a site that falls silent in the middle of an answer is late", async (t) => {
  const { site } = await troubled(
    t,
    99,
    ({ response }) => {
      response.writeHead(206, { "content-range": "bytes 0-4/5", "content-length": 5 }).write("ab");
      return true;
    },
    { limits: { ...QUICK, silenceMs: 30, attemptsMax: 1 } },
  );
  await assert.rejects(site.read(name, 0, new Uint8Array(5)), /site kn was silent for 0.03 s/);
});

test("a site that says a byte now and then is late in the end", async (t) => {
  const { site } = await troubled(
    t,
    99,
    ({ response }) => {
      response.writeHead(206, { "content-range": "bytes 0-4999/5000", "content-length": 5000 });
      const drip = setInterval(() => response.write("."), 5);
      response.on("close", () => clearInterval(drip));
      return true;
    },
    { limits: { ...QUICK, attemptsMax: 1, wholeMs: 60, leastBytesPerSecond: 1e6 } },
  );
  await assert.rejects(site.read(name, 0, new Uint8Array(5000)), /site kn took longer than 0.06/);
});

test("a site that does not take a body is late", async (t) => {
  const { site } = await troubled(t, 99, () => true, {
    limits: { ...QUICK, silenceMs: 50, attemptsMax: 1 },
  });
  await assert.rejects(site.put(name, [Buffer.alloc(32_000_000)]), /site kn was silent for/);
});

test("a site that goes away is unavailable, and is there again when it comes back", async (t) => {
  const { server, bare, site } = await remotePair(t);
  await site.put(name, [text("kept")]);
  await server.stop();
  await assert.rejects(site.stat(name), code("site-unavailable"));
  await assert.rejects(listed(site, "shard"), code("site-unavailable"));
  await startSiteServer(t, { objects: bare, port: server.port });
  assert.equal(await readText(site, name, 9), "kept");
});

test("connections that idled to death cost no attempt", async (t) => {
  const { server, bare, site } = await remotePair(t, {}, { limits: { ...QUICK, attemptsMax: 1 } });
  await Promise.all(Array.from({ length: 4 }, () => site.stat(name)));
  await server.stop();
  await startSiteServer(t, { objects: bare, port: server.port });
  assert.equal(await site.stat(name), undefined);
});

test("retries of all calls together are bounded", async (t) => {
  const limits = { ...QUICK, attemptsMax: 10, retriesPerMinute: 5 };
  const refuse = ({ response }: Incoming): true => {
    sendProblem(response, 503, "site-unavailable", "overloaded");
    return true;
  };
  const { site, asked } = await troubled(t, 999, refuse, { limits });
  const calls = Array.from({ length: 20 }, () => site.read(name, 0, new Uint8Array(1)));
  await Promise.all(calls.map((call) => assert.rejects(call, code("site-unavailable"))));
  assert.equal(asked(), 20 + 5);
});

test("with a fault at every other request, whatever is confirmed is right", async (t) => {
  const seed = process.env.SEED ?? `${Date.now()}`;
  t.diagnostic(`SEED=${seed} repeats it`);
  const objects = await emptyDirectory(t);
  const faults = [cut, cutAfter(1), cutAfter(70_000), cutAnswer, halfAnswer, later];
  const before = ({ count, ...incoming }: Incoming): boolean | Promise<boolean> => {
    const [chance = 0, which = 0] = sha256(text(`${seed} ${count}`));
    const fault = chance < 128 ? faults[which % faults.length] : undefined;
    return fault?.({ count, ...incoming }, { objects }) ?? false;
  };
  const limits = { ...QUICK, attemptsMax: 40, retriesPerMinute: 1e6 };
  const { site } = await remotePair(t, { objects, before }, { limits });
  await Promise.all(
    Array.from({ length: 48 }, async (_, i) => {
      const one = objectName(i % 2 ? "shard" : "manifest", `${i}`);
      const whole = Buffer.alloc(1 + i * 4000, `${i} `);
      await site.put(one, [whole.subarray(0, i), whole.subarray(i)]);
      const into = Buffer.alloc(whole.length + 9);
      assert.equal(await site.read(one, 0, into), whole.length);
      assert.ok(whole.equals(into.subarray(0, whole.length)));
      assert.deepEqual(await site.stat(one), { name: one, bytes: whole.length });
    }),
  );
  assert.equal((await listed(site, "shard")).length, 24);
});

test("a clock that is wrong is made good with the site's time, once for all calls", async (t) => {
  for (const off of [-5 * HOUR_MS, 5 * HOUR_MS]) {
    const { server, site } = await remotePair(t, { now: () => new Date(Date.now() + off) });
    await site.put(name, [text("late or early")]);
    assert.equal(await readText(site, name, 99), "late or early");
    assert.equal(server.lines.filter((line) => line.startsWith("PUT")).length, 2);
    assert.equal(server.lines.filter((line) => line.startsWith("GET /v1/s")).length, 1);
  }
});

for (const status of [429, 503]) {
  test(`what was signed again with the site's time, and is answered with ${status}, is tried again`, async (t) => {
    const objects = await emptyDirectory(t);
    const { server, site } = await remotePair(
      t,
      {
        objects,
        before: ({ response, count }) => {
          if (count !== 2) return false;
          sendProblem(response, status, "site-unavailable");
          return true;
        },
      },
      { now: () => new Date(Date.now() + 5 * HOUR_MS) },
    );
    await site.put(name, [text("late and early")]);
    assert.equal(await readText(objects, name, 99), "late and early");
    assert.equal(server.lines.filter((line) => line.startsWith("PUT")).length, 3);
  });
}

test("a refusal for another reason than the clock is not repeated", async (t) => {
  const { server, site } = await remotePair(t, {}, { signer: SERVER_KEY });
  await assert.rejects(site.put(name, [text("x")]), code("untrusted"));
  assert.equal(server.lines.filter((line) => line.startsWith("PUT")).length, 1);
});

test("a put that is aborted rejects, and what it was given is free", async (t) => {
  const abort = new AbortController();
  const { site, bare } = await troubled(t, 1, () => {
    // The body is on its way, and nobody takes it.
    abort.abort();
    return true;
  });
  const parts = [Buffer.alloc(16_000_000, 1), Buffer.alloc(16_000_000, 2)];
  const put = (): Promise<void> => site.put(name, parts, { signal: abort.signal });
  await assert.rejects(put, code("site-unavailable"));
  await assert.rejects(put, code("site-unavailable"), "one that was aborted before it began");
  assert.equal(await bare.stat(name), undefined);
  await site.put(name, [text("after")]);
  assert.equal(await readText(site, name, 9), "after");
});

test("a put that waits its turn is given up at once", async (t) => {
  const release = Promise.withResolvers<void>();
  const { site, asked } = await troubled(
    t,
    1,
    async () => {
      await release.promise;
      return false;
    },
    { limits: { ...QUICK, callsAtFirst: 1, callsMax: 1 } },
  );
  const first = site.put(name, [text("first")]);
  const abort = new AbortController();
  const second = site.put(objectName("shard", "b"), [text("b")], { signal: abort.signal });
  const refused = assert.rejects(second, code("site-unavailable"));
  abort.abort();
  await refused;
  release.resolve();
  await first;
  assert.equal(asked(), 1);
});

const hash = (digit: string): string => digit.repeat(64);
/** Lists that no honest site gives. */
const LISTS: Readonly<Record<string, string>> = {
  "in no order": `${hash("b")}\n${hash("a")}\n`,
  "with a name twice": `${hash("a")}\n${hash("a")}\n`,
  "with a name that leads elsewhere": "../../etc/passwd\n",
  "without its last line feed": hash("a"),
  "that says there is more after nothing": "\n",
  "that repeats itself for ever": `${hash("a")}\n\n`,
  "that is no text": "\u0000\n",
  "that has an empty line": `${hash("a")}\n\n${hash("b")}\n`,
};
for (const [what, body] of Object.entries(LISTS)) {
  test(`a list ${what} is refused`, async (t) => {
    const { site, asked } = await troubled(t, 99, ({ response }) => {
      response.end(body);
      return true;
    });
    await assert.rejects(listed(site, "shard"), code("site-unavailable"));
    assert.ok(asked() <= 2);
  });
}

test("a list comes in pages, and whoever stops reading is not followed by more", async (t) => {
  const { server, bare, site } = await remotePair(t, { pageNames: 7 });
  const names = Array.from({ length: 23 }, (_, i) => objectName("shard", `${i}`));
  for (const one of names) await bare.put(one, [text(one)]);
  assert.deepEqual(await listed(site, "shard"), names.toSorted());
  const lists = (): number => server.lines.filter((line) => line.includes("/list/")).length;
  assert.equal(lists(), 4);
  for await (const one of site.list("shard")) {
    assert.equal(one, names.toSorted()[0]);
    break;
  }
  await site.stat(name);
  assert.ok(lists() <= 6);
});

test("a list of exactly one page has an end", async (t) => {
  const { bare, site } = await remotePair(t, { pageNames: 3 });
  const names = ["a", "b", "c"].map((seed) => objectName("wrap", seed));
  for (const one of names) await bare.put(one, [text(one)]);
  assert.deepEqual(await listed(site, "wrap"), names.toSorted());
});

test("a receipt is of the site, for this State, and of what was asked for", async (t) => {
  const { bare, site } = await remotePair(t);
  const absent = objectName("shard", "absent");
  await bare.put(name, [text("12345")]);
  const bytes = await site.receipts([name, absent]);
  const receipt = openSiteReceipt(bytes, SERVER_KEY.publicKey, SERVED_STATE);
  assert.deepEqual(
    receipt.objects.map(([held, length]) => [held, length]),
    [[name, 5]],
  );
  assert.deepEqual(receipt.missing, [absent]);
});

test("a receipt for something else than was asked for is refused", async (t) => {
  const other: { bytes?: Uint8Array } = {};
  const { site } = await troubled(t, 99, ({ response }) => {
    if (!other.bytes) return false;
    response.end(other.bytes);
    return true;
  });
  other.bytes = await site.receipts([name]);
  await assert.rejects(site.receipts([objectName("shard", "b")]), code("untrusted"));
});

test("status and the witness's answer are given on as they are", async (t) => {
  const { site } = await remotePair(t);
  assert.equal(JSON.stringify(await site.status()), '{"size":3}');
  const { status, contentType, body } = await site.addCheckpoint(text("old 1\n\nnote\n"));
  assert.equal(status, 409);
  assert.equal(contentType, "text/x.tlog.size");
  assert.equal(Buffer.from(body).toString(), "17\n");
});

test("whoever has no key asks without a signature", async (t) => {
  const signatures: unknown[] = [];
  const { site } = await troubled(
    t,
    99,
    ({ request, response }) => {
      signatures.push(request.headers.signature);
      response.end("");
      return true;
    },
    { signer: undefined },
  );
  assert.deepEqual(await listed(site, "charter"), []);
  assert.deepEqual(signatures, [undefined]);
});

test("bytes of shared memory are sent and filled like others", async (t) => {
  const { site } = await remotePair(t);
  const shared = new Uint8Array(new SharedArrayBuffer(2_000_000)).fill(5);
  await site.put(name, [shared]);
  shared.fill(0);
  assert.equal(await site.read(name, 0, shared), shared.length);
  assert.ok(shared.every((byte) => byte === 5));
});

test("after it was closed, calls fail", async (t) => {
  const { site }: { readonly site: Site & { close(): Promise<void> } } = await remotePair(t);
  await site.close();
  await assert.rejects(site.stat(name), (error) => isExclaveError(error, "site-unavailable"));
});
