import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isExclaveError } from "../errors.ts";
import { checkPlacement, placementProblems } from "./placement.ts";
import type { SiteIdentity } from "./site.ts";

/** Sites as "country/operator/zone", each named after its position. */
function sites(...places: readonly string[]): readonly SiteIdentity[] {
  return places.map((place, i) => {
    const [country = "", operator = `o${i}`, hazardZone = `z${i}`] = place.split("/");
    return { name: `s${i}`, country, operator, hazardZone };
  });
}

/** What placement says, in short: "country BB: read". */
function says(placed: readonly SiteIdentity[], k: number): readonly string[] {
  return placementProblems(placed, k).map(({ kind, name, could }) => `${kind} ${name}: ${could}`);
}

const cases = [
  { name: "five countries, any three", of: ["BB", "KN", "LU", "EE", "CA"], k: 3, says: [] },
  { name: "two of three", of: ["BB", "KN", "LU"], k: 2, says: [] },
  {
    name: "a country may hold k - 1 and n - k",
    of: ["BB", "BB", "LU", "EE", "CA"],
    k: 3,
    says: [],
  },
  {
    name: "a country with k shards reads, and with more than n - k withholds",
    of: ["BB", "BB", "BB", "EE", "CA"],
    k: 3,
    says: ["country BB: read and withhold"],
  },
  {
    name: "two of seven can neither read nor withhold when any five restore",
    of: ["BB", "BB", "KN", "LU", "EE", "CA", "DM"],
    k: 5,
    says: [],
  },
  {
    name: "three of seven withhold what needs five",
    of: ["BB", "BB", "BB", "LU", "EE", "CA", "DM"],
    k: 5,
    says: ["country BB: withhold"],
  },
  {
    name: "two of five read what any two restore",
    of: ["BB", "BB", "LU", "EE", "CA"],
    k: 2,
    says: ["country BB: read"],
  },
  {
    name: "one operator in two countries",
    of: ["BB/acme", "KN/acme", "LU"],
    k: 2,
    says: ["operator acme: read and withhold"],
  },
  {
    name: "one hazard zone in two countries",
    of: ["BB/a/arc", "KN/b/arc", "LU/c/mainland"],
    k: 2,
    says: ["hazard zone arc: read and withhold"],
  },
  {
    name: "one site alone, once by each of its three groups",
    of: ["BB/acme/arc"],
    k: 1,
    says: [
      "country BB: read and withhold",
      "operator acme: read and withhold",
      "hazard zone arc: read and withhold",
    ],
  },
  {
    name: "mirrors: each reads, none withholds",
    of: ["BB/a/x", "KN/b/y"],
    k: 1,
    says: [
      "country BB: read",
      "country KN: read",
      "operator a: read",
      "operator b: read",
      "hazard zone x: read",
      "hazard zone y: read",
    ],
  },
  {
    name: "all of n needed: each withholds",
    of: ["BB/a/x", "KN/b/y"],
    k: 2,
    says: [
      "country BB: withhold",
      "country KN: withhold",
      "operator a: withhold",
      "operator b: withhold",
      "hazard zone x: withhold",
      "hazard zone y: withhold",
    ],
  },
] as const;

for (const { name, of, k, says: expected } of cases) {
  test(`placement: ${name}`, () => assert.deepEqual(says(sites(...of), k), expected));
}

test("a placement is refused exactly when some group holds k or more, or more than n - k", () => {
  const site = fc.record({
    name: fc.string(),
    country: fc.constantFrom("BB", "KN", "LU", "EE"),
    operator: fc.constantFrom("a", "b", "c", "d", "e", "f"),
    hazardZone: fc.constantFrom("x", "y", "z"),
  });
  const placed = fc
    .array(site, { minLength: 1, maxLength: 12 })
    .chain((all) => fc.tuple(fc.constant(all), fc.integer({ min: 1, max: all.length })));
  fc.assert(
    fc.property(placed, ([all, k]) => {
      const expected = (["country", "operator", "hazardZone"] as const).some((group) =>
        all.some((one) => {
          const held = all.filter((other) => other[group] === one[group]).length;
          return held >= k || held > all.length - k;
        }),
      );
      const problems = placementProblems(all, k);
      assert.equal(problems.length > 0, expected);
      // What is named is accepted; leave one name out and it is refused again.
      const names = [...new Set(problems.map(({ name }) => name))];
      checkPlacement(all, k, names);
      for (const left of names) {
        const others = names.filter((name) => name !== left);
        assert.throws(() => checkPlacement(all, k, others), /accept/);
      }
    }),
    { numRuns: process.env.SLOW ? 20_000 : 1000 },
  );
});

test("a refusal names the group, its sites, what it could do and how to accept it", () => {
  const placed = sites("BB/acme", "BB/other", "LU/acme", "EE", "CA");
  assert.throws(
    () => checkPlacement(placed, 2, []),
    (error: unknown) => {
      assert.ok(isExclaveError(error, "unlawful-placement"));
      assert.match(error.message, /country BB \(s0, s1\) could read the register alone/);
      assert.match(error.message, /operator acme \(s0, s2\) could read/);
      assert.match(error.message, /--accept BB --accept acme/);
      return true;
    },
  );
  assert.throws(() => checkPlacement(placed, 2, ["BB"]), /operator acme/);
  checkPlacement(placed, 2, ["acme", "BB"]);
});
