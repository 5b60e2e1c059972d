import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultLosses, parseLosses } from "./disaster.ts";

test("the reader's two sites are lost, the first of the others is damaged, the next has a power cut", () => {
  for (const answer of ["ee ca", "CA, ee", " 4 5\n", "ee;ca"]) {
    const losses = parseLosses(answer);
    assert.deepEqual(
      losses?.lost.map(({ site }) => site),
      ["ee", "ca"],
      answer,
    );
    assert.equal(losses?.damaged.site, "bb");
    assert.equal(losses?.restarted.site, "gd");
    assert.deepEqual(
      losses?.left.map(({ site }) => site),
      ["bb", "gd", "lu"],
    );
  }
  assert.equal(parseLosses("bb gd")?.damaged.site, defaultLosses.damaged.site);
});

test("anything but two different sites is asked again", () => {
  for (const answer of ["", "bb", "bb bb", "bb gd lu", "bb xx", "all", "6 7"]) {
    assert.equal(parseLosses(answer), undefined, answer);
  }
});
