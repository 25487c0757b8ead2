"""Has a hook that does not exist."""

from ponder import hookimpl


@hookimpl
def ponder_rewardz() -> list[object]:
    return []
