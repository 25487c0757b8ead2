"""A stand-in for a served teacher: sums in plain language, worked out by rule, behind an OpenAI-compatible endpoint on this machine.

`python examples/teacher.py` serves until Ctrl-C; then `ponder run examples/recipes/distill_smollm2.yaml` in another terminal. Like a model it
thinks before it answers, says so in `reasoning_content`, and errs: one time in ten, so that rejection sampling has something to reject.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import sys
import threading
from collections.abc import Sequence

from ponder.testing.endpoints import Answer, Body, StubEndpoint, completion

SUM = re.compile(r"-?\d+(?:\s*[-+]\s*\d+)+")
TERM = re.compile(r"([-+]?)\s*(\d+)")
MISTAKES = 0.1


def reply(number: int, body: Body) -> Answer:
    """The chat completion of a request; the same seed gets the same one."""
    question = str(body["messages"][-1]["content"])
    found = SUM.search(question)
    if found is None:
        return completion("I can only add and subtract.")
    terms = [int(sign + digits) for sign, digits in TERM.findall(found.group())]
    errs = random.Random(f"{body.get('seed')} {found.group()}").random() < MISTAKES
    steps, total = worked(terms, off_by=int(errs))
    return completion(rf"The answer is \boxed{{{total}}}.", reasoning_content=" ".join(steps), tokens=12 * len(steps))


def worked(terms: Sequence[int], off_by: int) -> tuple[list[str], int]:
    """The running totals in words, and the last of them, whose step is off by so much."""
    steps, total = [f"I add up from the left, beginning with {terms[0]}."], terms[0]
    for place, term in enumerate(terms[1:], 2):
        before, total = total, total + term + (off_by if place == len(terms) else 0)
        steps.append(f"{before} {'-' if term < 0 else '+'} {abs(term)} = {total}.")
    return steps, total


def main(arguments: Sequence[str]) -> None:
    """Serve on loopback until interrupted."""
    parser = argparse.ArgumentParser(description="A rule-based teacher of sums behind an OpenAI-compatible endpoint.")
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args(arguments).port
    with StubEndpoint(reply, port=port) as server:
        sys.stdout.write(f"serving {server.url}; Ctrl-C ends it\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1:])
