import assert from "node:assert/strict";
import { test } from "node:test";
import { emptyDirectory, remotePair } from "../../test/support/remote-site.ts";
import type { Incoming } from "../../test/support/site-server.ts";
import { Bandwidth, paced, parseBandwidth, rateAt } from "./bandwidth.ts";
import { code, objectName, testSite, text } from "./conformance.ts";
import { PACED_PIECE_BYTES_MAX } from "./remote-limits.ts";

const at = (hours: number, minutes = 0, seconds = 0): Date =>
  new Date(2026, 0, 5, hours, minutes, seconds);

/** A rule in a time of its own, which passes only while somebody waits. */
function simulated(rule: string, start: Date) {
  let time = start.getTime();
  const waits: number[] = [];
  const bandwidth = new Bandwidth(parseBandwidth(rule, "--bandwidth"), {
    now: () => new Date(time),
    wait: async (ms) => {
      waits.push(ms);
      time += ms;
    },
  });
  return { bandwidth, waits, seconds: () => (time - start.getTime()) / 1000 };
}

test("a rule has hours with a speed, and a speed for all others", () => {
  const office = parseBandwidth("20 Mbit/s 08:00-18:00, else unlimited", "--bandwidth");
  assert.equal(rateAt(office, at(7, 59, 59)), undefined);
  assert.equal(rateAt(office, at(8)), 2_500_000);
  assert.equal(rateAt(office, at(17, 59, 59)), 2_500_000);
  assert.equal(rateAt(office, at(18)), undefined);
  const night = parseBandwidth("unlimited 22-6, 1mbit 12:00-13:00, 8mbit", "--bandwidth");
  for (const hour of [22, 0, 5]) assert.equal(rateAt(night, at(hour)), undefined);
  assert.equal(rateAt(night, at(12, 30)), 125_000);
  for (const hour of [6, 11, 13, 21]) assert.equal(rateAt(night, at(hour)), 1_000_000);
  assert.equal(rateAt(parseBandwidth("unlimited", "-"), at(3)), undefined);
  assert.equal(rateAt(parseBandwidth("8mbit 0-24", "-"), at(23, 59)), 1_000_000);
  assert.equal(rateAt(parseBandwidth("8mbit 5-5", "-"), at(3)), 1_000_000);
});

for (const rule of [
  "",
  "fast",
  "20 Mbit/s 08:00-25:00",
  "20 Mbit/s 08:00-18:00, else",
  "900kbit",
  "else unlimited, 20mbit 8-18",
  "20mbit, 30mbit",
]) {
  test(`${JSON.stringify(rule)} is no rule`, () => {
    assert.throws(() => parseBandwidth(rule, "--bandwidth"), code("usage"));
  });
}

test("what passes is what the rule allows, over time, for all together", async () => {
  const { bandwidth, seconds } = simulated("8mbit", at(9));
  await Promise.all(Array.from({ length: 400 }, () => bandwidth.take(100_000)));
  assert.ok(seconds() > 38 && seconds() < 41, `40 MB at 1 MB/s in ${seconds()} s`);
});

test("a rule that changes in the meantime counts for who waits", async () => {
  const { bandwidth, seconds } = simulated("1 Mbit/s 8-18, else unlimited", at(17, 59, 50));
  await Promise.all(Array.from({ length: 50 }, () => bandwidth.take(500_000)));
  assert.ok(seconds() >= 10 && seconds() < 12);
});

test("without a limit nobody waits", async () => {
  const { bandwidth, waits } = simulated("8mbit 8-18, else unlimited", at(20));
  for (let i = 0; i < 1000; i++) await bandwidth.take(1e9);
  assert.deepEqual(waits, []);
});

test("a pause is no credit", async () => {
  const { bandwidth, seconds } = simulated("8mbit 0-24", at(9));
  await bandwidth.take(1);
  await bandwidth.take(10_000_000);
  await bandwidth.take(10_000_000);
  assert.ok(seconds() > 9.5);
});

test("who gives up while waiting takes nothing from the others", async () => {
  const abort = new AbortController();
  const { bandwidth, seconds } = simulated("8mbit", at(9));
  const first = bandwidth.take(1_000_000);
  const given = assert.rejects(bandwidth.take(1e12, abort.signal), code("site-unavailable"));
  const last = bandwidth.take(1);
  abort.abort();
  await Promise.all([first, given, last]);
  assert.ok(seconds() < 3);
});

test("a call that was given up before it came to the link is one that failed, and takes nothing", async (t) => {
  const { bandwidth, waits } = simulated("8mbit", at(9));
  const signal = AbortSignal.abort();
  await assert.rejects(bandwidth.take(1e12, signal), code("site-unavailable"));
  const site = paced(await emptyDirectory(t), bandwidth);
  const name = objectName("shard", "paced");
  await assert.rejects(site.put(name, [text("x")], { signal }), code("site-unavailable"));
  await assert.rejects(site.read(name, 0, new Uint8Array(1), { signal }), code("site-unavailable"));
  assert.deepEqual(waits, []);
});

test("a remote site's bodies pass through it, in both directions", async (t) => {
  const taken: number[] = [];
  const pace = async (bytes: number): Promise<void> => {
    taken.push(bytes);
  };
  const { site } = await remotePair(t, {}, { pace });
  const name = objectName("shard", "paced");
  const whole = Buffer.alloc(1_000_000, 3);
  await site.put(name, [whole]);
  const sum = (): number => taken.splice(0).reduce((all, bytes) => all + bytes, 0);
  assert.ok(taken.length > 1, "in pieces");
  assert.equal(sum(), whole.length);
  const into = new Uint8Array(whole.length);
  assert.equal(await site.read(name, 0, into), whole.length);
  assert.ok(whole.equals(into));
  assert.ok(taken.length > 1, "in pieces");
  assert.equal(sum(), whole.length);
});

test("time on the link is not held against the site", async (t) => {
  const pace = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 150));
  const limits = { silenceMs: 1000, wholeMs: 1000, leastBytesPerSecond: 1e12, attemptsMax: 1 };
  const take = ({ request, response }: Incoming): true => {
    request.resume();
    request.on("end", () => response.writeHead(201).end());
    return true;
  };
  const { site } = await remotePair(t, { before: take }, { pace, limits });
  await site.put(objectName("shard", "paced"), [Buffer.alloc(10 * PACED_PIECE_BYTES_MAX)]);
});

testSite("a paced site", async (t) => {
  const site = await emptyDirectory(t);
  const take = async (): Promise<void> => undefined;
  return { site: paced(site, { take }), reopen: async () => site };
});

test("a paced put that is given up does not reach the site", async (t) => {
  const bare = await emptyDirectory(t);
  const site = paced(bare, new Bandwidth(parseBandwidth("1mbit", "-")));
  const name = objectName("shard", "a");
  await site.put(name, [Buffer.alloc(300_000)]);
  const abort = new AbortController();
  const second = site.put(objectName("shard", "b"), [text("b")], { signal: abort.signal });
  const refused = assert.rejects(second, code("site-unavailable"));
  abort.abort();
  await refused;
  assert.equal(await bare.stat(objectName("shard", "b")), undefined);
});
