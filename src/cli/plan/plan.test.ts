import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ErrorCode, isExclaveError } from "../../errors.ts";
import type { Volume } from "../../registers/estimate.ts";
import { costOf, sumOf, useOf } from "./money.ts";
import {
  parseCourierDays,
  parseCurrency,
  parsePercent,
  parsePrices,
  parseSampleSize,
  parseSiteLinks,
} from "./options.ts";
import { paceOf } from "./pace.ts";
import { makePlan, type PlanInput } from "./plan.ts";
import { hoursOf } from "./schedule.ts";

const is =
  (code: ErrorCode) =>
  (error: unknown): boolean =>
    isExclaveError(error, code);

const volume = (bytesPerSite: number): Volume => ({
  contentBytes: bytesPerSite,
  storedBytes: bytesPerSite,
  packs: 1,
  packBytes: bytesPerSite,
  documentBytes: 0,
  bytesPerSite,
});
const sites = ["lu", "ee", "ca"];
/** 100 Mbit/s for ten hours a night: 450 GB, so 150 GB to each of three sites. */
const input: PlanInput = {
  beginMs: Date.parse("2026-11-22T20:00:00Z"),
  sites,
  first: volume(300e9),
  daily: volume(1e9),
  epochDays: 365,
  links: { bitsPerSecond: 100e6, siteBitsPerSecond: new Map() },
  hours: hoursOf([{ fromSeconds: 72_000, toSeconds: 21_600 }], 0),
  prices: new Map(),
  mediumBytes: 2e12,
  courierDays: 3,
};

describe("a plan", () => {
  test("says when the first protect is done, and that a day's change fits", () => {
    const { first, daily, sooner } = makePlan(input);
    assert.equal(first.seconds, 72_000);
    assert.equal(first.totalBytes, 900e9);
    assert.equal(first.nights, 2);
    assert.equal(first.finishesAt, "2026-11-24T06:00:00.000Z");
    assert.deepEqual([daily.seconds, daily.fits], [240, true]);
    assert.equal(sooner, "link");
  });

  test("says when a day's change does not fit, and what speed it would need", () => {
    const exact = makePlan({ ...input, daily: volume(150e9) });
    assert.equal(exact.daily.fits, true);
    const { daily } = makePlan({ ...input, daily: volume(300e9) });
    assert.equal(daily.fits, false);
    assert.equal(daily.neededBitsPerSecond, 200e6);
    assert.equal(daily.neededBitsPerSecondPerSite, 200e6 / 3);
  });

  test("has a courier where the link is slower, with whole media for each site", () => {
    const { pouch, sooner, first } = makePlan({ ...input, first: volume(2.5e12) });
    assert.equal(first.nights, 17);
    assert.deepEqual([pouch.mediaPerSite, pouch.media], [2, 6]);
    assert.equal(pouch.arrivesAt, "2026-11-25T20:00:00.000Z");
    assert.equal(sooner, "pouch");
  });

  test("has no date where the link would take centuries", () => {
    const links = { bitsPerSecond: 1000, siteBitsPerSecond: new Map() };
    const { first, sooner } = makePlan({ ...input, links });
    assert.equal("finishesAt" in first || "nights" in first, false);
    assert.equal(sooner, "pouch");
  });
});

test("all sites are filled in step: the line from home is shared, the slowest of their own holds all back", () => {
  const pace = (own: readonly (readonly [string, number])[]) =>
    paceOf(sites, { bitsPerSecond: 30e6, siteBitsPerSecond: new Map(own) });
  assert.deepEqual(pace([]), { bitsPerSecondPerSite: 10e6 });
  assert.deepEqual(pace([["ee", 20e6]]), { bitsPerSecondPerSite: 10e6 });
  assert.deepEqual(
    pace([
      ["ee", 5e6],
      ["lu", 2e6],
    ]),
    { bitsPerSecondPerSite: 2e6, heldBackBy: "lu" },
  );
});

