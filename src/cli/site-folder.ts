/** In which folder the site is that a command is about. */
import { Option } from "commander";

export type FolderFlag = { readonly folder: string };

/** `--folder`, else `$EXCLAVE_SITE`, else here. */
export function folderOption(): Option {
  return new Option("--folder <dir>", "the site's folder").env("EXCLAVE_SITE").default(".");
}
