"""The suite for losses: the same loss and gradient however a batch is cut, padded and ordered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ponder.testing.component import ComponentSuite
from ponder.testing.outcome import described, require, unchecked
from ponder.types import LossInputs, LossOutput

if TYPE_CHECKING:
    from ponder.testing.hf_losses import Evaluated


class LossSuite(ComponentSuite):
    """Checks a policy-gradient loss on batches of random numbers. Needs torch."""

    kind = "loss"
    tolerance: ClassVar[float] = 1e-9
    """How far two losses or gradients that should be equal may differ, relative to the larger one, in float64."""

    def test_a_loss_is_one_number_with_a_gradient(self) -> None:
        from ponder.testing.hf_losses import batch

        output = self.call(batch())
        require(
            isinstance(output, LossOutput),
            f"it returns {type(output).__name__}; return ponder.LossOutput(loss, metrics)",
        )
        require(output.loss.ndim == 0, f"the loss has shape {tuple(output.loss.shape)}; it should be one number")
        require(
            output.loss.requires_grad,
            "the loss has no gradient; compute it from inputs.logprobs without detach or no_grad",
        )

    def test_loss_and_gradient_are_finite(self) -> None:
        found = self.evaluated()
        require(
            found.is_finite,
            f"the loss is {found.loss}, or its gradient is not finite; look for what stands where mask is false",
        )

    def test_the_shares_of_micro_batches_add_up(self) -> None:
        from ponder.testing.hf_losses import batch, rows_of

        whole = batch()
        for cut in ([[0], [1, 2], [3, 4, 5]], [[row] for row in range(6)]):
            parts = [self.evaluated(rows_of(whole, rows)) for rows in cut]
            self._require_equal(
                self.evaluated(whole).loss,
                sum(part.loss for part in parts),
                f"the losses of {len(parts)} micro-batches add up to another loss than that of the whole batch; divide by "
                "inputs.batch_rows or inputs.batch_tokens, never by the number of rows or tokens at hand",
            )

    def test_the_gradient_does_not_depend_on_micro_batches(self) -> None:
        from ponder.testing.hf_losses import batch, rows_of

        whole = batch()
        gradients = self.evaluated(whole).gradient
        parts = [self.evaluated(rows_of(whole, [row])) for row in range(6)]
        for row, part in enumerate(parts):
            self._require_rows_equal(
                gradients[row], part.gradient[0], "in a micro-batch of its own, a row gets another gradient"
            )

    def test_metrics_add_up_as_the_loss_does(self) -> None:
        from ponder.testing.hf_losses import batch, rows_of

        whole = batch()
        parts = [self.evaluated(rows_of(whole, rows)) for rows in ([0, 1], [2, 3, 4, 5])]
        for name, value in self.evaluated(whole).metrics.items():
            self._require_equal(
                value,
                sum(part.metrics[name] for part in parts),
                f"the shares of the metric {name!r} do not add up over micro-batches; divide as for the loss",
            )

    def test_padding_changes_nothing(self) -> None:
        from ponder.testing.hf_losses import batch, padded

        short, long = self.evaluated(batch()), self.evaluated(padded(batch(), 4))
        text = "more padding behind the completions changes {}; multiply or select with inputs.mask before you sum"
        self._require_equal(short.loss, long.loss, text.format("the loss"))
        for one, other in zip(short.gradient, long.gradient, strict=True):
            self._require_rows_equal(one, other[: len(one)], text.format("the gradient"))
            require(not any(other[len(one) :]), "padding gets a gradient")

    def test_what_stands_in_the_padding_does_not_matter(self) -> None:
        from ponder.testing.hf_losses import batch

        plain, garbage = self.evaluated(batch()), self.evaluated(batch(padding=float("nan")))
        require(
            garbage.is_finite,
            "NaN where inputs.mask is false comes through; replace it (torch.where(mask, x, 0)) before anything else is done with it: "
            "0 * NaN is NaN, also in a gradient",
        )
        self._require_equal(plain.loss, garbage.loss, "what stands where inputs.mask is false changes the loss")

    def test_the_order_of_rows_does_not_matter(self) -> None:
        from ponder.testing.hf_losses import batch, rows_of

        order = [3, 0, 5, 1, 4, 2]
        straight, mixed = self.evaluated(batch()), self.evaluated(rows_of(batch(), order))
        self._require_equal(straight.loss, mixed.loss, "another order of the completions gives another loss")
        for place, row in enumerate(order):
            self._require_rows_equal(
                straight.gradient[row], mixed.gradient[place], "a row's gradient depends on its place"
            )

    def test_without_an_advantage_the_policy_gets_no_gradient(self) -> None:
        from ponder.testing.hf_losses import batch

        found = self.evaluated(batch(advantage=0.0, on_policy=True))
        require(
            found.largest_gradient <= 1e-12,
            f"with advantages of 0, and policy and reference the same, a gradient of {found.largest_gradient:.3g} is left",
        )

    def test_an_advantage_raises_the_probability_of_its_tokens(self) -> None:
        from ponder.testing.hf_losses import batch

        good, bad = (self.evaluated(batch(advantage=sign, on_policy=True)) for sign in (1.0, -1.0))
        require(
            all(value <= 0 for row in good.gradient for value in row) and good.largest_gradient > 0,
            "with an advantage of 1, descending the loss should raise every token's log-probability: the gradient must be negative. "
            "A loss is minimised: it begins with a minus",
        )
        require(
            all(value >= 0 for row in bad.gradient for value in row) and bad.largest_gradient > 0,
            "with an advantage of -1, descending the loss should lower every token's log-probability",
        )

    def test_the_same_call_gives_the_same_loss(self) -> None:
        from ponder.testing.hf_losses import batch

        loss = self.build()
        first, second = self.evaluated(batch(), loss), self.evaluated(batch(), loss)
        require(
            (first.loss, first.gradient) == (second.loss, second.gradient),
            "called again with the same inputs it gives another loss",
        )

    def test_its_inputs_are_left_as_they_were(self) -> None:
        from ponder.testing.hf_losses import batch, numbers_of

        inputs = batch()
        before = numbers_of(inputs)
        self.call(inputs)
        require(numbers_of(inputs) == before, "it changes its inputs; do not use operations that end with _")

    def test_completions_without_tokens_add_nothing(self) -> None:
        from ponder.testing.hf_losses import batch, emptied

        found = self.evaluated(emptied(batch()))
        require(
            found.is_finite and found.loss == 0,
            f"a batch in which no token counts has loss {found.loss}; it should be 0",
        )

    def test_metrics_are_plain_numbers(self) -> None:
        from ponder.testing.hf_losses import batch

        for name, value in self.call(batch()).metrics.items():
            require(
                value.ndim == 0 and not value.requires_grad,
                f"the metric {name!r} has shape {tuple(value.shape)} or carries a gradient; give single numbers, detached",
            )
        for name, number in self.evaluated().metrics.items():
            require(number == number and abs(number) != float("inf"), f"the metric {name!r} is {number}")

    def test_a_reference_is_needed_only_where_it_says_so(self) -> None:
        from ponder.testing.hf_losses import batch

        loss = self.build()
        if getattr(loss, "needs_reference", False):
            unchecked("it says that it needs a reference")
        found = self.evaluated(batch(with_reference=False), loss)
        require(
            found.is_finite, "without reference_logprobs the loss is not finite; have an attribute `needs_reference`"
        )

    def test_single_precision_is_enough(self) -> None:
        from ponder.testing.hf_losses import batch

        found, exact = self.evaluated(batch(single=True)), self.evaluated()
        require(found.is_finite, "in float32 the loss is not finite")
        require(
            abs(found.loss - exact.loss) <= 1e-4 * max(1.0, abs(exact.loss)),
            f"in float32 the loss is {found.loss:.8g}, and in float64 {exact.loss:.8g}",
        )

    def call(self, inputs: LossInputs, loss: Any = None) -> LossOutput:
        """The loss of these inputs."""
        built = self.build() if loss is None else loss
        try:
            output: LossOutput = built(inputs)
        except Exception as error:
            raise AssertionError(f"it raises {described(error)}") from error
        return output

    def evaluated(self, inputs: LossInputs | None = None, loss: Any = None) -> Evaluated:
        """Loss and gradient as numbers, of the common batch if none is given."""
        from ponder.testing.hf_losses import batch, evaluated

        inputs = batch() if inputs is None else inputs
        return evaluated(self.call(inputs, loss), inputs)

    def _require_equal(self, expected: float, found: float, text: str) -> None:
        most = self.tolerance * max(1.0, abs(expected), abs(found))
        require(abs(expected - found) <= most, f"{text} ({expected:.12g} and {found:.12g})")

    def _require_rows_equal(self, expected: list[float], found: list[float], text: str) -> None:
        for one, other in zip(expected, found, strict=True):
            self._require_equal(one, other, text)
