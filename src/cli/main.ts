import { readFileSync } from "node:fs";
import { Command } from "commander";

/** Runs one command line and gives its exit code. (A stub until the commands are there.) */
export async function main(argv: readonly string[]): Promise<number> {
  const packageJson = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  const { version }: { version: string } = JSON.parse(packageJson);
  await new Command("exclave").version(version).parseAsync(argv, { from: "user" });
  return 0;
}
