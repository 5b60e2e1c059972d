/** The whole daemon, on real sockets, serving a real State. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Writable } from "node:stream";
import { test } from "node:test";
import { pino } from "pino";
import { folder, plainState, retain, veto } from "../../test/support/attacks.ts";
import { keyOf } from "../../test/support/charter.ts";
import type { Embassy } from "../../test/support/embassy.ts";
import { raw } from "../../test/support/raw-request.ts";
import { DATA, IN_ORDER, startDaemon, type TestDaemon } from "../../test/support/site-daemon.ts";
import type { Order } from "../charter/orders.ts";
import { toBase64, toHex } from "../crypto/bytes.ts";
import { envelopeId } from "../crypto/dsse.ts";
import { submit } from "../governance/decide.ts";
import { verifyCheckpoint } from "../ledger/checkpoint.ts";
import { checkSignature } from "../ledger/cosignature.ts";
import { verifierKeysOf } from "../ledger/log-key.ts";
import { openNote } from "../ledger/note.ts";
import { formatAddCheckpoint } from "../ledger/witness.ts";
import { code, listed } from "../sites/conformance.ts";
import { openSiteReceipt } from "../sites/site-receipt.ts";
import { objectPath } from "../sites/wire.ts";
import type { Alarm } from "./alarm.ts";

const copied = async (): Promise<Embassy> => (await plainState()).copy(folder());
const shardsOf = (s: Embassy): readonly string[] =>
  [...s.objects("bb", "shard").keys()].map((name) => `shard/${name}`).toSorted();
const registerOf = (s: Embassy): string => s.home.charter.registers[0]?.id ?? "";

/** What a site's shards are, byte for byte, as home brought them. */
function assertWhole(s: Embassy, daemon: TestDaemon): void {
  for (const [name, bytes] of s.objects("bb", "shard")) {
    const stored = daemon.stored(`shard/${name}`);
    assert.ok(stored && Buffer.compare(stored, bytes) === 0, name);
  }
}

test("a site follows what home brings it, takes all that home has, and says so", async (t) => {
  const s = await copied();
  const daemon = await startDaemon(t, { embassy: s, now: () => s.day(2) });
  await daemon.bring();
  const home = await daemon.client();
  const shards = shardsOf(s);
  assert.ok(shards.length > 0);
  assert.deepEqual(await listed(home, "shard"), shards);
  assertWhole(s, daemon);
  for (const name of shards) {
    const bytes = s.objects("bb", "shard").get(name.slice("shard/".length));
    assert.ok(bytes);
    const into = new Uint8Array(bytes.length);
    assert.equal(await home.read(name, 0, into), bytes.length);
    assert.ok(Buffer.compare(into, bytes) === 0);
  }
  const absent = `shard/${"ab".repeat(32)}.00`;
  const envelope = await home.receipts([...shards, absent]);
  const receipt = openSiteReceipt(envelope, daemon.key, s.home.state);
  assert.deepEqual(receipt.objects.map(([name]) => name).toSorted(), shards);
  assert.deepEqual(receipt.missing, [absent]);
  const status = await home.status();
  const size = await s.home.withLedger((log) => log.size);
  assert.ok(typeof status === "object" && status !== null && "ledger" in status);
  assert.deepEqual(
    { ...(status.ledger as object) },
    {
      origin: s.home.charter.ledger.origin,
      size,
      followedAt: (status.ledger as { readonly followedAt: string }).followedAt,
      fresh: true,
    },
  );
});

test("killed and started again, it serves the same; and its index is made anew when it is lost", async (t) => {
  const s = await copied();
  const first = await startDaemon(t, { embassy: s, now: () => s.day(2) });
  await first.bring();
  await first.running.close();
  const state = join(first.folder, "states", s.home.state);
  for (const file of readdirSync(state).filter((name) => name.startsWith("index.sqlite"))) {
    rmSync(join(state, file));
  }
  rmSync(join(state, "view"), { recursive: true });
  const again = await startDaemon(t, { embassy: s, now: () => s.day(2), folder: first.folder });
  assert.deepEqual(await listed(await again.client(), "shard"), shardsOf(s));
});

