"""FP8 in tiles and blocks: the worked examples of the paper's formats, and products against exact ones."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.hf_fp8 import (
    GRADIENT_FLOOR,
    dequantize_blocks,
    e5m6_tiles,
    product,
    quantize_blocks,
    quantize_tiles,
    round_to_e5m6,
    scale_for,
)


@pytest.mark.parametrize(
    ("largest", "plain", "power_of_two"),
    [(1.0, 0.002232143, 0.00390625), (3.5, 0.0078125, 0.0078125), (1e-6, 2.232143e-7, 2.384186e-7)],
)
def test_the_scale_is_the_largest_over_448_and_ue8m0_rounds_it_up(largest, plain, power_of_two):
    assert scale_for(torch.tensor(largest)).item() == pytest.approx(plain, rel=1e-6)
    assert scale_for(torch.tensor(largest), power_of_two=True).item() == pytest.approx(power_of_two, rel=1e-6)


def test_e4m3_ends_at_448_and_begins_at_two_to_the_minus_nine():
    row = torch.zeros(1, 128)
    row[0, :4] = torch.tensor([448.0, 2.0**-6, 2.0**-9, 2.0**-11])
    quantized = quantize_tiles(row)
    assert quantized.scales.tolist() == [[1.0]]
    assert quantized.dequantize()[0, :4].tolist() == [448.0, 2.0**-6, 2.0**-9, 0.0]


def test_each_row_and_128_columns_have_a_scale_of_their_own():
    numbers = torch.full((2, 200), 0.1)
    numbers[1, 150] = 100.0
    scales = quantize_tiles(numbers).scales
    torch.testing.assert_close(scales, torch.tensor([[0.1, 0.1], [0.1, 100.0]]) / 448)


def test_each_block_of_128_x_128_has_a_scale_and_a_number_is_value_x_scale():
    torch.manual_seed(0)
    weight = torch.randn(3, 200, 130)
    weight[1, 140, 129] = 50.0
    quantized = quantize_blocks(weight)
    assert quantized.scales.shape == (3, 2, 2)
    assert quantized.scales[1, 1, 1].item() == pytest.approx(50 / 448)
    again = dequantize_blocks(quantized.values, quantized.scales, torch.float32)
    by_hand = quantized.values[1, 140, 129].float() * quantized.scales[1, 1, 1]
    assert again[1, 140, 129] == by_hand
    # Four bits of mantissa with the hidden one: at most a sixteenth of the number, or of the scale's smallest step.
    assert ((again - weight).abs() <= weight.abs() / 16 + quantized.scales.max() * 2**-10).all()


def test_scales_that_do_not_fit_the_blocks_are_refused():
    values = torch.zeros(200, 130).to(torch.float8_e4m3fn)
    with pytest.raises(ValueError, match=r"need scales of shape \(2, 2\), not \(2, 1\)"):
        dequantize_blocks(values, torch.ones(2, 1))


def test_blocks_transpose_without_rounding_again_and_tiles_do_not():
    torch.manual_seed(0)
    weight = torch.randn(200, 130)
    blocks = quantize_blocks(weight)
    assert torch.equal(blocks.transposed().dequantize(), blocks.dequantize().mT)
    assert torch.equal(quantize_blocks(weight.mT.contiguous()).dequantize(), blocks.dequantize().mT)
    with pytest.raises(ValueError, match="blocks"):
        quantize_tiles(weight).transposed()


def test_a_tile_of_zeros_stays_zero_and_small_gradients_do_not_vanish():
    assert not quantize_tiles(torch.zeros(1, 128)).dequantize().any()
    gradient = torch.full((1, 128), 1e-12)
    assert not quantize_tiles(gradient).dequantize().any()
    torch.testing.assert_close(quantize_tiles(gradient, GRADIENT_FLOOR).dequantize(), gradient)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_does_not_become_finite(bad):
    row = torch.ones(1, 128)
    row[0, 3] = bad
    assert not quantize_tiles(row).dequantize()[0, 3].isfinite()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-(2.0**90), 2.0**90, width=32), min_size=1, max_size=20))
def test_quantising_twice_with_powers_of_two_changes_nothing_more(numbers):
    once = quantize_tiles(torch.tensor([numbers]), power_of_two=True).dequantize()
    assert torch.equal(quantize_tiles(once, power_of_two=True).dequantize(), once)


def test_a_product_is_the_sum_of_values_times_the_scales_of_both():
    torch.manual_seed(0)
    left, right = quantize_tiles(torch.randn(3, 256)), quantize_blocks(torch.randn(5, 256))
    expected = torch.zeros(3, 5, dtype=torch.float64)
    for block in range(2):
        part = slice(128 * block, 128 * (block + 1))
        sums = left.values[:, part].double() @ right.values[:, part].double().mT
        expected += sums * left.scales[:, block, None].double() * right.scales[0, block].double()
    torch.testing.assert_close(product(left, right).double(), expected, rtol=1e-5, atol=1e-5)


def test_e5m6_keeps_six_bits_of_mantissa_and_ties_go_to_even():
    numbers = torch.tensor([1 + 2**-6, 1 + 2**-7, 1 + 3 * 2**-7, 65024.0, 2.0**-14, -1.5])
    assert round_to_e5m6(numbers).float().tolist() == [1 + 2**-6, 1.0, 1 + 2**-5, 65024.0, 2.0**-14, -1.5]


def test_e5m6_tiles_have_scales_that_are_powers_of_two_and_err_by_a_hundred_twenty_eighth():
    torch.manual_seed(0)
    numbers = torch.randn(4, 200) * 1000
    kept = e5m6_tiles(numbers)
    assert torch.equal(torch.frexp(kept.scales).mantissa, torch.full((4, 2), 0.5))
    assert ((kept.dequantize() - numbers).abs() <= numbers.abs() / 128 + 1e-6).all()
