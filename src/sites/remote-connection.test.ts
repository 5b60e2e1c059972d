import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { connectTo, emptyDirectory, remotePair } from "../../test/support/remote-site.ts";
import {
  SERVER_KEY,
  type SiteServer,
  type SiteServerOptions,
  startSiteServer,
} from "../../test/support/site-server.ts";
import { signingKeyFromSeed } from "../crypto/signing.ts";
import { selfSignedCertificate } from "../site-daemon/tls.ts";
import { code, objectName, readText, text } from "./conformance.ts";
import { signEndorsement } from "./endorsement.ts";

const HOUR_MS = 3_600_000;
const name = objectName("shard", "for the right one");
const otherKey = signingKeyFromSeed(new Uint8Array(32).fill(9));

const from = (ms: number): Date => new Date(Date.now() + ms);
const today = (): { from: Date; until: Date } => ({ from: from(-HOUR_MS), until: from(HOUR_MS) });

async function serverThatSays(
  t: TestContext,
  identity: NonNullable<SiteServerOptions["identity"]>,
  port = 0,
): Promise<SiteServer> {
  return startSiteServer(t, { objects: await emptyDirectory(t), identity, port });
}

const IMPOSTORS: Readonly<Record<string, NonNullable<SiteServerOptions["identity"]>>> = {
  "another site": (tls) => signEndorsement(otherKey, tls, today()),
  "one that replays the site's endorsement of its own TLS key": () =>
    signEndorsement(SERVER_KEY, "ab".repeat(32), today()),
  "the site, with an endorsement that is over": (tls) =>
    signEndorsement(SERVER_KEY, tls, { from: from(-2 * HOUR_MS), until: from(-HOUR_MS) }),
  "the site, with an endorsement that is not in force yet": (tls) =>
    signEndorsement(SERVER_KEY, tls, { from: from(HOUR_MS), until: from(2 * HOUR_MS) }),
  "one that says something else": () => text("welcome"),
  "one that says more than there is to say": () => new Uint8Array(200_000),
};

for (const [who, identity] of Object.entries(IMPOSTORS)) {
  test(`who answers is ${who}: nothing is sent to it but the question who it is`, async (t) => {
    const server = await serverThatSays(t, identity);
    await assert.rejects(connectTo(t, server.url), code("untrusted"));
    assert.deepEqual(server.lines, ["GET /v1/identity"]);
  });

  test(`${who} takes the place of the site while it is in use, and learns nothing`, async (t) => {
    const { server, site } = await remotePair(t);
    await site.put(name, [text("seen by the site alone")]);
    await server.stop();
    const impostor = await serverThatSays(t, identity, server.port);
    await assert.rejects(site.put(name, [text("seen by the site alone")]), (error: Error) => {
      assert.match(error.message, /is not site kn: .*Nothing was sent to it/s);
      return code("site-unavailable")(error);
    });
    await assert.rejects(site.read(name, 0, new Uint8Array(9)), code("site-unavailable"));
    assert.deepEqual(new Set(impostor.lines), new Set(["GET /v1/identity"]));
  });
}

test("the site is known again with another TLS key that it endorses", async (t) => {
  const { server, bare, site } = await remotePair(t);
  await site.put(name, [text("before")]);
  await server.stop();
  await startSiteServer(t, { objects: bare, port: server.port });
  assert.equal(await readText(site, name, 9), "before");
});

test("a site whose key is not known yet shows it, and keeps it", async (t) => {
  const { server, site } = await remotePair(t, {}, { site: undefined });
  assert.equal(site.key.id, SERVER_KEY.id);
  await site.put(name, [text("x")]);
  await server.stop();
  await serverThatSays(t, (tls) => signEndorsement(otherKey, tls, today()), server.port);
  await assert.rejects(site.stat(name), code("site-unavailable"));
});

test("who it is, is asked once for all connections, and again when the endorsement is over", async (t) => {
  let now = new Date();
  const held = Promise.withResolvers<void>();
  let stats = 0;
  const { server, site } = await remotePair(
    t,
    {
      before: async () => {
        if (++stats === 3) held.resolve();
        await held.promise;
        return false;
      },
    },
    { now: () => now, limits: { callsAtFirst: 3 } },
  );
  // Three at once need three connections.
  await Promise.all([site.stat(name), site.stat(name), site.stat(name)]);
  assert.equal(server.connections(), 3);
  const asked = (): number => server.lines.filter((line) => line === "GET /v1/identity").length;
  assert.equal(asked(), 1);
  now = from(23 * HOUR_MS);
  await site.stat(name).catch(() => undefined);
  assert.equal(asked(), 1);
  now = from(25 * HOUR_MS);
  await assert.rejects(site.stat(name), code("site-unavailable"));
  assert.ok(asked() > 1, "a connection whose endorsement is over is not used");
});

test("an older TLS than 1.3 is not spoken", async (t) => {
  const { keyPem, certificatePem, tlsKeyId } = await selfSignedCertificate({
    name: "kn",
    days: 1,
    now: new Date(),
  });
  let requests = 0;
  const old = createServer(
    { key: keyPem, cert: certificatePem, maxVersion: "TLSv1.2" },
    (_, res) => {
      requests++;
      res.end(signEndorsement(SERVER_KEY, tlsKeyId, today()));
    },
  );
  t.after(() => old.close());
  old.listen(0, "127.0.0.1");
  await once(old, "listening");
  const { port } = old.address() as AddressInfo;
  await assert.rejects(connectTo(t, `https://127.0.0.1:${port}`), code("site-unavailable"));
  assert.equal(requests, 0);
});

test("a host that takes connections and says nothing is not waited for longer than the limit", async (t) => {
  const { createServer: plainServer } = await import("node:net");
  const dumb = plainServer((socket) => socket.on("error", () => undefined));
  dumb.listen(0, "127.0.0.1");
  await once(dumb, "listening");
  t.after(() => dumb.close());
  const { port } = dumb.address() as AddressInfo;
  await assert.rejects(
    connectTo(t, `https://127.0.0.1:${port}`, { limits: { connectMs: 50 } }),
    code("site-unavailable"),
  );
});

test("where nothing listens, the site is unavailable", async (t) => {
  const { server } = await remotePair(t);
  await server.stop();
  await assert.rejects(connectTo(t, server.url), code("site-unavailable"));
});

test("one connection serves calls that come one after another, whatever is answered", async (t) => {
  const { server, site } = await remotePair(t);
  await site.put(name, [text("kept")]);
  await assert.rejects(site.put(name, [text("other")]), code("exists"));
  await assert.rejects(site.read(objectName("shard", "no"), 0, new Uint8Array(1)));
  assert.equal(await site.stat(objectName("shard", "no")), undefined);
  assert.equal(await site.read(name, 100, new Uint8Array(1)), 0);
  assert.equal(await readText(site, name, 9), "kept");
  assert.deepEqual(await site.stat(name), { name, bytes: 4 });
  await site.status();
  assert.equal(server.connections(), 1);
});
