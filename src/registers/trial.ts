import type { Home } from "../vault/home.ts";
import type { FoundOptions } from "./found.ts";
import { found } from "./found.ts";
export async function adoptTrial(
  options: FoundOptions & { readonly trial: string; readonly trialPassphrase: string },
): Promise<Home> {
  return found(options);
}
