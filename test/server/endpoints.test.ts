/** The table of endpoints: every entry is served, and read by the client as the server writes it. */
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { addressOf, call } from "../../client/api.ts";
import { apiPrefix, endpoints, type Endpoint } from "../../server/endpoints.ts";
import { startServer, type TestServer } from "./startServer.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.close());

const table: Readonly<Record<string, Endpoint>> = endpoints;

test.each(Object.entries(table))("%s is at its address", async (_name, { method, path }) => {
  const { json } = await server.call(method, apiPrefix + path.replaceAll(/:(\w+)/g, "no-$1"), method === "POST" ? { body: {} } : {});
  expect(json).not.toMatchObject({ error: { message: expect.stringContaining("nothing is at") as string } });
});

test("no two endpoints share method and path", () => {
  const places = Object.values(table).map(({ method, path }) => `${method} ${path}`);
  expect(new Set(places).size).toBe(places.length);
});

test("the client fills the path, and sends the rest as query or body", async () => {
  expect(addressOf(endpoints.scalars, { id: "a b/c", format: "csv" })).toBe("/api/runs/a%20b%2Fc/scalars.csv");
  expect(addressOf(endpoints.figure, { id: "r", name: "loss.svg", theme: "dark", step: undefined, width: 300 })).toBe(
    "/api/runs/r/figures/loss.svg?theme=dark&width=300",
  );
  const asked: [string, RequestInit][] = [];
  vi.stubGlobal("fetch", (path: string, init: RequestInit) => {
    asked.push([path, init]);
    return Promise.resolve(new Response("null"));
  });
  try {
    await call(endpoints.branchRun, { id: "r/1", step: 3, params: { seed: 2 } });
    await call(endpoints.folders, { path: "/a &b" });
    await call(endpoints.folders, {});
  } finally {
    vi.unstubAllGlobals();
  }
  expect(asked.map(([path, { method, body }]) => [method, path, body])).toEqual([
    ["POST", "/api/runs/r%2F1/branch", '{"step":3,"params":{"seed":2}}'],
    ["GET", "/api/folders?path=%2Fa+%26b", undefined],
    ["GET", "/api/folders", undefined],
  ]);
});

test("a folder's name comes through the address whatever is in it", async () => {
  const { json } = await server.call("GET", `/api/folders?${new URLSearchParams({ path: "/no such & +folder" }).toString()}`);
  expect(json).toMatchObject({ error: { code: "file.outsideRoots", message: expect.stringContaining("/no such & +folder is outside") as string } });
});
