/**
 * Signed requests: HTTP Message Signatures (RFC 9421) with Ed25519, in the one profile of
 * docs/site-protocol.md, section 3. Both sides write the signature's parameters anew from the request, so
 * that nothing is covered but what must be, and nothing of a header is parsed that could be read in two ways.
 */
import { type KeyObject, sign as signOne, verify as verifyOne } from "node:crypto";
import { ExclaveError } from "../errors.ts";
import { fromBase64, plain, toBase64, utf8 } from "./bytes.ts";
import type { PublicSigningKey, SigningKey } from "./signing.ts";

/** What of a request is signed. */
export type SignedRequest = {
  /** In capitals. */
  readonly method: string;
  /** Path and query, as they are on the wire. */
  readonly target: string;
  /** Id of the site's key, of the `exclave-site` header. */
  readonly site: string;
  readonly range?: string | undefined;
  /** Of a request with a body. */
  readonly contentLength?: string | undefined;
  readonly contentDigest?: string | undefined;
};

export type SignatureHeaders = { readonly "signature-input": string; readonly signature: string };

const PARAMETERS =
  /^exclave=\(([^()]{0,200})\);created=([1-9][0-9]{0,11});keyid="([0-9a-f]{64})";alg="ed25519";tag="exclave\/v1"$/;
const SIGNATURE = /^exclave=:([A-Za-z0-9+/]{86}==):$/;

/**
 * Signs a request.
 *
 * @param created seconds since 1970
 */
export function signRequest(
  request: SignedRequest,
  key: SigningKey,
  created: number,
): SignatureHeaders {
  const components = componentsOf(request);
  const parameters = parametersOf(components, created, key.id);
  const signature = plain(signOne(null, baseOf(components, parameters), key.ed25519));
  return {
    "signature-input": `exclave=${parameters}`,
    signature: `exclave=:${toBase64(signature)}:`,
  };
}

/** What a request's signature says of itself, not verified: which key to verify it with. */
export type ClaimedSignature = { readonly keyId: string; readonly created: number };

/** Throws `untrusted` for headers of another form. */
export function claimedSignature(input: string | undefined): ClaimedSignature {
  const [, , created, keyId] = PARAMETERS.exec(input ?? "") ?? [];
  if (created === undefined || keyId === undefined) {
    throw new ExclaveError(
      "untrusted",
      "the request is not signed as docs/site-protocol.md has it",
    );
  }
  return { keyId, created: Number(created) };
}

/**
 * Whether a request is signed by the key, at the time that it claims, over everything that it must be. It is looked at
 * on another thread, which takes a tenth of a millisecond: others are answered meanwhile.
 */
export async function isSignedBy(
  request: SignedRequest,
  headers: { readonly input: string | undefined; readonly signature: string | undefined },
  key: PublicSigningKey,
  { created }: ClaimedSignature,
): Promise<boolean> {
  const components = componentsOf(request);
  const parameters = parametersOf(components, created, key.id);
  const [, encoded] = SIGNATURE.exec(headers.signature ?? "") ?? [];
  if (encoded === undefined || headers.input !== `exclave=${parameters}`) return false;
  return verified(baseOf(components, parameters), key.ed25519, fromBase64(encoded));
}

function verified(base: Uint8Array, key: KeyObject, signature: Uint8Array): Promise<boolean> {
  return new Promise((resolve, reject) => {
    verifyOne(null, base, key, signature, (error, isGood) => {
      if (error) reject(error);
      else resolve(isGood);
    });
  });
}

/** `content-digest` (RFC 9530) of a body's SHA-256. */
export function contentDigest(sha256: Uint8Array): string {
  return `sha-256=:${toBase64(sha256)}:`;
}

/** Names and values, in the order in which they are signed. */
type Components = readonly (readonly [string, string])[];

function componentsOf(request: SignedRequest): Components {
  const { method, target, site, range, contentLength, contentDigest: digest } = request;
  const optional = [
    ["range", range],
    ["content-length", contentLength],
    ["content-digest", digest],
  ] as const;
  return [
    ["@method", method],
    ["@request-target", target],
    ["exclave-site", site],
    ...optional.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const])),
  ];
}

function parametersOf(components: Components, created: number, keyId: string): string {
  const names = components.map(([name]) => `"${name}"`);
  return `(${names.join(" ")});created=${created};keyid="${keyId}";alg="ed25519";tag="exclave/v1"`;
}

/** RFC 9421, section 2.5. A line feed in a value would make two requests one. */
function baseOf(components: Components, parameters: string): Uint8Array {
  const lines = components.map(([name, value]) => `"${name}": ${value}`);
  const base = [...lines, `"@signature-params": ${parameters}`];
  if (base.some((line) => line.includes("\n") || line.includes("\r"))) {
    throw new ExclaveError("malformed", "a request has a line feed in a header");
  }
  return utf8(base.join("\n"));
}
