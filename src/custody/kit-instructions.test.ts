import assert from "node:assert/strict";
import { test } from "node:test";
import { instructions, thresholdRule } from "./kit-instructions.ts";

const opener = "passphrase";

test("thresholds are said as people say them", () => {
  assert.equal(
    thresholdRule(3, 5),
    "Any 3 of these 5 key holders bring the State back; you can lose 2, and with 3 lost nobody can do it any more.",
  );
  assert.match(thresholdRule(1, 1), /^This kit alone/);
  assert.match(thresholdRule(3, 3), /^All 3 .* none of the 3 kits may be lost/);
  assert.match(thresholdRule(1, 3), /^Any 1 of these 3 key holders brings .* you can lose 2/);
});

test("a holder is told what one share is worth", () => {
  const say = (k: number, n: number) => instructions({ k, n, index: 0, opener });
  assert.match(say(3, 5), /By itself it opens nothing. 2 more key holders have to come/);
  assert.match(say(2, 3), /By itself it opens nothing. One more key holder has to come/);
  for (const text of [say(1, 1), say(1, 3)]) {
    assert.match(text, /this kit opens everything/);
    assert.doesNotMatch(text, /opens nothing|gives nobody anything/);
  }
  assert.match(instructions({ k: 3, n: 5, index: 2, opener }), /you are key holder 3\)/);
});

test("a holder is told of what opens the kit, and of nothing else", () => {
  const passphrase = instructions({ k: 3, n: 5, index: 2, opener });
  const identity = instructions({ k: 3, n: 5, index: 2, opener: "age identity" });
  assert.match(passphrase, /locked with your passphrase.* Then type your passphrase/s);
  assert.match(identity, /locked with your age identity.* Then type your age identity/s);
  assert.match(identity, /begins with AGE-SECRET-KEY-PQ-1.* when you lose your age identity/s);
  assert.doesNotMatch(passphrase, /identity/);
  assert.doesNotMatch(identity, /passphrase/);
});

test("of being forced it says nothing of a second passphrase", () => {
  const text = instructions({ k: 3, n: 5, index: 2, opener });
  assert.match(text, /Your life and your family come first/);
  assert.doesNotMatch(text, /duress|second pass|other pass|agreed|silent|mark\b|signal|alarm/i);
});

test("every paragraph and list is closed, for any threshold", () => {
  for (let n = 1; n <= 4; n++) {
    for (let k = 1; k <= n; k++) {
      const open: string[] = [];
      for (const [, slash, tag] of instructions({ k, n, index: 0, opener }).matchAll(
        /<(\/?)(\w+)>/g,
      )) {
        if (slash === "") open.push(tag!);
        else assert.equal(open.pop(), tag);
      }
      assert.deepEqual(open, []);
    }
  }
});
