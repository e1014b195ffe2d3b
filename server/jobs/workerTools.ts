/** What a worker can do, over a given opener and table of probes. */
import type { ProbeTable } from "./runProbe.ts";
import type { OpenSubject } from "./subjectCache.ts";
import type { EngineChoice } from "./messages.ts";
import type { WorkerTools } from "./workerLoop.ts";

export function workerTools(probes: ProbeTable, openSubject: OpenSubject, choice: EngineChoice): WorkerTools {
  return {
    probes,
    openSubject,
    tokenize(subject, text) {
      const { ids, tokens } = subject.encode(text);
      return { ids, tokens };
    },
    async preview(subject, params) {
      const { previewTask } = await import("./previewTask.ts");
      return previewTask(subject, params);
    },
    // Both are heavy to load and seldom asked for, so they come with the first question.
    async renderFigure(request) {
      const { renderFigureFile } = await import("../reports/figureFile.ts");
      return renderFigureFile(request);
    },
    async doctorReport() {
      const { doctorReport } = await import("../tensors/doctor.ts");
      return doctorReport(choice.engine);
    },
  };
}
