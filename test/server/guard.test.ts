import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startServer, type TestServer } from "./startServer.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.close());

const subject = { model: null, adapters: [] };

describe("who may ask", () => {
  test("health answers with version, engine and job counts", async () => {
    const { status, json } = await server.call("GET", "/api/health");
    expect(status).toBe(200);
    expect(json).toMatchObject({ ok: true, version: "test", engine: "fake", jobs: { queued: 0, running: 0 } });
  });

  test.each([
    "evil.example",
    "evil.example:7860",
    "127.0.0.1.evil.example",
    "localhost.evil.example:80",
    "127.0.0.1@evil.example",
    "192.168.0.7",
    "0x7f000001",
  ])("Host %j is misdirected", async (host) => {
    const { status, json } = await server.call("GET", "/api/health", { headers: { host } });
    expect(status).toBe(421);
    expect(json).toMatchObject({ error: { code: "request.wrongHost" } });
  });

  test.each(["localhost", "localhost:9", "127.0.0.1:1", "[::1]:7860", "127.8.8.8", "LOCALHOST"])("Host %j is this machine", async (host) => {
    expect((await server.call("GET", "/api/health", { headers: { host } })).status).toBe(200);
  });

  test.each<Record<string, string>>([
    { origin: "http://evil.example" },
    { origin: "null" },
    { origin: "http://localhost:1" },
    { origin: "file://" },
    { "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "same-site" },
  ])("a post with %j is refused and nothing runs", async (headers) => {
    const { status, json } = await server.call("POST", "/api/runs", { body: { subject, probe: "counting" }, headers });
    expect(status).toBe(403);
    expect(json).toMatchObject({ error: { code: "request.wrongOrigin" } });
    expect(server.board.list()).toEqual([]);
  });

  test("a post from its own page is accepted", async () => {
    const own = `127.0.0.1:${server.port}`;
    const { status } = await server.call("POST", "/api/subjects", {
      body: subject,
      headers: { host: own, origin: `http://${own}`, "sec-fetch-site": "same-origin" },
    });
    expect(status).toBe(200);
  });

  test.each([{ host: "evil.example" }, { origin: "http://evil.example" }])("a socket with %j is refused", async (extraHeaders) => {
    const socket = server.connect({ extraHeaders });
    await expect(new Promise((resolve, reject) => socket.on("connect", () => resolve("connected")).on("connect_error", reject))).rejects.toThrow();
  });

  test("every reply carries the content policy", async () => {
    const { headers } = await server.call("GET", "/api/nothing");
    expect(headers["content-security-policy"]).toContain("script-src 'self' 'wasm-unsafe-eval'");
    expect(headers["content-security-policy"]).toContain("frame-ancestors 'none'");
    expect(headers["x-content-type-options"]).toBe("nosniff");
    expect(headers["strict-transport-security"]).toBeUndefined();
  });
});

describe("what may be asked", () => {
  test.each([
    ['{"subject":', "cut off"],
    ["[1,2]", "a list"],
    ["\u0000", "a zero byte"],
    ['"text"', "a string"],
  ])("a body that is %j is malformed", async (raw) => {
    const { status, json } = await server.call("POST", "/api/runs", { raw });
    expect(status).toBe(400);
    expect(json).toMatchObject({ error: { code: "request.malformed" } });
    expect((json as { error: { requestId: string } }).error.requestId).toMatch(/^[0-9a-f]{8}$/);
  });

  test("a body over 1 MB is too large", async () => {
    const { status, json } = await server.call("POST", "/api/tokenize", { body: { subject, text: "a".repeat(1_100_000) } });
    expect(status).toBe(413);
    expect(json).toMatchObject({ error: { code: "request.tooLarge" } });
  });

  test("an unknown field is named", async () => {
    const { status, json } = await server.call("POST", "/api/subjects", { body: { ...subject, modle: "x" } });
    expect(status).toBe(400);
    expect((json as { error: { message: string } }).error.message).toContain("modle");
  });

  test("an unknown probe lists near names, and bad parameters name the field", async () => {
    const unknown = await server.call("POST", "/api/runs", { body: { subject, probe: "countin" } });
    expect(unknown.status).toBe(404);
    expect(unknown.json).toMatchObject({ error: { code: "probe.unknown", message: expect.stringContaining("counting") as unknown } });
    for (const probe of ["__proto__", "constructor", "toString"])
      expect((await server.call("POST", "/api/runs", { body: { subject, probe } })).status).toBe(404);
    const bad = await server.call("POST", "/api/runs", { body: { subject, probe: "counting", params: { steps: "many" } } });
    expect(bad.status).toBe(400);
    expect(bad.json).toMatchObject({ error: { code: "probe.badParams", message: expect.stringContaining("steps") as unknown, field: "steps" } });
  });

  test("an unknown route, a broken escape and an unknown run are errors in JSON", async () => {
    expect((await server.call("GET", "/api/nothing")).json).toMatchObject({ error: { code: "request.notFound" } });
    expect((await server.call("GET", "/api/runs/%ff")).json).toMatchObject({ error: { code: "request.malformed" } });
    for (const id of ["none", "..%2F..%2Fetc", "%2e%2e"]) {
      const reply = await server.call("GET", `/api/runs/${id}`);
      expect(reply.status, id).toBe(404);
    }
  });
});

describe("opened roots", () => {
  const outside = mkdtempSync(join(tmpdir(), "deltascope-outside-"));

  test.each([["/etc"], ["/etc/does-not-exist"], [outside], ["../../../../../../etc"]])("%s is outside, and the words say how to open it", async (model) => {
    const { status, json } = await server.call("POST", "/api/subjects", { body: { model } });
    expect(status).toBe(403);
    expect(json).toMatchObject({ error: { code: "file.outsideRoots", message: expect.stringContaining("--root") as unknown } });
    expect((await server.call("GET", `/api/folders?path=${encodeURIComponent(model)}`)).status).toBe(403);
  });

  test("dots and symbolic links do not lead out", async () => {
    symlinkSync(outside, join(server.folder, "link"));
    for (const path of [join(server.folder, "link"), `${server.folder}/../${outside.split("/").at(-1)}`, `${server.folder}-sibling`]) {
      expect((await server.call("POST", "/api/subjects", { body: { model: path } })).status, path).toBe(403);
      expect((await server.call("POST", "/api/subjects", { body: { model: null, adapters: [{ path }] } })).status, path).toBe(403);
    }
  });

  test("a file in a folder that is a link out is not read, and none of its text is told; links inside are followed", async () => {
    writeFileSync(join(outside, "secret.txt"), "TOPSECRET");
    const base = join(server.folder, "linked");
    mkdirSync(base);
    symlinkSync(join(outside, "secret.txt"), join(base, "config.json"));
    const { status, text } = await server.call("POST", "/api/subjects", { body: { model: base } });
    expect(status).toBe(403);
    expect(text).not.toContain("TOPS");
    const blobs = join(server.folder, "blobs");
    const snapshot = join(server.folder, "snapshot");
    for (const made of [blobs, snapshot]) mkdirSync(made);
    writeFileSync(join(blobs, "1"), "{}");
    symlinkSync("../blobs/1", join(snapshot, "config.json"));
    expect((await server.call("POST", "/api/subjects", { body: { model: snapshot } })).status).toBe(200);
  });

  test("a missing folder inside a root is not found", async () => {
    const { status, json } = await server.call("POST", "/api/subjects", { body: { model: join(server.folder, "nothing") } });
    expect(status).toBe(404);
    expect(json).toMatchObject({ error: { code: "file.notFound" } });
  });

  test("folders are listed with what they hold", async () => {
    const models = join(server.folder, "models");
    for (const name of ["base", "lora", "plain", ".hidden"]) mkdirSync(join(models, name), { recursive: true });
    writeFileSync(join(models, "base", "config.json"), "{}");
    writeFileSync(join(models, "base", "model.safetensors"), "");
    writeFileSync(join(models, "lora", "adapter_config.json"), "{}");
    const { json } = await server.call("GET", `/api/folders?path=${encodeURIComponent(models)}`);
    expect(json).toMatchObject({
      entries: [
        { name: "base", kind: "model" },
        { name: "lora", kind: "adapter" },
        { name: "plain", kind: "folder" },
      ],
    });
    const top = await server.call("GET", "/api/folders");
    expect(top.json).toMatchObject({ parent: null, entries: [{ path: (json as { parent: string }).parent }] });
  });
});

describe("a token", () => {
  test("is needed for the API and for sockets once set, from header, address, cookie or handshake", async () => {
    const locked = await startServer({ token: "s3cret" });
    try {
      expect((await locked.call("GET", "/api/health")).status).toBe(401);
      expect((await locked.call("GET", "/api/health", { headers: { authorization: "Bearer wrong" } })).status).toBe(401);
      expect((await locked.call("GET", "/api/health", { headers: { authorization: "Bearer s3cret" } })).status).toBe(200);
      const first = await locked.call("GET", "/api/health?token=s3cret");
      expect(first.status).toBe(200);
      const cookie = first.headers["set-cookie"]![0]!;
      expect(cookie).toMatch(/HttpOnly; SameSite=Strict/);
      expect((await locked.call("GET", "/api/health", { headers: { cookie: cookie.split(";")[0]! } })).status).toBe(200);
      const outcome = (options: object) =>
        new Promise((resolve) =>
          locked
            .connect(options)
            .on("connect", () => resolve("connected"))
            .on("connect_error", (error) => resolve(error.message)),
        );
      expect(await outcome({})).toMatch(/token/);
      expect(await outcome({ auth: { token: "s3cret" } })).toBe("connected");
    } finally {
      await locked.close();
    }
  });
});
