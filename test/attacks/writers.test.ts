/** Statements, wraps and annexes of machines that lie. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { momentOf } from "../../src/charter/charter.ts";
import type { Order } from "../../src/charter/orders.ts";
import {
  concat,
  fromBase64,
  fromHex,
  fromUtf8,
  toBase64,
  toHex,
  utf8,
} from "../../src/crypto/bytes.ts";
import { encodeJson } from "../../src/crypto/strict-json.ts";
import { wrapTo } from "../../src/crypto/wrap.ts";
import { sealAnnex } from "../../src/governance/annex.ts";
import { Catalog } from "../../src/vault/catalog.ts";
import {
  type Annex,
  type EpochWrap,
  type Statement,
  signDocument,
} from "../../src/vault/documents.ts";
import type { Home } from "../../src/vault/home.ts";
import { parseId } from "../../src/vault/identifiers.ts";
import {
  flipped,
  LATER,
  NEVER,
  type Outcome,
  recovered,
  row,
  table,
  witnessedState,
} from "../support/attacks.ts";
import { keyOf } from "../support/charter.ts";
import type { Embassy } from "../support/embassy.ts";

/** What a signed document at a site says. */
function saidIn<Said>(bytes: Uint8Array | undefined): Said {
  assert.ok(bytes);
  const { payload } = JSON.parse(fromUtf8(bytes)) as { readonly payload: string };
  return JSON.parse(fromUtf8(fromBase64(payload))) as Said;
}
const first = (s: Embassy, kind: string): Uint8Array | undefined =>
  s.objects("bb", kind).values().next().value;
const statementOf = (s: Embassy): Statement => saidIn(first(s, "statement"));
const wrapOf = (s: Embassy): EpochWrap => saidIn(first(s, "wrap"));

/** What a thief of the agent's key, and of the ledger's where it is to be in the ledger, makes of a statement. */
async function stated(
  s: Embassy,
  changes: Partial<Statement>,
  { key = s.home.agent, logged = true } = {},
): Promise<void> {
  const { id, bytes } = signDocument({ ...statementOf(s), ...changes, agent: key.id }, [key]);
  s.plant("statement", bytes);
  if (!logged) return;
  await s.home.withLedger((log) => {
    log.append([{ kind: "statement", envelope: id }]);
    log.sign(s.day(20));
  });
  await s.publish();
}

/** Takes over, and finds so many recovery points that count. */
async function counted(s: Embassy, count: number): Promise<unknown> {
  const report = await s.recover(LATER);
  assert.deepEqual(
    report.registers.map(({ recoveryPoints }) => recoveryPoints),
    [count],
  );
  return report;
}

/** A second machine of this term, that may write another register alone. */
const MACHINE = keyOf("second machine");
const withMachine = (s: Embassy): Order => ({
  kind: "amend",
  agents: [
    ...s.home.charter.agents,
    {
      signing: toBase64(MACHINE.publicKey.bytes),
      term: 1,
      registers: ["ff".repeat(16)],
      quotaBytesPerDay: 1,
      quotaObjectsPerDay: 1,
    },
  ],
});

table("statements", [
  row({
    name: "of a machine that was revoked, from when it is suspect on",
    setup: async (s) => {
      await s.protect(6);
      const [agent] = s.home.charter.agents;
      assert.ok(agent);
      const suspectFrom = momentOf(s.day(5));
      await s.decide({ kind: "revoke-agent", signing: agent.signing, suspectFrom }, 10);
    },
    attack: (s) => s.publish(),
    answer: recovered,
    outcome: { named: /set aside: its agent was revoked, and is suspect from/ },
  }),
  row({
    name: "of a machine that was revoked: it writes no more",
    setup: async (s) => {
      const [agent] = s.home.charter.agents;
      assert.ok(agent);
      const suspectFrom = momentOf(s.day(5));
      await s.decide({ kind: "revoke-agent", signing: agent.signing, suspectFrom }, 10);
    },
    attack: () => undefined,
    answer: (s) => s.protect(12),
    outcome: { refused: "untrusted", says: /agent was revoked.*Nothing was written/ },
  }),
  row({
    name: "that the ledger does not have",
    attack: (s) => stated(s, { sequence: 2 }, { logged: false }),
    answer: (s) => counted(s, 1),
    outcome: { named: /set aside: the ledger does not have it/ },
  }),
  row({
    name: "in an old term, signed after another home took over",
    attack: async (s) => {
      const report = await s.recover(50, { as: "newer" });
      await stated(s, { sequence: 2 }, { logged: false });
      return report;
    },
    answer: async (s, { home }) => {
      await s.protect(60, home);
      const snapshots = readSnapshots(home);
      assert.deepEqual(
        snapshots,
        [1, 2].map((sequence) => [sequence, sequence === 1 ? 1 : 2]),
      );
    },
    outcome: { named: /set aside: the ledger does not have it/ },
  }),
  row({
    name: "of a register that its machine may not write",
    setup: async (s) => {
      await s.decide(withMachine(s), 10);
      assert.equal(await s.enact(17), 1);
    },
    attack: (s) => stated(s, { sequence: 2 }, { key: MACHINE }),
    answer: (s) => counted(s, 1),
    outcome: { named: /a register that its agent may not write/ },
  }),
  row({
    name: "by nobody's machine",
    attack: (s) => stated(s, { sequence: 2 }, { key: keyOf("thief") }),
    answer: (s) => counted(s, 1),
    outcome: { named: /not signed by any trusted key/ },
  }),
  row({
    name: "an old recovery point passed off as the newest",
    attack: (s) => stated(s, { sequence: 2, random: toHex(randomBytes(16)) }),
    answer: (s) => counted(s, 1),
    outcome: { named: /the root of a snapshot and its statement differ in sequence/ },
  }),
  row({
    name: "the same statement in another envelope",
    attack: (s) => stated(s, {}),
    answer: (s) => counted(s, 1),
    outcome: "ignored",
  }),
  row({
    name: "of another State",
    attack: async (s) => stated(s, { state: (await witnessedState()).home.state }),
    answer: (s) => counted(s, 1),
    outcome: { named: /belongs to another State/ },
  }),
]);

