/**
 * Whether this Node can run Exclave at all. Imports nothing but Node's own modules, and those as
 * default exports: a named import that an old Node lacks would fail at link time, before anything
 * could be said about it. For the same reason the command line loads this file first, alone.
 */
import crypto from "node:crypto";
import zlib from "node:zlib";

const NODE_MIN = [24, 21] as const;

/** What is tried, by the name that a person can look up; each probe throws or returns false when it fails. */
const PROBES: readonly (readonly [name: string, probe: () => boolean])[] = [
  ["SHA-256 in one call (crypto.hash)", () => crypto.hash("sha256", "", "buffer").length === 32],
  ["SHA3-256", () => crypto.hash("sha3-256", "", "buffer").length === 32],
  [
    "SHAKE256",
    () => crypto.createHash("shake256", { outputLength: 112 }).update("").digest().length === 112,
  ],
  ["HKDF", () => crypto.hkdfSync("sha256", new Uint8Array(32), "", "", 32).byteLength === 32],
  ["AES-256-GCM", () => crypto.getCipherInfo("aes-256-gcm")?.keyLength === 32],
  ["AES-256-CTR", () => crypto.getCipherInfo("aes-256-ctr")?.keyLength === 32],
  [
    "P-384",
    () =>
      crypto.generateKeyPairSync("ec", { namedCurve: "P-384" }).publicKey.asymmetricKeyType ===
      "ec",
  ],
  [
    "Ed25519",
    () => crypto.generateKeyPairSync("ed25519").publicKey.asymmetricKeyType === "ed25519",
  ],
  [
    "ML-DSA-87",
    () => crypto.generateKeyPairSync("ml-dsa-87").publicKey.asymmetricKeyType === "ml-dsa-87",
  ],
  [
    "ML-KEM-1024",
    () => {
      const { publicKey, privateKey } = crypto.generateKeyPairSync("ml-kem-1024");
      const { sharedKey, ciphertext } = crypto.encapsulate(publicKey);
      return crypto.timingSafeEqual(crypto.decapsulate(privateKey, ciphertext), sharedKey);
    },
  ],
  ["zstd", () => zlib.zstdDecompressSync(zlib.zstdCompressSync("zstd")).toString() === "zstd"],
];

/**
 * One sentence that says why this Node or its OpenSSL cannot be used, or undefined when it can.
 * Takes a few milliseconds. Never throws.
 */
export function checkRuntime(
  nodeVersion: string = process.versions.node,
  opensslVersion: string = process.versions.openssl ?? "none",
): string | undefined {
  const [major = 0, minor = 0] = nodeVersion.split(".").map(Number);
  if (!(major > NODE_MIN[0] || (major === NODE_MIN[0] && minor >= NODE_MIN[1]))) {
    return `Exclave needs Node ${NODE_MIN.join(".")} or newer, and this is Node ${nodeVersion}.`;
  }
  const missing = PROBES.filter(([, probe]) => !passes(probe)).map(([name]) => name);
  if (missing.length === 0) return undefined;
  return (
    `Node ${nodeVersion} with OpenSSL ${opensslVersion} lacks ${missing.join(", ")}; ` +
    "Exclave needs the official Node build, or one linked with OpenSSL 3.5 or newer."
  );
}

function passes(probe: () => boolean): boolean {
  try {
    return probe();
  } catch {
    return false;
  }
}
