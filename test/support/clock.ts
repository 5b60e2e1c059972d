/** A time that passes when a test says so, with its timers: what `ShardSpeeds` goes by. */
export function simulatedTime() {
  let now = 0;
  const timers = new Set<{ readonly at: number; readonly callback: () => void }>();
  const clock = (): number => now;
  const after = (ms: number, callback: () => void): (() => void) => {
    const timer = { at: now + ms, callback };
    timers.add(timer);
    return () => timers.delete(timer);
  };
  const pass = (ms: number): void => {
    now += ms;
    for (const timer of timers) {
      if (timer.at > now) continue;
      timers.delete(timer);
      timer.callback();
    }
  };
  return { clock, after, pass, timers };
}
