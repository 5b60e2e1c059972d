import assert from "node:assert/strict";
import { test } from "node:test";
import { remotePair } from "../../test/support/remote-site.ts";
import { SERVED_STATE } from "../../test/support/site-server.ts";
import { objectName, text } from "../sites/conformance.ts";
import { parseId } from "../vault/identifiers.ts";
import { gatherReceipts } from "./site-receipts.ts";

const state = parseId("StateId", SERVED_STATE);
const held = objectName("shard", "held");
const aside = objectName("shard", "aside");

test("what a site does not sign for is counted, with what that may mean and what to do", async (t) => {
  const { site } = await remotePair(t);
  await site.put(held, [text("x")]);
  const gather = async (names: readonly string[]) =>
    gatherReceipts(state, [{ name: "kn", site }], new Set(), () => names);
  const [whole] = await gather([held]);
  assert.equal(whole?.problem, undefined);
  const [part] = await gather([held, aside]);
  assert.equal(part?.objects, 1);
  assert.match(part?.problem ?? "", /for 1 of 2 objects: .*set them aside until .* exclave check/);
});
