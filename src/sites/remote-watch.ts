/** The time limits of one request: it must not be silent for long, and be over at some time. */

export type Watch = {
  /** Something came or went. */
  readonly progress: () => void;
  /** Waits for something that the site is not to blame for. */
  readonly pause: (waiting: Promise<unknown>) => Promise<void>;
  readonly stop: () => void;
};

export type WatchLimits = { readonly silenceMs: number; readonly wholeMs: number };

/** Calls `onLate`, once, with what the site did not do in time. */
export function watch(limits: WatchLimits, onLate: (what: string) => void): Watch {
  const { silenceMs, wholeMs } = limits;
  const began = performance.now();
  let latest = began;
  let pausedMs = 0;
  let pauses = 0;
  let timer: NodeJS.Timeout | undefined;
  let isOver = false;
  const look = (): void => {
    const now = performance.now();
    if (pauses > 0) latest = now;
    const silence = latest + silenceMs - now;
    const whole = began + wholeMs + pausedMs - now;
    const left = Math.min(silence, pauses > 0 ? silence : whole);
    // Timers may be early by a fraction of a millisecond.
    if (left > 1) {
      timer = setTimeout(look, left);
      return;
    }
    isOver = true;
    onLate(
      whole < silence
        ? `took longer than ${seconds(wholeMs)}`
        : `was silent for ${seconds(silenceMs)}`,
    );
  };
  timer = setTimeout(look, Math.min(silenceMs, wholeMs));
  return {
    progress: () => {
      latest = performance.now();
    },
    async pause(waiting) {
      const from = performance.now();
      pauses++;
      try {
        await waiting;
      } finally {
        pauses--;
        latest = performance.now();
        pausedMs += latest - from;
      }
    },
    stop: () => {
      if (!isOver) clearTimeout(timer);
    },
  };
}

function seconds(ms: number): string {
  return `${Number((ms / 1000).toPrecision(3))} s`;
}
