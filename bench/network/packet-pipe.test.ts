import assert from "node:assert/strict";
import { test } from "node:test";
import { chances, PacketPipe } from "./packet-pipe.ts";
import { FAR_LINK } from "./shape.ts";

const LOSSLESS = { ...FAR_LINK, loss: 0 };
const packet = (bytes: number, first = 0): Buffer => {
  const made = Buffer.alloc(bytes);
  made[0] = first;
  return made;
};

test("a packet arrives whole, after its own length and the delay", () => {
  const pipe = new PacketPipe(LOSSLESS, chances(1));
  pipe.offer(packet(1250, 7), 1000);
  // 1250 bytes at 100 Mbit/s are 0.1 ms.
  assert.equal(pipe.nextAtMs, 1000 + 0.1 + 40);
  assert.equal(pipe.take(1040), undefined);
  assert.deepEqual(pipe.take(1040.1), packet(1250, 7));
  assert.equal(pipe.nextAtMs, Number.POSITIVE_INFINITY);
});

test("packets keep their order and the link's rate, however fast they come", () => {
  const pipe = new PacketPipe(LOSSLESS, chances(1));
  const arrivals: number[] = [];
  for (let i = 0; i < 500; i++) pipe.offer(packet(1250, i % 256), 0);
  for (let i = 0; i < 500; i++) {
    arrivals.push(pipe.nextAtMs);
    assert.equal(pipe.take(pipe.nextAtMs)?.[0], i % 256);
  }
  const seconds = ((arrivals.at(-1) ?? 0) - (arrivals[0] ?? 0)) / 1000;
  assert.ok(Math.abs((499 * 1250 * 8) / seconds - 100e6) < 1e3);
});

test("what finds the queue full is dropped, and what comes later is not", () => {
  const pipe = new PacketPipe(LOSSLESS, chances(1));
  for (let i = 0; i < 2000; i++) pipe.offer(packet(1000), 0);
  // 1 MB waits, and the one that goes.
  assert.deepEqual(pipe.counters, { carried: 1001, lost: 0, queueFull: 999 });
  pipe.offer(packet(1000), 80);
  assert.equal(pipe.counters.carried, 1002);
});

test("as many packets are lost as the link says, the same ones for the same seed", () => {
  const lostOf = (seed: number): readonly number[] => {
    const pipe = new PacketPipe(FAR_LINK, chances(seed));
    const lost: number[] = [];
    for (let i = 0; i < 100_000; i++) {
      const before = pipe.counters.lost;
      pipe.offer(packet(100), i);
      if (pipe.counters.lost > before) lost.push(i);
      while (pipe.take(i));
    }
    return lost;
  };
  const lost = lostOf(1);
  assert.ok(lost.length > 800 && lost.length < 1200, String(lost.length));
  assert.deepEqual(lostOf(1), lost);
  assert.notDeepEqual(lostOf(2), lost);
});
