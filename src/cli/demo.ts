import { Command } from "commander";
import type { MakeCommand } from "./main.ts";
export const demoCommand: MakeCommand = () => new Command("demo");
