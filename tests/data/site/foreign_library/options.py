from dataclasses import dataclass
from typing import ClassVar

from foreign_library.base import BaseOptions


@dataclass
class TrainerOptions(BaseOptions):
    known: ClassVar[int] = 1
    learning_rate: float = 1e-3
    warmup: int = 0
    _private = 3
