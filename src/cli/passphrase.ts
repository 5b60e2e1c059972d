/** Passphrases: from a file, or typed twice or once at a terminal. Never from an argument. */
import { readFile } from "node:fs/promises";
import { stderr, stdin } from "node:process";
import { ExclaveError } from "../errors.ts";

/** Below this a passphrase is refused where a key is made: it would be the weakest link by far. */
const LENGTH_MIN = 8;

export async function newPassphrase(file: string | undefined): Promise<string> {
  if (file !== undefined) return longEnough(await fromFile(file));
  const first = longEnough(await ask("Passphrase for the new key file: "));
  if ((await ask("The same again: ")) === first) return first;
  throw new ExclaveError("usage", "the two passphrases differ. Nothing was made; run it again");
}

export async function knownPassphrase(file: string | undefined): Promise<string> {
  return file === undefined ? ask("Passphrase of the key file: ") : fromFile(file);
}

function longEnough(passphrase: string): string {
  if (passphrase.length >= LENGTH_MIN) return passphrase;
  throw new ExclaveError(
    "usage",
    `a passphrase has at least ${LENGTH_MIN} characters. Nothing was made`,
  );
}

/** The first line of a file. */
async function fromFile(file: string): Promise<string> {
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new ExclaveError("usage", `the passphrase file ${file} cannot be read`, { cause });
  });
  return text.split(/\r?\n/, 1)[0] ?? "";
}

const END = new Set(["\r", "\n", "\x04"]);

/** Reads a line from the terminal without showing it. */
async function ask(question: string): Promise<string> {
  if (!stdin.isTTY) {
    throw new ExclaveError(
      "usage",
      "no terminal to ask for a passphrase; give --passphrase-file FILE",
    );
  }
  // No echo before the question is seen: an answer that comes at once must not be shown either.
  stdin.setRawMode(true);
  stderr.write(question);
  stdin.setEncoding("utf8");
  let typed = "";
  try {
    // Not destroyed on leaving: the next question reads on.
    for await (const chunk of stdin.iterator({ destroyOnReturn: false }) as AsyncIterable<string>) {
      for (const character of chunk) {
        if (character === "\x03")
          throw new ExclaveError("interrupted", "stopped; nothing was changed");
        if (END.has(character)) return typed;
        typed = character === "\x7f" ? typed.slice(0, -1) : typed + character;
      }
    }
    return typed;
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    stderr.write("\n");
  }
}
