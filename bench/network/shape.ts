/** A link as a State far away has it. Both directions are alike, and share nothing. */
export type LinkShape = {
  readonly bitsPerSecond: number;
  /** Half of it in each direction, beside the time that a packet waits in the queue. */
  readonly roundTripMs: number;
  /** Of the packets, from 0 to 1, each by itself: no bursts. */
  readonly loss: number;
  /** What waits before the link; a packet that finds it full is dropped. */
  readonly queueBytes: number;
  readonly seed: number;
};

const ROUND_TRIP_MS = 80;
const BITS_PER_SECOND = 100e6;

/** The link that the aims are stated for. Its queue holds what the link carries in one round trip. */
export const FAR_LINK: LinkShape = {
  bitsPerSecond: BITS_PER_SECOND,
  roundTripMs: ROUND_TRIP_MS,
  loss: 0.01,
  queueBytes: (BITS_PER_SECOND / 8) * (ROUND_TRIP_MS / 1000),
  seed: 1,
};

export function describeShape({ bitsPerSecond, roundTripMs, loss }: LinkShape): string {
  return `${bitsPerSecond / 1e6} Mbit/s each way, ${roundTripMs} ms there and back, ${loss * 100} % loss each way`;
}
