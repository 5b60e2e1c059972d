/**
 * Home's administrator, or whoever took home over, with every credential of it: the agent's key, the ledger's key,
 * and all that home knows. At a site that enforces nothing is lost, nothing is shortened, and what stays is whole.
 */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { type TestContext, test } from "node:test";
import { signingKeyFromSeed } from "../src/crypto/signing.ts";
import { checkpointName, fileName } from "../src/ledger/at-sites.ts";
import { signCheckpoint } from "../src/ledger/checkpoint.ts";
import { logKeyFromSeed } from "../src/ledger/log-key.ts";
import { code, listed } from "../src/sites/conformance.ts";
import { OBJECT_KINDS, type ObjectKind } from "../src/sites/site.ts";
import { openSiteReceipt } from "../src/sites/site-receipt.ts";
import { objectPath, statePath } from "../src/sites/wire.ts";
import { admit, folder, plainState, retain, veto } from "./support/attacks.ts";
import { keyOf } from "./support/charter.ts";
import type { Embassy } from "./support/embassy.ts";
import { headersOf, type RawRequest, raw } from "./support/raw-request.ts";
import { shardsOf } from "./support/shards.ts";
import { IN_ORDER, startDaemon, type TestDaemon } from "./support/site-daemon.ts";

const MIB = 1024 * 1024;
const EPOCH = 65_536;

type Scene = {
  readonly s: Embassy;
  readonly daemon: TestDaemon;
  /** Everything that was there before, by name. */
  readonly before: ReadonlyMap<string, Uint8Array>;
  /** A request that the thief signs with home's key, unless told otherwise. */
  readonly by: (
    changes: Partial<RawRequest>,
  ) => Promise<{ readonly status: number; readonly error: string | undefined }>;
  readonly move: (days: number) => void;
};

async function scene(
  t: TestContext,
  options: Partial<Parameters<typeof startDaemon>[1]> = {},
): Promise<Scene> {
  const s = await (await plainState()).copy(folder());
  const clock = { days: 2 };
  const daemon = await startDaemon(t, { embassy: s, now: () => s.day(clock.days), ...options });
  await daemon.bring();
  const before = new Map<string, Uint8Array>();
  for (const kind of OBJECT_KINDS) {
    for (const [name, bytes] of s.objects("bb", kind)) {
      if (daemon.stored(`${kind}/${name}`)) before.set(`${kind}/${name}`, bytes);
    }
  }
  assert.ok(before.size > 20);
  return {
    s,
    daemon,
    before,
    by: (changes) =>
      raw({
        port: daemon.running.port,
        method: "PUT",
        target: "",
        by: s.home.agent,
        site: daemon.key.id,
        at: s.day(clock.days),
        ...changes,
      }),
    move: (days) => {
      clock.days = days;
    },
  };
}

/** What was there is there, byte for byte, and the site gives it out. */
async function assertWhole({ daemon, before }: Scene): Promise<void> {
  const home = await daemon.client();
  for (const [name, bytes] of before) {
    const stored = daemon.stored(name);
    assert.ok(stored && Buffer.compare(stored, bytes) === 0, `${name} is as it was`);
    const into = new Uint8Array(bytes.length);
    assert.equal(await home.read(name, 0, into), bytes.length);
    assert.ok(Buffer.compare(into, bytes) === 0, `${name} is given out as it was`);
  }
}

const kindOf = (name: string): ObjectKind => name.slice(0, name.indexOf("/")) as ObjectKind;

