import assert from "node:assert/strict";
import { test } from "node:test";
import { addressKey, Rates } from "./rates.ts";

test("a burst is let through, then so many a second, and the wait is told", () => {
  const clock = { ms: 0 };
  const rates = new Rates({ perSecond: 2, burst: 3 }, 10, () => clock.ms);
  assert.deepEqual(
    [1, 2, 3, 4].map(() => rates.take("a")),
    [0, 0, 0, 1],
  );
  assert.equal(rates.take("b"), 0, "others are not held back");
  assert.equal(rates.wait("a"), 1);
  clock.ms = 500;
  assert.equal(rates.wait("a"), 0);
  assert.deepEqual(
    [1, 2].map(() => rates.take("a")),
    [0, 1],
  );
  clock.ms = 1e9;
  assert.deepEqual(
    [1, 2, 3, 4].map(() => rates.take("a")),
    [0, 0, 0, 1],
  );
});

test("however many come, only so many are remembered, the latest ones", () => {
  const rates = new Rates({ perSecond: 0.001, burst: 1 }, 100, () => 0);
  for (let i = 0; i < 1000; i++) rates.take(`${i}`);
  assert.equal(rates.size, 100);
  assert.ok(rates.take("999") > 0);
});

test("an address is an IPv4 address, or the network of an IPv6 one", () => {
  const cases = [
    ["192.0.2.7", "192.0.2.7"],
    ["::ffff:192.0.2.7", "192.0.2.7"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:db8:1:2::9", "2001:db8:1:2::/64"],
    ["2001:db8::9", "2001:db8:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["::1", "0:0:0:0::/64"],
  ] as const;
  for (const [address, key] of cases) assert.equal(addressKey(address), key, address);
  assert.equal(addressKey(undefined), "unknown");
});