test("monitors read the ledger as C2SP has it, and bailiffs read whose this is", async (t) => {
  const s = await copied();
  const daemon = await startDaemon(t, { embassy: s, now: () => s.day(2) });
  await daemon.bring("bb", IN_ORDER);
  const at = `http://127.0.0.1:${daemon.running.monitorPort}`;
  const { origin } = s.home.charter.ledger;
  const prefix = `${at}/${createHash("sha256").update(origin).digest("hex")}`;
  const checkpoint = await fetch(`${prefix}/checkpoint`);
  assert.equal(checkpoint.status, 200);
  assert.equal(checkpoint.headers.get("content-type"), "text/plain; charset=utf-8");
  const { head } = verifyCheckpoint(
    Buffer.from(await checkpoint.arrayBuffer()),
    await s.home.withLedger((log) => log.keys),
  );
  assert.equal(head.size, await s.home.withLedger((log) => log.size));
  for (const { path, bytes } of await s.home.withLedger((log) => [...log.files(0, head.size)])) {
    const tile = await fetch(`${prefix}/${path}`);
    assert.equal(tile.status, 200, path);
    assert.ok(Buffer.compare(Buffer.from(await tile.arrayBuffer()), bytes) === 0, path);
    assert.match(tile.headers.get("cache-control") ?? "", /immutable/);
  }
  for (const path of ["tile/0/999", "tile/0/00", "nothing", "tile/0/000.p/255"]) {
    assert.equal((await fetch(`${prefix}/${path}`)).status, 404, path);
  }
  assert.equal((await fetch(`${at}/${"ab".repeat(32)}/checkpoint`)).status, 404);
  const words = await (await fetch(at)).text();
  assert.match(words, /Owner: What is stored on this machine belongs to the States/);
  const page = await (await fetch(at, { headers: { accept: "text/html" } })).text();
  assert.match(page, /<!doctype html>/);
});

test("it cosigns what continues a ledger that it has followed, and answers as C2SP has it", async (t) => {
  const s = await copied();
  const daemon = await startDaemon(t, { embassy: s, now: () => s.day(2) });
  const client = await daemon.client();
  const { size, checkpoint } = await s.home.withLedger((log) => {
    const latest = log.latest();
    assert.ok(latest);
    return latest;
  });
  const ask = (oldSize: number, note = checkpoint) =>
    client.addCheckpoint(formatAddCheckpoint({ oldSize, proof: [], checkpoint: note }));
  assert.equal((await ask(0)).status, 404, "a ledger that it does not know");
  await daemon.bring("bb", IN_ORDER);
  const cosigned = await ask(0);
  assert.equal(cosigned.status, 200);
  const note = Buffer.concat([checkpoint, cosigned.body]);
  const keys = verifierKeysOf(daemon.files.keys.witness);
  assert.equal(openNote(note, keys, checkSignature).signed.length, 2, "by both of its keys");
  const again = await ask(0);
  assert.deepEqual(
    [again.status, again.contentType, Buffer.from(again.body).toString()],
    [409, "text/x.tlog.size", `${size}\n`],
  );
  assert.equal((await ask(size)).status, 200);
  assert.equal((await client.addCheckpoint(Buffer.from("old x\n\n"))).status, 400);
  const text = Buffer.from(checkpoint).toString();
  const forged = Buffer.from(text.replace(/^— (\S+) (....)/m, "— $1 $2AAAA"));
  assert.ok([400, 403].includes((await ask(size, forged)).status));
  // Home goes on, and asks before the site has what it asks for.
  await s.decide(retain, 3);
  const next = await s.home.withLedger((log) => log.latest());
  assert.ok(next);
  const proof = await s.home.withLedger((log) => log.consistency(size, next.size));
  const body = formatAddCheckpoint({ oldSize: size, proof, checkpoint: next.checkpoint });
  const early = await raw({
    port: daemon.running.port,
    method: "POST",
    target: "/v1/witness/add-checkpoint",
    body,
    digest: false,
  });
  assert.equal(early.status, 503);
  await s.publish();
  await daemon.bring("bb", IN_ORDER);
  assert.equal((await client.addCheckpoint(body)).status, 200);
});

