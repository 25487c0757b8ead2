"""The rewards that cross between ponder and TRL, which live in the core: see `ponder.adapters`."""

from ponder.adapters import IsolatedTrlReward, TrlFunction, TrlReward, for_trl

__all__ = ["IsolatedTrlReward", "TrlFunction", "TrlReward", "for_trl"]
