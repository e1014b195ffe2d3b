/** Progress on stderr: a bar on a terminal, a plain line now and then in a pipe. */
import { Presets, SingleBar } from "cli-progress";

export interface ProgressLine {
  update(done: number, total: number, unit: string): void;
  stop(): void;
}
const plainLineEveryMs = 1000;

export function progressLine(name: string, stream: NodeJS.WriteStream = process.stderr): ProgressLine {
  return stream.isTTY ? bar(name, stream) : plainLines(name, stream);
}

function bar(name: string, stream: NodeJS.WriteStream): ProgressLine {
  const single = new SingleBar(
    { format: `${name} {bar} {value}/{total} {unit}, {eta_formatted} left`, stream, hideCursor: true, clearOnComplete: true },
    Presets.shades_classic,
  );
  let isStarted = false;
  return {
    update(done, total, unit) {
      if (!isStarted) single.start(total, done, { unit });
      else {
        single.setTotal(total);
        single.update(done, { unit });
      }
      isStarted = true;
    },
    stop() {
      if (isStarted) single.stop();
    },
  };
}

function plainLines(name: string, stream: NodeJS.WriteStream): ProgressLine {
  let last = -Infinity;
  return {
    update(done, total, unit) {
      const now = performance.now();
      if (done < total && now - last < plainLineEveryMs) return;
      last = now;
      stream.write(`${name}: ${done}/${total} ${unit}\n`);
    },
    stop: () => undefined,
  };
}