test("no method removes or changes an object, and no bytes take the place of others", async (t) => {
  const one = await scene(t);
  const { s, by, before } = one;
  for (const [name, bytes] of before) {
    const target = objectPath(s.home.state, name);
    for (const method of ["DELETE", "POST", "PATCH"]) {
      assert.equal((await by({ method, target })).status, 400, `${method} ${name}`);
    }
    const kind = kindOf(name);
    const digest = kind === "shard" ? { digest: false as const } : {};
    const other = Buffer.from(bytes);
    other[other.length >> 1] = (other[other.length >> 1] ?? 0) ^ 1;
    for (const body of [other, bytes.subarray(1), Buffer.alloc(0), randomBytes(bytes.length)]) {
      const { status } = await by({ target, body, ...digest });
      assert.ok([400, 401, 409, 422].includes(status), `other bytes as ${name}: ${status}`);
    }
    assert.equal((await by({ target, body: bytes, ...digest })).status, 200);
  }
  for (const [method, path] of [
    ["DELETE", ""],
    ["DELETE", "/objects"],
    ["POST", "/remove"],
    ["POST", "/retention"],
    ["PUT", "/status"],
    ["DELETE", "/receipts"],
  ] as const) {
    assert.equal((await by({ method, target: `${statePath(s.home.state)}${path}` })).status, 400);
  }
  await assertWhole(one);
});

test("squatting on names of the ledger keeps home's own ledger from nobody", async (t) => {
  const one = await scene(t);
  const { s, daemon, by, move } = one;
  const { origin } = s.home.charter.ledger;
  const { size } = await s.home.withLedger((log) => log.head());
  // The next files, before home has them; and checkpoints of what never was.
  for (const width of [1, 2, 3].map((more) => size + more)) {
    const tile = fileName(origin, `tile/0/000.p/${width}`);
    const { status } = await by({
      target: objectPath(s.home.state, tile),
      body: randomBytes(32 * width),
    });
    assert.equal(status, 201);
  }
  const junk = Buffer.from(
    `${origin}\n${size + 9}\n${randomBytes(32).toString("base64")}\n\n— ${origin} AAAAAAAA\n`,
  );
  const junkName = checkpointName({ origin, size: size + 9, root: new Uint8Array(32) }, junk);
  const refused = await by({ target: objectPath(s.home.state, junkName), body: junk });
  assert.ok(
    [400, 401, 422].includes(refused.status),
    "a checkpoint that the ledger's keys did not sign",
  );
  const forms = [Buffer.alloc(31), Buffer.alloc(0), Buffer.alloc(32 * 257)];
  for (const body of forms) {
    const target = objectPath(s.home.state, fileName(origin, "tile/0/000.p/200"));
    assert.ok((await by({ target, body })).status >= 400, "no tile at all");
  }
  await s.decide(admit, 3);
  await s.publish();
  move(3);
  await daemon.bring("bb", IN_ORDER);
  const status = (await (await daemon.client()).status()) as {
    readonly ledger: { readonly size: number };
  };
  assert.equal(status.ledger.size, await s.home.withLedger((log) => log.size));
  const head = await s.home.withLedger((log) => log.head());
  for (const { path, bytes } of await s.home.withLedger((log) => [...log.files(0, head.size)])) {
    const name = fileName(origin, path);
    assert.deepEqual(daemon.stored(name), Buffer.from(bytes), `${name} is the ledger's`);
    const squat = await by({
      target: objectPath(s.home.state, name),
      body: randomBytes(bytes.length),
      at: s.day(3),
    });
    assert.ok([400, 422].includes(squat.status), "what is covered is what the ledger says");
  }
  await assertWhole(one);
});

test("a ledger that is forked with its own key is followed by no site that knows the other branch", async (t) => {
  const one = await scene(t);
  const { s, daemon, by } = one;
  const { origin } = s.home.charter.ledger;
  const key = logKeyFromSeed(s.secret("ledger"), origin);
  const { size } = await s.home.withLedger((log) => log.head());
  for (const at of [size, size + 1]) {
    const head = { origin, size: at, root: randomBytes(32) };
    const forged = signCheckpoint(key, head, s.day(2).getTime() / 1000);
    await by({ target: objectPath(s.home.state, checkpointName(head, forged)), body: forged });
  }
  await daemon.running.watch();
  const status = (await (await daemon.client()).status()) as {
    readonly ledger: { readonly size: number };
  };
  assert.equal(status.ledger.size, size);
  await assertWhole(one);
});

