/** Decisions that should not count. */
import assert from "node:assert/strict";
import { momentOf } from "../../src/charter/charter.ts";
import { paperPayload, payloadTypeOf, signPaper } from "../../src/charter/decision.ts";
import { fromBase64, fromUtf8, toBase64, utf8 } from "../../src/crypto/bytes.ts";
import { signEnvelope } from "../../src/crypto/dsse.ts";
import { encodeJson } from "../../src/crypto/strict-json.ts";
import { submit } from "../../src/governance/decide.ts";
import { newProposal, readProposal } from "../../src/governance/proposal.ts";
import {
  admit,
  amended,
  flipped,
  folder,
  NEVER,
  type Outcome,
  replacing,
  retain,
  row,
  table,
  witnessedState,
} from "../support/attacks.ts";
import { HOME_AND_ABROAD, keyOf } from "../support/charter.ts";
import type { Embassy } from "../support/embassy.ts";

const PROPOSAL = { bytesMax: 2 * 1024 * 1024 };

/** Home is asked to take a decision in; and a captured home takes it in unasked, and waits. */
async function submitted(s: Embassy, envelope: Uint8Array, days = 12): Promise<unknown> {
  const unasked = await s.copy(folder());
  await unasked.force("decision", envelope, days);
  assert.equal(await unasked.enact(days), 0, "a captured home gains nothing at once");
  assert.equal(await unasked.enact(days + 8), 0, "nor after the delay");
  return submit(s.home, [envelope], s.day(days));
}

/** The signatures over what no author could have written with our code. */
const signedText = (text: string): Uint8Array =>
  signEnvelope(payloadTypeOf("decision"), utf8(text), HOME_AND_ABROAD.map(keyOf));

/** An envelope with a bit changed in its first signature: in the Ed25519 half, or in the ML-DSA half. */
function brokenSignature(envelope: Uint8Array, at: number): Uint8Array {
  const { signatures, ...rest } = JSON.parse(fromUtf8(envelope)) as {
    readonly signatures: readonly { readonly keyid: string; readonly sig: string }[];
  };
  const [first, ...others] = signatures;
  assert.ok(first);
  const sig = toBase64(flipped(fromBase64(first.sig), at));
  return encodeJson({ ...rest, signatures: [{ ...first, sig }, ...others] });
}

const lacks = (what: string): Outcome => ({
  refused: "usage",
  says: new RegExp(`the decision has ${what}.*Nothing was changed`),
});

