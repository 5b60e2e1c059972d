/**
 * Constitutions to begin with. Moving from one to another is a decision like any other: an order to
 * amend that brings the new constitution whole.
 */
import { ExclaveError } from "../errors.ts";
import type { Constitution, OrderClass, Seat, Threshold } from "./charter.ts";

const HOUR = 3600;
const DAY = 24 * HOUR;

type Preset = {
  readonly seats: number;
  readonly signatures: Readonly<Record<OrderClass, number>>;
  readonly timelockSeconds: Readonly<Record<OrderClass, number>>;
  readonly vetoSignatures: number;
  readonly freezeSignatures: number;
  /** Whether what changes the rules needs a signature from abroad. */
  readonly abroad: boolean;
};

const PRESETS: Readonly<Record<Constitution["preset"], Preset>> = {
  /** One person, no delays: to try it. */
  trial: {
    seats: 1,
    signatures: { ordinary: 1, constitutional: 1, destructive: 1, release: 1 },
    timelockSeconds: { ordinary: 0, constitutional: 0, destructive: 0, release: 0 },
    vetoSignatures: 1,
    freezeSignatures: 1,
    abroad: false,
  },
  /** Two of three, short delays: to run it with real data and few people. */
  pilot: {
    seats: 3,
    signatures: { ordinary: 2, constitutional: 2, destructive: 3, release: 2 },
    timelockSeconds: { ordinary: 0, constitutional: DAY, destructive: 7 * DAY, release: DAY },
    vetoSignatures: 2,
    freezeSignatures: 2,
    abroad: false,
  },
  /** Three of five, one of them abroad for what changes the rules, long delays. */
  state: {
    seats: 5,
    signatures: { ordinary: 3, constitutional: 3, destructive: 4, release: 3 },
    timelockSeconds: {
      ordinary: 0,
      constitutional: 7 * DAY,
      destructive: 30 * DAY,
      release: 2 * DAY,
    },
    vetoSignatures: 2,
    freezeSignatures: 2,
    abroad: true,
  },
};

/** How many seats a preset has at the least. */
export function seatsOf(preset: Constitution["preset"]): number {
  return PRESETS[preset].seats;
}

/**
 * The constitution of a preset for these seats.
 *
 * @param home the State's own country: a seat of any other jurisdiction is abroad
 * @throws ExclaveError `usage` when there are too few seats, or none abroad where one is needed
 */
export function constitutionOf(
  name: Constitution["preset"],
  seats: readonly Seat[],
  home: string,
): Constitution {
  const preset = PRESETS[name];
  if (seats.length < preset.seats) {
    throw new ExclaveError(
      "usage",
      `the preset "${name}" needs ${preset.seats} seats, and there are ${seats.length}`,
    );
  }
  const abroad = [...new Set(seats.map(({ jurisdiction }) => jurisdiction))].filter(
    (jurisdiction) => jurisdiction !== home,
  );
  if (preset.abroad && abroad.length === 0) {
    throw new ExclaveError(
      "usage",
      `the preset "${name}" needs a seat abroad, so that what happens at home alone cannot change the rules`,
    );
  }
  const threshold = (orderClass: OrderClass): Threshold => ({
    signatures: preset.signatures[orderClass],
    groups:
      preset.abroad && orderClass !== "ordinary" ? [{ jurisdictions: abroad, signatures: 1 }] : [],
    timelockSeconds: preset.timelockSeconds[orderClass],
  });
  return {
    preset: name,
    seats: [...seats],
    thresholds: {
      ordinary: threshold("ordinary"),
      constitutional: threshold("constitutional"),
      destructive: threshold("destructive"),
      release: threshold("release"),
    },
    vetoSignatures: preset.vetoSignatures,
    freezeSignatures: preset.freezeSignatures,
  };
}