test("when nobody can say who is an agent, what comes is set aside, and taken in when it is known", async (t) => {
  const s = await copied();
  const clock = { days: 2 };
  const daemon = await startDaemon(t, { embassy: s, now: () => s.day(clock.days) });
  await daemon.bring("bb", IN_ORDER);
  clock.days = 20;
  const quarantined: string[] = [];
  const home = await daemon.client();
  for (const kind of DATA) {
    for (const [name, bytes] of s.objects("bb", kind)) {
      const { headers, status } = await raw({
        port: daemon.running.port,
        method: "PUT",
        target: objectPath(s.home.state, `${kind}/${name}`),
        body: bytes,
        by: s.home.agent,
        site: daemon.key.id,
        at: s.day(clock.days),
        ...(kind === "shard" ? { digest: false } : {}),
      });
      assert.equal(status, 201);
      if (headers["exclave-object"] === "quarantined") quarantined.push(`${kind}/${name}`);
    }
  }
  const [one = ""] = quarantined.filter((name) => name.startsWith("shard/"));
  assert.ok(one);
  await assert.rejects(home.read(one, 0, new Uint8Array(1)), code("refused"));
  assert.deepEqual(await listed(home, "shard"), []);
  const receipt = openSiteReceipt(await home.receipts([one]), daemon.key, s.home.state);
  assert.deepEqual([receipt.objects, receipt.missing], [[], [one]]);
  const recovery = await daemon.client(s.recovery.signing);
  assert.equal(await recovery.read(one, 0, new Uint8Array(1)), 1, "the recovery key is given it");
  // Home is heard of again: its newest checkpoint is of today.
  await s.decide(retain, 19.9);
  await s.publish();
  await daemon.bring("bb", IN_ORDER);
  assert.deepEqual(await listed(home, "shard"), shardsOf(s));
  assert.equal(await home.read(one, 0, new Uint8Array(1)), 1);
});

test("a destruction that is ripe is executed, once what was promised is over, and nothing else is removed", async (t) => {
  const s = await copied();
  const epoch = 65_536;
  const order: Order = { kind: "destroy", register: registerOf(s), epochs: [epoch] };
  const signed = s.sign(await s.draft(order, 3), ["pm", "justice", "interior", "opposition"]);
  const clock = { days: 2 };
  const now = (): Date => s.day(clock.days);
  const grant = { viewSecondsMax: 366 * 86_400 };
  const daemon = await startDaemon(t, { embassy: s, now, grant });
  await daemon.bring();
  const old = shardsOf(s);
  const { id } = await submit(s.home, [signed], s.day(3));
  const publish = async (days: number): Promise<void> => {
    clock.days = days;
    await s.publish();
    await daemon.bring("bb", IN_ORDER);
    await daemon.running.watch();
  };
  await publish(3);
  await s.enact(34);
  await publish(34);
  const draft = await s.draft(order, 35, { carriesOut: id });
  await submit(s.home, [s.sign(draft, ["pm", "justice", "interior", "opposition"])], s.day(35));
  await publish(35);
  await s.enact(66);
  await publish(64);
  assertWhole(s, daemon);
  await publish(70);
  for (const name of old) assert.equal(daemon.stored(name), undefined, `${name} is destroyed`);
  const home = await daemon.client();
  const status = (await home.status()) as { readonly removed: readonly object[] };
  assert.equal(status.removed.length, 1);
  assert.deepEqual(await listed(home, "shard"), []);
  for (const kind of ["charter", "decision", "statement", "manifest", "wrap"] as const) {
    assert.ok((await listed(home, kind)).length > 0, kind);
  }
  const [again = ""] = old;
  const bytes = s.objects("bb", "shard").get(again.slice("shard/".length));
  assert.ok(bytes);
  await assert.rejects(home.put(again, [bytes]), code("refused"), "and it does not come back");
});

