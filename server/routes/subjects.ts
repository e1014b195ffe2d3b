/** Opening a model with adapters, and tokenizing a text with its tokenizer. */
import { Router } from "express";
import { subjectRequest, tokenizeRequest } from "../wire.ts";
import type { AppDeps } from "./appDeps.ts";
import { whileConnected } from "./whileConnected.ts";

export function subjectRoutes({ roots, jobs }: AppDeps): Router {
  const router = Router();
  router.post("/subjects", async (request, response) => {
    const subject = await roots.checkSubject(subjectRequest.parse(request.body));
    response.json(await jobs.execute({ kind: "card", input: subject }, whileConnected(response)));
  });
  router.post("/tokenize", async (request, response) => {
    const { subject, text } = tokenizeRequest.parse(request.body);
    response.json(await jobs.execute({ kind: "tokenize", input: { subject: await roots.checkSubject(subject), text } }, whileConnected(response)));
  });
  return router;
}
