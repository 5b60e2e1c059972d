import assert from "node:assert/strict";
import { test } from "node:test";
import { isExclaveError } from "../../errors.ts";
import { parseBitRate } from "../../platform/units.ts";
import { formatLink, parseHours, planUpload } from "./link.ts";

const isUsage = (error: unknown): boolean => isExclaveError(error, "usage");

test("a link's speed is read in decimal bits, and shown as it is sold", () => {
  const cases = [
    ["20mbit", 20e6, "20 Mbit/s"],
    ["1gbit", 1e9, "1 Gbit/s"],
    ["1.5 Gbit/s", 1.5e9, "1.5 Gbit/s"],
    ["512kbit", 512e3, "512 kbit/s"],
  ] as const;
  for (const [text, bits, shown] of cases) {
    assert.equal(parseBitRate(text, "--link"), bits);
    assert.equal(formatLink(bits), shown);
  }
  for (const text of ["", "100", "0mbit", "-1mbit", "100MB", "fast"]) {
    assert.throws(() => parseBitRate(text, "--link"), isUsage, text);
  }
});

test("a night is so many hours, or from one hour to another past midnight", () => {
  const cases = [
    ["8", 8],
    ["22-6", 8],
    ["22:30-6", 7.5],
    ["1-5", 4],
    ["0-24", 24],
    ["6-6", 24],
  ] as const;
  for (const [text, hours] of cases) assert.equal(parseHours(text), hours, text);
  for (const text of ["", "0", "25", "22-", "25-6", "22:75-6", "night"]) {
    assert.throws(() => parseHours(text), isUsage, text);
  }
});

test("the last night counts whole, and there is always one", () => {
  // 100 Mbit/s for 8 hours is 360 GB.
  assert.equal(planUpload(360e9, 100e6, 8).nights, 1);
  assert.equal(planUpload(361e9, 100e6, 8).nights, 2);
  assert.equal(planUpload(0, 100e6, 8).nights, 1);
  assert.equal(planUpload(1e9, 100e6, 8).seconds, 80);
});