test("silence raises the alarm once, then daily, and once when home is back; also over restarts", async (t) => {
  const s = await copied();
  const clock = { days: 2 };
  const said: Alarm[] = [];
  const senders = [
    {
      way: "test",
      send: async (alarm: Alarm) => {
        said.push(alarm);
      },
    },
  ];
  const options = { embassy: s, now: () => s.day(clock.days), senders };
  const daemon = await startDaemon(t, options);
  await daemon.bring("bb", IN_ORDER);
  const on = async (days: number, running = daemon.running): Promise<readonly string[]> => {
    clock.days = days;
    said.length = 0;
    await running.watch();
    return said.map(({ message }) => message);
  };
  assert.deepEqual(await on(3), []);
  assert.deepEqual(await on(2 + 27 / 24), ["Belize silent for 27 hours"]);
  assert.deepEqual(await on(2 + 30 / 24), []);
  await daemon.running.close();
  const again = await startDaemon(t, { ...options, folder: daemon.folder });
  assert.deepEqual(await on(2 + 31 / 24, again.running), [], "it was said before the restart");
  assert.deepEqual(await on(2 + 52 / 24, again.running), ["Belize silent for 52 hours"]);
  await listed(await again.client(), "charter");
  assert.deepEqual(await on(2 + 53 / 24, again.running), ["Belize is back"]);
  assert.deepEqual(await on(2 + 54 / 24, again.running), []);
});

test("an objection that is brought to one site comes to the others", async (t) => {
  const s = await copied();
  const now = (): Date => s.day(4);
  const other = await startDaemon(t, { embassy: s, now });
  await s.decide(
    {
      kind: "admit-site",
      site: {
        name: "other",
        country: "PT",
        operator: "other",
        hazardZone: "PT",
        signing: toBase64(other.key.bytes),
      },
    },
    3,
  );
  await s.enact(3);
  const waiting = await s.decide(retain, 3);
  await s.publish();
  await other.bring("bb", IN_ORDER);
  const peers = [{ name: "other", url: other.url, signing: toBase64(other.key.bytes) }];
  const first = await startDaemon(t, {
    embassy: s,
    now,
    settings: { peers },
    wait: () => Promise.resolve(),
  });
  await first.bring("bb", IN_ORDER);
  const paper = veto(s, waiting, keyOf("pm"), 4);
  const name = `veto/${envelopeId(paper)}`;
  await raw({
    port: first.running.port,
    method: "PUT",
    target: objectPath(s.home.state, name),
    body: paper,
    digest: false,
  }).then(({ status }) => assert.equal(status, 201));
  await first.running.settled();
  assert.deepEqual(other.stored(name), Buffer.from(paper));
});

test("a veto by no seat is not taken from a stranger, and too many papers fill nothing", async (t) => {
  const s = await copied();
  const daemon = await startDaemon(t, { embassy: s, now: () => s.day(4) });
  await daemon.bring("bb", IN_ORDER);
  const waiting = await s.decide(retain, 3);
  const send = (paper: Uint8Array, name = `veto/${envelopeId(paper)}`) =>
    raw({
      port: daemon.running.port,
      method: "PUT",
      target: objectPath(s.home.state, name),
      body: paper,
      digest: false,
    });
  const stranger = veto(s, waiting, keyOf("nobody in particular"), 4);
  assert.equal((await send(stranger)).status, 401);
  assert.equal(daemon.stored(`veto/${envelopeId(stranger)}`), undefined);
  const good = veto(s, waiting, keyOf("pm"), 4);
  assert.equal((await send(good, `veto/${"ab".repeat(32)}`)).status, 422, "under another name");
  assert.equal((await send(good)).status, 201);
  assert.equal((await send(Buffer.from("{}"))).status, 400);
});

