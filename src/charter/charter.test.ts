import assert from "node:assert/strict";
import { test } from "node:test";
import { constitution, founding, person, publicKey } from "../../test/support/charter.ts";
import { encodeJson } from "../crypto/strict-json.ts";
import { isExclaveError } from "../errors.ts";
import { type Charter, type Constitution, readCharter, writeCharter } from "./charter.ts";

test("charters that contradict themselves are refused", () => {
  const seatsWith = (
    change: (seat: Constitution["seats"][number]) => object,
  ): Partial<Charter> => ({
    constitution: {
      ...constitution,
      seats: constitution.seats.map((seat) => ({ ...seat, ...change(seat) })),
    },
  });
  const thresholdsWith = (changes: Partial<Constitution["thresholds"]>): Partial<Charter> => ({
    constitution: { ...constitution, thresholds: { ...constitution.thresholds, ...changes } },
  });
  const { destructive, constitutional, ordinary } = constitution.thresholds;
  const [register] = founding.charter.registers;
  const { recovery, ledger, agents } = founding.charter;
  const [agent] = agents;
  const half = Buffer.from(publicKey("pm"), "base64");
  half.set(Buffer.from(publicKey("stranger"), "base64").subarray(32), 32);
  const broken: readonly (readonly [string, Partial<Charter>])[] = [
    [
      "two people with one key",
      seatsWith(({ name }) => ({ people: [{ person: person(name), key: publicKey("pm") }] })),
    ],
    [
      "two people with half a key in common",
      seatsWith(({ name }) => ({
        people: [
          {
            person: person(name),
            key: name === "abroad" ? half.toString("base64") : publicKey(name),
          },
        ],
      })),
    ],
    [
      "a key that is none",
      seatsWith(({ name, people }) => ({
        people: [...people, { person: person(`deputy ${name}`), key: "AAAA" }],
      })),
    ],
    [
      "a key in another spelling",
      seatsWith(({ name }) => ({
        people: [{ person: person(name), key: publicKey(name).replace(/=+$/, "") }],
      })),
    ],
    ["an agent that has a seat's key", { agents: [{ ...agent!, signing: publicKey("pm") }] }],
    [
      "a recovery key that has a seat's key",
      { recovery: { ...recovery, signing: publicKey("pm") } },
    ],
    ["a recovery key that is none", { recovery: { ...recovery, kem: "AAAA" } }],
    [
      "one person on two seats",
      seatsWith(({ name }) => ({ people: [{ person: person("pm"), key: publicKey(name) }] })),
    ],
    ["two seats of one name", seatsWith(() => ({ name: "justice" }))],
    ["an office that nobody can read", seatsWith(() => ({ office: "The\u202e office" }))],
    ["an office with an invisible letter", seatsWith(() => ({ office: "The \u3164office" }))],
    ["an office that closes a quotation", seatsWith(() => ({ office: 'The "office"' }))],
    ["a day that does not exist", { review: "2027-02-30T00:00:00Z" }],
    [
      "more signatures than seats",
      thresholdsWith({ destructive: { ...destructive, signatures: 6 } }),
    ],
    [
      "a group that has too few seats",
      thresholdsWith({
        constitutional: { ...constitutional, groups: [{ jurisdictions: ["LU"], signatures: 2 }] },
      }),
    ],
    [
      "destruction easier than the everyday",
      thresholdsWith({ ordinary: { ...ordinary, signatures: 5, vetoSignatures: 1 } }),
    ],
    [
      "release quicker than the everyday",
      thresholdsWith({ ordinary: { ...ordinary, timelockSeconds: 3 * 86_400 } }),
    ],
    ["a minority that decides", thresholdsWith({ ordinary: { ...ordinary, signatures: 2 } })],
    [
      "a veto that nobody can make",
      thresholdsWith({ destructive: { ...destructive, vetoSignatures: 2 } }),
    ],
    [
      "a register at a site that there is not",
      { registers: [{ ...register!, sites: ["bb", "kn", "xx"] }] },
    ],
    ["a register at one site twice", { registers: [{ ...register!, sites: ["bb", "bb", "kn"] }] }],
    [
      "key holders that are not those of the shares",
      { recovery: { ...recovery, holders: recovery.holders.slice(1) } },
    ],
    [
      "one person with all shares",
      {
        recovery: {
          ...recovery,
          holders: recovery.holders.map((one) => ({ ...one, person: person("pm") })),
        },
      },
    ],
    [
      "shares that are one",
      {
        recovery: {
          ...recovery,
          shares: {
            ...recovery.shares,
            shareCommitments: recovery.shares.shareCommitments.map(() => "44".repeat(32)),
          },
        },
      },
    ],
    ["a founding charter that follows from something", { decision: "88".repeat(32) }],
    ["a later charter that follows from nothing", { version: 2 }],
    ["a term in which nobody writes", { term: 2 }],
    ["a ledger whose keys are another's", { ledger: { ...ledger, origin: "other.example" } }],
    ["a quorum that cannot be met", { ledger: { ...ledger, quorum: 1 } }],
  ];
  for (const [what, changes] of broken) {
    const charter = { ...founding.charter, ...changes };
    const refused = (error: unknown): boolean => isExclaveError(error, "malformed");
    assert.throws(() => writeCharter(charter), refused, what);
    assert.throws(() => readCharter(encodeJson(charter)), refused, what);
  }
});
