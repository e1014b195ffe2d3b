/** Opening a model with adapters, and tokenizing a text with its tokenizer. */
import { Router } from "express";
import { endpoints } from "../endpoints.ts";
import { subjectRequest, tokenizeRequest } from "../wire.ts";
import type { AppDeps } from "./appDeps.ts";
import { serve } from "./serve.ts";
import { whileConnected } from "./whileConnected.ts";

export function subjectRoutes({ roots, queue }: AppDeps): Router {
  const router = Router();
  serve(router, endpoints.openSubject, subjectRequest, async (asked, response) =>
    queue.ask({ kind: "card", input: await roots.checkSubject(asked) }, whileConnected(response)),
  );
  serve(router, endpoints.tokenize, tokenizeRequest, async ({ subject, text }, response) =>
    queue.ask({ kind: "tokenize", input: { subject: await roots.checkSubject(subject), text } }, whileConnected(response)),
  );
  return router;
}
