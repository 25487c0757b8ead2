"""A study as tables on a terminal."""

from __future__ import annotations

from typing import Final

from rich.table import Table

from ponder.lab.study import Study, Turns
from ponder.progress import Display, printable

SHOWN: Final = 10
TEXT: Final = 100
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"


def show_study(found: Study, display: Display) -> None:
    """Print what was found, the most telling first."""
    display.say(f"{found.rollouts:,} rollouts")
    display.console.print(_distributions(found))
    if found.correlations:
        display.console.print(_correlations(found))
    if found.turns is not None:
        display.say(turns_sentence(found.turns))
        display.console.print(_turned(found.turns)) if found.turns.turned else None
    if found.suspects:
        display.console.print(_suspects(found))
    else:
        display.say("No response with a high reward looks odd.")


def turns_sentence(turns: Turns) -> str:
    """What became of the advantages, in a sentence."""
    share = len(turns.turned) / turns.compared
    return (
        f"{len(turns.turned):,} of {turns.compared:,} advantages ({share:.1%}) change sign in {turns.groups:,} groups; "
        f"{turns.lost:,} groups lose their signal, {turns.gained:,} gain one"
    )


def excerpt(text: str, most: int = TEXT) -> str:
    """The beginning of a text on one line."""
    line = " ".join(printable(text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _distributions(found: Study) -> Table:
    table = Table("reward", "scored", "unscored", "mean", "deviation", "low", "median", "high", "spread")
    for row in found.distributions:
        most = max(row.histogram) or 1
        bars = "".join(_BLOCKS[-(-count * 8 // most)] for count in row.histogram)
        numbers = (row.mean, row.deviation, row.low, row.median, row.high)
        table.add_row(
            row.reward, f"{row.scored:,}", f"{row.unscored:,}", *(f"{number:.3g}" for number in numbers), bars
        )
    return table


def _correlations(found: Study) -> Table:
    table = Table("reward", "goes with", "r", "rollouts", title=f"The {SHOWN} strongest correlations")
    for row in found.correlations[:SHOWN]:
        table.add_row(row.reward, row.other, f"{row.r:+.2f}", f"{row.rollouts:,}")
    return table


def _turned(turns: Turns) -> Table:
    table = Table("rollout", "before", "after", "response", title="Advantages that change sign")
    for turn in turns.turned[:SHOWN]:
        table.add_row(turn.place, f"{turn.before:+.3g}", f"{turn.after:+.3g}", excerpt(turn.text))
    return table


def _suspects(found: Study) -> Table:
    table = Table("rollout", "total", "why", "response", title="High rewards for odd responses")
    for suspect in found.suspects[:SHOWN]:
        table.add_row(suspect.place, f"{suspect.total:.3g}", "; ".join(suspect.reasons), excerpt(suspect.text))
    return table
