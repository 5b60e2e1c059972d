import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { tries } from "../../test/support/vault.ts";
import { code } from "../sites/conformance.ts";
import { BodyRoom, type Room } from "./body-room.ts";

const UNIT = 65_536;
const LONG_MS = 60_000;
const never = (): AbortSignal => new AbortController().signal;

test("room is as long as was asked for, on a page boundary, and nobody else's", async () => {
  const rooms = new BodyRoom(8 * UNIT, 8 * UNIT, 8);
  const some = await Promise.all(
    [1, 100_000, UNIT].map((bytes) => rooms.take(bytes, "a", 1, never())),
  );
  for (const [i, { bytes }] of some.entries()) {
    assert.equal(bytes.byteOffset % 4096, 0);
    bytes.fill(i + 1);
  }
  assert.deepEqual(
    some.map(({ bytes }) => bytes.length),
    [1, 100_000, UNIT],
  );
  for (const [i, { bytes }] of some.entries()) assert.ok(bytes.every((byte) => byte === i + 1));
  assert.equal(rooms.bytesTaken, 4 * UNIT);
  for (const room of some) room.release();
  for (const room of some) room.release();
  assert.equal(rooms.bytesTaken, 0);
});

test("who waits is served in order, and who waits for much is not passed by", async () => {
  const rooms = new BodyRoom(4 * UNIT, 4 * UNIT, 8);
  const first = await rooms.take(3 * UNIT, "a", LONG_MS, never());
  const order: string[] = [];
  const take = async (bytes: number, name: string): Promise<Room> => {
    const room = await rooms.take(bytes, "b", LONG_MS, never());
    order.push(name);
    return room;
  };
  const large = take(4 * UNIT, "large");
  const small = take(UNIT, "small");
  assert.equal(rooms.waiting, 2);
  first.release();
  (await large).release();
  (await small).release();
  assert.deepEqual(order, ["large", "small"]);
});

test("one owner does not take what is the others'", async () => {
  const rooms = new BodyRoom(4 * UNIT, 2 * UNIT, 8);
  const mine = await rooms.take(2 * UNIT, "a", LONG_MS, never());
  const more = rooms.take(UNIT, "a", LONG_MS, never());
  const other = await rooms.take(2 * UNIT, "b", LONG_MS, never());
  assert.equal(rooms.waiting, 1);
  mine.release();
  (await more).release();
  other.release();
  await assert.rejects(rooms.take(3 * UNIT, "a", LONG_MS, never()), code("malformed"));
});

test("who is not served in time, goes away, or finds too long a line, leaves nothing behind", async () => {
  const rooms = new BodyRoom(UNIT, UNIT, 1);
  const held = await rooms.take(1, "a", LONG_MS, never());
  await assert.rejects(rooms.take(1, "b", 1, never()), code("site-unavailable"));
  const gone = new AbortController();
  const waiting = rooms.take(1, "b", LONG_MS, gone.signal);
  await assert.rejects(rooms.take(1, "c", LONG_MS, never()), code("site-unavailable"));
  gone.abort();
  await assert.rejects(waiting, code("site-unavailable"));
  assert.equal(rooms.waiting, 0);
  held.release();
  (await rooms.take(1, "d", 1, never())).release();
});

test("whatever is taken and given back, no two have the same bytes, and in the end all is free", async () => {
  const step = fc.record({ bytes: fc.integer({ min: 1, max: 5 * UNIT }), give: fc.nat(20) });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const rooms = new BodyRoom(16 * UNIT, 16 * UNIT, 0);
      const held: Room[] = [];
      for (const { bytes, give } of steps) {
        held.splice(give, 1)[0]?.release();
        const room = await rooms.take(bytes, "a", 1, never()).catch(() => undefined);
        if (room) held.push(room);
        const spans = held.map((one) => [
          one.bytes.byteOffset,
          one.bytes.byteOffset + one.bytes.length,
        ]);
        spans.sort(([a = 0], [b = 0]) => a - b);
        for (const [i, [start = 0]] of spans.entries()) {
          assert.ok(start >= (spans[i - 1]?.[1] ?? 0));
        }
      }
      for (const room of held) room.release();
      assert.equal(rooms.bytesTaken, 0);
    }),
    tries(100),
  );
});
