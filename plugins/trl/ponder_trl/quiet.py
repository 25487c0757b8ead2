"""Other libraries' console output kept out of ponder's: what matters is said through the stage's context."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import datasets
import transformers

_TALKATIVE = ("trl", "accelerate", "datasets", "torch")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """No warnings, log lines or progress bars below an error from transformers, TRL and what they use."""
    verbosity = transformers.logging.get_verbosity()
    levels = {name: logging.getLogger(name).level for name in _TALKATIVE}
    had_bars = datasets.are_progress_bars_disabled()
    transformers.logging.set_verbosity_error()
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if not had_bars:
            datasets.enable_progress_bars()
