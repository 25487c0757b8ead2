"""A library that takes its time to import, as those around torch do: here, importing it at all is an error."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .options import TrainerOptions as TrainerOptions

raise RuntimeError("foreign_library was imported")
