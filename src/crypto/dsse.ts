/**
 * Signed documents as DSSE envelopes (https://github.com/secure-systems-lab/dsse, v1.0.0): the
 * signature covers the payload's type and exact bytes, and the payload is parsed only after it
 * verified. Stricter than DSSE asks: canonical base64 in the standard alphabet, a key id on every
 * signature, no unknown members.
 */
import { z } from "zod";
import { ExclaveError, invariant } from "../errors.ts";
import { concat, fromBase64, toBase64, toHex, utf8 } from "./bytes.ts";
import { sha256 } from "./hash.ts";
import {
  type PublicSigningKey,
  SIGNATURE_BYTES,
  type SigningKey,
  sign,
  verify,
} from "./signing.ts";
import { encodeJson, parseStrictJson } from "./strict-json.ts";

export const ENVELOPE_BYTES_MAX = 1024 * 1024;
export const ENVELOPE_SIGNATURES_MAX = 64;

/** Room for signatures of algorithms to come, by keys that are unknown here. */
const SIGNATURE_TEXT_MAX = 16 * 1024;
const PAYLOAD_TYPE = /^[\x21-\x7e]{1,255}$/;

const envelopeSchema = z.strictObject({
  payloadType: z.string().regex(PAYLOAD_TYPE),
  payload: z.string(),
  signatures: z
    .array(
      z.strictObject({
        keyid: z.string().regex(/^[0-9a-f]{64}$/),
        sig: z.string().max(SIGNATURE_TEXT_MAX),
      }),
    )
    .min(1)
    .max(ENVELOPE_SIGNATURES_MAX),
});

type EnvelopeSignature = z.infer<typeof envelopeSchema>["signatures"][number];

export interface OpenedEnvelope {
  /** The exact bytes that were signed. */
  readonly payload: Uint8Array;
  /** The trusted keys that signed, each once, in the envelope's order; at least one. */
  readonly keyIds: readonly string[];
}

/**
 * The bytes that are signed (DSSE's pre-authentication encoding): "DSSEv1", then type and payload, each
 * with its length in bytes as decimal ASCII before it, all separated by one space.
 */
export function preAuthEncoding(payloadType: string, payload: Uint8Array): Uint8Array {
  const type = utf8(payloadType);
  return concat(utf8(`DSSEv1 ${type.byteLength} `), type, utf8(` ${payload.byteLength} `), payload);
}

/**
 * Signs a payload with one or more different keys and returns the envelope's bytes, as they are to be
 * stored. Throws `bug` when the envelope would exceed 1 MiB.
 *
 * @param payloadType names the kind and version of the document: 1 to 255 visible ASCII characters
 */
export function signEnvelope(
  payloadType: string,
  payload: Uint8Array,
  keys: readonly SigningKey[],
): Uint8Array {
  invariant(PAYLOAD_TYPE.test(payloadType), "a payload type is visible ASCII");
  invariant(
    keys.length > 0 && keys.length <= ENVELOPE_SIGNATURES_MAX,
    "an envelope has 1 to 64 signatures",
  );
  invariant(
    new Set(keys.map((key) => key.id)).size === keys.length,
    "each key signs an envelope once",
  );
  const message = preAuthEncoding(payloadType, payload);
  const signatures = keys.map((key) => ({ keyid: key.id, sig: toBase64(sign(key, message)) }));
  return encodeJson(
    { payloadType, payload: toBase64(payload), signatures },
    { bytesMax: ENVELOPE_BYTES_MAX },
  );
}

/**
 * Verifies an envelope and returns its payload. Signatures by keys that are not in `trusted` are
 * ignored; how many of the others are enough is the caller's rule.
 *
 * Throws `malformed` for another form, type or size (`bytesMax`, 1 MiB by default) and for a key id that
 * occurs twice; `altered` when any signature by a trusted key does not verify; `untrusted` when none of
 * the signatures is by a trusted key.
 */
export function openEnvelope(
  bytes: Uint8Array,
  expectedPayloadType: string,
  trusted: ReadonlyMap<string, PublicSigningKey>,
  limits: { readonly bytesMax?: number } = {},
): OpenedEnvelope {
  const { payload, verified } = verifyEnvelope(bytes, expectedPayloadType, trusted, limits);
  return { payload, keyIds: verified.map(({ keyid }) => keyid) };
}

/**
 * One envelope around what several have in common, with every signature of theirs by a trusted key, each
 * key's once. Throws as `openEnvelope` does for any of them, and `usage` when they do not say the same.
 */
export function mergeEnvelopes(
  envelopes: readonly Uint8Array[],
  expectedPayloadType: string,
  trusted: ReadonlyMap<string, PublicSigningKey>,
): Uint8Array {
  const opened = envelopes.map((bytes) => verifyEnvelope(bytes, expectedPayloadType, trusted, {}));
  const [first] = opened;
  invariant(first, "there is something to merge");
  const signatures = new Map<string, EnvelopeSignature>();
  for (const { payload, verified } of opened) {
    if (!Buffer.from(payload).equals(first.payload)) {
      throw new ExclaveError("usage", "the documents do not say the same. Nothing was changed");
    }
    for (const signature of verified) {
      if (!signatures.has(signature.keyid)) signatures.set(signature.keyid, signature);
    }
  }
  return encodeJson(
    {
      payloadType: expectedPayloadType,
      payload: toBase64(first.payload),
      signatures: [...signatures.values()],
    },
    { bytesMax: ENVELOPE_BYTES_MAX },
  );
}

function verifyEnvelope(
  bytes: Uint8Array,
  expectedPayloadType: string,
  trusted: ReadonlyMap<string, PublicSigningKey>,
  limits: { readonly bytesMax?: number },
): { readonly payload: Uint8Array; readonly verified: readonly EnvelopeSignature[] } {
  const json = parseStrictJson(bytes, {
    bytesMax: limits.bytesMax ?? ENVELOPE_BYTES_MAX,
    depthMax: 3,
  });
  const parsed = envelopeSchema.safeParse(json);
  if (!parsed.success)
    throw new ExclaveError("malformed", "a document is not a DSSE envelope", {
      cause: parsed.error,
    });
  const { payloadType, payload: payloadText, signatures } = parsed.data;
  if (payloadType !== expectedPayloadType) {
    throw new ExclaveError(
      "malformed",
      `a document is of type ${payloadType}, where ${expectedPayloadType} is expected`,
    );
  }
  if (new Set(signatures.map(({ keyid }) => keyid)).size !== signatures.length) {
    throw new ExclaveError("malformed", "a document is signed twice by one key");
  }
  const payload = fromBase64(payloadText);
  const message = preAuthEncoding(payloadType, payload);
  const verified: EnvelopeSignature[] = [];
  for (const { keyid, sig } of signatures) {
    const signature = fromBase64(sig);
    const key = trusted.get(keyid);
    if (key === undefined) continue;
    invariant(key.id === keyid, "a trusted key is filed under its own id");
    if (signature.byteLength !== SIGNATURE_BYTES || !verify(key, message, signature)) {
      throw new ExclaveError("altered", `a document does not match its signature by key ${keyid}`);
    }
    verified.push({ keyid, sig });
  }
  if (verified.length === 0)
    throw new ExclaveError("untrusted", "a document is not signed by any trusted key");
  return { payload, verified };
}

/**
 * The name of stored envelope bytes: lower-case hex of their SHA-256. It names the bytes, not the
 * statement: the same payload with another signature, or one left out, has another name, so whatever
 * must happen once is told apart by a value inside the payload.
 */
export function envelopeId(bytes: Uint8Array): string {
  return toHex(sha256(bytes));
}