test("States are served by their grants: one that comes, and not one that goes", async (t) => {
  const s = await copied();
  const daemon = await startDaemon(t, { embassy: s, now: () => s.day(2) });
  await daemon.bring("bb", IN_ORDER);
  const file = join(daemon.folder, "grants", `${s.home.state}.json`);
  const aside = join(daemon.folder, "aside.json");
  renameSync(file, aside);
  await daemon.running.reload();
  assert.deepEqual(daemon.running.served(), []);
  const client = await daemon.client();
  await assert.rejects(client.status(), code("not-found"));
  renameSync(aside, file);
  writeFileSync(join(daemon.folder, "grants", `${"ab".repeat(32)}.json`), "{ no grant");
  await daemon.running.reload();
  assert.deepEqual(daemon.running.served(), [s.home.state], "a bad grant harms no other");
  assert.deepEqual((await listed(client, "charter")).length > 0, true);
});

test("metrics and health are told to the operator, and health says why not", async (t) => {
  const s = await copied();
  const disk = { isFull: false };
  const daemon = await startDaemon(t, {
    embassy: s,
    now: () => s.day(2),
    around: (storage) => ({
      ...storage,
      canary: () => (disk.isFull ? Promise.reject(new Error("no space left")) : storage.canary()),
    }),
  });
  const admin = `http://127.0.0.1:${daemon.running.adminPort}`;
  await daemon.bring("bb", IN_ORDER);
  const healthy = await fetch(`${admin}/healthz`);
  assert.equal(await healthy.text(), "ok\n");
  const text = await (await fetch(`${admin}/metrics`)).text();
  for (const line of [
    /^exclave_site_requests_total\{route="put",status="201"\} \d+$/m,
    new RegExp(`^exclave_site_objects\\{state="${s.home.state}"\\} \\d+$`, "m"),
    /^exclave_site_body_bytes_in_flight 0$/m,
    /^exclave_site_view_age_seconds\{.*\} \d/m,
  ]) {
    assert.match(text, line);
  }
  assert.equal((await fetch(`${admin}/v1/identity`)).status, 404);
});

test("the log names no key's bytes, no signature and no header", async (t) => {
  const s = await copied();
  const lines: string[] = [];
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      lines.push(chunk.toString());
      done();
    },
  });
  const daemon = await startDaemon(t, {
    embassy: s,
    now: () => s.day(2),
    log: pino({ level: "trace" }, stream),
  });
  await daemon.bring();
  const target = objectPath(s.home.state, `statement/${"ab".repeat(32)}`);
  const secrets = ["authorization-secret", "body-secret"] as const;
  await raw({
    port: daemon.running.port,
    method: "PUT",
    target,
    body: Buffer.from(secrets[1]),
    by: s.home.agent,
    site: daemon.key.id,
    at: s.day(2),
    headers: { authorization: secrets[0] },
  });
  await raw({
    port: daemon.running.port,
    method: "GET",
    target: `/made-up-by-a-stranger`,
    headers: { "user-agent": "made-up-too" },
  });
  const log = lines.join("");
  assert.match(log, /"route":"put"/);
  const keys = readdirSync(join(daemon.folder, "keys")).flatMap((name) => {
    const text = readFileSync(join(daemon.folder, "keys", name), "utf8");
    return text.match(/[0-9a-f]{64}|[A-Za-z0-9+/=]{60,}/g) ?? [];
  });
  assert.ok(keys.length > 2);
  const forbidden = [
    ...keys,
    ...secrets,
    toHex(s.secret("agent")),
    "made-up",
    "signature",
    "sha-256=",
    "ed25519",
    "BEGIN",
  ];
  for (const one of forbidden) assert.ok(!log.includes(one), one);
});
