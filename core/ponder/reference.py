"""The reference: a page for each component and each hook, written from the texts of the code."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ponder.components import Component
from ponder.describe import Option, first_line, hooks, options
from ponder.example import example_recipe
from ponder.offers import HOOKS
from ponder.plugins import Offer, Registry

INDEX: Final = "README.md"
_WRITTEN: Final = "Written by `ponder plugins docs` from the texts under the options; do not edit."


def pages(registry: Registry) -> dict[str, str]:
    """Markdown by the page's path: an index, a page for each component, a page for each hook."""
    offers = registry.all()
    found = {f"{offer.kind}/{offer.component.name}.md": _component_page(registry, offer) for offer in offers}
    found |= {f"hooks/{name}.md": _hook_page(name, hook) for name, hook in hooks().items()}
    return {INDEX: _index(offers), **dict(sorted(found.items()))}


def write_pages(registry: Registry, directory: Path) -> tuple[int, int]:
    """Write the pages and remove what is no page any more; how many were written and removed."""
    wanted = pages(registry)
    for name, text in wanted.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    stale = [path for path in written(directory) if path not in wanted]
    for name in stale:
        (directory / name).unlink()
    return len(wanted), len(stale)


def stale_pages(registry: Registry, directory: Path) -> list[str]:
    """The pages that are missing, or differ from what the code says, or belong to nothing."""
    wanted = pages(registry)
    have = written(directory)
    changed = [name for name, text in wanted.items() if have.get(name) != text]
    return sorted({*changed, *(name for name in have if name not in wanted)})


def written(directory: Path) -> Mapping[str, str]:
    """The Markdown files below a directory, by their paths in it."""
    return {
        path.relative_to(directory).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(directory.rglob("*.md"))
    }


def _index(offers: Iterable[Offer]) -> str:
    offers = list(offers)
    lines = ["# Reference", "", _WRITTEN]
    for kind, hook in HOOKS.items():
        lines += ["", f"## {hook.removeprefix('ponder_').capitalize()}", ""]
        lines += [_entry(offer) for offer in offers if offer.kind == kind] or ["None is installed."]
    lines += ["", "## Hooks", ""]
    lines += [f"* [`{name}`](hooks/{name}.md): {_paragraph(hook)}" for name, hook in hooks().items()]
    return "\n".join(lines) + "\n"


def _entry(offer: Offer) -> str:
    name = offer.component.name
    return f"* [`{name}`]({offer.kind}/{name}.md): {first_line(offer.component.config)}"


def _component_page(registry: Registry, offer: Offer) -> str:
    component = offer.component
    lines = [f"# {offer.kind} `{component.name}`", "", *_text(component.config), "", f"From `{offer.distribution}`."]
    built = _built_text(component)
    if built:
        lines += ["", "## What it does", "", *built]
    rows = options(component.config)
    if rows:
        lines += [
            "",
            "## Options",
            "",
            "| option | type | default | what |",
            "| --- | --- | --- | --- |",
            *map(_row, rows),
        ]
    presets: Mapping[str, Mapping[str, object]] = getattr(component.config, "presets", {})
    if presets:
        lines += ["", "## Presets", "", *_presets(presets)]
    lines += ["", "## Example", "", "```yaml", *_example(registry, offer), "```", "", _WRITTEN]
    return "\n".join(lines) + "\n"


def _text(documented: Any) -> list[str]:
    return inspect.cleandoc(documented.__doc__ or "").strip().splitlines()


def _built_text(component: Component[Any]) -> list[str]:
    """The docstring of what is built, when that is a class of the plugin's."""
    build = component.resolved()
    return _text(build) if inspect.isclass(build) and build.__doc__ else []


def _presets(presets: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    for name, values in presets.items():
        yield f"* `{name}`: {', '.join(f'{option}: {value}' for option, value in values.items())}"


def _example(registry: Registry, offer: Offer) -> list[str]:
    return example_recipe(registry, offer.kind, offer.component.name).text.splitlines()


def _hook_page(name: str, hook: Any) -> str:
    arguments = ", ".join(inspect.signature(hook).parameters)
    example = _implementation(name, arguments)
    return (
        "\n".join(
            [
                f"# hook `{name}`",
                "",
                *_text(hook),
                "",
                "## Implemented by a plugin",
                "",
                "```python",
                *example,
                "```",
                "",
                _WRITTEN,
            ]
        )
        + "\n"
    )


def _implementation(name: str, arguments: str) -> list[str]:
    kind = next((kind for kind, hook in HOOKS.items() if hook == name), None)
    if kind is not None:
        return [
            "from ponder import Component, hookimpl",
            "",
            "",
            "@hookimpl",
            f"def {name}():",
            f'    yield Component("my_{kind}", My{kind.capitalize()}Config, My{kind.capitalize()})',
        ]
    return ["from ponder import hookimpl", "", "", "@hookimpl", f"def {name}({arguments}): ..."]


def _paragraph(documented: Any) -> str:
    return " ".join((documented.__doc__ or "").split())


def _row(option: Option) -> str:
    cells = (f"`{option.name}`", option.type, f"`{option.default}`", option.text)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
