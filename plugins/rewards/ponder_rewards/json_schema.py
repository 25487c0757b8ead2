"""Reward `json_schema`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ponder import Completion, Example
from ponder.errors import InputError
from ponder.text import split_response
from ponder_rewards.options import JsonSchemaConfig
from ponder_rewards.strict_json import DEEPEST, LONGEST, NotJsonError, depth_of, read_json


class JsonSchema:
    """1.0 when the answer is JSON that the schema allows, else 0.0.

    The answer is what stands in the answer tags, or else behind the reasoning, or else the whole response; it may be one fenced block.
    It is read strictly: nothing before or after it, no NaN, no member twice, at most 200,000 characters and 64 levels. Schemas
    are JSON Schema's, draft 2020-12 unless `$schema` names another; what they refer to must be in them or a published draft: nothing is
    ever fetched. Abstains when the example has no schema, or one that is none, refers elsewhere or goes round in a circle. Uses the
    library jsonschema.
    """

    def __init__(self, config: JsonSchemaConfig) -> None:
        self._column = config.column
        self._schema = _written(config)

    def warm_up(self) -> None:
        """Load the library, and the schema, before any sample is timed."""
        _validator(self._schema or "{}")

    def __call__(self, example: Example, completion: Completion) -> float | None:
        schema = self._schema or _plain(example.metadata.get(self._column))
        validator = None if schema is None else _validator(schema)
        if validator is None:
            return None
        answer = split_response(completion.text).answer
        try:
            value = read_json(completion.text if answer is None else answer)
        except NotJsonError:
            return 0.0
        return _verdict(validator, value)


def _written(config: JsonSchemaConfig) -> str | None:
    """The recipe's schema as text, or None when each example has its own."""
    if not config.schema and config.file is None:
        return None
    try:
        schema = read_json(Path(config.file).read_text(encoding="utf-8")) if config.file else config.schema
        text = json.dumps(schema)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"reward json_schema: {config.file or 'its schema'} cannot be read as JSON: {error}"
        ) from error
    problem = _problem(schema)
    if problem:
        raise InputError(f"reward json_schema: {config.file or 'its schema'} is no JSON schema: {problem}")
    return text


def _plain(schema: object) -> str | None:
    """An example's schema as text; None when it has none."""
    try:
        if isinstance(schema, str):
            return schema if isinstance(read_json(schema), dict | bool) else None
        return json.dumps(schema) if isinstance(schema, Mapping | bool) else None
    except (ValueError, TypeError, RecursionError):
        return None


@lru_cache(maxsize=1024)
def _validator(text: str) -> Any | None:
    """What checks against the schema; None when it is none."""
    schema = json.loads(text)
    if len(text) > LONGEST or _problem(schema):
        return None
    kind, registry = _kind_of(schema)
    return kind(schema, registry=registry)


def _problem(schema: Any) -> str:
    from jsonschema.exceptions import SchemaError

    if depth_of(schema, DEEPEST) > DEEPEST:
        return f"it has more than {DEEPEST} levels"
    try:
        _kind_of(schema)[0].check_schema(schema)
    except SchemaError as error:
        return str(error.message)
    return ""


def _kind_of(schema: Any) -> tuple[Any, Any]:
    """The validator of the schema's draft, and the registry of all that it may refer to: the drafts themselves."""
    # Imported where it is used: the trainer builds rewards too. Without a registry, jsonschema would fetch what a `$ref` names.
    import jsonschema
    from jsonschema_specifications import REGISTRY

    return jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator), REGISTRY


def _verdict(validator: Any, value: object) -> float | None:
    from referencing.exceptions import Unresolvable

    try:
        return float(validator.is_valid(value))
    except (Unresolvable, RecursionError):
        return None
    except OverflowError:
        return 0.0  # an integer so large that it cannot be compared
