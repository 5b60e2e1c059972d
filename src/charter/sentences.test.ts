import assert from "node:assert/strict";
import { test } from "node:test";
import {
  admit,
  amend,
  constitution,
  day,
  decisionOf,
  destroy,
  expel,
  founding,
  kem,
  NOW,
  person,
  publicKey,
  REGISTER,
  successionOf,
} from "../../test/support/charter.ts";
import { fromBase64 } from "../crypto/bytes.ts";
import { parseSigningPublicKey } from "../crypto/signing.ts";
import type { Constitution } from "./charter.ts";
import { applyOrder, type Order } from "./orders.ts";
import { differencesOf, sentenceOf, successionSentence, termsOf } from "./sentences.ts";

const enactment = { at: day("06-10"), decision: "88".repeat(32) };

test("a person who is to sign reads a sentence for every kind of order, and who must sign, and when", () => {
  const [register] = founding.charter.registers;
  const orders: Readonly<Record<Order["kind"], readonly [Order, RegExp]>> = {
    amend: [
      amend({ freezeSignatures: 3 }),
      /^Amend the charter of Belize: seats, thresholds and delays\.$/,
    ],
    "admit-site": [admit, /^Admit the site pt in Portugal \(PT\), run by Operator pt/],
    "expel-site": [expel, /^Expel the site ca in Canada \(CA\)/],
    "define-register": [
      { kind: "define-register", register: register! },
      /^Keep the register "births" \(confidential\) at bb, kn and lu: any 2 of these 3.* last 90 days/,
    ],
    "retire-register": [
      { kind: "retire-register", register: REGISTER },
      /^Stop protecting .*births/,
    ],
    "rotate-epoch": [{ kind: "rotate-epoch", register: REGISTER }, /^Begin a new epoch/],
    "revoke-agent": [
      { kind: "revoke-agent", signing: publicKey("agent"), suspectFrom: "2026-05-01T00:00:00Z" },
      /with the key fingerprint( [0-9a-f]{8}){8}; ignore what it signed since 2026-05-01/,
    ],
    release: [
      { kind: "release", register: REGISTER, epochs: [1, 2], to: "reader" },
      /^Release the 2 epochs 1, 2 .* reader key/,
    ],
    destroy: [destroy, /^DESTROY epoch 65536 .*cannot be undone/],
    activate: [
      { kind: "activate", agent: { ...founding.charter.agents[0]!, term: 2 } },
      /with the key fingerprint( [0-9a-f]{8}){8}, write .* in term 2/,
    ],
  };
  const name = (id: string): string | undefined => (id === REGISTER ? "births" : undefined);
  for (const [order, says] of Object.values(orders)) {
    assert.match(sentenceOf(order, founding.charter, name), says);
  }
  const emptied: Order = { kind: "define-register", register: { ...register!, sites: [] } };
  assert.match(
    sentenceOf(emptied, founding.charter, name),
    /^Take all sites from .*nothing protects it any more/,
  );
  const terms = (order: Order): string =>
    termsOf(
      decisionOf(order),
      founding.charter,
      applyOrder(founding, order, enactment).charter,
      NOW,
    ).join(" ");
  assert.match(
    terms(expel),
    /3 of 5 seats, 1 of them from Luxembourg \(LU\) or Estonia \(EE\).* 7 days after .* 2 seats veto/,
  );
  assert.match(terms(destroy), /announces, and does nothing else/);
  const seven = Object.fromEntries(
    Object.entries(constitution.thresholds).map(([name, one]) => [
      name,
      { ...one, signatures: 5, vetoSignatures: 1 },
    ]),
  ) as Constitution["thresholds"];
  assert.match(
    terms(amend({ thresholds: seven })),
    /From then on destructive decisions need 5 of 5 seats and wait 30 days/,
  );
});

test("a new name and a reader key that comes or goes are named, and shown as they change", () => {
  const says = (order: Order): string => sentenceOf(order, founding.charter);
  const rename: Order = {
    kind: "amend",
    name: "Belize and Cayes",
    reader: { kem, signing: publicKey("reader") },
  };
  assert.match(
    says(rename),
    /the State's name, which becomes Belize and Cayes and the reader key\.$/,
  );
  const remove: Order = { kind: "amend", reader: { none: true } };
  assert.match(says(remove), /the reader key, which is taken away\.$/);
  const renamed = applyOrder(founding, rename, enactment);
  const [name, reader, readerSigning, ...others] = differencesOf(founding.charter, renamed.charter);
  assert.deepEqual(name, { path: "name", before: "Belize", after: "Belize and Cayes" });
  assert.equal(reader?.path, "reader.kem");
  assert.match(reader?.after ?? "", /^SHA-256 [0-9a-f]{64}$/);
  assert.equal(readerSigning?.path, "reader.signing");
  assert.deepEqual(others, []);
  const removed = applyOrder(renamed, remove, enactment);
  const [gone] = differencesOf(renamed.charter, removed.charter);
  assert.deepEqual(gone, { path: "reader.kem", before: reader?.after });
});