test("junk up to the quota costs no recovery point, and keeps no decision and no veto away", async (t) => {
  const one = await scene(t, { grant: { quotaBytes: 3 * MIB } });
  const { s, daemon, move } = one;
  const home = await daemon.client();
  const register = s.home.charter.registers[0]?.id ?? "";
  const shards = shardsOf({
    state: s.home.state,
    register,
    epoch: EPOCH,
    k: 2,
    n: 4,
    packBytes: MIB,
  });
  let stored = 0;
  for (;;) {
    const { name, parts } = shards.next().value;
    try {
      await home.put(name, parts);
    } catch (error) {
      assert.ok(code("refused")(error));
      break;
    }
    stored++;
    assert.ok(stored < 10, "there is an end to it");
  }
  assert.ok(stored > 0);
  const waiting = await s.decide(retain, 3);
  await s.publish();
  move(3);
  await daemon.bring("bb", IN_ORDER);
  const paper = veto(s, waiting, keyOf("pm"), 3);
  const name = `veto/${createHash("sha256").update(paper).digest("hex")}`;
  const anybody = await daemon.client(keyOf("pm"));
  await anybody.put(name, [paper]);
  assert.deepEqual(daemon.stored(name), Buffer.from(paper));
  await assertWhole(one);
});

test("requests are good for one site, one State, one time and one object", async (t) => {
  const one = await scene(t);
  const { s, daemon, by, before, move } = one;
  const [[name, bytes] = ["", new Uint8Array()]] = [...before].filter(([key]) =>
    key.startsWith("manifest/"),
  );
  const target = objectPath(s.home.state, name);
  const body = Buffer.from(bytes);
  const captured = headersOf({
    port: 0,
    method: "PUT",
    target,
    body,
    by: s.home.agent,
    site: daemon.key.id,
    at: s.day(2),
  });
  const replay = (changes: Partial<RawRequest>) =>
    by({ by: undefined, headers: captured, target, body, ...changes });
  assert.equal((await replay({})).status, 200, "again, it changes nothing");
  assert.equal(
    (await replay({ target: objectPath(s.home.state, `manifest/${"ab".repeat(32)}`) })).status,
    401,
  );
  assert.equal((await replay({ target: objectPath("ab".repeat(32), name) })).status, 404);
  assert.ok([400, 401].includes((await replay({ method: "GET" })).status));
  assert.equal((await replay({ body: randomBytes(body.length) })).status, 422);
  const other = await startDaemon(t, { embassy: s, now: () => s.day(2) });
  await other.bring("bb", IN_ORDER);
  assert.equal(
    (await replay({ port: other.running.port })).status,
    401,
    "another site's key is named in it",
  );
  move(2.01);
  assert.equal((await replay({})).status, 401, "a quarter of an hour later it is worth nothing");
  const thief = signingKeyFromSeed(randomBytes(32));
  assert.equal((await by({ target, body, by: thief, at: s.day(2.01) })).status, 401);
  await assertWhole(one);
});

test("what a receipt promised is not taken back, whatever the clock or the charter says later", async (t) => {
  const one = await scene(t);
  const { s, daemon, move } = one;
  await s.decide(retain, 3);
  await s.enact(11);
  await s.publish();
  move(11);
  await daemon.bring("bb", IN_ORDER);
  const home = await daemon.client();
  const shards = await listed(home, "shard");
  const first = openSiteReceipt(await home.receipts(shards), daemon.key, s.home.state);
  assert.equal(
    first.retainUntil,
    s
      .day(11 + 365)
      .toISOString()
      .replace(".000Z", "Z"),
  );
  await daemon.running.close();
  move(5);
  const again = await startDaemon(t, { embassy: s, now: () => s.day(5), folder: daemon.folder });
  const client = await again.client();
  await client.receipts(shards);
  assert.equal((await listed(client, "shard")).length, shards.length);
});
