/**
 * What every implementation of `Site` is held to, wrapped or not. Each runs it from a test of its own:
 *
 *     testSite("a site in a directory", async (t) => ({ site, … }));
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, type TestContext, test } from "node:test";
import { isExclaveError } from "../errors.ts";
import { OBJECT_KINDS, type ObjectKind, type Site } from "./site.ts";

/** A site under test, empty at first. What it leaves behind is removed with the test's own `after`. */
export type SubjectSite = {
  readonly site: Site;
  /** The same place, opened once more, as another process would. */
  readonly reopen: () => Promise<Site>;
  /** Leaves what a process leaves that dies in the middle of a `put`. Absent where that is nothing. */
  readonly crash?: (name: string, stored: Uint8Array) => Promise<void>;
};

/** Larger than any buffer on the way is likely to be, and no multiple of anything. */
const BIG_BYTES = 9 * 1024 * 1024 + 17;
/** Enough that a listing comes in several steps; SLOW widens. */
const MANY_OBJECTS = process.env.SLOW ? 20_000 : 600;
const PUTS_AT_ONCE = 32;

export function testSite(what: string, make: (t: TestContext) => Promise<SubjectSite>): void {
  /** A test with an empty site. */
  const on = (
    behaviour: string,
    body: (subject: SubjectSite, t: TestContext) => Promise<void>,
  ): void => {
    test(behaviour, async (t) => body(await make(t), t));
  };

  describe(what, () => {
    on("what was put is read back, by others too", async ({ site, reopen }) => {
      const name = objectName("shard", "a");
      await site.put(name, [text("hello, "), text("world")]);
      for (const one of [site, await reopen()]) {
        assert.equal(await readText(one, name, 64), "hello, world");
        assert.deepEqual(await one.stat(name), { name, bytes: 12 });
      }
    });

    on("parts may be many, empty, or none at all", async ({ site }) => {
      const parts = Array.from({ length: 3000 }, (_, i) => text(i % 3 === 0 ? "" : `${i},`));
      const cases = [[], [text("")], [text(""), text("x"), text("")], parts];
      for (const [i, one] of cases.entries()) {
        const name = objectName("shard", `parts ${i}`);
        await site.put(name, one);
        const whole = Buffer.concat(one);
        assert.equal((await site.stat(name))?.bytes, whole.length);
        const into = new Uint8Array(whole.length + 1);
        assert.equal(await site.read(name, 0, into), whole.length);
        assert.ok(whole.equals(into.subarray(0, whole.length)));
      }
    });

    on("a big object of several parts comes back byte for byte", async ({ site }) => {
      const whole = pattern(BIG_BYTES);
      const name = objectName("shard", "big");
      const cuts = [0, 1, 4096, 5_000_001, BIG_BYTES];
      const parts = cuts.slice(1).map((end, i) => whole.subarray(cuts[i], end));
      await site.put(name, parts);
      const into = new Uint8Array(BIG_BYTES);
      assert.equal(await site.read(name, 0, into), BIG_BYTES);
      assert.ok(Buffer.from(into).equals(whole));
    });

    on("storing the same bytes again is no error", async ({ site, reopen }) => {
      const name = objectName("statement", "again");
      await site.put(name, [text("same bytes")]);
      await site.put(name, [text("same"), text(""), text(" bytes")]);
      await (await reopen()).put(name, [text("same bytes")]);
      assert.equal(await readText(site, name, 64), "same bytes");
    });

    on("a name keeps its first bytes; others are refused", async ({ site, reopen }) => {
      const name = objectName("statement", "once");
      await site.put(name, [text("first")]);
      for (const other of ["other", "firs", "first and more", ""]) {
        for (const one of [site, await reopen()]) {
          await assert.rejects(one.put(name, [text(other)]), code("exists"), JSON.stringify(other));
        }
      }
      assert.equal(await readText(site, name, 64), "first");
    });

    on("a range is read, and less than asked only at the object's end", async ({ site }) => {
      const name = objectName("shard", "range");
      const whole = pattern(100_000);
      await site.put(name, [whole]);
      const ranges = [
        { offset: 0, bytes: 0, got: 0 },
        { offset: 0, bytes: 1, got: 1 },
        { offset: 7, bytes: 70_000, got: 70_000 },
        { offset: 99_999, bytes: 1, got: 1 },
        { offset: 99_990, bytes: 50, got: 10 },
        { offset: 100_000, bytes: 5, got: 0 },
        { offset: 2 ** 40, bytes: 5, got: 0 },
      ];
      for (const { offset, bytes, got } of ranges) {
        const into = new Uint8Array(bytes).fill(0xee);
        assert.equal(await site.read(name, offset, into), got, `${bytes} bytes at ${offset}`);
        assert.ok(whole.subarray(offset, offset + got).equals(into.subarray(0, got)));
        assert.ok(
          into.subarray(got).every((byte) => byte === 0xee),
          "bytes beyond what was read are left alone",
        );
      }
    });

    on("many reads of one object at once do not disturb each other", async ({ site }) => {
      const name = objectName("shard", "shared");
      const whole = pattern(300_000);
      await site.put(name, [whole]);
      await Promise.all(
        Array.from({ length: 64 }, async (_, i) => {
          const into = new Uint8Array(4096);
          await site.read(name, i * 4500, into);
          assert.ok(whole.subarray(i * 4500, i * 4500 + 4096).equals(into));
        }),
      );
    });

    on("what is not there is said not to be there", async ({ site }) => {
      const name = objectName("shard", "absent");
      assert.equal(await site.stat(name), undefined);
      await assert.rejects(site.read(name, 0, new Uint8Array(1)), code("not-found"));
      await assert.rejects(site.read(name, 0, new Uint8Array(0)), code("not-found"));
      // A neighbour, so that the folder is there and the object is not.
      await site.put(`${name}.00`, [text("neighbour")]);
      assert.equal(await site.stat(name), undefined);
      await assert.rejects(site.read(name, 0, new Uint8Array(1)), code("not-found"));
    });

    on("each kind is listed by itself, with every name once", async ({ site, reopen }) => {
      for (const kind of OBJECT_KINDS) assert.deepEqual(await listed(site, kind), []);
      const names = OBJECT_KINDS.flatMap((kind) =>
        ["one", "two", "three"].map((seed) => objectName(kind, `${kind} ${seed}`)),
      );
      for (const name of names) await site.put(name, [text(name)]);
      for (const one of [site, await reopen()]) {
        for (const kind of OBJECT_KINDS) {
          const expected = names.filter((name) => name.startsWith(`${kind}/`)).sort();
          assert.deepEqual(await listed(one, kind), expected);
        }
      }
    });

    on("names that could lead elsewhere are refused, for all calls", async ({ site }) => {
      const digest = "ab".repeat(32);
      const names = [
        "",
        "shard",
        "shard/",
        digest,
        `/${digest}`,
        `/shard/${digest}`,
        `Shard/${digest}`,
        `tmp/${digest}`,
        `other/${digest}`,
        "shard/..",
        `shard/../${digest}`,
        `shard/../../${digest}`,
        `../shard/${digest}`,
        `shard/./${digest}`,
        `shard//${digest}`,
        `shard/${digest}/`,
        `shard/${digest}/..`,
        `shard/${digest}/00`,
        `shard/ab\0${digest}`,
        `shard/ab\n${digest}`,
        `shard/${digest}\n`,
        `\nshard/${digest}`,
        `shard/${digest.toUpperCase()}`,
        `shard/ab\\..\\${digest}`,
        `shard/ab%2e%2e${digest}`,
        `shard/ab é${digest}`,
        `shard/zz${digest}`,
        "shard/ab".padEnd(200, "c"),
        "exclave-site.json",
      ];
      for (const name of names) {
        const shown = JSON.stringify(name);
        await assert.rejects(site.put(name, [text("x")]), code("malformed"), shown);
        await assert.rejects(site.read(name, 0, new Uint8Array(1)), code("malformed"), shown);
        await assert.rejects(site.stat(name), code("malformed"), shown);
      }
      for (const kind of OBJECT_KINDS) assert.deepEqual(await listed(site, kind), []);
    });

    on("the longest name that is allowed works", async ({ site }) => {
      const name = `shard/${"ab".padEnd(80, "0123456789.z-")}`;
      await site.put(name, [text("long")]);
      assert.equal(await readText(site, name, 64), "long");
      assert.deepEqual(await listed(site, "shard"), [name]);
    });

    on("the same object put many times at once is stored once, whole", async ({ site, reopen }) => {
      const name = objectName("shard", "race");
      const whole = pattern(200_000);
      const other = await reopen();
      await Promise.all(
        Array.from({ length: 24 }, (_, i) => (i % 2 ? site : other).put(name, [whole])),
      );
      const into = new Uint8Array(whole.length + 1);
      assert.equal(await site.read(name, 0, into), whole.length);
      assert.ok(whole.equals(into.subarray(0, whole.length)));
      assert.deepEqual(await listed(site, "shard"), [name]);
    });

    on("of different objects put under one name at once, one wins and stays", async (subject) => {
      const { site, reopen } = subject;
      const other = await reopen();
      for (let round = 0; round < 8; round++) {
        const name = objectName("shard", `contested ${round}`);
        const outcomes = await Promise.allSettled(
          Array.from({ length: 6 }, (_, i) => (i % 2 ? site : other).put(name, [one(round, i)])),
        );
        const won = outcomes.flatMap(({ status }, i) => (status === "fulfilled" ? [i] : []));
        assert.equal(won.length, 1, "exactly one put is confirmed");
        for (const outcome of outcomes) {
          if (outcome.status === "rejected") assert.ok(code("exists")(outcome.reason));
        }
        const expected = one(round, won[0] ?? 0);
        const into = new Uint8Array(expected.length);
        assert.equal(await site.read(name, 0, into), expected.length);
        assert.ok(expected.equals(into), "what was confirmed is what is there");
      }
      function one(round: number, i: number): Buffer {
        return Buffer.concat([text(`${round} ${i} `), pattern(20_000 + i)]);
      }
    });

    on("many objects are listed completely", async ({ site }) => {
      const names = Array.from({ length: MANY_OBJECTS }, (_, i) => objectName("shard", `n${i}`));
      const waiting = [...names];
      await Promise.all(
        Array.from({ length: PUTS_AT_ONCE }, async () => {
          for (let name = waiting.pop(); name; name = waiting.pop()) {
            await site.put(name, [text(name)]);
          }
        }),
      );
      assert.deepEqual(await listed(site, "shard"), names.toSorted());
    });

    test("what a crash left of an object is no object, and it can be put again", async (t) => {
      const { crash, reopen } = await make(t);
      if (!crash) {
        t.skip("this site keeps nothing of a put that was cut short");
        return;
      }
      const name = objectName("shard", "crashed");
      await crash(name, text("only the first ha"));
      const after = await reopen();
      assert.equal(await after.stat(name), undefined);
      await assert.rejects(after.read(name, 0, new Uint8Array(1)), code("not-found"));
      for (const kind of OBJECT_KINDS) assert.deepEqual(await listed(after, kind), []);
      await after.put(name, [text("only the first half")]);
      assert.equal(await readText(after, name, 64), "only the first half");
    });
  });
}

