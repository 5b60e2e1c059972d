import assert from "node:assert/strict";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { test } from "node:test";
import { connect, createServer, type TLSSocket } from "node:tls";
import { tlsKeyId } from "../sites/endorsement.ts";
import { selfSignedCertificate } from "./tls.ts";

const NOW = new Date("2026-11-22T10:00:00Z");

test("a certificate says what it was made for, and verifies by its own key", async () => {
  const {
    keyPem,
    certificatePem,
    tlsKeyId: id,
  } = await selfSignedCertificate({
    name: '"kn", = the site',
    days: 90,
    now: NOW,
  });
  const certificate = new X509Certificate(certificatePem);
  assert.equal(certificate.subject, 'CN=\\"kn\\"\\, = the site');
  assert.equal(certificate.issuer, certificate.subject);
  assert.equal(certificate.ca, false);
  assert.equal(certificate.validFromDate.toISOString(), "2026-11-22T09:00:00.000Z");
  assert.equal(certificate.validToDate.toISOString(), "2027-02-20T10:00:00.000Z");
  assert.ok(certificate.verify(certificate.publicKey));
  assert.ok(certificate.checkPrivateKey(createPrivateKey(keyPem)));
  assert.equal(certificate.publicKey.asymmetricKeyDetails?.namedCurve, "prime256v1");
  assert.equal(id, tlsKeyId(certificate.publicKey));
});

test("each has a key and a serial number of its own", async () => {
  const [one, other] = await Promise.all(
    [1, 2].map(() => selfSignedCertificate({ name: "kn", days: 1, now: NOW })),
  );
  const serial = (pem: string): string => new X509Certificate(pem).serialNumber;
  assert.notEqual(one!.tlsKeyId, other!.tlsKeyId);
  assert.notEqual(serial(one!.certificatePem), serial(other!.certificatePem));
  assert.match(serial(one!.certificatePem), /^[4-7][0-9A-F]{31}$/);
});

test("a TLS 1.3 connection shows the endorsed key", async (t) => {
  const material = await selfSignedCertificate({ name: "kn", days: 90, now: NOW });
  const server = createServer({
    key: material.keyPem,
    cert: material.certificatePem,
    minVersion: "TLSv1.3",
  });
  t.after(() => server.close());
  server.on("secureConnection", (socket) => socket.end("hello"));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const socket: TLSSocket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false });
  await once(socket, "secureConnect");
  assert.equal(socket.getProtocol(), "TLSv1.3");
  const shown = socket.getPeerX509Certificate();
  assert.equal(shown && tlsKeyId(shown.publicKey), material.tlsKeyId);
  assert.equal((await socket.setEncoding("utf8").toArray()).join(""), "hello");
});
