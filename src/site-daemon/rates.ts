/** Token buckets: how many requests somebody may make, and when the next. Bounded in how many it remembers. */
import { isIPv6 } from "node:net";
import type { Rate } from "./limits.ts";

type Bucket = { tokens: number; atMs: number };

export class Rates {
  readonly #rate: Rate;
  readonly #keysMax: number;
  readonly #nowMs: () => number;
  /** The one used longest ago first. */
  readonly #buckets = new Map<string, Bucket>();

  /** @param nowMs a clock that never goes back */
  constructor(rate: Rate, keysMax: number, nowMs: () => number = () => performance.now()) {
    this.#rate = rate;
    this.#keysMax = keysMax;
    this.#nowMs = nowMs;
  }

  /** After how many seconds, at least 1, there is a token of the key's; 0 when there is one. Takes none. */
  wait(key: string): number {
    const bucket = this.#buckets.get(key);
    if (!bucket) return 0;
    const { perSecond, burst } = this.#rate;
    const elapsed = (this.#nowMs() - bucket.atMs) / 1000;
    const tokens = Math.min(burst, bucket.tokens + elapsed * perSecond);
    return tokens >= 1 ? 0 : Math.max(1, Math.ceil((1 - tokens) / perSecond));
  }

  /** Takes one token of the key's; or says after how many seconds, at least 1, there is one. */
  take(key: string): number {
    const nowMs = this.#nowMs();
    const { perSecond, burst } = this.#rate;
    const bucket = this.#buckets.get(key) ?? { tokens: burst, atMs: nowMs };
    this.#buckets.delete(key);
    const tokens = Math.min(burst, bucket.tokens + ((nowMs - bucket.atMs) / 1000) * perSecond);
    const enough = tokens >= 1;
    this.#buckets.set(key, { tokens: enough ? tokens - 1 : tokens, atMs: nowMs });
    if (this.#buckets.size > this.#keysMax) {
      const [oldest] = this.#buckets.keys();
      if (oldest !== undefined) this.#buckets.delete(oldest);
    }
    return enough ? 0 : Math.max(1, Math.ceil((1 - tokens) / perSecond));
  }

  get size(): number {
    return this.#buckets.size;
  }
}

/** What counts as one address: an IPv4 address, or the /64 that one customer has of IPv6. */
export function addressKey(address: string | undefined): string {
  if (address === undefined) return "unknown";
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!isIPv6(address)) return address;
  const [whole = ""] = address.split("%");
  const [head = "", tail] = whole.split("::");
  const front = head === "" ? [] : head.split(":");
  const back = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - front.length - back.length);
  const groups = [...front, ...Array.from({ length: zeros }, () => "0"), ...back];
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(":")}::/64`;
}
