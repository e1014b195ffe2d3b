/** A disk without room says so, and what was there before stays: /dev/full takes no byte. */
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { diskError } from "../../server/formats/diskFull.ts";
import { replaceFile } from "../../server/jobs/resultFolder.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "deltascope-full-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

describe.skipIf(!existsSync("/dev/full"))("a result of a run", () => {
  it.each(["words", [new Uint8Array(1000)]])("keeps the old file and names the new one", async (content) => {
    writeFileSync(join(folder, "result.json"), "before");
    symlinkSync("/dev/full", join(folder, "result.json.tmp"));
    await expect(replaceFile(folder, "result.json", content)).rejects.toMatchObject({
      code: "file.diskFull",
      message: expect.stringContaining(`${join(folder, "result.json")} was not written: there is no room`) as string,
    });
    expect(readFileSync(join(folder, "result.json"), "utf8")).toBe("before");
    expect(existsSync(join(folder, "result.json.tmp"))).toBe(false);
    await replaceFile(folder, "result.json", "after");
    expect(readFileSync(join(folder, "result.json"), "utf8")).toBe("after");
  });
});

it("other errors stay what they are", () => {
  const error = new Error("something else");
  expect(diskError("x", error)).toBe(error);
});
