/** A pouch at the site: what it takes, from a courier who may be anybody. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { folder, plainState } from "../../test/support/attacks.ts";
import type { Embassy } from "../../test/support/embassy.ts";
import {
  DATA,
  type DaemonOptions,
  IN_ORDER,
  startDaemon,
  type TestDaemon,
} from "../../test/support/site-daemon.ts";
import { sha256 } from "../crypto/hash.ts";
import { contentDigest } from "../crypto/http-signature.ts";
import { signingKeyFromSeed } from "../crypto/signing.ts";
import { openPouch } from "../sites/pouch.ts";
import { beginPouch, finishPouch } from "../sites/pouch-medium.ts";
import type { ObjectKind } from "../sites/site.ts";
import { openSiteReceipt, type SiteReceipt } from "../sites/site-receipt.ts";
import { deliverPouch } from "./deliver-pouch.ts";
import { type Grant, writeGrant } from "./grant.ts";

const IDENTITY = { name: "bb", country: "BB", operator: "bb", hazardZone: "BB" };

type Setting = { readonly s: Embassy; readonly daemon: TestDaemon; readonly medium: string };

/** A site that never had a line to home, and a pouch for it. */
async function setting(
  t: TestContext,
  options: Partial<DaemonOptions> = {},
  signer?: ReturnType<typeof signingKeyFromSeed>,
): Promise<Setting> {
  const s = await (await plainState()).copy(folder());
  const daemon = await startDaemon(t, { embassy: s, now: () => s.day(2), ...options });
  const medium = await packed(s, daemon, [...IN_ORDER, ...DATA], signer ?? s.home.agent);
  return { s, daemon, medium };
}

/** A pouch with what another site holds. */
async function packed(
  s: Embassy,
  daemon: TestDaemon,
  kinds: readonly ObjectKind[],
  signer: ReturnType<typeof signingKeyFromSeed>,
): Promise<string> {
  const medium = join(folder(), "pouch");
  const to = { state: s.home.state, site: daemon.key.id };
  const pouch = await beginPouch(medium, to, IDENTITY);
  for (const kind of kinds) {
    for (const [rest, bytes] of s.objects("bb", kind)) {
      await pouch.objects.put(`${kind}/${rest}`, [bytes]);
    }
  }
  await finishPouch(pouch, signer, { ...to, siteName: "bb", part: 1 }, s.day(1));
  return medium;
}

const deliver = ({ daemon, medium }: Setting) =>
  deliverPouch({
    folder: medium,
    admin: { host: "127.0.0.1", port: daemon.running.adminPort },
    wait: () => Promise.resolve(),
  });

/** What the site has signed, all receipts on the medium together. */
function signedOn({ s, daemon, medium }: Setting): Pick<SiteReceipt, "objects" | "missing"> {
  const receipts = readdirSync(join(medium, "receipts")).map((file) =>
    openSiteReceipt(readFileSync(join(medium, "receipts", file)), daemon.key, s.home.state),
  );
  return {
    objects: receipts.flatMap(({ objects }) => objects),
    missing: receipts.flatMap(({ missing }) => missing),
  };
}

const shardsOf = (s: Embassy): readonly string[] =>
  [...s.objects("bb", "shard").keys()].map((rest) => `shard/${rest}`);

test("a site that never had a line takes a State in from a pouch, and signs for all of it", async (t) => {
  const at = await setting(t);
  const report = await deliver(at);
  assert.deepEqual([report.refused, report.problems, report.aside], [0, [], 0]);
  assert.equal(report.taken, report.objects);
  const signed = signedOn(at);
  assert.equal(signed.objects.length, report.objects);
  assert.deepEqual(signed.missing, []);
  for (const name of shardsOf(at.s)) {
    const expected = at.s.objects("bb", "shard").get(name.slice(6));
    assert.deepEqual(at.daemon.stored(name), expected, name);
  }
  const again = await deliver(at);
  assert.deepEqual([again.taken, again.there, again.signed], [0, report.objects, report.objects]);
});