/** An object's name that looks as they do: a hash. */
export function objectName(kind: ObjectKind, seed: string): string {
  return `${kind}/${createHash("sha256").update(seed).digest("hex")}`;
}

/** For `assert.rejects`: an ExclaveError of this code. */
export function code(wanted: Parameters<typeof isExclaveError>[1]): (error: unknown) => true {
  return (error) => {
    if (isExclaveError(error, wanted)) return true;
    throw new assert.AssertionError({
      message: `expected an error of code ${wanted}, and got: ${String(error)}`,
    });
  };
}

/** The object as text; at most `bytesMax` bytes. */
export async function readText(site: Site, name: string, bytesMax: number): Promise<string> {
  const into = Buffer.alloc(bytesMax);
  return into.subarray(0, await site.read(name, 0, into)).toString();
}

/** Every name of a kind, sorted. */
export async function listed(site: Site, kind: ObjectKind): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const name of site.list(kind)) names.push(name);
  return names.sort();
}

export function text(value: string): Buffer {
  return Buffer.from(value);
}

/** Bytes that repeat nowhere near. */
function pattern(bytes: number): Buffer {
  const all = Buffer.alloc(bytes);
  for (let i = 0; i + 4 <= bytes; i += 4) all.writeUInt32LE(Math.imul(i + 1, 2654435761) >>> 0, i);
  return all;
}
