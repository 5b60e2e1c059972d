import { Command } from "commander";
import type { MakeCommand } from "./main.ts";
export const tryCommand: MakeCommand = () => new Command("try");
