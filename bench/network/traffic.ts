/** What a command moves over the lab's link, and how much of the link it has in use. */
import type { Lab, Wire } from "./lab.ts";

const SAMPLE_MS = 100;
/** Headers of IPv4, and of TCP with timestamps, around what a stream carries. */
const HEADER_BYTES = 52;
const SEGMENT_BYTES = 1448;
/** The bulk of a transfer: from when this share of its bytes has arrived until so much is left. */
const EDGE_SHARE = 0.1;

/** One direction, while a command ran. */
export type Flow = {
  /** IP packets that were sent, those that the link lost included. */
  readonly sentBytes: number;
  readonly arrivedBytes: number;
  /** What the streams of TCP carried: without headers, and each byte once. */
  readonly streamBytes: number;
  /** Of the link's rate, by what arrived in the bulk of the transfer. */
  readonly bulkShare: number;
};

export type Traffic = { readonly up: Flow; readonly down: Flow };

type Sample = { readonly ms: number; readonly up: number; readonly down: number };

/** Runs the work, and gives what it gave with what crossed the link meanwhile. */
export async function withTraffic<T>(
  lab: Lab,
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly traffic: Traffic }> {
  const before = lab.wire();
  const samples: Sample[] = [];
  const sample = (): void => {
    const { home, hosts } = lab.wire();
    samples.push({
      ms: performance.now(),
      up: sum(hosts, "receivedBytes"),
      down: home.receivedBytes,
    });
  };
  sample();
  const sampler = setInterval(sample, SAMPLE_MS);
  try {
    const result = await work();
    sample();
    const after = lab.wire();
    const flow = (
      from: (wire: ReturnType<Lab["wire"]>) => readonly Wire[],
      way: "up" | "down",
    ): Flow => {
      const grew = (key: keyof Wire): number => sum(from(after), key) - sum(from(before), key);
      const arrivedBytes = (samples.at(-1)?.[way] ?? 0) - (samples[0]?.[way] ?? 0);
      const around = grew("sentPackets") * (HEADER_BYTES + lab.frameBytes);
      return {
        sentBytes: grew("sentBytes"),
        arrivedBytes,
        streamBytes: grew("sentBytes") - around - grew("segmentsSentAgain") * SEGMENT_BYTES,
        bulkShare: bulkRate(samples, way) / (lab.shape.bitsPerSecond / 8000),
      };
    };
    return {
      result,
      traffic: { up: flow(({ home }) => [home], "up"), down: flow(({ hosts }) => hosts, "down") },
    };
  } finally {
    clearInterval(sampler);
  }
}

function sum(wires: readonly Wire[], key: keyof Wire): number {
  return wires.reduce((total, wire) => total + wire[key], 0);
}

/** Bytes a millisecond between the two samples at which the edges of the transfer have passed. */
function bulkRate(samples: readonly Sample[], way: "up" | "down"): number {
  const first = samples[0]?.[way] ?? 0;
  const all = (samples.at(-1)?.[way] ?? 0) - first;
  const at = (share: number) => samples.find((one) => one[way] - first >= all * share);
  const [from, to] = [at(EDGE_SHARE), at(1 - EDGE_SHARE)];
  if (!from || !to || to.ms <= from.ms) return 0;
  return (to[way] - from[way]) / (to.ms - from.ms);
}
