import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { temporaryFolder } from "../../test/support/places.ts";
import { toHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { isExclaveError } from "../errors.ts";
import type { SignedHead } from "./at-sites.ts";
import { agreeOnHead, type Demand, type HeadAnswer } from "./freshness.ts";
import { Log } from "./log.ts";
import { logKeyFromSeed, verifierKeysOf } from "./log-key.ts";
import { verifiedEntries } from "./verify.ts";

const key = logKeyFromSeed(new Uint8Array(32).fill(7), "exclave.example/belize/1");
const headOf = (size: number, salt = 0): SignedHead => ({
  head: { origin: key.name, size, root: sha256(utf8(`${size} ${salt}`)) },
  checkpoint: utf8(`checkpoint ${size}`),
});

test("whenever enough sites answer, what was committed is never missed", () => {
  const shape = fc
    .tuple(fc.integer({ min: 1, max: 9 }), fc.nat(8), fc.nat(1_000_000))
    .map(([n, a, seed]) => ({ n, w: 1 + (a % n), seed }));
  fc.assert(
    fc.property(
      shape,
      fc.array(fc.nat(2), { minLength: 9, maxLength: 9 }),
      ({ n, w, seed }, moods) => {
        // Checkpoint 10 is committed: at w sites, wherever these are. 11 was begun and is at one at most.
        const hasTen = (i: number): boolean => (i + seed) % n < w;
        const answers: HeadAnswer[] = Array.from({ length: n }, (_, i) => {
          const site = `site ${i}`;
          if (moods[i] === 0) return { site, unavailable: "it burnt down" };
          return { site, signed: hasTen(i) ? headOf(10) : moods[i] === 1 ? headOf(7) : undefined };
        });
        const answered = answers.filter((one) => !("unavailable" in one)).length;
        const agree = (acceptStale: boolean) =>
          agreeOnHead(answers, {
            demands: [{ what: "decisions", sites: answers.map(({ site }) => site), quorum: w }],
            acceptStale,
          });
        if (answered >= n - w + 1) {
          const agreed = agree(false);
          assert.equal(agreed.signed.head.size, 10);
          assert.deepEqual(agreed.stale, []);
          assert.ok(agreed.confirmedBy.length > 0);
          assert.ok(agreed.earlier.every(({ size }) => size === 7));
        } else {
          assert.throws(
            () => agree(false),
            (error) => isExclaveError(error, "site-unavailable"),
          );
        }
      },
    ),
    { numRuns: 500 },
  );
});

test("with fewer answers it refuses and says who is silent, or takes what there is and says so", () => {
  const answers: HeadAnswer[] = [
    { site: "bb", signed: headOf(3) },
    { site: "kn", signed: headOf(5) },
    { site: "lu", unavailable: "the disk is not mounted" },
  ];
  const demands = [{ what: "decisions", sites: ["bb", "kn", "lu", "nl", "se"], quorum: 3 }];
  const options = { demands, acceptStale: false };
  assert.throws(
    () => agreeOnHead(answers, options),
    new RegExp(
      "of decisions, 2 of 5 sites answered and 3 must.*lu: the disk is not mounted; " +
        "nl: it was not asked; se: .*--accept-stale",
    ),
  );
  const agreed = agreeOnHead(answers, { ...options, acceptStale: true });
  assert.deepEqual(
    [agreed.signed.head.size, agreed.confirmedBy, agreed.stale, agreed.answered],
    [5, ["kn"], ["decisions"], 2],
  );
  const twice: HeadAnswer[] = [1, 2, 3].map(() => ({ site: "bb", signed: headOf(3) }));
  assert.throws(() => agreeOnHead(twice, options), /1 of 5/, "one site that answers thrice is one");
  const none: HeadAnswer[] = ["bb", "kn", "lu"].map((site) => ({ site, signed: undefined }));
  assert.throws(
    () => agreeOnHead(none, options),
    (error) => isExclaveError(error, "site-unavailable"),
  );
});

test("each demand is judged by its own sites, and only those that are unmet are named", () => {
  const answers: HeadAnswer[] = [
    { site: "bb", signed: headOf(3) },
    { site: "kn", signed: undefined },
    { site: "lu", unavailable: "the disk is not mounted" },
    { site: "nl", unavailable: "it does not answer" },
  ];
  const decisions = { what: "decisions", sites: ["bb", "kn", "lu"], quorum: 2 };
  const land = { what: "land", sites: ["bb", "lu", "nl"], quorum: 2 };
  const tax = { what: "tax", sites: ["kn", "kn", "lu"], quorum: 1 };
  const none = { what: "none", sites: [], quorum: 0 };
  const stale = (...demands: Demand[]): readonly string[] =>
    agreeOnHead(answers, { demands, acceptStale: true }).stale;
  assert.deepEqual(stale(decisions, land, tax, none), ["land", "tax"]);
  assert.deepEqual(stale(), []);
  assert.throws(
    () => agreeOnHead(answers, { demands: [decisions, land, none], acceptStale: false }),
    (error) =>
      isExclaveError(error, "site-unavailable") &&
      /of land, 1 of 3 sites answered and 2 must/.test(error.message) &&
      /Silent are lu: the disk is not mounted; nl: it does not answer\./.test(error.message) &&
      !/decisions|kn/.test(error.message),
  );
  assert.doesNotThrow(() => agreeOnHead(answers, { demands: [decisions], acceptStale: false }));
  // Quorums that cannot be: nothing is ruled out by half of the sites.
  assert.deepEqual(stale({ ...decisions, quorum: 9 }), ["decisions"]);
  assert.deepEqual(stale({ ...decisions, quorum: 0 }), ["decisions"]);
});

test("two heads of one size are a fork, and so are two of which one is no beginning of the other", async (t) => {
  const demands = [{ what: "decisions", sites: ["bb", "kn"], quorum: 1 }];
  const options = { demands, acceptStale: false };
  const pair = (a: SignedHead, b: SignedHead): HeadAnswer[] => [
    { site: "bb", signed: a },
    { site: "kn", signed: b },
  ];
  assert.throws(
    () => agreeOnHead(pair(headOf(5), headOf(5, 1)), options),
    (error) => isExclaveError(error, "altered") && /bb holds 5 .* and kn 5/.test(error.message),
  );
  const log = Log.open(join(temporaryFolder(t), "log"), verifierKeysOf(key), key);
  t.after(() => log.close());
  log.append(
    Array.from({ length: 300 }, (_, i) => ({
      kind: "statement" as const,
      envelope: toHex(sha256(utf8(`${i}`))),
    })),
  );
  const files = new Map([...log.files(0, 300)].map(({ path, bytes }) => [path, bytes]));
  const count = async (earlier: readonly SignedHead[]): Promise<number> => {
    let entries = 0;
    const heads = earlier.map(({ head }) => head);
    const fetch = async (path: string): Promise<Uint8Array> => files.get(path)!;
    for await (const _ of verifiedEntries(log.head(), fetch, heads)) entries++;
    return entries;
  };
  const good = [0, 1, 256, 299, 300].map((size) => ({ ...headOf(size), head: log.head(size) }));
  assert.equal(await count(good), 300);
  for (const size of [1, 256, 299]) {
    await assert.rejects(count([...good, headOf(size)]), /it has forked: of two checkpoints/);
  }
});
