/**
 * The walls of the house: what each part may import of the others. Imports point left in
 *     formats → linalg, tensors → models → adapters → runs → training → probes → wire → reports → jobs → routes, sockets → commands
 * Type-only imports count, and so do those of .svelte files. A part that is not listed may import nothing of the house.
 */
const leaves = [
  "server/at.ts",
  "server/commandText.ts",
  "server/errors.ts",
  "server/folderName.ts",
  "server/nearNames.ts",
  "server/quoted.ts",
  "server/packageFolder.ts",
];
const tensors = ["server/formats", "server/linalg", "server/tensors"];
const subject = [...tensors, "server/models", "server/adapters", "server/runs", "server/data"];
const results = ["probes", "server/packedEvents.ts", "server/placeText.ts"];
const served = [
  ...subject,
  "server/training",
  ...results,
  "server/wire.ts",
  "server/endpoints.ts",
  "server/jobKinds",
  "server/reports",
  "server/jobs",
  "server/demo.ts",
];
const wire = [
  "server/commandText.ts",
  "server/wire.ts",
  "server/endpoints.ts",
  "server/jobKinds",
  "server/errors.ts",
  "server/nearNames.ts",
  "server/quoted.ts",
  "server/packedEvents.ts",
  "server/placeText.ts",
];

/** @type {Record<string, string[]>} */
const mayImport = {
  "server/at.ts": [],
  "server/errors.ts": [],
  "server/folderName.ts": [],
  "server/nearNames.ts": ["server/quoted.ts"],
  "server/quoted.ts": [],
  "server/commandText.ts": [],
  "server/packageFolder.ts": [],
  "server/packedEvents.ts": ["probes/result.ts"],
  "server/placeText.ts": ["probes/result.ts"],
  "server/demo.ts": ["server/packageFolder.ts", "server/wire.ts"],
  "server/formats": leaves,
  "server/linalg": leaves,
  "server/tensors": ["server/linalg", ...leaves],
  "server/models": [...tensors, ...leaves],
  "server/adapters": [...tensors, "server/models", ...leaves],
  "server/data": [...tensors, ...leaves],
  "server/runs": [...tensors, "server/models", "server/adapters", ...leaves],
  "server/training": [...subject, ...leaves],
  probes: [...subject, "server/training", ...leaves],
  "server/jobKinds": ["probes/probe.ts", "server/commandText.ts", "server/runs/subjectRequest.ts"],
  "server/limits": [...subject, "server/training", ...leaves],
  "server/wire.ts": ["server/errors.ts", "server/jobKinds", "server/packedEvents.ts", "server/runs", "server/training", "probes"],
  "server/endpoints.ts": ["server/wire.ts"],
  "server/reports": ["probes", "client/figures", ...leaves],
  "server/jobs": [...served, ...leaves],
  "server/routes": [...served, ...leaves],
  "server/sockets": [...served, "server/routes", ...leaves],
  "server/app.ts": [...served, "server/routes", "server/sockets", ...leaves],
  "server/commands": [...served, "server/limits", "server/app.ts", "server/routes", "server/sockets", ...leaves],
  "server/main.ts": ["server/commands", ...leaves],
  "client/figures": ["probes/result.ts", "probes/axes.ts", "server/models/siteNames.ts"],
  client: ["client", "probes/result.ts", ...wire],
};

const inside = (part) => `^${part.replaceAll(".", "\\.")}(/|$)`;
const anyOf = (parts) => parts.map(inside).join("|");
const parts = Object.keys(mayImport);

module.exports = {
  forbidden: [
    { name: "no-circle", severity: "error", comment: "No import circle, type-only ones included.", from: {}, to: { circular: true } },
    { name: "unresolved", severity: "error", comment: "Every import is of a file or a package that is there.", from: {}, to: { couldNotResolve: true } },
    ...parts.map((part) => ({
      name: `walls of ${part}`,
      severity: "error",
      comment: `${part} may import ${mayImport[part].join(", ") || "nothing"}.`,
      from: { path: inside(part), pathNot: anyOf(parts.filter((other) => other.startsWith(`${part}/`))) || undefined },
      to: { path: "^(server|probes|client)/", pathNot: anyOf([part, ...mayImport[part]]) },
    })),
    {
      name: "a part without walls",
      severity: "error",
      comment: "List it in .dependency-cruiser.cjs.",
      from: { path: "^(server|probes|client)/", pathNot: anyOf(parts) },
      to: {},
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    doNotFollow: { path: "node_modules" },
    exclude: { path: "(^|/)(dist|\\.deltascope)/" },
    enhancedResolveOptions: { extensions: [".ts", ".svelte", ".js"], conditionNames: ["import", "types", "svelte", "default"], exportsFields: ["exports"] },
    moduleSystems: ["es6"],
  },
};
