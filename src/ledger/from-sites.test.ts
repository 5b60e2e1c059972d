import assert from "node:assert/strict";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { witnessKeys } from "../../test/support/ledger.ts";
import { temporaryFolder } from "../../test/support/places.ts";
import { toHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { createDirectorySite, openDirectorySite } from "../sites/directory.ts";
import type { Site } from "../sites/site.ts";
import { checkpointName, fileName, newestAt, publishTo, type SignedHead } from "./at-sites.ts";
import { verifyCheckpoint } from "./checkpoint.ts";
import { checkpointsAt } from "./checkpoints-at-sites.ts";
import { cosign } from "./cosignature.ts";
import type { Witnesses } from "./cosigned-time.ts";
import { GOVERNING_KINDS, type LedgerEntry } from "./entry.ts";
import { agreeOnHead } from "./freshness.ts";
import { catchUp, gatherCheckpoints, headsAt } from "./from-sites.ts";
import { Log } from "./log.ts";
import { logKeyFromSeed, verifierKeysOf } from "./log-key.ts";
import { formatNote, formatSignatureLine, parseNote } from "./note.ts";
import { shownHead } from "./tree-head.ts";

const ORIGIN = "exclave.example/belize/1";
const key = logKeyFromSeed(new Uint8Array(32).fill(7), ORIGIN);
const keys = verifierKeysOf(key);
const START = Date.parse("2026-06-10T12:00:00Z");
const WITNESSES: Witnesses = {
  witnesses: witnessKeys.map((one) => ({ name: one.name, keys: verifierKeysOf(one) })),
  quorum: 2,
};

/** Every tenth entry governs. */
const entryOf = (i: number): LedgerEntry => ({
  kind: i % 10 === 3 ? GOVERNING_KINDS[i % 5]! : "statement",
  envelope: toHex(sha256(utf8(`envelope ${i}`))),
});
const entries = (from: number, to: number): LedgerEntry[] =>
  Array.from({ length: to - from }, (_, i) => entryOf(from + i));

async function siteIn(folder: string, name: string): Promise<Site> {
  await createDirectorySite(join(folder, name), utf8(name));
  const identity = { name, country: "BB", operator: name, hazardZone: name };
  return openDirectorySite(join(folder, name), identity);
}

function logIn(t: TestContext, folder: string, name: string, signer = true): Log {
  const log = signer ? Log.open(join(folder, name), keys, key) : Log.open(join(folder, name), keys);
  t.after(() => log.close());
  return log;
}

/** Appends up to that size, and signs, a minute for each entry after the start. */
function signed(log: Log, size: number): SignedHead {
  log.append(entries(log.size, size));
  return headOf(log.sign(new Date(START + size * 60_000)));
}

const headOf = (checkpoint: Uint8Array): SignedHead => ({
  head: verifyCheckpoint(checkpoint, keys).head,
  checkpoint,
});

function cosigned(log: Log, size: number, witness: number, seconds: number): SignedHead {
  const by = witnessKeys[witness]!;
  const lines = cosign(by, log.head(size), START / 1000 + size * 60 + seconds);
  const answer = utf8(lines.map(formatSignatureLine).join(""));
  return headOf(log.addCosignatures(size, answer, verifierKeysOf(by)));
}

const brings = async (site: Site, log: Log, to: SignedHead): Promise<void> =>
  publishTo(site, log, to, await newestAt(site, keys));

/** A site of which some methods are others. */
const altered = (site: Site, methods: Partial<Site>): Site => ({
  identity: site.identity,
  put: (name, parts) => site.put(name, parts),
  read: (name, offset, into) => site.read(name, offset, into),
  stat: (name) => site.stat(name),
  list: (kind) => site.list(kind),
  ...methods,
});

const gone = (site: Site): Site => {
  const fails = async (): Promise<never> => {
    throw new ExclaveError("site-unavailable", "it burnt down");
  };
  const list = (): AsyncIterable<string> => ({ [Symbol.asyncIterator]: () => ({ next: fails }) });
  return altered(site, { stat: fails, read: fails, list });
};

test("every site answers with its newest checkpoint, with none, or with why it does not", async (t) => {
  const folder = temporaryFolder(t);
  const [bb, kn, lu, nl] = await Promise.all(
    ["bb", "kn", "lu", "nl"].map((n) => siteIn(folder, n)),
  );
  const log = logIn(t, folder, "log");
  const head = signed(log, 12);
  await brings(bb!, log, head);
  for (let i = 0; i < 64; i++) {
    const junk = utf8(`junk ${i}`);
    await nl!.put(checkpointName({ ...head.head, size: 100 + i }, junk), [junk]);
  }
  const answers = await headsAt(
    [
      { name: "one", site: bb! },
      { name: "two", site: kn! },
      { name: "three", site: gone(lu!) },
      { name: "four", site: nl! },
    ],
    keys,
  );
  assert.deepEqual(answers, [
    { site: "one", signed: head },
    { site: "two", signed: undefined },
    { site: "three", unavailable: "it burnt down" },
    { site: "four", unavailable: "site nl holds checkpoints that are none" },
  ]);
  const bug = altered(kn!, {
    list: () => {
      throw new Error("a mistake");
    },
  });
  await assert.rejects(headsAt([{ name: "kn", site: bug }], keys), /a mistake/);
});

/** A site that names checkpoints of a ledger, of sizes from 1 on, and gives none. */
async function flooding(folder: string, origin: string, count: number, onName = (): void => {}) {
  const head = { origin, size: 0, root: new Uint8Array(32) };
  const [before, after] = checkpointName(head, utf8("junk")).split(".0.");
  let asked = 0;
  const list = (): AsyncIterable<string> => {
    let size = 0;
    const next = async (): Promise<IteratorResult<string>> => {
      onName();
      if (size === count) return { done: true, value: undefined };
      return { done: false, value: `${before}.${++size}.${after}` };
    };
    return { [Symbol.asyncIterator]: () => ({ next }) };
  };
  const stat = async (): Promise<undefined> => void asked++;
  const site = altered(await siteIn(folder, "flood"), { list, stat });
  return { site, asked: () => asked };
}

for (const [which, origin] of [
  ["the ledger", ORIGIN],
  ["another ledger", "exclave.example/elsewhere/1"],
] as const) {
  test(`a site that names checkpoints of ${which} without end is as one that is away, and hides no other`, async (t) => {
    const folder = temporaryFolder(t);
    const good = await siteIn(folder, "bb");
    const head = signed(logIn(t, folder, "log"), 12);
    await good.put(checkpointName(head.head, head.checkpoint), [head.checkpoint]);
    const { site, asked } = await flooding(folder, origin, Number.POSITIVE_INFINITY);
    const sites = [
      { name: "flood", site },
      { name: "bb", site: good },
    ];
    const [flood, other] = await headsAt(sites, keys);
    assert.match(
      flood && "unavailable" in flood ? flood.unavailable : "",
      /^site flood names more checkpoints than there can be: .*operator why$/,
    );
    assert.deepEqual(other, { site: "bb", signed: head });
    assert.equal(asked(), 0);
  });
}

test("a site that takes too long to name its checkpoints, or to give one, is as one that is away", async (t) => {
  const folder = temporaryFolder(t);
  let hours = 0;
  const clockMs = (): number => hours * 3_600_000;
  const elsewhere = "exclave.example/elsewhere/1";
  const naming = await flooding(folder, elsewhere, 3, () => void hours++);
  await assert.rejects(newestAt(naming.site, keys, clockMs), {
    code: "site-unavailable",
    message: /^site flood takes too long to name its checkpoints: /,
  });
  const { site } = await flooding(temporaryFolder(t), ORIGIN, 3);
  const giving = altered(site, {
    stat: async () => {
      hours++;
      return undefined;
    },
  });
  await assert.rejects(newestAt(giving, keys, clockMs), {
    code: "site-unavailable",
    message: /^site flood takes too long to give a checkpoint: /,
  });
});

test("a log is brought to the published ledger from nothing and from behind, and home goes on from there", async (t) => {
  const folder = temporaryFolder(t);
  const sites = [await siteIn(folder, "bb"), await siteIn(folder, "kn")];
  const home = logIn(t, folder, "home");
  const behind = logIn(t, folder, "behind");
  signed(behind, 100);
  behind.append(entries(100, 130));
  const sizes = [5, 40, 100, 256, 300, 610];
  for (const size of sizes) {
    await brings(sites[0]!, home, signed(home, size));
    if (size <= 300) await brings(sites[1]!, home, signed(home, size));
  }
  const answers = await headsAt(
    sites.map((site) => ({ name: site.identity.name, site })),
    keys,
  );
  const agreed = agreeOnHead(answers, { demands: [], acceptStale: false });
  assert.equal(agreed.signed.head.size, 610);
  const fresh = logIn(t, folder, "fresh");
  assert.deepEqual(await catchUp(fresh, agreed.signed, sites, agreed.earlier), { added: 610 });
  assert.deepEqual(await catchUp(behind, agreed.signed, sites, agreed.earlier), { added: 480 });
  for (const log of [fresh, behind]) {
    assert.deepEqual(log.head(), home.head());
    assert.deepEqual(log.latest(), home.latest());
    assert.deepEqual(await catchUp(log, agreed.signed, sites, agreed.earlier), { added: 0 });
    for (const { position } of home.entriesOf(GOVERNING_KINDS)) {
      const byLog = { witnesses: [], quorum: 0 };
      assert.deepEqual(log.coveredAt(position, byLog), home.coveredAt(position, byLog));
    }
    // A size that was signed is not signed again otherwise.
    assert.deepEqual(log.sign(new Date(0)), home.latest()?.checkpoint);
  }
  assert.equal(signed(fresh, 611).head.size, 611);
  // One that has more than the sites keeps it.
  assert.deepEqual(await catchUp(fresh, agreed.signed, sites, agreed.earlier), { added: 0 });
  assert.equal(fresh.size, 611);
});

test("a fork is told with both heads, and changes nothing", async (t) => {
  const folder = temporaryFolder(t);
  const site = await siteIn(folder, "bb");
  const home = logIn(t, folder, "home");
  signed(home, 40);
  const published = signed(home, 60);
  await brings(site, home, published);
  const other = logIn(t, folder, "other");
  other.append([...entries(0, 30), ...entries(900, 920)]);
  const theirs = headOf(other.sign(new Date(START)));
  const refuses = async (
    log: Log,
    earlier: SignedHead[],
    ...heads: SignedHead[]
  ): Promise<void> => {
    const before = [log.head(), [...log.checkpointsBetween(0, 1000)]];
    await assert.rejects(
      catchUp(
        log,
        published,
        [site],
        earlier.map(({ head }) => head),
      ),
      (error) =>
        isExclaveError(error, "altered") &&
        error.message.includes("forked") &&
        heads.every(({ head }) => error.message.includes(shownHead(head))),
    );
    assert.deepEqual([log.head(), [...log.checkpointsBetween(0, 1000)]], before);
  };
  await refuses(other, [], theirs, published);
  other.append(entries(920, 940));
  const longer = { head: other.head(60), checkpoint: theirs.checkpoint };
  await refuses(other, [], longer, published);
  const fresh = logIn(t, folder, "fresh");
  await refuses(fresh, [theirs], theirs, published);
  assert.deepEqual(await catchUp(fresh, published, [site], []), { added: 60 });
  await refuses(fresh, [theirs], theirs, published);
});

test("what was never signed at home and is not what was published is not written over", async (t) => {
  const folder = temporaryFolder(t);
  const site = await siteIn(folder, "bb");
  const home = logIn(t, folder, "home");
  const published = signed(home, 60);
  await brings(site, home, published);
  const log = logIn(t, folder, "log");
  log.append([...entries(0, 10), entryOf(500)]);
  await assert.rejects(
    catchUp(log, published, [site], []),
    (error) => isExclaveError(error, "altered") && /entry 10 here is another/.test(error.message),
  );
  assert.deepEqual([log.size, log.latest()], [11, undefined]);
});

test("one whole site is enough, wherever it stands among damaged ones; none is too few", async (t) => {
  const folder = temporaryFolder(t);
  const names = ["bb", "kn", "lu"];
  const sites = await Promise.all(names.map((name) => siteIn(folder, name)));
  const home = logIn(t, folder, "home");
  const head = signed(home, 300);
  for (const site of sites) await brings(site, home, head);
  const damage = (name: string): void => {
    const ledger = join(folder, name, "ledger");
    for (const fan of readdirSync(ledger))
      for (const file of readdirSync(join(ledger, fan)))
        if (`ledger/${file}` === fileName(ORIGIN, "tile/entries/000"))
          writeFileSync(join(ledger, fan, file), "nothing");
  };
  damage("bb");
  damage("kn");
  const log = logIn(t, folder, "log");
  assert.deepEqual(await catchUp(log, head, sites, []), { added: 300 });
  damage("lu");
  const other = logIn(t, folder, "other");
  await assert.rejects(catchUp(other, head, sites, []), (error) => isExclaveError(error));
  assert.deepEqual([other.size, other.latest()], [0, undefined]);
  await assert.rejects(catchUp(other, head, [], []), (error) =>
    isExclaveError(error, "site-unavailable"),
  );
  await assert.rejects(catchUp(other, head, sites.map(gone), []), (error) =>
    isExclaveError(error, "site-unavailable"),
  );
});

test("with its witnesses, a reader finds the time of every decision that home finds", async (t) => {
  const folder = temporaryFolder(t);
  const sites = [
    await siteIn(folder, "bb"),
    await siteIn(folder, "kn"),
    await siteIn(folder, "lu"),
  ];
  const home = logIn(t, folder, "home");
  // Which witnesses answer, by checkpoint; what bb has of 30 lacks one that answered later.
  const answers = [[0, 1], [2], [], [0, 2], [1], [0, 1, 2], [0]];
  for (const [i, witnesses] of answers.entries()) {
    const size = 10 * (i + 1);
    let head = signed(home, size);
    for (const [turn, witness] of witnesses.entries()) {
      await brings(sites[turn % 2]!, home, head);
      head = cosigned(home, size, witness, 7 * turn + i);
    }
    await brings(sites[1]!, home, head);
    await brings(sites[2]!, home, head);
  }
  const last = headOf(home.latest()!.checkpoint);
  await brings(sites[0]!, home, last);
  // Of 20 one witness has seen, of 30 none, of 40 two.
  const found = await checkpointsAt([sites[1]!], keys, [13], [WITNESSES]);
  assert.deepEqual(
    found.map(({ head }) => head.size),
    [20, 30, 40, 70],
  );
  const older = logIn(t, folder, "older", false);
  await catchUp(older, headOf(home.checkpoint(40)!), sites, []);
  await gatherCheckpoints(older, sites, [WITNESSES]);
  assert.deepEqual([older.size, older.latest()?.size], [40, 40]);
  const both: readonly Witnesses[] = [WITNESSES, { ...WITNESSES, quorum: 3 }];
  for (const one of sites) {
    const log = logIn(t, folder, `of-${one.identity.name}`, false);
    await catchUp(log, last, [one], []);
    assert.equal(log.coveredAt(3, WITNESSES), undefined);
    await gatherCheckpoints(log, [one], both);
    const governing = [...home.entriesOf(GOVERNING_KINDS)];
    assert.equal(governing.length, 7);
    for (const { position } of governing)
      for (const witnesses of both)
        assert.deepEqual(log.coveredAt(position, witnesses), home.coveredAt(position, witnesses));
    assert.equal(log.coveredAt(13, WITNESSES)?.getTime(), START + 40 * 60_000 + 10_000);
    // Again, and with the log's own time, it stays as it was.
    await catchUp(log, last, [one], []);
    assert.deepEqual(log.coveredAt(53, WITNESSES), home.coveredAt(53, WITNESSES));
  }
});

test("no line that a site adds to a checkpoint takes a cosignature away or moves its time", async (t) => {
  const folder = temporaryFolder(t);
  const [good, bad] = [await siteIn(folder, "bb"), await siteIn(folder, "kn")];
  const home = logIn(t, folder, "home");
  const plain = signed(home, 10);
  cosigned(home, 10, 0, 10);
  const head = cosigned(home, 10, 1, 20);
  await brings(good, home, head);
  const note = parseNote(head.checkpoint);
  const junk = { name: "junk", keyId: 1, signature: new Uint8Array(100) };
  const forged = note.signatures.map((one) =>
    one.name === ORIGIN ? one : { ...one, signature: Uint8Array.from(one.signature).fill(1, 9) },
  );
  const later = cosign(witnessKeys[0]!, head.head, START / 1000 + 90_000);
  const squats = [
    formatNote({ ...note, signatures: [...parseNote(plain.checkpoint).signatures, ...later] }),
    formatNote({ ...note, signatures: [...note.signatures.slice(0, 2), ...Array(98).fill(junk)] }),
    formatNote({ ...note, signatures: forged }),
  ];
  for (const bytes of squats) await bad.put(checkpointName(head.head, bytes), [bytes]);
  for (const sites of [
    [good, bad],
    [bad, good],
    [gone(bad), good],
  ]) {
    const [found, ...more] = await checkpointsAt(sites, keys, [0], [WITNESSES]);
    assert.equal(more.length, 0);
    assert.deepEqual(
      new Set(parseNote(found!.checkpoint).signatures.map(formatSignatureLine)),
      new Set(note.signatures.map(formatSignatureLine)),
    );
  }
  const [bare] = await checkpointsAt([bad, good], keys, [0]);
  assert.deepEqual(bare?.checkpoint, plain.checkpoint);
});

test("only the checkpoints that tell a time are read, and junk is passed over to a bound", async (t) => {
  const folder = temporaryFolder(t);
  const [site, junk] = [await siteIn(folder, "bb"), await siteIn(folder, "kn")];
  const home = logIn(t, folder, "home");
  const sizes = [2, 4, 6, 8, 10, 12];
  for (const size of sizes) await brings(site, home, signed(home, size));
  const read: string[] = [];
  const counting = altered(site, {
    stat: (name) => {
      read.push(name);
      return site.stat(name);
    },
  });
  const sizesFor = async (sites: readonly Site[], needed: readonly number[]): Promise<number[]> =>
    (await checkpointsAt(sites, keys, needed)).map(({ head }) => head.size);
  assert.deepEqual(await sizesFor([counting], []), [12]);
  assert.deepEqual(await sizesFor([counting], [7, 4, 5]), [6, 8, 12]);
  assert.equal(read.length, 4);
  assert.deepEqual(await sizesFor([site], [0, 1, 2, 11, 12, 99]), [2, 4, 12]);
  for (let i = 0; i < 100; i++) {
    const bytes = utf8(`junk ${i}`);
    await junk.put(checkpointName({ ...home.head(), size: 3 + i }, bytes), [bytes]);
  }
  let asked = 0;
  const squatting = altered(junk, {
    stat: (name) => {
      asked++;
      return junk.stat(name);
    },
  });
  assert.deepEqual(await sizesFor([squatting, gone(junk), site], [2, 5]), [4, 6, 12]);
  assert.equal(asked, 64);
  assert.deepEqual(await sizesFor([await siteIn(folder, "lu")], [2]), []);
  await assert.rejects(
    sizesFor([gone(site), gone(junk)], [2]),
    (error) =>
      isExclaveError(error, "site-unavailable") && /bb: it burnt down; kn: /.test(error.message),
  );
});

test("two checkpoints of one size are a fork, wherever they are", async (t) => {
  const folder = temporaryFolder(t);
  const sites = [await siteIn(folder, "bb"), await siteIn(folder, "kn")];
  const [home, other] = [logIn(t, folder, "home"), logIn(t, folder, "other")];
  const ours = signed(home, 5);
  await brings(sites[0]!, home, ours);
  await brings(sites[0]!, home, signed(home, 9));
  other.append([...entries(0, 4), entryOf(99)]);
  const theirs = headOf(other.sign(new Date(START)));
  await brings(sites[1]!, other, theirs);
  const forked = (error: unknown): boolean =>
    isExclaveError(error, "altered") &&
    [ours, theirs].every(({ head }) => error.message.includes(shownHead(head))) &&
    /bb holds/.test(error.message) &&
    /kn holds/.test(error.message);
  await assert.rejects(checkpointsAt(sites, keys, [3]), forked);
  // Of a size that nobody needs, nothing is read.
  assert.deepEqual((await checkpointsAt(sites, keys, [])).length, 1);
  const log = logIn(t, folder, "log");
  await catchUp(log, signed(home, 9), [sites[0]!], []);
  await assert.rejects(
    gatherCheckpoints(log, [sites[1]!], []),
    (error) =>
      isExclaveError(error, "altered") &&
      [ours, theirs].every(({ head }) => error.message.includes(shownHead(head))),
  );
});