function readSnapshots(home: Home): readonly (readonly [number, number])[] {
  const catalog = new Catalog(home.catalogPath, home.state);
  try {
    return home.config.registers
      .flatMap(({ id }) => catalog.snapshots(parseId("RegisterId", id)))
      .map(({ sequence, term }) => [sequence, term] as const)
      .toSorted(([a], [b]) => a - b);
  } finally {
    catalog.close();
  }
}

/** Puts a wrap of the agent's making in the place of the real one, everywhere. */
function rewrapped(s: Embassy, changes: Partial<EpochWrap>): void {
  const { bytes } = signDocument({ ...wrapOf(s), ...changes }, [s.home.agent]);
  s.hide("wrap");
  s.plant("wrap", bytes);
}
const CANNOT_OPEN: Outcome = {
  refused: "not-enough-shards",
  says: /1 of 1 registers cannot be opened.*Nothing was changed, and no home was superseded/,
};
/** Taking over is refused, and what does not open was named. */
const refusedNaming = (what: RegExp) => async (s: Embassy) => {
  try {
    return await s.recover(LATER);
  } finally {
    const { id } = s.home.register("land");
    const said = s.notices.join("; ");
    assert.match(said, what);
    assert.ok(said.includes(`register ${id}`), "the register is named");
  }
};

table("wraps of epoch keys, and annexes", [
  row({
    name: "a wrap of another epoch in the place of the real one",
    attack: (s) => rewrapped(s, { epoch: wrapOf(s).epoch + 1 }),
    answer: refusedNaming(/wrap\/[0-9a-f]{64} was left out/),
    outcome: CANNOT_OPEN,
  }),
  row({
    name: "a wrap that does not open, rightly signed",
    attack: (s) => rewrapped(s, { sealed: toBase64(flipped(fromBase64(wrapOf(s).sealed))) }),
    answer: refusedNaming(/wrap\/[0-9a-f]{64} was left out/),
    outcome: CANNOT_OPEN,
  }),
  row({
    name: "a wrap of another key than it says",
    attack: (s) => rewrapped(s, { epochKeyId: NEVER }),
    answer: refusedNaming(/another key than it says/),
    outcome: CANNOT_OPEN,
  }),
  row({
    name: "a wrap signed by nobody's machine",
    attack: (s) => {
      const { bytes } = signDocument(wrapOf(s), [keyOf("thief")]);
      s.hide("wrap");
      s.plant("wrap", bytes);
    },
    answer: refusedNaming(/not signed by any trusted key/),
    outcome: CANNOT_OPEN,
  }),
  row({
    name: "a wrap that does not open, beside the real one",
    attack: (s) => {
      const sealed = toBase64(flipped(fromBase64(wrapOf(s).sealed)));
      s.plant("wrap", signDocument({ ...wrapOf(s), sealed }, [s.home.agent]).bytes);
    },
    answer: recovered,
    outcome: { named: /wrap\/[0-9a-f]{64} was left out/ },
  }),
  row({
    name: "an annex replaced by one of other people that says it is the same",
    attack: (s) => {
      const { state, charter, agent } = s.home;
      const content = { kind: "people", format: 1, people: [], random: "00".repeat(16) };
      const by = { agent, time: s.day(20) };
      const sealed = saidIn<Annex>(
        sealAnnex(content, { state, recovery: charter.recovery }, by).bytes,
      );
      const { bytes } = signDocument({ ...sealed, digest: charter.annex }, [agent]);
      s.hide("annex");
      s.plant("annex", bytes);
    },
    answer: recovered,
    outcome: { named: /annex\/[0-9a-f]{64} was left out/ },
  }),
  row({
    name: "an annex of other people, sealed as if it were the real one",
    attack: (s) => {
      const { state, charter, agent } = s.home;
      const real = saidIn<Annex>(first(s, "annex"));
      const context = concat(
        utf8("exclave/v1 annex\0"),
        fromHex(state, 32),
        fromHex(charter.annex, 32),
      );
      const content = encodeJson({ kind: "people", format: 1, people: [] });
      const wrap = wrapTo(fromBase64(charter.recovery.kem), content, context);
      const sealed = {
        digest: charter.annex,
        encapsulation: toBase64(wrap.encapsulation),
        sealed: toBase64(wrap.sealed),
      };
      s.hide("annex");
      s.plant("annex", signDocument({ ...real, ...sealed }, [agent]).bytes);
    },
    answer: recovered,
    outcome: {
      named: /annex\/[0-9a-f]{64} was left out: an annex holds something else than it says/,
    },
  }),
  row({
    name: "an annex that no site has",
    attack: (s) => s.hide("annex"),
    answer: recovered,
    outcome: { named: /no site has the annex/ },
  }),
]);
