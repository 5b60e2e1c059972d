import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { splitSecret } from "../custody/share-set.ts";
import { isExclaveError } from "../errors.ts";
import { makeKits } from "./ceremony.ts";

const STATE = "5a".repeat(32);
const OFFICE = "Chief Justice";

/** A ceremony of one holder, who types this when the kit is to be opened: the passphrase, or a slip of it. */
async function ceremony(t: TestContext, typed: (attempt: number, passphrase: string) => string) {
  const folder = mkdtempSync(join(tmpdir(), "exclave-ceremony-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const given = new Map<string, string>();
  let attempts = 0;
  const making = makeKits({
    set: splitSecret(randomBytes(32), { k: 1, n: 1, generation: 1 }, randomBytes),
    details: {
      state: STATE,
      stateName: "Belize",
      foundingHash: STATE,
      charterHash: STATE,
      checkpoint: undefined,
      witnessKeys: [],
      sites: [],
    },
    holders: [{ name: "Person A", office: OFFICE, jurisdiction: "BZ" }],
    folder,
    table: {
      give: async (who, passphrase) => {
        given.set(who, passphrase);
        return {};
      },
      typeAgain: async () => typed(++attempts, given.get(`key holder 1, ${OFFICE}`) ?? ""),
      onStep: () => undefined,
      workFactor: 10,
    },
    now: new Date(),
  });
  return { making, attempts: () => attempts };
}

test("a slip as a kit is opened at the table does not end the ceremony", async (t) => {
  const { making, attempts } = await ceremony(t, (attempt, passphrase) =>
    attempt < 5 ? `${passphrase}x` : passphrase,
  );
  assert.equal((await making).receipts.length, 1);
  assert.equal(attempts(), 5);
});

test("a kit that its holder cannot open after five tries ends the ceremony", async (t) => {
  const { making, attempts } = await ceremony(t, () => "another one");
  await assert.rejects(making, (error) => isExclaveError(error, "wrong-passphrase"));
  assert.equal(attempts(), 5);
});
