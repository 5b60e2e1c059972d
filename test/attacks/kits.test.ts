/** Shares and kits that are not what they say. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { fromUtf8, toHex, utf8 } from "../../src/crypto/bytes.ts";
import { sealKits } from "../../src/custody/ceremony.ts";
import { combineKits, examineKit, type OpenedKit } from "../../src/custody/combine-kits.ts";
import { decodeKit, encodeKit, type Kit, openShare } from "../../src/custody/kit.ts";
import { type ErrorCode, isExclaveError } from "../../src/errors.ts";
import { cut, flipped, NEVER, plainState, witnessedState } from "../support/attacks.ts";
import type { Embassy } from "../support/embassy.ts";

type Opened = readonly OpenedKit[];
type KitRow = {
  readonly name: string;
  /** What is brought, of the right kits and a foreign State's. */
  readonly attack: (kits: Opened, foreign: Opened) => Opened | Promise<Opened>;
  readonly outcome:
    | { readonly refused: ErrorCode; readonly says: RegExp }
    /** The secret comes out all the same. */
    | { readonly leftOut: RegExp };
};
const bent = ({ kit, share }: OpenedKit): OpenedKit => ({
  kit,
  share: { ...share, share: flipped(share.share) },
});
/** The kit as it is read again after somebody changed what it says. */
const rewritten = ({ kit, share }: OpenedKit, change: (kit: Kit) => Kit): OpenedKit => ({
  kit: decodeKit(encodeKit(change(kit))),
  share,
});
const NO_SET = { refused: "not-enough-shards" } as const;

const kitRows: readonly KitRow[] = [
  {
    name: "a share with a bit changed, beside enough good ones",
    attack: ([a, b, c]) => [bent(a!), b!, c!],
    outcome: { leftOut: /^altered$/ },
  },
  {
    name: "a share with a bit changed, where it would be needed",
    attack: ([a, b]) => [bent(a!), b!],
    outcome: { ...NO_SET, says: /1 good share of the 2 needed.*key holder 1 is altered/ },
  },
  {
    name: "two shares of one holder",
    attack: ([a]) => [a!, a!],
    outcome: { ...NO_SET, says: /key holder 1 is given twice/ },
  },
  { name: "too few", attack: ([a]) => [a!], outcome: { ...NO_SET, says: /1 good share of the 2/ } },
  {
    name: "a kit of another State, beside enough good ones",
    attack: ([a, b], [foreign]) => [foreign!, a!, b!],
    outcome: { leftOut: /^of another State$/ },
  },
  {
    name: "kits of another State alone",
    attack: (_, foreign) => foreign,
    outcome: { refused: "foreign-state", says: /of another State/ },
  },
  {
    name: "a kit of another State, before its holder is asked to open it",
    attack: async (_, [foreign]) => {
      const plain = await plainState();
      examineKit(encodeKit(foreign!.kit), {
        state: plain.home.state,
        set: plain.shares.publicPart,
      });
      return [];
    },
    outcome: { refused: "foreign-state", says: /key holder 1 is of another State/ },
  },
  {
    name: "shares of an older set, brought for a newer one",
    attack: (kits) =>
      kits.map((one) =>
        rewritten(one, (kit) => ({
          ...kit,
          set: { ...kit.set, setId: "5a".repeat(16), generation: 2 },
        })),
      ),
    outcome: { ...NO_SET, says: /key holder 1 is of a newer set/ },
  },
  {
    name: "a kit that says another commitment of its set",
    attack: ([a, b, c]) => [
      rewritten(a!, (kit) => ({ ...kit, set: { ...kit.set, secretCommitment: NEVER } })),
      b!,
      c!,
    ],
    outcome: { leftOut: /^altered$/ },
  },
  {
    name: "another holder's share in a kit",
    attack: async ([a, b]) => {
      const { share } = await openShare({ ...a!.kit, sealed: b!.kit.sealed }, passphrase(1));
      return [{ kit: a!.kit, share }];
    },
    outcome: {
      refused: "bad-key",
      says: /not the one that the kit names: it is that of key holder 2/,
    },
  },
  {
    name: "a kit with one name twice",
    attack: ([a]) => {
      const text = fromUtf8(encodeKit(a!.kit)).replace('"kind":', '"kind":"kit","kind":');
      return [{ ...a!, kit: decodeKit(utf8(text)) }];
    },
    outcome: { refused: "malformed", says: /name/ },
  },
  {
    name: "a kit that is cut off",
    attack: ([a]) => [{ ...a!, kit: decodeKit(cut(encodeKit(a!.kit))) }],
    outcome: { refused: "malformed", says: /JSON/ },
  },
];

const passphrase = (index: number): string => `correct horse battery staple ${index}`;
async function kitsOf({ home, shares }: Embassy): Promise<Opened> {
  const { state } = home;
  const details = {
    state,
    stateName: home.charter.name,
    foundingHash: state,
    charterHash: home.known.charterId,
    witnessKeys: [],
    sites: [],
  };
  const holders = [0, 1, 2].map((i) => ({ office: `Key holder ${i}`, passphrase: passphrase(i) }));
  const sealed = await sealKits(shares, details, holders, { workFactor: 10 });
  return Promise.all(
    sealed.map(async ({ kit: bytes, index }) => {
      const kit = decodeKit(bytes);
      return { kit, share: (await openShare(kit, passphrase(index))).share };
    }),
  );
}

describe("shares and kits", () => {
  let plain: Embassy;
  let kits: Opened;
  let foreign: Opened;
  before(async () => {
    plain = await plainState();
    kits = await kitsOf(plain);
    foreign = await kitsOf(await witnessedState());
  });
  for (const { name, attack, outcome } of kitRows) {
    test(name, async () => {
      const known = { state: plain.home.state, set: plain.shares.publicPart };
      if ("refused" in outcome) {
        await assert.rejects(
          async () => combineKits(await attack(kits, foreign), known),
          (error) => {
            assert.ok(isExclaveError(error, outcome.refused), String(error));
            assert.match(error.message, outcome.says);
            return true;
          },
        );
      } else {
        const { secret, refused } = combineKits(await attack(kits, foreign), known);
        assert.equal(toHex(secret), toHex(plain.recovery.seed));
        assert.equal(refused.length, 1);
        assert.match(refused[0]!.reason, outcome.leftOut);
      }
      const { secret } = combineKits(kits.slice(1), known);
      assert.equal(toHex(secret), toHex(plain.recovery.seed), "the good ones still give it");
    });
  }

  test("kits alone, where as many say one thing as another", () => {
    assert.throws(
      () => combineKits([kits[0]!, foreign[1]!]),
      (error) => isExclaveError(error, "altered") && /do not agree/.test(error.message),
    );
  });
});
