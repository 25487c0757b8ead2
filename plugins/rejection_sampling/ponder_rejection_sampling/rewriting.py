"""From what a policy said to what is trained on."""

from __future__ import annotations

from collections.abc import Mapping

from ponder.text import Language, extract_answer, is_well_formed, r1_response, split_response


def rewritten(said: str, language: Language, summaries: Mapping[str, str]) -> str | None:
    """The same reasoning in R1's own format, with a summary that gives the answer of the completion and nothing else.

    None when there is no reasoning or no answer, or when the answer would not be read back from the summary.
    """
    parts = split_response(said)
    if not parts.reasoning or not parts.answer:
        return None
    answer = extract_answer(said)
    response = r1_response(parts.reasoning, summaries[language].replace("{answer}", answer))
    is_faithful = is_well_formed(response, "r1") and extract_answer(response) == answer
    return response if answer and is_faithful else None
