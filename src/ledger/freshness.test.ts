import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { temporaryFolder } from "../../test/support/places.ts";
import { toHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { isExclaveError } from "../errors.ts";
import type { SignedHead } from "./at-sites.ts";
import { agreeOnHead, type HeadAnswer } from "./freshness.ts";
import { Log } from "./log.ts";
import { logKeyFromSeed } from "./log-key.ts";
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
          agreeOnHead(answers, { sites: n, quorum: w, acceptStale });
        if (answered >= n - w + 1) {
          const agreed = agree(false);
          assert.equal(agreed.signed.head.size, 10);
          assert.ok(agreed.isFresh && agreed.confirmedBy.length > 0);
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
  const options = { sites: 5, quorum: 3, acceptStale: false };
  assert.throws(
    () => agreeOnHead(answers, options),
    /2 of 5 sites answered.*lu: the disk is not mounted.*3 must answer.*--accept-stale/,
  );
  const agreed = agreeOnHead(answers, { ...options, acceptStale: true });
  assert.deepEqual(
    [agreed.signed.head.size, agreed.confirmedBy, agreed.isFresh, agreed.answered, agreed.needed],
    [5, ["kn"], false, 2, 3],
  );
  const twice: HeadAnswer[] = [1, 2, 3].map(() => ({ site: "bb", signed: headOf(3) }));
  assert.throws(() => agreeOnHead(twice, options), /1 of 5/, "one site that answers thrice is one");
  const none: HeadAnswer[] = ["bb", "kn", "lu"].map((site) => ({ site, signed: undefined }));
  assert.throws(
    () => agreeOnHead(none, options),
    (error) => isExclaveError(error, "site-unavailable"),
  );
});

test("two heads of one size are a fork, and so are two of which one is no beginning of the other", async (t) => {
  const options = { sites: 2, quorum: 1, acceptStale: false };
  const pair = (a: SignedHead, b: SignedHead): HeadAnswer[] => [
    { site: "bb", signed: a },
    { site: "kn", signed: b },
  ];
  assert.throws(
    () => agreeOnHead(pair(headOf(5), headOf(5, 1)), options),
    (error) => isExclaveError(error, "altered") && /bb holds 5 .* and kn 5/.test(error.message),
  );
  const log = Log.open(join(temporaryFolder(t), "log"), key);
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
