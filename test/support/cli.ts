/** Runs the commands of `bin/exclave` as people do: real processes, exit codes, `--json`. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { ErrorCode } from "../../src/errors.ts";

const BIN = join(import.meta.dirname, "../../bin/exclave");

/** How a command ended. */
export type Outcome<Report> = {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: string;
  /** What standard output said as JSON; throws when it said nothing of the kind. */
  readonly report: Report;
  readonly error: { readonly code: ErrorCode; readonly message: string } | undefined;
  readonly notices: readonly string[];
};

export type RunOptions = {
  /** Given on standard input, which is empty otherwise. */
  readonly input?: Uint8Array;
  /** False for what goes to people, or for a stream on standard output. */
  readonly json?: boolean;
  /** Variables of its environment, beside those of the test. */
  readonly env?: Readonly<Record<string, string>>;
  /** The user who runs it, when not the one who tests. */
  readonly uid?: number;
};

/** Starts a command. Whoever starts it waits for its end. */
export function start(
  home: string,
  args: readonly string[],
  options: RunOptions = {},
): ChildProcess {
  const { json = true, env = {}, uid } = options;
  // Before a `--`, behind which all belongs to another command.
  const at = args.includes("--") ? args.indexOf("--") : args.length;
  const all = json ? args.toSpliced(at, 0, "--json") : args;
  return spawn(process.execPath, [BIN, ...all], {
    env: { ...process.env, ...env, EXCLAVE_HOME: home },
    stdio: ["pipe", "pipe", "pipe"],
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
}

/** Runs a command to its end. */
export async function run<Report>(
  home: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Outcome<Report>> {
  const child = start(home, args, options);
  return ended<Report>(child, options.input);
}

/** Waits for the end of a started command; its input ends at once unless the caller wants to write it. */
export async function ended<Report>(
  child: ChildProcess,
  input: Uint8Array = new Uint8Array(),
  endInput = true,
): Promise<Outcome<Report>> {
  const [out, err]: [Buffer[], Buffer[]] = [[], []];
  child.stdout?.on("data", (data: Buffer) => out.push(data));
  child.stderr?.on("data", (data: Buffer) => err.push(data));
  // It may end before it has read everything.
  child.stdin?.on("error", () => undefined);
  if (endInput) child.stdin?.end(input);
  const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
  const stdout = Buffer.concat(out);
  const stderr = Buffer.concat(err).toString();
  const parse = (): unknown => {
    const lines = stdout.toString().trim().split("\n");
    assert.equal(
      lines.length,
      1,
      `one line of JSON was expected, and there was: ${stdout.toString()}`,
    );
    return JSON.parse(lines[0] ?? "");
  };
  return {
    code,
    signal,
    stdout,
    stderr,
    get report() {
      return parse() as Report;
    },
    get error() {
      return (parse() as { error?: { code: ErrorCode; message: string } }).error;
    },
    get notices() {
      return stderr
        .split("\n")
        .filter((line) => line.startsWith('{"notice":'))
        .map((line) => (JSON.parse(line) as { notice: string }).notice);
    },
  };
}

/** The report of a command that ended well, or with the exit code that is expected. */
export function good<Report>(outcome: Outcome<Report>, code = 0): Report {
  assert.equal(outcome.code, code, shown(outcome));
  return outcome.report;
}

/** Asserts that a command failed with this error, and returns its message. */
export function failed(outcome: Outcome<unknown>, error: ErrorCode, code = 1): string {
  assert.equal(outcome.error?.code, error, shown(outcome));
  assert.equal(outcome.code, code, shown(outcome));
  return outcome.error?.message ?? "";
}

/** What a command said, as much as helps to see what went wrong. */
export function shown(outcome: Outcome<unknown>): string {
  return `${outcome.stdout.toString("utf8", 0, 2000)}${outcome.stderr.slice(0, 2000)}`;
}
