import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { isExclaveError } from "../../errors.ts";
import { parseDaySpan } from "../../platform/units.ts";
import { finishMs, type Hours, hoursOf, nightsOf, openMs, sendingMs } from "./schedule.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const hours = (spans: readonly string[], utcOffsetMs = 0): Hours =>
  hoursOf(
    spans.map((span) => parseDaySpan(span, "--hours")),
    utcOffsetMs,
  );
const at = (time: string): number => Date.parse(time);
const finish = (all: Hours, start: string, neededHours: number): string =>
  new Date(finishMs(all, at(start), neededHours * HOUR_MS) ?? Number.NaN).toISOString();

describe("when it is sent", () => {
  const night = hours(["20:00-06:00"]);

  test("a night goes past midnight, and the next one goes on where it stopped", () => {
    assert.equal(finish(night, "2026-11-22T20:00:00Z", 8), "2026-11-23T04:00:00.000Z");
    assert.equal(finish(night, "2026-11-22T07:00:00Z", 28), "2026-11-25T04:00:00.000Z");
    assert.equal(nightsOf(night, at("2026-11-22T07:00:00Z"), at("2026-11-25T04:00:00Z")), 3);
  });

  test("what ends with the hours ends there, and not when they begin again", () => {
    assert.equal(finish(night, "2026-11-22T20:00:00Z", 10), "2026-11-23T06:00:00.000Z");
    assert.equal(finish(hours(["18-24"]), "2026-11-22T07:00:00Z", 6), "2026-11-23T00:00:00.000Z");
    assert.equal(nightsOf(night, at("2026-11-22T20:00:00Z"), at("2026-11-23T06:00:00Z")), 1);
  });

  test("begun in the middle of a night, that night counts", () => {
    assert.equal(finish(night, "2026-11-23T05:00:00Z", 2), "2026-11-23T21:00:00.000Z");
    assert.equal(nightsOf(night, at("2026-11-23T05:00:00Z"), at("2026-11-23T21:00:00Z")), 2);
  });

  test("several spans are one day's work, and what overlaps counts once", () => {
    const all = hours(["12-13", "22-6", "23-7"]);
    assert.equal(all.perDayMs, 10 * HOUR_MS);
    assert.equal(finish(all, "2026-11-22T12:30:00Z", 1), "2026-11-22T22:30:00.000Z");
    // From ten in the evening on it is another night: the hour at noon still belongs to the one before.
    assert.equal(nightsOf(all, at("2026-11-22T12:30:00Z"), at("2026-11-22T13:00:00Z")), 1);
    assert.equal(nightsOf(all, at("2026-11-22T12:30:00Z"), at("2026-11-22T22:30:00Z")), 2);
  });

  test("the clock may be another than UTC", () => {
    const belize = hours(["20:00-06:00"], -6 * HOUR_MS);
    assert.equal(finish(belize, "2026-11-22T07:00:00Z", 5), "2026-11-22T12:00:00.000Z");
    assert.equal(finish(belize, "2026-11-22T12:00:00Z", 1), "2026-11-23T03:00:00.000Z");
  });

  test("without hours the link is open all day", () => {
    const all = hours([]);
    assert.equal(all.perDayMs, DAY_MS);
    assert.equal(finish(all, "2026-11-22T07:00:00Z", 30), "2026-11-23T13:00:00.000Z");
    assert.equal(nightsOf(all, at("2026-11-22T07:00:00Z"), at("2026-11-23T13:00:00Z")), 2);
    assert.equal(nightsOf(all, at("2026-11-22T07:00:00Z"), at("2026-11-23T07:00:00Z")), 1);
  });

  test("hours without length are refused", () => {
    for (const span of ["20:00-20:00", "0-0", "24-24"]) {
      assert.throws(
        () => hours(["1-2", span]),
        (error) => isExclaveError(error, "usage"),
        span,
      );
    }
  });

  test("what would take more than a hundred years has no date", () => {
    assert.equal(finishMs(night, 0, sendingMs(1e15, 1e3)), undefined);
  });
});

describe("whatever the hours", () => {
  const spans = fc.array(
    fc
      .tuple(fc.integer({ min: 0, max: 1439 }), fc.integer({ min: 1, max: 1440 }))
      .filter(([from, to]) => from !== to)
      .map(([from, to]) => ({ fromSeconds: from * 60, toSeconds: to * 60 })),
    { maxLength: 4 },
  );
  const offset = fc.integer({ min: -12 * 4, max: 14 * 4 }).map((quarters) => quarters * 900_000);
  const someHours = fc.tuple(spans, offset).map(([all, utcOffsetMs]) => hoursOf(all, utcOffsetMs));
  const start = fc.integer({ min: at("2020-01-01T00:00:00Z"), max: at("2040-01-01T00:00:00Z") });
  const needed = fc.integer({ min: 0, max: 400 * HOUR_MS });

  test("what is sent in them up to the end is all of it, and a moment before it is not", () => {
    fc.assert(
      fc.property(someHours, start, needed, (all, startMs, neededMs) => {
        const endMs = finishMs(all, startMs, neededMs);
        // Of ten seconds a day, 400 hours would take 400 years.
        if (endMs === undefined) return fc.pre(false);
        assert.equal(openMs(all, startMs, endMs), neededMs);
        if (neededMs > 0) assert.equal(openMs(all, startMs, endMs - 1), neededMs - 1);
      }),
    );
  });

  test("more bytes never end sooner, nor in fewer nights; nor does a slower link", () => {
    const bytes = fc.integer({ min: 0, max: 1e12 });
    const rate = fc.integer({ min: 10e6, max: 10e9 });
    fc.assert(
      fc.property(someHours, start, bytes, bytes, rate, rate, (all, startMs, a, b, r, s) => {
        const end = (size: number, speed: number): number =>
          finishMs(all, startMs, sendingMs(size, speed)) ?? Number.POSITIVE_INFINITY;
        const [little, much] = [Math.min(a, b), Math.max(a, b)];
        const [slow, fast] = [Math.min(r, s), Math.max(r, s)];
        assert.ok(end(little, r) <= end(much, r));
        assert.ok(end(a, fast) <= end(a, slow));
        assert.ok(nightsOf(all, startMs, end(little, r)) <= nightsOf(all, startMs, end(much, r)));
      }),
    );
  });

  test("the hours of a day are as many whenever the day begins", () => {
    fc.assert(
      fc.property(someHours, start, (all, startMs) => {
        assert.equal(openMs(all, startMs, startMs + DAY_MS), all.perDayMs);
      }),
    );
  });
});
