/** An open subject at the strengths of a request. */
import type { SubjectCard, SubjectRequest } from "./subjectRequest.ts";
import type { AdapterSetting } from "./worlds.ts";

interface AtStrengths {
  readonly card: SubjectCard;
  readonly setting: AdapterSetting;
}

/**
 * The same open files as another request asks for them: strength is a setting of the worlds that are run, not of what is opened.
 * @param request of the same model and adapters, in their order
 */
export function atStrengths<S extends AtStrengths>(subject: S, request: SubjectRequest): S {
  const cards = request.adapters.flatMap(({ strength }, i) => {
    const card = subject.card.adapters[i];
    return card ? [{ ...card, strength }] : [];
  });
  return {
    ...subject,
    card: { ...subject.card, request, adapters: cards },
    setting: { strengths: Object.fromEntries(cards.map(({ name, strength }) => [name, strength])) },
  };
}
