/** What a command says: results on standard output, everything else on standard error. */
import { stderr, stdout } from "node:process";

/** A live line is redrawn at most this often; JSON lines come at most once a second. */
const LIVE_INTERVAL_MS = 100;
const LINES_INTERVAL_MS = 1000;

export type Terminal = {
  readonly json: boolean;
  /** True when someone is watching: standard error is a terminal. */
  readonly live: boolean;
  /** The one result of a command: the object with `--json`, else the lines. */
  result(object: unknown, lines: readonly string[]): void;
  /** A line for people, at once; nothing with `--json`. */
  say(line: string): void;
  /** A warning or notice. */
  notice(line: string): void;
  error(line: string): void;
  /** The state of long work: a live line on a terminal, else a JSON line now and then. */
  progress(object: Readonly<Record<string, unknown>>, line: () => string): void;
  /** Ends the live line. */
  endProgress(): void;
  close(): void;
};

export function newTerminal(options: {
  readonly json: boolean;
  readonly quiet: boolean;
}): Terminal {
  const { json, quiet } = options;
  const live = stderr.isTTY === true && !json;
  let drawn = false;
  let lastMs = performance.now();
  const clear = (): void => {
    if (drawn) stderr.write("\r\x1b[K");
    drawn = false;
  };
  const line = (text: string): void => {
    clear();
    stderr.write(`${text}\n`);
  };
  return {
    json,
    live,
    result(object, lines) {
      clear();
      if (json) stdout.write(`${JSON.stringify(object)}\n`);
      else for (const text of lines) stdout.write(`${text}\n`);
    },
    say(text) {
      if (json) return;
      clear();
      stdout.write(`${text}\n`);
    },
    notice(text) {
      if (json) stderr.write(`${JSON.stringify({ notice: text })}\n`);
      else line(`note: ${text}`);
    },
    error(text) {
      // With --json the result carries the error.
      if (!json) line(text);
    },
    progress(object, text) {
      if (quiet) return;
      const now = performance.now();
      if (now - lastMs < (live ? LIVE_INTERVAL_MS : LINES_INTERVAL_MS)) return;
      lastMs = now;
      if (!live) {
        stderr.write(`${JSON.stringify({ progress: object })}\n`);
        return;
      }
      const width = (stderr.columns || 80) - 1;
      stderr.write(`\r\x1b[K${text().slice(0, width)}`);
      drawn = true;
    },
    endProgress: clear,
    close: clear,
  };
}