test("whoever sends it can bring in nothing that was not signed", async (t) => {
  const at = await setting(t);
  const { s, daemon, medium } = at;
  const send = async (method: string, path: string, body: Uint8Array = new Uint8Array()) => {
    const response = await fetch(`http://127.0.0.1:${daemon.running.adminPort}/pouch${path}`, {
      method,
      ...(method === "GET" || method === "DELETE" ? {} : { body: Uint8Array.from(body) }),
      headers: { "content-digest": contentDigest(sha256(body)) },
    });
    const text = await response.text();
    return { status: response.status, text };
  };
  const envelope = readFileSync(join(medium, "pouch.json"));
  const { pouch } = openPouch(envelope);
  const textOf = (id: string) => readFileSync(join(medium, "lists", id));
  const listOf = (kind: string) =>
    pouch.lists.find(({ sha256: id }) => textOf(id).toString().startsWith(`${kind}/`))!;
  const object = (kind: ObjectKind): readonly [string, Uint8Array] => {
    const [[rest, bytes] = ["", new Uint8Array()]] = s.objects("bb", kind);
    return [`${kind}/${rest}`, bytes];
  };
  const flipped = (bytes: Uint8Array): Uint8Array => {
    const copy = Uint8Array.from(bytes);
    copy[copy.length - 1] = (copy.at(-1) ?? 0) ^ 1;
    return copy;
  };

  const { status, text } = await send("POST", "", envelope);
  assert.equal(status, 201);
  const id = `/${(JSON.parse(text) as { pouch: string }).pouch}`;
  const [charter, charterBytes] = object("charter");
  const [tile, tileBytes] = object("ledger");
  const [shard, shardBytes] = object("shard");
  const refused: readonly (readonly [number, string, string, Uint8Array?])[] = [
    // Before a list, and off the list.
    [403, "PUT", `${id}/objects/${charter}`, charterBytes],
    [404, "PUT", `${id}/lists/${"ab".repeat(32)}`, textOf(listOf("ledger").sha256)],
    [
      422,
      "PUT",
      `${id}/lists/${listOf("ledger").sha256}`,
      flipped(textOf(listOf("ledger").sha256)),
    ],
    [404, "PUT", `/${"ab".repeat(32)}/objects/${charter}`, charterBytes],
    [400, "GET", `${id}`],
    [400, "DELETE", `${id}/objects/${charter}`],
  ];
  for (const [expected, method, path, body] of refused) {
    const answer = await send(method, path, body);
    assert.equal(answer.status, expected, `${method} ${path}: ${answer.text}`);
  }
  assert.equal(
    (await send("PUT", `${id}/lists/${listOf("ledger").sha256}`, textOf(listOf("ledger").sha256)))
      .status,
    204,
  );
  assert.equal((await send("PUT", `${id}/objects/${charter}`, charterBytes)).status, 403);
  // A tile's name says nothing of what is in it; the pouch does.
  assert.equal((await send("PUT", `${id}/objects/${tile}`, flipped(tileBytes))).status, 422);
  assert.equal((await send("PUT", `${id}/objects/${tile}`, tileBytes.subarray(1))).status, 422);
  assert.equal(daemon.stored(tile), undefined);

  const shards = listOf("shard").sha256;
  assert.equal((await send("PUT", `${id}/lists/${shards}`, textOf(shards))).status, 204);
  // The ledger was not followed yet: who the agent is, is not known.
  assert.equal((await send("PUT", `${id}/objects/${shard}`, shardBytes)).status, 403);
  assert.equal((await deliver(at)).refused, 0);
  assert.equal((await send("PUT", `${id}/lists/${shards}`, textOf(shards))).status, 204);
  assert.equal((await send("PUT", `${id}/objects/${shard}`, flipped(shardBytes))).status, 422);
  assert.equal((await send("PUT", `${id}/objects/${shard}`, shardBytes)).status, 200);
  assert.deepEqual(daemon.stored(shard), shardBytes);
});

test("a pouch of an agent whom the State does not name is not begun", async (t) => {
  const stranger = signingKeyFromSeed(new Uint8Array(32).fill(9));
  const at = await setting(t, {}, stranger);
  await assert.rejects(deliver(at), { code: "untrusted" });
  await at.daemon.bring();
  await assert.rejects(deliver(at), { code: "untrusted" });
});

test("what the State's quota has no room for is refused, and comes in when it has", async (t) => {
  const at = await setting(t, { grant: { quotaBytes: 1 } });
  const report = await deliver(at);
  assert.ok(report.refused >= shardsOf(at.s).length, report.problems.join());
  assert.match(report.problems.join("\n"), /used up/);
  assert.equal(at.daemon.stored(shardsOf(at.s)[0] ?? ""), undefined);
  const grants = join(at.daemon.folder, "grants");
  const [file = ""] = readdirSync(grants);
  const grant = JSON.parse(readFileSync(join(grants, file), "utf8")) as Grant;
  await writeGrant(at.daemon.folder, { ...grant, quotaBytes: 2 ** 40 } as Parameters<
    typeof writeGrant
  >[1]);
  await at.daemon.running.reload();
  assert.equal((await deliver(at)).refused, 0);
});

test("what comes while the site's view is stale is set aside, and not signed for", async (t) => {
  const s = await (await plainState()).copy(folder());
  const daemon = await startDaemon(t, { embassy: s, now: () => s.day(60) });
  const medium = await packed(s, daemon, [...IN_ORDER, ...DATA], s.home.agent);
  const report = await deliver({ s, daemon, medium });
  assert.ok(report.aside >= shardsOf(s).length, JSON.stringify(report));
  const { missing } = signedOn({ s, daemon, medium });
  assert.ok(shardsOf(s).every((name) => missing.includes(name)));
});

test("a medium that breaks off is told, object by object", async (t) => {
  const at = await setting(t);
  const [first = ""] = shardsOf(at.s);
  const rest = first.slice(6);
  const file = join(at.medium, "objects", "shard", rest.slice(0, 2), rest);
  renameSync(file, `${file}.away`);
  const report = await deliver(at);
  assert.equal(report.refused, 1);
  assert.match(report.problems.join(), new RegExp(`${rest}.* is not on the medium`));
  assert.ok(signedOn(at).missing.includes(first));
});