table("decisions", [
  row({
    name: "two signatures of the three that it needs",
    attack: async (s) => s.sign(await s.draft(admit, 10), ["pm", "justice"]),
    answer: submitted,
    outcome: lacks("2 of the 3 signatures"),
  }),
  row({
    name: "a holder and a deputy of one seat, as if they were two",
    attack: async (s) => s.sign(await s.draft(admit, 10), ["pm", "justice", "deputy-justice"]),
    answer: submitted,
    outcome: lacks("2 of the 3 signatures"),
  }),
  row({
    name: "three signatures, none of them from abroad",
    attack: async (s) => s.sign(await s.draft(retain, 10), ["pm", "justice", "interior"]),
    answer: submitted,
    outcome: lacks("0 of the 1 signatures that it needs from LU or EE"),
  }),
  row({
    name: "signed by the machine that writes",
    attack: async (s) => signPaper(await s.draft(admit, 10), s.home.agent),
    answer: submitted,
    outcome: { refused: "untrusted", says: /not signed by any trusted key/ },
  }),
  row({
    name: "two seats and the machine that writes",
    attack: async (s) =>
      signEnvelope(payloadTypeOf("decision"), paperPayload(await s.draft(admit, 10)), [
        keyOf("pm"),
        keyOf("justice"),
        s.home.agent,
      ]),
    answer: submitted,
    outcome: lacks("2 of the 3 signatures"),
  }),
  row({
    name: "signed by the recovery key, which decides on signatories alone",
    attack: async (s) => signPaper(await s.draft(admit, 10), s.recovery.signing),
    answer: submitted,
    outcome: { refused: "untrusted", says: /not signed by any trusted key/ },
  }),
  row({
    name: "other signatories by the recovery key, without their own signatures",
    attack: async (s) => signPaper(await s.draft(replacing(s, "pm"), 10), s.recovery.signing),
    answer: submitted,
    outcome: lacks("0 of the 3 signatures that it needs, under the charter that would follow"),
  }),
  ...(
    [
      ["Ed25519", 10],
      ["ML-DSA", 1000],
    ] as const
  ).map(([half, at]) =>
    row({
      name: `the ${half} half of one signature broken`,
      attack: async (s) => brokenSignature(s.sign(await s.draft(admit, 10)), at),
      answer: submitted,
      outcome: { refused: "altered", says: /does not match its signature by key/ },
    }),
  ),
  row({
    name: "one key under two signatures",
    attack: async (s) => {
      const envelope = s.sign(await s.draft(admit, 10), ["pm", "justice"]);
      const parsed = JSON.parse(fromUtf8(envelope)) as { readonly signatures: readonly object[] };
      const { signatures } = parsed;
      return encodeJson({ ...parsed, signatures: [...signatures, ...signatures] });
    },
    answer: submitted,
    outcome: { refused: "malformed", says: /signed twice by one key/ },
  }),
  row({
    name: "a payload with one name twice, rightly signed",
    attack: async (s) => {
      const text = fromUtf8(paperPayload(await s.draft(admit, 10)));
      return signedText(text.replace('"reason":', '"reason":"A harmless reason","reason":'));
    },
    answer: submitted,
    outcome: { refused: "malformed", says: /name/ },
  }),
  row({
    name: "an order of an unknown kind, rightly signed",
    attack: async (s) => {
      const order = { kind: "sell-register", register: "00".repeat(16) };
      return signedText(fromUtf8(encodeJson({ ...(await s.draft(admit, 10)), order })));
    },
    answer: submitted,
    outcome: { refused: "malformed", says: /a decision has a form that is not known/ },
  }),
  row({
    name: "under an older charter, after the rules changed",
    setup: async (s) => {
      const old = s.sign(await s.draft(admit, 10));
      await s.decide(amended(s, { freezeSignatures: 1 }), 10);
      assert.equal(await s.enact(18), 1);
      return old;
    },
    attack: (_, old) => old,
    answer: (s, old) => submitted(s, old, 19),
    outcome: {
      refused: "usage",
      says: /seats, thresholds or delays have changed since it was made/,
    },
  }),
  row({
    name: "under a charter that never was",
    attack: async (s) => s.sign(await s.draft(admit, 10, { charter: NEVER })),
    answer: submitted,
    outcome: { refused: "usage", says: /under a charter that never was in force/ },
  }),
  row({
    name: "of a ledger that never was",
    attack: async (s) => s.sign(await s.draft(admit, 10, { checkpoint: { size: 3, root: NEVER } })),
    answer: submitted,
    outcome: { refused: "usage", says: /a checkpoint that this ledger never had/ },
  }),
  row({
    name: "after its time",
    attack: async (s) => s.sign(await s.draft(admit, 10, { notAfter: momentOf(s.day(11)) })),
    answer: submitted,
    outcome: { refused: "usage", says: /its time is over/ },
  }),
  row({
    name: "replayed in another envelope after it took effect",
    setup: async (s) => {
      const decision = await s.draft(admit, 10);
      await submit(s.home, [s.sign(decision)], s.day(10));
      assert.ok(s.home.charter.sites.some(({ name }) => name === "pt"));
      return decision;
    },
    attack: (s, decision) => s.sign(decision, ["interior", "opposition", "abroad"]),
    answer: submitted,
    outcome: "ignored",
  }),
  row({
    name: "of another State",
    attack: async (s) => {
      const { state } = (await witnessedState()).home;
      return signedText(fromUtf8(encodeJson(await s.draft(admit, 10, { state }))));
    },
    answer: submitted,
    outcome: { refused: "foreign-state", says: /another State's/ },
  }),
  row({
    name: "of a signatory who is removed while it is open",
    setup: async (s) => {
      await s.decide(replacing(s, "opposition"), 9);
      const open = s.sign(await s.draft(retain, 10), ["pm", "opposition", "abroad"]);
      await submit(s.home, [open], s.day(10));
      assert.equal(await s.enact(16), 1, "the signatory is replaced");
      return open;
    },
    attack: (_, open) => open,
    answer: (s, open) => submitted(s, open, 18),
    outcome: {
      refused: "usage",
      says: /seats, thresholds or delays have changed since it was made/,
    },
  }),
  row({
    name: "a proposal that shows one order, around signatures under another",
    attack: async (s) => {
      const current = s.home.known.history.history.at(-1);
      assert.ok(current);
      const shown = newProposal("decision", await s.draft(admit, 10), current.payload);
      const envelope = toBase64(s.sign(await s.draft(retain, 10)));
      return encodeJson({ ...(JSON.parse(fromUtf8(shown)) as object), envelope }, PROPOSAL);
    },
    answer: async (_, bytes) => readProposal(bytes),
    outcome: { refused: "altered", says: /under another paper than the proposal shows/ },
  }),
]);
