/**
 * An opening: the recovery key was brought together. The ledger says so, by whom and what for; how each of them
 * opened their kit is in it too, sealed to who watches abroad.
 */
import { randomBytes } from "node:crypto";
import { fromBase64, toHex } from "../crypto/bytes.ts";
import { makeReceipt, signReceipt } from "../custody/receipt.ts";
import type { OpenedShare } from "../custody/sealed-share.ts";
import type { Home } from "../vault/home.ts";
import { loadCustody } from "./custody.ts";
import { enter } from "./ledger-at-sites.ts";
import { type LedgerRecord, signRecord } from "./records.ts";
import { sealReceipts } from "./watch.ts";

type Purpose = Extract<LedgerRecord, { what: "opening" }>["purpose"];

/** Records that the recovery key was opened; `opened` is empty where a key file was. */
export async function recordOpening(
  home: Home,
  purpose: Purpose,
  opened: readonly OpenedShare[],
  now: Date,
): Promise<void> {
  const { setId, generation } = home.charter.recovery.shares;
  const challenge = randomBytes(32);
  const time = `${now.toISOString().slice(0, 19)}Z`;
  const receipts = opened.map((one) =>
    signReceipt(makeReceipt(one, challenge, { time, randomBytes }), one.share),
  );
  const custody = await loadCustody(home, setId);
  const set = { state: home.state, setId };
  const sealed =
    custody && receipts.length > 0
      ? sealReceipts(receipts, fromBase64(custody.watch), set, challenge)
      : undefined;
  const record = signRecord(
    "opening",
    {
      setId,
      generation,
      purpose,
      holders: opened.length === 0 ? [0] : opened.map(({ share }) => share.index),
      challenge: toHex(challenge),
      ...(sealed ? { sealed } : {}),
    },
    { state: home.state, agent: home.agent, now },
  );
  await enter(home, [record], now);
}
