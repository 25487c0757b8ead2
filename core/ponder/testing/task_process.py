"""The examples of a task in a fresh interpreter, for comparison: reads what to build from stdin, writes JSON to stdout."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ponder.building import make_config
from ponder.plugins import load_registry
from ponder.testing.tasks import TaskSuite, _plain


def main() -> None:
    """Build the task that stdin asks for and print its first examples."""
    request: dict[str, Any] = json.load(sys.stdin)
    component = load_registry(request["files"]).find("task", request["type"])
    config = make_config(component, request["options"], Path(request["folder"]) / "options")
    task = component.make(config, task=None)
    examples = [_plain(example) for example in TaskSuite().first(task, request["count"])]
    sys.stdout.write(json.dumps(examples))


if __name__ == "__main__":
    main()
