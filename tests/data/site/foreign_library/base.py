from dataclasses import dataclass


@dataclass
class BaseOptions:
    output_dir: str = "."
    steps: int = 1
