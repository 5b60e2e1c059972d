import assert from "node:assert/strict";
import { test } from "node:test";
import { isExclaveError } from "../errors.ts";
import { parseBitRate, parseByteSize, parseDaySpan } from "./units.ts";

const isUsage = (error: unknown): boolean => isExclaveError(error, "usage");

test("a speed is in decimal bits a second, a size in decimal bytes", () => {
  assert.equal(parseBitRate("100Mbit", "--link"), 100e6);
  assert.equal(parseBitRate("1.5 Gbit/s", "--link"), 1.5e9);
  assert.equal(parseByteSize("40GB", "--size"), 40e9);
  assert.equal(parseByteSize("1.5 TB", "--size"), 1.5e12);
  assert.equal(parseByteSize("700B", "--size"), 700);
  for (const text of ["", "100", "0mbit", "-1mbit", "100MB", "fast", "1e3mbit", "1tbit"]) {
    assert.throws(() => parseBitRate(text, "--link"), isUsage, text);
  }
  for (const text of ["", "40", "0GB", "40Gbit", "-1GB", "99999999PB", "0.1B"]) {
    assert.throws(() => parseByteSize(text, "--size"), isUsage, text);
  }
});

test("hours of the day are read to the minute, also past midnight", () => {
  const cases = [
    ["20:00-06:00", 72_000, 21_600],
    ["22-6", 79_200, 21_600],
    ["0-24", 0, 86_400],
    ["08:30 - 17:45", 30_600, 63_900],
  ] as const;
  for (const [text, fromSeconds, toSeconds] of cases) {
    assert.deepEqual(parseDaySpan(text, "--hours"), { fromSeconds, toSeconds }, text);
  }
  for (const text of ["", "8", "22-", "25-6", "24:30-6", "22:75-6", "22:5-6", "night"]) {
    assert.throws(() => parseDaySpan(text, "--hours"), isUsage, text);
  }
});

test("what is refused is named with the option that it was given to", () => {
  assert.throws(() => parseByteSize("much", "--media"), /^ExclaveError: --media .*"much"/);
});
