/** The demo's disaster: which sites are lost, and the damage to a third one's shards. */
import { closeSync, fstatSync, openSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { stderr, stdin } from "node:process";
import { filesBelow } from "../disk.ts";
import { type Host, hosts } from "./hosts.ts";

export type Losses = {
  /** Two sites. */
  readonly lost: readonly Host[];
  /** The first of the others, whose shards are damaged. */
  readonly damaged: Host;
  /** The next one, whose power is cut. */
  readonly restarted: Host;
  readonly left: readonly Host[];
};

const LOST_COUNT = 2;
const ANSWER_SECONDS = 20;

/** What follows from the sites that are lost. */
function lossesOf(lost: readonly Host[]): Losses {
  const left = hosts.filter((host) => !lost.includes(host));
  const [damaged, restarted] = left;
  if (lost.length !== LOST_COUNT || !damaged || !restarted)
    throw new RangeError("two of the sites are lost");
  return { lost, damaged, restarted, left };
}

/** The first two: neighbours, which one hurricane reaches. */
export const defaultLosses: Losses = lossesOf(hosts.slice(0, LOST_COUNT));

/** Reads two site names or country names out of a person's answer; undefined when it is not two. */
export function parseLosses(answer: string): Losses | undefined {
  const words = answer
    .toLowerCase()
    .split(/[\s,;+]+/)
    .filter((word) => word !== "");
  const lost = hosts.filter((host, position) =>
    words.some((word) => word === host.site || word === String(position + 1)),
  );
  return words.length === LOST_COUNT && lost.length === LOST_COUNT ? lossesOf(lost) : undefined;
}

/** Asks the reader which two are lost. Enter, silence and a third unreadable answer take the default. */
export async function askForLosses(): Promise<Losses> {
  const fallback = defaultLosses.lost.map(({ site }) => site).join(" ");
  const question = `  Which two? (Enter, or ${ANSWER_SECONDS} s without a word, takes: ${fallback}) > `;
  for (let asked = 0; asked < 3; asked++) {
    stderr.write(question);
    const answer = await readLine(ANSWER_SECONDS);
    if (answer === undefined) stderr.write("\n");
    if (answer === undefined || answer.trim() === "") return defaultLosses;
    const losses = parseLosses(answer);
    if (losses) return losses;
    stderr.write(`  Two of the five, please, like this: ee ca\n`);
  }
  return defaultLosses;
}

/** A line from the terminal, or undefined when none comes in time or the input ends. */
async function readLine(seconds: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const finish = (line: string | undefined): void => {
      clearTimeout(timer);
      stdin.removeListener("data", onData);
      stdin.removeListener("end", onEnd);
      stdin.pause();
      resolve(line);
    };
    const onData = (chunk: Buffer | string): void => finish(chunk.toString());
    const onEnd = (): void => finish(undefined);
    const timer = setTimeout(finish, seconds * 1000, undefined);
    stdin.on("data", onData);
    stdin.on("end", onEnd);
    stdin.resume();
  });
}

/** Alters one byte in the middle of every shard in a folder of objects. Returns how many there are. */
export function damageShards(objects: string): number {
  let shards = 0;
  for (const path of filesBelow(join(objects, "shard"))) {
    const file = openSync(path, "r+");
    try {
      const at = Math.floor(fstatSync(file).size / 2);
      const byte = Buffer.alloc(1);
      readSync(file, byte, 0, 1, at);
      byte[0] = (byte[0] ?? 0) ^ 0xff;
      writeSync(file, byte, 0, 1, at);
    } finally {
      closeSync(file);
    }
    shards++;
  }
  return shards;
}
