/** Opening a file that someone named: a regular file, or a refusal; never a pipe or a device that would be waited for. */
import { closeSync, constants, fstatSync, openSync, type Stats } from "node:fs";
import { WorkbenchError } from "../errors.ts";

/**
 * @returns a file descriptor that the caller closes, and what the file was at that moment
 * @throws "file.notFound" when it is absent; "file.unreadable" when it may not be read or is no regular file
 */
export function openForReading(file: string): { fd: number; stat: Stats } {
  let fd: number;
  try {
    // Without O_NONBLOCK opening a named pipe waits for somebody to write.
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    if (code === "ENOENT" || code === "ENOTDIR") throw new WorkbenchError("file.notFound", `${file} does not exist`, { cause });
    if (code === "ELOOP") throw new WorkbenchError("file.unreadable", `${file} is a link that leads back to itself; expected a regular file`, { cause });
    throw new WorkbenchError("file.unreadable", `${file} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  const stat = fstatSync(fd);
  if (stat.isFile()) return { fd, stat };
  closeSync(fd);
  throw new WorkbenchError("file.unreadable", `${file} is ${kindOf(stat)}; expected a regular file`);
}

/** What tells a file from the one that had its path before: another inode, size or time of change. */
export function fileIdentity({ dev, ino, size, mtimeMs }: Stats): string {
  return `${dev}:${ino}:${size}:${mtimeMs}`;
}

function kindOf(stat: Stats): string {
  if (stat.isDirectory()) return "a folder";
  if (stat.isFIFO()) return "a named pipe";
  if (stat.isSocket()) return "a socket";
  return "a device";
}
