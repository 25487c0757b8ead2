"""A model card from a stage's lineage: how the policy came to be, on what data, and what it can do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ponder.context import FinishedStage
from ponder.durable import MANIFEST, read_json
from ponder.store import read_stage

if TYPE_CHECKING:
    from ponder.hf_export import Facts

_SHOWN: Final = ("pass@1", "format_rate", "language_consistency", "response_length")
MADE: Final = "Made with ponder "
"""What every card says: an export is known by it."""
_TEMPLATE: Final = """---
library_name: {library}
pipeline_tag: text-generation
license: other
tags: [reasoning, reinforcement-learning, ponder]
---

# {title}

{summary}. {made}{version}. The licence is for whoever publishes it to state, above.

## How it was made

Stages from the first to the last, each with what it started from and the data it read. A digest is the first 12 digits of a SHA-256: of the
data's description, or of the file where a stage wrote it.

{stages}
{deviations}
## What it can do

{evaluations}

## How to use it

{usage}
"""
_TRANSFORMERS: Final = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{title}")
model = AutoModelForCausalLM.from_pretrained("{title}")
prompt = tokenizer.apply_chat_template([{{"role": "user", "content": "1 + 2 = ?"}}], add_generation_prompt=True, return_tensors="pt", return_dict=True)
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=512)[0]))
```

`generation_config.json` holds the sampling of DeepSeek-R1's evaluations: temperature 0.6, top-p 0.95.{thinking}"""
_THINKING: Final = """ Prompts end with an opened `<think>`, so that
the model's words begin inside of it; a server that is to tell its reasoning apart from the answer is started so:

```
vllm serve {title} --reasoning-parser deepseek_r1
```"""
_LLAMA_CPP: Final = """```
llama-server --model {file} --jinja{reasoning}
```

The file holds the chat template and, as sampling defaults, those of DeepSeek-R1's evaluations: temperature 0.6, top-p 0.95."""


def model_card(stage: FinishedStage, facts: Facts, title: str) -> str:
    """Markdown with the metadata that the Hub reads."""
    store = stage.directory.parent
    line = list(_lineage(stage, store, set()))
    made_from = read_json(stage.directory / "options.json").get("made_from", {})
    return _TEMPLATE.format(
        title=title,
        library="gguf" if facts.gguf else "transformers",
        summary=facts.summary,
        made=MADE,
        version=made_from.get("ponder", "?"),
        stages=_table(("stage", "type", "made from", "data", "seed"), (_row(one, store) for one in line)),
        deviations=_deviations(line),
        evaluations=_evaluations(stage, store),
        usage=_usage(facts, title),
    )


def _usage(facts: Facts, title: str) -> str:
    if facts.gguf:
        return _LLAMA_CPP.format(file=facts.gguf, reasoning=" --reasoning-format deepseek" if facts.prefills else "")
    return _TRANSFORMERS.format(title=title, thinking=_THINKING.format(title=title) if facts.prefills else "")


def _lineage(stage: FinishedStage, store: Path, seen: set[str]) -> Iterator[FinishedStage]:
    """The stages that this one was made from, each once and before those that build on it."""
    seen.add(stage.fingerprint)
    for fingerprint in stage.parents.values():
        if fingerprint not in seen and (store / fingerprint / "result.json").exists():
            yield from _lineage(read_stage(store / fingerprint), store, seen)
    yield stage


def _row(stage: FinishedStage, store: Path) -> Sequence[str]:
    made_from = read_json(stage.directory / "options.json").get("made_from", {})
    tasks: Mapping[str, Any] = made_from.get("tasks", {})
    data = [f"{name} ({task['type']}, {_digest(task)})" for name, task in tasks.items()]
    for name, fingerprint in stage.parents.items():
        parent = store / fingerprint
        if (parent / "result.json").exists() and (written := read_stage(parent).result.task) is not None:
            sums = read_json(parent / MANIFEST)["files"]
            data.append(f"{name} ({sums[written.relative_to(parent).as_posix()]['sha256'][:12]})")
    parents = ", ".join(stage.parents) or "nothing"
    return stage.name, f"`{stage.type}`", parents, ", ".join(data) or "–", str(made_from.get("seed", "?"))


def _digest(task: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(task, sort_keys=True).encode()).hexdigest()[:12]


def _deviations(line: Iterable[FinishedStage]) -> str:
    """What stages changed of the presets that they are named after."""
    rows = []
    for stage in line:
        path = stage.directory / "deviations.json"
        if path.exists():
            found = read_json(path)
            rows += [
                (stage.name, f"`{found['preset']}`", f"`{change['option']}`", f"{change['preset']}", f"{change['run']}")
                for change in found["deviations"]
            ]
    table = _table(("stage", "preset", "option", "published", "here"), rows)
    return f"\nWhat differs from the published settings:\n\n{table}\n" if rows else ""


def _evaluations(stage: FinishedStage, store: Path) -> str:
    rows = []
    for path in sorted(store.glob("[!.]*/result.json")):
        record = read_json(path)
        if record["type"] == "evaluate" and stage.fingerprint in record["parents"].values():
            exam = read_stage(path.parent)
            if exam.options.get("policy") == stage.name:
                rows.append(_figures(exam))
    return _table(("exam", "samples", *_SHOWN), rows) if rows else "No exam of this policy is in the run."


def _figures(exam: FinishedStage) -> Sequence[str]:
    metrics = exam.result.metrics
    values = [f"{metrics[name]:.3f}" if name in metrics else "–" for name in _SHOWN]
    if {"pass@1_low", "pass@1_high"} <= metrics.keys():
        values[0] += f" [{metrics['pass@1_low']:.3f}, {metrics['pass@1_high']:.3f}]"
    return str(exam.options.get("task")), str(exam.options.get("samples")), *values


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
