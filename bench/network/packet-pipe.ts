/**
 * One direction of a link: packets are lost by chance, wait for their turn in a queue that is bounded, go at the
 * link's rate, and arrive after its delay; in their order. Time is whatever the caller says it is, in milliseconds.
 */
import type { LinkShape } from "./shape.ts";

/** The longest that is taken: an MTU of 1500 and room to spare. */
export const PACKET_BYTES_MAX = 2048;
/** Packets under way and waiting together; a power of two. Small ones fill it before the bytes do. */
const PACKETS_MAX = 1 << 14;

export type PipeCounters = { carried: number; lost: number; queueFull: number };

export class PacketPipe {
  readonly counters: PipeCounters = { carried: 0, lost: 0, queueFull: 0 };
  readonly #bytesPerMs: number;
  readonly #delayMs: number;
  readonly #loss: number;
  readonly #queueMs: number;
  readonly #chance: () => number;
  readonly #room = Buffer.alloc(PACKETS_MAX * PACKET_BYTES_MAX);
  readonly #lengths = new Uint16Array(PACKETS_MAX);
  readonly #arrivals = new Float64Array(PACKETS_MAX);
  #first = 0;
  #count = 0;
  /** When the last packet has left the queue. */
  #freeAt = Number.NEGATIVE_INFINITY;

  constructor({ bitsPerSecond, roundTripMs, loss, queueBytes }: LinkShape, chance: () => number) {
    this.#bytesPerMs = bitsPerSecond / 8000;
    this.#delayMs = roundTripMs / 2;
    this.#loss = loss;
    this.#queueMs = queueBytes / this.#bytesPerMs;
    this.#chance = chance;
  }

  /** Takes a packet, or drops it as the link would. */
  offer(packet: Uint8Array, nowMs: number): void {
    if (this.#chance() < this.#loss) {
      this.counters.lost++;
      return;
    }
    const startsAt = Math.max(nowMs, this.#freeAt);
    if (startsAt - nowMs > this.#queueMs || this.#count === PACKETS_MAX) {
      this.counters.queueFull++;
      return;
    }
    this.counters.carried++;
    this.#freeAt = startsAt + packet.length / this.#bytesPerMs;
    const at = (this.#first + this.#count++) % PACKETS_MAX;
    this.#room.set(packet, at * PACKET_BYTES_MAX);
    this.#lengths[at] = packet.length;
    this.#arrivals[at] = this.#freeAt + this.#delayMs;
  }

  /** When the next packet arrives; infinity when none is under way. */
  get nextAtMs(): number {
    return this.#count === 0 ? Number.POSITIVE_INFINITY : (this.#arrivals[this.#first] ?? 0);
  }

  /** The next packet that has arrived; good until the next `offer`. */
  take(nowMs: number): Buffer | undefined {
    if (this.nextAtMs > nowMs) return undefined;
    const at = this.#first * PACKET_BYTES_MAX;
    const packet = this.#room.subarray(at, at + (this.#lengths[this.#first] ?? 0));
    this.#first = (this.#first + 1) % PACKETS_MAX;
    this.#count--;
    return packet;
  }
}

/** Numbers from 0 (included) to 1 (excluded), for ever, the same for the same seed (mulberry32, by Tommy Ettinger). */
export function chances(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}