describe("money", () => {
  test("grows with what is kept, because nothing is removed", () => {
    const use = useOf({ firstBytes: 100e9, dailyBytes: 1e9, epochDays: 365 }, 30);
    // 100 GB on the first day, 129 on the thirtieth.
    assert.equal(use.keptBytes, 129e9);
    assert.equal(use.sentBytes, 129e9);
    assert.ok(Math.abs(use.gbMonths - (114.5 * 30) / (365 / 12)) < 1e-9);
  });

  test("a new epoch sends all again", () => {
    const use = useOf({ firstBytes: 100e9, dailyBytes: 1e9, epochDays: 90 }, 365);
    assert.equal(use.keptBytes, 5 * 100e9 + 360 * 1e9);
  });

  test("what nobody stated is absent, never guessed, and makes the sum absent", () => {
    const use = { days: 30, gbMonths: 10, sentBytes: 100e9, keptBytes: 0 };
    assert.deepEqual(costOf(use, {}), {});
    assert.deepEqual(costOf(use, { perGbMonth: 0.5 }), { storage: 5 });
    const both = costOf(use, { perGbMonth: 0.5, perGbSent: 0.25 });
    assert.deepEqual(both, { storage: 5, traffic: 25, total: 30 });
    assert.deepEqual(sumOf([both, both]), { storage: 10, traffic: 50, total: 60 });
    assert.deepEqual(sumOf([both, { storage: 1 }]), { storage: 6 });
    // Free is a price.
    assert.deepEqual(costOf(use, { perGbMonth: 0, perGbSent: 0 }).total, 0);
  });

  test("a plan says for which sites which price is missing", () => {
    const prices = parsePrices(["lu=0.02", "ee=0.01"], ["lu=0.05"], sites);
    const { money, sites: planned } = makePlan({ ...input, prices });
    assert.deepEqual(money.storageNotStated, ["ca"]);
    assert.deepEqual(money.trafficNotStated, ["ee", "ca"]);
    assert.deepEqual(money.firstYear, {});
    assert.equal(planned[0]?.pricePerGbMonth, 0.02);
    assert.ok(planned[0]?.firstYear.total !== undefined);
    assert.ok(planned[1]?.firstYear.storage !== undefined && !planned[1].firstYear.total);
    assert.deepEqual(planned[2]?.firstMonth, {});
  });
});

describe("options", () => {
  test("are read", () => {
    assert.equal(parsePercent("2%"), 0.02);
    assert.equal(parsePercent("0%"), 0);
    assert.equal(parseCurrency("eur"), "EUR");
    assert.equal(parseCourierDays("3"), 3);
    assert.equal(parseSampleSize("64MB"), 64e6);
    assert.deepEqual([...parseSiteLinks(["lu=20Mbit"], sites)], [["lu", 20e6]]);
  });

  test("are refused where they make no sense", () => {
    for (const text of ["2", "101%", "-1%", "%", "a%"]) {
      assert.throws(() => parsePercent(text), is("usage"), text);
    }
    for (const text of ["0", "366", "1.5", "soon"]) {
      assert.throws(() => parseCourierDays(text), is("usage"), text);
    }
    assert.throws(() => parseCurrency("€"), is("usage"));
    assert.throws(() => parseSampleSize("1kB"), is("usage"));
    assert.throws(() => parseSiteLinks(["lu"], sites), is("usage"));
    assert.throws(() => parseSiteLinks(["lu=fast"], sites), is("usage"));
    assert.throws(() => parseSiteLinks(["lu=1mbit", "lu=2mbit"], sites), is("usage"));
    assert.throws(() => parseSiteLinks(["xx=1mbit"], sites), is("unknown-name"));
    assert.throws(() => parsePrices(["lu=-1"], [], sites), is("usage"));
    assert.throws(() => parsePrices([], ["lu=1e3"], sites), is("usage"));
  });
});
