/**
 * Constitutions to begin with. Moving from one to another is a decision like any other: an order to
 * amend that brings the new constitution whole.
 */
import { ExclaveError } from "../errors.ts";
import type { Constitution, OrderClass, Seat, Threshold } from "./charter.ts";

const HOUR = 3600;
const DAY = 24 * HOUR;
const VETO_SIGNATURES = 2;

type Preset = {
  readonly seats: number;
  readonly signatures: Readonly<Record<OrderClass, number>>;
  readonly timelockSeconds: Readonly<Record<OrderClass, number>>;
  readonly freezeSignatures: number;
  /** Seats abroad that there must be: what changes the rules needs a signature of one of them. */
  readonly abroad: number;
};

const PRESETS: Readonly<Record<Constitution["preset"], Preset>> = {
  /** One person, no delays: to try it. */
  trial: {
    seats: 1,
    signatures: { ordinary: 1, constitutional: 1, destructive: 1, release: 1 },
    timelockSeconds: { ordinary: 0, constitutional: 0, destructive: 0, release: 0 },
    freezeSignatures: 1,
    abroad: 0,
  },
  /** Two of three, short delays: to run it with real data and few people. */
  pilot: {
    seats: 3,
    signatures: { ordinary: 2, constitutional: 2, destructive: 3, release: 2 },
    timelockSeconds: { ordinary: 0, constitutional: DAY, destructive: 7 * DAY, release: DAY },
    freezeSignatures: 2,
    abroad: 0,
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
    freezeSignatures: 2,
    // Two, so that the death of one does not end all change.
    abroad: 2,
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
  const abroad = seats.map(({ jurisdiction }) => jurisdiction).filter((one) => one !== home);
  if (abroad.length < preset.abroad) {
    throw new ExclaveError(
      "usage",
      `the preset "${name}" needs ${preset.abroad} seats abroad, so that what happens at home alone cannot change the rules`,
    );
  }
  const threshold = (orderClass: OrderClass): Threshold => {
    // Never a minority, however many seats there are.
    const majority = Math.floor(seats.length / 2) + 1;
    const signatures = Math.max(preset.signatures[orderClass], majority);
    return {
      signatures,
      groups:
        preset.abroad > 0 && orderClass !== "ordinary"
          ? [{ jurisdictions: [...new Set(abroad)], signatures: 1 }]
          : [],
      timelockSeconds: preset.timelockSeconds[orderClass],
      // Of those who did not sign; where two are left, both.
      vetoSignatures: Math.min(VETO_SIGNATURES, Math.max(1, seats.length - signatures)),
    };
  };
  return {
    preset: name,
    seats: [...seats],
    thresholds: {
      ordinary: threshold("ordinary"),
      constitutional: threshold("constitutional"),
      destructive: threshold("destructive"),
      release: threshold("release"),
    },
    freezeSignatures: preset.freezeSignatures,
  };
}
