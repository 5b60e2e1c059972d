/** How fast the ledger appends, proves and is verified, with 100,000 entries, on one thread. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toHex, utf8 } from "../src/crypto/bytes.ts";
import { openEnvelope, signEnvelope } from "../src/crypto/dsse.ts";
import { sha256 } from "../src/crypto/hash.ts";
import { sign, signingKeyFromSeed, verify } from "../src/crypto/signing.ts";
import type { LedgerEntry } from "../src/ledger/entry.ts";
import { Log } from "../src/ledger/log.ts";
import { logKeyFromSeed, verifierKeysOf } from "../src/ledger/log-key.ts";
import { verifiedEntries } from "../src/ledger/verify.ts";

const ENTRIES = 100_000;
/** Entries of one append, as a day of statements, receipts and checks makes them. */
const BATCH = 100;
const PROOFS = 1000;
const ENVELOPES = 2000;
const PAYLOAD_TYPE = "application/vnd.exclave.bench.v1+json";

export interface LedgerResult {
  readonly entries: number;
  readonly appendedPerSecond: number;
  readonly proofMilliseconds: number;
  readonly verifySeconds: number;
  /** Signed envelopes that are verified and read in a second, and bare signatures by the same verifier. */
  readonly envelopesPerSecond: number;
  readonly signaturesPerSecond: number;
}

/** Works in a temporary directory on the disk of `parent`; each append is durable before the next. */
export async function benchLedger(parent = tmpdir()): Promise<LedgerResult> {
  const folder = mkdtempSync(join(parent, "exclave-ledger-"));
  const key = logKeyFromSeed(new Uint8Array(32), "exclave.example/bench/1");
  const log = Log.open(join(folder, "log"), verifierKeysOf(key), key);
  try {
    const entries = Array.from(
      { length: ENTRIES },
      (_, i): LedgerEntry => ({ kind: "statement", envelope: toHex(sha256(Buffer.from(`${i}`))) }),
    );
    const appendSeconds = await timed(() => {
      for (let at = 0; at < ENTRIES; at += BATCH) log.append(entries.slice(at, at + BATCH));
    });
    const checkpoint = log.sign(new Date());
    const proveSeconds = await timed(() => {
      for (let i = 0; i < PROOFS; i++) log.prove((i * 7919) % ENTRIES, checkpoint);
    });
    const files = new Map([...log.files(0, ENTRIES)].map(({ path, bytes }) => [path, bytes]));
    let verified = 0;
    const verifySeconds = await timed(async () => {
      const fetch = async (path: string) => files.get(path) ?? new Uint8Array();
      for await (const _ of verifiedEntries(log.head(), fetch)) verified++;
    });
    if (verified !== ENTRIES) throw new Error(`${verified} entries were verified`);
    return {
      entries: ENTRIES,
      appendedPerSecond: ENTRIES / appendSeconds,
      proofMilliseconds: (proveSeconds / PROOFS) * 1000,
      verifySeconds,
      ...(await benchSignatures()),
    };
  } finally {
    log.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Different envelopes in each half: what was verified once is remembered. */
async function benchSignatures() {
  const key = signingKeyFromSeed(new Uint8Array(32));
  const trusted = new Map([[key.id, key.publicKey]]);
  const payloads = Array.from({ length: 2 * ENVELOPES }, (_, i) => utf8(`{"number":${i}}`));
  const envelopes = payloads
    .slice(0, ENVELOPES)
    .map((payload) => signEnvelope(PAYLOAD_TYPE, payload, [key]));
  const signatures = payloads
    .slice(ENVELOPES)
    .map((message) => ({ message, signature: sign(key, message) }));
  const bareSeconds = await timed(() => {
    for (const { message, signature } of signatures) {
      if (!verify(key.publicKey, message, signature))
        throw new Error("a signature does not verify");
    }
  });
  const envelopeSeconds = await timed(() => {
    for (const envelope of envelopes) openEnvelope(envelope, PAYLOAD_TYPE, trusted);
  });
  return {
    envelopesPerSecond: ENVELOPES / envelopeSeconds,
    signaturesPerSecond: ENVELOPES / bareSeconds,
  };
}

async function timed(work: () => void | Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}
