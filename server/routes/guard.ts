/**
 * Who may talk to this server. A page on another site can reach 127.0.0.1 through the user's browser:
 * by DNS rebinding (then Host is a foreign name, and that is the only sign) or by posting across origins (then Origin is foreign).
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import { WorkbenchError } from "../errors.ts";

export interface GuardOptions {
  /** The address it listens on. */
  readonly host: string;
  /** Further names by which this machine may be called. */
  readonly allowedHosts?: readonly string[];
  /** Required of every request when not null. */
  readonly token: string | null;
}
export type Guard = ReturnType<typeof createGuard>;
const tokenCookie = "deltascope_token";

export function isLoopback(host: string): boolean {
  const name = host.replace(/^\[|\]$/g, "").toLowerCase();
  return name === "localhost" || name === "::1" || (isIP(name) === 4 && name.startsWith("127."));
}

export function createGuard({ host, allowedHosts = [], token }: GuardOptions) {
  const names = new Set([host, ...allowedHosts].map((name) => name.toLowerCase()));
  const isOpen = !isLoopback(host);

  /** @throws "request.wrongHost" */
  function checkHost(request: IncomingMessage): void {
    const name = hostName(request.headers.host);
    // An address literal cannot be rebound; on an open bind it is how other machines call this one.
    const isAllowed = name !== null && (isLoopback(name) || names.has(name) || (isOpen && isIP(name.replace(/^\[|\]$/g, "")) !== 0));
    if (!isAllowed)
      throw new WorkbenchError("request.wrongHost", `Host is ${quoted(request.headers.host)}; expected localhost, 127.0.0.1 or a name given with --allow-host`);
  }

  /** @throws "request.wrongOrigin" */
  function checkOrigin(request: IncomingMessage): void {
    const { origin, host: requestHost } = request.headers;
    if (origin !== undefined && originHost(origin) !== requestHost?.toLowerCase()) {
      throw new WorkbenchError("request.wrongOrigin", `Origin is ${quoted(origin)}; expected this server's own, ${requestHost ?? "(no Host)"}`);
    }
    const site = request.headers["sec-fetch-site"];
    if (site !== undefined && site !== "same-origin" && site !== "none") {
      throw new WorkbenchError("request.wrongOrigin", `Sec-Fetch-Site is ${quoted(site)}; expected same-origin or none`);
    }
  }

  /** @throws "request.unauthorised" */
  function checkToken(request: IncomingMessage, given?: unknown): void {
    if (token !== null && !isToken(given) && !isToken(tokenOf(request))) {
      throw new WorkbenchError("request.unauthorised", "a token is needed; open the address that the server printed, with ?token=…");
    }
  }

  const isToken = (given: unknown): boolean => token !== null && typeof given === "string" && timingSafeEqual(digest(given), digest(token));

  /** The Set-Cookie value that spares a browser the token in later requests; null when this request did not bring it in its address. */
  function cookieFor(request: IncomingMessage): string | null {
    const given = query(request).get("token");
    return isToken(given) ? `${tokenCookie}=${encodeURIComponent(given!)}; HttpOnly; SameSite=Strict; Path=/` : null;
  }

  return { checkHost, checkOrigin, checkToken, cookieFor };
}

function hostName(header: string | undefined): string | null {
  return /^(\[[0-9a-f:.]+\]|[^:/@\s]+)(?::\d{1,5})?$/i.exec(header ?? "")?.[1]?.toLowerCase() ?? null;
}

function originHost(origin: string): string | null {
  try {
    const { protocol, host } = new URL(origin);
    return protocol === "http:" || protocol === "https:" ? host : null;
  } catch {
    return null;
  }
}

function tokenOf(request: IncomingMessage): string | null {
  const bearer = /^Bearer (.+)$/i.exec(request.headers.authorization ?? "")?.[1];
  const cookie = new RegExp(`(?:^|; )${tokenCookie}=([^;]*)`).exec(request.headers.cookie ?? "")?.[1];
  return bearer ?? query(request).get("token") ?? (cookie === undefined ? null : safelyDecoded(cookie));
}

function query(request: IncomingMessage): URLSearchParams {
  return new URLSearchParams(request.url?.split("?", 2)[1] ?? "");
}

function safelyDecoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
const quoted = (text: string | undefined): string => (text === undefined ? "absent" : JSON.stringify(text.slice(0, 200)));
