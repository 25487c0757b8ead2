"""Names and values as MLflow takes them: permitted characters, limited lengths, no credentials."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Final

MAX_NAME: Final = 250
MAX_PARAMETER: Final = 6000

_REFUSED = re.compile(r"[^/\w.\- :]")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


def metric_name(name: str) -> str:
    """The name with what MLflow refuses replaced: `pass@1` becomes `pass_at_1`.

    MLflow permits letters, digits and `/ _ . - :` and the space, in at most 250 characters that read as a relative path.
    """
    permitted = _REFUSED.sub("_", name.replace("@", "_at_"))[:MAX_NAME]
    # Below a root, `..` leads nowhere; leading dots and slashes are refused.
    return posixpath.normpath("/" + permitted).lstrip("/.") or "_"


def model_name(recipe: str, stage: str) -> str:
    """The name of the model that a stage makes; MLflow refuses slashes and colons in it."""
    return re.sub(r"[/:]", "_", f"{recipe}.{stage}")[:MAX_NAME]


def parameter_value(value: object) -> str:
    """The value as text of at most 6,000 characters, without lone surrogates and without the credentials of a URL."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return without_credentials(printable(text))[:MAX_PARAMETER]


def flatten(params: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested mappings as dotted names: `{"lora": {"r": 16}}` gives `("lora.r", 16)`."""
    for name, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def printable(text: str) -> str:
    """The text with lone surrogates replaced, which neither UTF-8 nor a database can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def without_credentials(text: str) -> str:
    """The text with the user and password of every URL left out."""
    return _CREDENTIALS.sub("", text)
