import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { flagName } from "../src/cli/options.js";
import { SERVE_OPTIONS } from "../src/config.js";
import { exitOf } from "./support/command.js";
import { CTRL_U, noTerminals, PseudoTerminal } from "./support/pseudo-terminal.js";

/** The scripts of `smore completion`, asked by the shells themselves what they would offer. */

const SHELLS = ["bash", "zsh", "fish"] as const;
const folder = mkdtempSync(join(tmpdir(), "smore-completion-"));

function missing(shell: string): string | false {
  const found = spawnSync(shell, ["-c", "true"]).status === 0;
  return found ? false : `${shell} is not installed (Debian: apt-get install ${shell})`;
}

function shell(program: string, args: readonly string[]): string[] {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: folder, encoding: "utf8" });
  assert.equal(status, 0, stderr);
  return stdout.split("\n").filter((line) => line !== "");
}

/** What bash would offer at the end of `words`. */
function offeredByBash(...words: string[]): string[] {
  const line = words.map((word) => `'${word}'`).join(" ");
  return shell("bash", [
    "-c",
    `source ./bash; COMP_WORDS=(smore ${line}); COMP_CWORD=${words.length}; _smore; printf '%s\\n' "\${COMPREPLY[@]}"`,
  ]);
}

/** What fish would offer, without the explanations. */
function offeredByFish(line: string): string[] {
  const offers = shell("fish", ["--no-config", "-c", `source ./fish; complete -C ${quote(line)}`]);
  return offers.map((offer) => offer.split("\t")[0]!);
}

function quote(text: string): string {
  return `'${text}'`;
}

describe("smore completion", () => {
  before(async () => {
    for (const name of SHELLS) {
      const { code, output } = await exitOf(["completion", name]);
      assert.equal(code, 0, output);
      writeFileSync(join(folder, name), output);
    }
    writeFileSync(join(folder, "some-file.gguf"), "");
  });
  after(() => rmSync(folder, { recursive: true }));

  test("bash offers commands, all options of a command and the values of a choice", () => {
    assert.deepEqual(offeredByBash("se"), ["serve"]);
    const flags = Object.keys(SERVE_OPTIONS).map(flagName);
    assert.deepEqual(offeredByBash("serve", "--"), [...flags, "--help"]);
    assert.deepEqual(offeredByBash("serve", "--quantize", "q"), ["q8_0", "q4_0"]);
    assert.deepEqual(offeredByBash("completion", "f"), ["fish"]);
    assert.deepEqual(offeredByBash("serve", "--model", ""), [], "paths are bash's own");
  });

  test("zsh offers the same", { skip: missing("zsh") || noTerminals() }, async (test) => {
    const options = { cwd: folder, env: { TERM: "dumb" } };
    const terminal = new PseudoTerminal(test, ["zsh", "-f", "-i"], options);
    await terminal.shows(/\[\?2004h/); // it reads keys now
    terminal.type("autoload -Uz compinit && compinit -D -u && source ./zsh && PS1=rea''dy\\>\r");
    await terminal.shows(/ready>/);
    const offered = async (keys: string, shown: RegExp) => {
      await terminal.type(`${keys}\t`).shows(shown);
      terminal.type(CTRL_U);
    };
    await offered("smore se", /smore serve /);
    await offered("smore serve --quan", /--quantize=/);
    await offered("smore serve --quantize q4", /q4_0/);
    await offered("smore serve --model some", /some-file\.gguf/);
  });

  test("fish offers the same", { skip: missing("fish") }, () => {
    assert.deepEqual(offeredByFish("smore se"), ["serve"]);
    const flags = Object.keys(SERVE_OPTIONS).map(flagName);
    assert.deepEqual(new Set(offeredByFish("smore serve --")), new Set([...flags, "--help"]));
    assert.deepEqual(offeredByFish("smore serve --quantize q8"), ["q8_0"]);
    assert.deepEqual(offeredByFish("smore serve --model some-"), ["some-file.gguf"]);
  });

  test("another shell is refused by name, with exit code 2", async () => {
    const { code, output } = await exitOf(["completion", "tcsh"]);
    assert.equal(code, 2);
    assert.equal(output, "smore: smore completion takes one of bash, zsh, fish\n");
  });
});
