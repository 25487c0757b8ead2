"""What `ponder doctor` looks at in a stage that asks an endpoint: whether it answers, and knows the model."""

from __future__ import annotations

from collections.abc import Iterator

from ponder.doctor import Finding, Patient
from ponder.endpoint import served_models
from ponder.endpoint_options import key_of
from ponder.suggestions import did_you_mean


def examine_endpoint(patient: Patient) -> Iterator[Finding]:
    """Ask each endpoint which models it serves; one that does not say knows ours, for all we can tell."""
    from ponder_sampling import endpoints_of

    for name, config in endpoints_of(patient):
        served = served_models(config.url, key_of(config, f"sampler {name!r}"))
        if served and config.model not in served:
            yield Finding(
                "problem",
                f"the endpoint {config.url} of sampler {name!r} does not serve the model {config.model!r}; "
                f"{did_you_mean(config.model, served)}",
                "give the sampler one of its models, or serve this one",
            )
