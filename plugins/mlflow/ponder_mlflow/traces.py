"""Rollouts as MLflow's traces: a model call with its scores as assessments."""

from __future__ import annotations

import base64
import json
import math
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ponder_mlflow.names import printable
from ponder_mlflow.tables import evenly_spaced

if TYPE_CHECKING:
    from mlflow.entities import Assessment, Span, TraceInfo

_PREVIEW: Final = 1000
_SCORES: Final = ("score", "reward", "correct", "formatted", "readable")
"""Columns that are scores, beside those of the single rewards."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A prompt, what was said to it, and how that was judged."""

    prompt: str
    response: str
    answer: str | None
    scores: Mapping[str, float | bool]
    step: int | None


def calls_among(rows: Sequence[Row], most: int) -> list[Call]:
    """At most so many rollouts among the rows of a table; rows without a prompt, a response and a score are none."""
    return evenly_spaced([call for row in rows if (call := _call(row)) is not None], most)


def _call(row: Row) -> Call | None:
    prompt, response = row.get("prompt"), row.get("completion", row.get("response"))
    scores = dict(_scores(row))
    if not (isinstance(prompt, str) and isinstance(response, str) and scores):
        return None
    answer, step = row.get("answer"), row.get("step")
    return Call(
        printable(prompt),
        printable(response),
        None if answer is None else printable(str(answer)),
        scores,
        step if isinstance(step, int) else None,
    )


def _scores(row: Row) -> Iterator[tuple[str, float | bool]]:
    judged = {name: row[name] for name in _SCORES if name in row}
    judged |= {name.removeprefix("rewards/"): value for name, value in row.items() if name.startswith("rewards/")}
    if isinstance(row.get("scores"), Mapping):
        judged |= row["scores"]
    for name, value in judged.items():
        if isinstance(value, bool | int | float) and math.isfinite(value):
            yield name, value


def trace(call: Call, name: str, experiment: str, run: str) -> tuple[TraceInfo, Span]:
    """A finished trace of one span, in the form that a tracking store takes without the tracing machinery."""
    from mlflow.entities import Span, TraceInfo, TraceLocation, TraceState

    number, now = secrets.token_hex(16), time.time_ns()
    inputs, outputs = json.dumps(call.prompt), json.dumps(call.response)
    info = TraceInfo(
        trace_id=f"tr-{number}",
        trace_location=TraceLocation.from_experiment_id(experiment),
        request_time=now // 1_000_000,
        execution_duration=0,
        state=TraceState.OK,
        request_preview=call.prompt[-_PREVIEW:],
        response_preview=call.response[:_PREVIEW],
        trace_metadata={
            "mlflow.sourceRun": run,
            "mlflow.traceInputs": inputs[:_PREVIEW],
            "mlflow.traceOutputs": outputs[:_PREVIEW],
        },
        tags={"mlflow.traceName": name, **({} if call.step is None else {"ponder.step": str(call.step)})},
        assessments=list(_assessments(call, f"tr-{number}")),
    )
    span = Span.from_dict(
        {
            "trace_id": _base64(bytes.fromhex(number)),
            "span_id": _base64(secrets.token_bytes(8)),
            "parent_span_id": None,
            "name": name,
            "start_time_unix_nano": now,
            "end_time_unix_nano": now,
            "events": [],
            "status": {"code": "STATUS_CODE_OK", "message": ""},
            "attributes": {
                "mlflow.traceRequestId": json.dumps(f"tr-{number}"),
                "mlflow.spanType": json.dumps("LLM"),
                "mlflow.spanInputs": inputs,
                "mlflow.spanOutputs": outputs,
            },
        }
    )
    return info, span


def _assessments(call: Call, trace_id: str) -> Iterator[Assessment]:
    from mlflow.entities import AssessmentSource, Expectation, Feedback

    for name, value in call.scores.items():
        yield Feedback(name=name, value=value, source=AssessmentSource("CODE", f"ponder.{name}"), trace_id=trace_id)
    if call.answer is not None:
        source = AssessmentSource("CODE", "ponder.task")
        yield Expectation(name="answer", value=call.answer, source=source, trace_id=trace_id)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