test("another person in a seat, other holders and another recovery key are told apart", () => {
  const says = (order: Order): string => sentenceOf(order, founding.charter);
  const seats = constitution.seats.map((seat, i) =>
    i === 0 ? { ...seat, people: [{ person: person("new"), key: publicKey("new") }] } : seat,
  );
  const [first] = constitution.seats;
  assert.ok(says(amend({ seats })).endsWith(`: who signs as ${first!.office}.`));
  const rules = { seats, freezeSignatures: constitution.freezeSignatures + 1 };
  assert.match(says(amend(rules)), /: seats, thresholds and delays\.$/);
  const moved = constitution.seats.map((seat) => ({ ...seat, jurisdiction: "GB" }));
  assert.match(says(amend({ seats: moved })), /: seats, thresholds and delays\.$/);
  const { recovery } = founding.charter;
  const same: Order = { kind: "amend", recovery };
  assert.match(says(same), /: who holds shares of the recovery key\.$/);
  const other: Order = { kind: "amend", recovery: { ...recovery, kem: "another" } };
  assert.match(says(other), /: the recovery key, which becomes another one, and its holders\.$/);
});

test("a succession reads as what ends, what begins, and what its witnesses become", () => {
  const witness = (name: string) => ({ name, keys: [`${name}+0123abcd+AAAA`] });
  const ledger = { ...founding.charter.ledger, witnesses: ["a", "b", "c"].map(witness), quorum: 2 };
  const charter = { ...founding.charter, ledger };
  const before = { ...founding, charter };
  const succession = successionOf(before, NOW);
  const weaker = { ...succession.ledger, witnesses: [witness("b"), witness("d")], quorum: 1 };
  const text = successionSentence({ ...succession, ledger: weaker }, charter);
  assert.match(
    text,
    /^Close the ledger exclave\.example\/belize\/1 of Belize at its first 7 entries, with the root (99){32};/,
  );
  assert.match(
    text,
    /ledger exclave\.example\/belize\/2, generation 2, .*(SHA-256 [0-9a-f]{64}.*){2}/,
  );
  assert.match(text, /seen by 1 of its 2 witnesses \(until now 2 of 3; 1 stay\)/);
  assert.match(
    text,
    /machine, with the key fingerprint( [0-9a-f]{8}){8}, write from now on, in term 2/,
  );
  assert.match(text, /at once, and nobody can veto it/);
});

test("who can sign other seats on is said where the recovery key can, and only there", () => {
  const terms = (order: Order): string =>
    termsOf(
      decisionOf(order),
      founding.charter,
      applyOrder(founding, order, enactment).charter,
      NOW,
    ).join(" ");
  assert.match(terms(amend({ freezeSignatures: 3 })), /The recovery key can sign in their place/);
  const more: Order = { kind: "amend", constitution, releaseDelaySeconds: 1 };
  for (const order of [more, expel]) assert.doesNotMatch(terms(order), /recovery key/);
});

test("a diff shows every change: of keys, of order, of lists that become empty, of people", () => {
  const differences = (order: Order) =>
    differencesOf(founding.charter, applyOrder(founding, order, enactment).charter);
  assert.deepEqual(differences(expel), [
    { path: "sites (in order)", before: "bb, kn, lu, ee, ca", after: "bb, kn, lu, ee" },
    { path: "sites[ca].name", before: "ca" },
    { path: "sites[ca].country", before: "CA" },
    { path: "sites[ca].operator", before: "Operator ca" },
    { path: "sites[ca].hazardZone", before: "Zone ca" },
  ]);
  const [reversed] = differences(amend({ seats: constitution.seats.toReversed() }));
  assert.match(reversed!.path, /seats \(in order\)/);
  const swapped = constitution.seats.map((seat) => ({ ...seat, people: seat.people.toReversed() }));
  assert.ok(
    differences(amend({ seats: swapped })).length > 0,
    "who holds a seat, and who is deputy",
  );
  const [agent] = founding.charter.agents;
  const limited: Order = { kind: "amend", agents: [{ ...agent!, registers: [REGISTER] }] };
  const before = applyOrder(founding, limited, enactment);
  const opened = applyOrder(before, { kind: "amend", agents: [agent!] }, enactment);
  assert.ok(
    differencesOf(before.charter, opened.charter).some(
      ({ path, after }) => path.includes("registers") && after === "none",
    ),
    "an agent that may write all registers",
  );
  const seats = constitution.seats.map((seat) =>
    seat.name === "pm"
      ? { ...seat, people: [{ person: person("pm"), key: publicKey("new") }] }
      : seat,
  );
  const [only, ...others] = differences(amend({ seats }));
  assert.equal(others.length, 0);
  assert.match(only!.path, /^constitution\.seats\[pm\]\.people\[1\]\.key$/);
  const id = (key: string): string => parseSigningPublicKey(fromBase64(key)).id;
  const asOnCard = (text: string): string => text.replace(/^fingerprint /, "").replaceAll(" ", "");
  assert.equal(asOnCard(only!.after!), id(publicKey("new")));
  assert.notEqual(only!.before, only!.after);
});
