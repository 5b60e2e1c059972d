import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { constitution, DEPUTY, keyOf, NOW, SEATS } from "../../test/support/charter.ts";
import { missingFor, seatsThatSigned } from "./thresholds.ts";

const NONE: readonly string[] = [];

test("seats are counted, never keys or people", () => {
  const ids = (...names: string[]): string[] => names.map((name) => keyOf(name).id);
  const count = (keyIds: readonly string[], when = NOW): number =>
    seatsThatSigned(constitution, keyIds, when).length;
  assert.equal(count(ids("pm", "justice")), 2);
  assert.equal(count(ids("justice", DEPUTY)), 1, "holder and deputy of one seat");
  assert.equal(count(ids("pm", "pm", "pm")), 1, "one key three times");
  assert.equal(count(ids("pm", "stranger")), 1, "a key that no seat has");
  assert.equal(
    count(ids("recovery", "agent")),
    0,
    "keys that the charter names for something else",
  );
  assert.equal(count(ids("pm"), new Date("2030-01-01T00:00:00Z")), 0, "a seat whose time is over");
  assert.equal(count(NONE), 0);
  fc.assert(
    fc.property(fc.subarray([...SEATS, DEPUTY, "stranger"]), (names) => {
      const seats = new Set(
        names
          .map((name) => (name === DEPUTY ? "justice" : name))
          .filter((name) => name !== "stranger"),
      );
      assert.equal(count(ids(...names)), seats.size);
      const missing = missingFor(
        constitution.thresholds.constitutional,
        seatsThatSigned(constitution, ids(...names), NOW),
      );
      assert.equal(missing.length === 0, seats.size >= 3 && seats.has("abroad"));
    }),
  );
});
