import assert from "node:assert/strict";
import { test } from "node:test";
import {
  decisionOf,
  expel,
  facts,
  founding,
  HOME_AND_ABROAD,
  keyOf,
  STATE,
  signed,
  standing,
} from "../../test/support/charter.ts";
import { utf8 } from "../crypto/bytes.ts";
import { isExclaveError } from "../errors.ts";
import { assess, keysFor } from "./assess.ts";
import { addSignature, mergePapers, openPaper, signPaper } from "./decision.ts";

test("signatures from several sticks come together; what says something else, or is poisoned, does not", () => {
  const decision = decisionOf(expel);
  const alone = HOME_AND_ABROAD.map((name) => signed(decision, [name]));
  const trusted = keysFor([founding.charter]);
  const merged = openPaper("decision", mergePapers(alone), STATE, trusted);
  assert.equal(merged.keyIds.length, 3);
  assert.equal(merged.id, alone[0]!.id);
  standing(assess(merged, facts()), "signed");
  const refusedUse = (error: unknown): boolean => isExclaveError(error, "usage");
  assert.throws(() => mergePapers([alone[0]!, signed(decisionOf(expel), ["justice"])]), refusedUse);
  assert.throws(() => addSignature(alone[0]!, keyOf("pm")), refusedUse);

  const envelope = JSON.parse(Buffer.from(merged.envelope).toString()) as {
    signatures: { keyid: string; sig: string }[];
  };
  const refused = (change: (one: typeof envelope) => void, code: "altered" | "malformed"): void => {
    const copy = structuredClone(envelope);
    change(copy);
    assert.throws(
      () => openPaper("decision", utf8(JSON.stringify(copy)), STATE, trusted),
      (error) => isExclaveError(error, code),
    );
  };
  refused(({ signatures }) => {
    const [a, b] = signatures.map(({ keyid }) => keyid);
    [signatures[0]!.keyid, signatures[1]!.keyid] = [b!, a!];
  }, "altered");
  refused(({ signatures }) => {
    signatures.push(signatures[0]!);
  }, "malformed");
  refused(({ signatures }) => {
    // One of the two signatures under one key id: its second half is another's.
    const halves = Buffer.from(signatures[0]!.sig, "base64");
    halves.set(Buffer.from(signatures[1]!.sig, "base64").subarray(64), 64);
    signatures[0]!.sig = halves.toString("base64");
  }, "altered");
});

test("orders of unknown kinds, and another State's decisions, are refused", () => {
  const trusted = keysFor([founding.charter]);
  const key = keyOf("pm");
  const refused = (code: Parameters<typeof isExclaveError>[1], work: () => unknown): void =>
    assert.throws(work, (error) => isExclaveError(error, code));
  const unknown = { ...decisionOf(expel), order: { kind: "expel-everybody" } };
  refused("usage", () => signPaper(unknown as never, key));
  const foreign = signPaper(decisionOf(expel, { state: "cd".repeat(32) }), key);
  refused("foreign-state", () => openPaper("decision", foreign, STATE, trusted));
  const stranger = signPaper(decisionOf(expel), keyOf("stranger"));
  refused("untrusted", () => openPaper("decision", stranger, STATE, trusted));
  const asVeto = signPaper(decisionOf(expel), key);
  refused("malformed", () => openPaper("veto", asVeto, STATE, trusted));
});
