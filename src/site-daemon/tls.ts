/**
 * The key and certificate of a site's connections. Nobody vouches for the certificate: whom a client speaks to it
 * learns from the site's endorsement of the key (docs/site-protocol.md, section 2).
 */
import { createPublicKey, KeyObject, randomBytes, webcrypto } from "node:crypto";
import { toHex } from "../crypto/bytes.ts";
import { tlsKeyId } from "../sites/endorsement.ts";
import { provideReflectMetadata } from "./reflect-metadata.ts";

export type TlsMaterial = {
  /** PKCS #8. */
  readonly keyPem: string;
  readonly certificatePem: string;
  /** SHA-256 of the key's SubjectPublicKeyInfo, lower-case hex. */
  readonly tlsKeyId: string;
};

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const DAY_MS = 86_400_000;
/** A client whose clock is this much behind still sees a certificate that is in force. */
export const BACKDATED_MS = 3_600_000;

/**
 * A new P-256 key with a certificate that it signed itself (RFC 5280).
 *
 * @param name the site's; the subject, and the issuer
 * @param days that the certificate is good for from `now` on
 */
export async function selfSignedCertificate({
  name,
  days,
  now,
}: {
  readonly name: string;
  readonly days: number;
  readonly now: Date;
}): Promise<TlsMaterial> {
  provideReflectMetadata();
  // Loaded only now: a site needs it once in two months.
  const x509 = await import("@peculiar/x509");
  const { subtle } = webcrypto;
  const keys = await subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: positiveSerial(),
      name: new x509.Name([{ CN: [{ utf8String: name }] }]),
      notBefore: new Date(now.getTime() - BACKDATED_MS),
      notAfter: new Date(now.getTime() + days * DAY_MS),
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      ],
    },
    webcrypto,
  );
  const keyPem = KeyObject.from(keys.privateKey).export({ type: "pkcs8", format: "pem" });
  return {
    keyPem: keyPem.toString(),
    certificatePem: `${certificate.toString("pem")}\n`,
    tlsKeyId: tlsKeyId(createPublicKey(keyPem)),
  };
}

/** 16 random bytes without sign or leading zero: DER has one spelling for them. */
function positiveSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return toHex(bytes);
}
