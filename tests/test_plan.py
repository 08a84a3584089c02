"""Prepared convolutions: packed once, run many times, on whatever memory comes."""

import gc

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import convolutions, views

import convc


@given(convolutions(), views, st.integers(1, 4))
def test_plans_agree_with_the_oracle(case, view_out, batch):
    """Also for other batches and other strides than those prepared for."""
    convc.set_isa(case.isa)
    plan = convc.prepare(
        case.view(case.weight), case.bias, case.laid_out(case.x).shape, **case.options, activation="relu"
    )
    x = np.resize(case.x, (batch, *case.x.shape[1:]))
    expected = reference.relu(reference.conv(x, case.weight, case.bias, *case.geometry)).astype(x.dtype)
    np.testing.assert_array_equal(case.first(plan(case.laid_out(x))), expected)
    out = view_out(np.full(np.shape(case.laid_out(expected)), np.nan, x.dtype))
    assert plan(case.laid_out(x), out) is out
    np.testing.assert_array_equal(case.first(out), expected)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("size", [2, 20])
def test_a_plan_gives_the_bits_of_a_plain_call(layout, size):
    """Long sums of few outputs, which a gradient's product would cut in parts."""
    rng = np.random.default_rng(0)
    shape = (1, 6000, size, size) if layout == "NCHW" else (1, size, size, 6000)
    x = rng.standard_normal(shape, np.float32)
    weight = rng.standard_normal((24, 6000, 1, 1), np.float32)
    options = {"layout": layout, "algorithm": "gemm"}
    plain = convc.conv2d(x, weight, **options)
    np.testing.assert_array_equal(convc.prepare(weight, None, x.shape, **options)(x), plain)


def test_weights_are_copied():
    weight, bias = np.ones((2, 1, 1, 1)), np.ones(2)
    plan = convc.prepare(weight, bias, (1, 1, 2, 2))
    weight[...] = bias[...] = 5
    del weight, bias
    gc.collect()
    assert (plan(np.ones((1, 1, 2, 2))) == 2).all()


def test_a_plan_outlives_a_change_of_instruction_set():
    x, weight = np.ones((1, 8, 9, 9), np.float32), np.ones((8, 8, 3, 3), np.float32)
    for name in convc.cpu_info()["available_isas"]:
        convc.set_isa(name)
        plan = convc.prepare(weight, None, x.shape)
        for other in convc.cpu_info()["available_isas"]:
            convc.set_isa(other)
            assert (plan(x) == 72).all()


@pytest.mark.parametrize("isa", convc.cpu_info()["available_isas"])
def test_a_direct_plan_outlives_it_too(isa):
    """Its workspace is that of the instruction set it was prepared for."""
    rng = np.random.default_rng(3)
    x, weight = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((1, 6, 9, 300), (4, 3, 3, 4)))
    plan = convc.prepare(weight, None, x.shape, groups=2, dilation=(2, 3))
    expected = plan(x)
    convc.set_isa(isa)
    np.testing.assert_array_equal(plan(x), expected)
    np.testing.assert_array_equal(convc.conv2d(x, weight, groups=2, dilation=(2, 3)), expected)


def test_weights_that_claim_to_be_huge():
    """Broadcast views cost their maker nothing; packed they would be larger than any memory."""
    one = np.float32(1)
    with pytest.raises(MemoryError, match="packed weights"):
        convc.prepare(np.broadcast_to(one, (2**64 // 1600 + 1, 1, 1, 1)), None, (1, 1, 4, 4))
    many = 2**64 // (36 * 4 * 16 * 32)
    weight = np.broadcast_to(one, (many, 1, 2, 3, 3))
    with pytest.raises(MemoryError, match="packed weights"):
        convc.prepare(weight, None, (1, many, 2, 3, 3), groups=many, algorithm="winograd")
    for many in (2**64 // 1152 + 1, 2**64 // (9 * 32 * 16) + 1):  # what a group takes before it is transformed
        weight = np.broadcast_to(one, (many, 1, 3, 3))
        with pytest.raises(MemoryError, match="packed weights"):
            convc.prepare(weight, None, (1, many, 3, 3), groups=many, padding=1, algorithm="winograd")


def test_attributes():
    plan = convc.prepare(np.ones((5, 3, 3, 3), np.float32), None, (2, 8, 9, 3), layout="NHWC", stride=2)
    assert plan.input_shape == (2, 8, 9, 3)
    assert plan.output_shape == (2, 3, 4, 5)
    assert plan.layout == "NHWC"
    assert plan.dtype == np.float32
    assert "(2, 8, 9, 3)" in repr(plan)


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        (np.ones((1, 2, 4, 4)), ValueError, "x must have shape"),
        (np.ones((1, 3, 4)), ValueError, "x must have 4 dimensions"),
        (np.ones((1, 3, 4, 4), np.float32), TypeError, "x must be float64"),
        ([[1.0]], TypeError, "x must be"),
        (None, TypeError, "x must be"),
    ],
)
def test_inputs_of_another_kind(x, error, text):
    plan = convc.prepare(np.ones((2, 3, 1, 1)), None, (1, 3, 4, 4))
    with pytest.raises(error, match=text):
        plan(x)


def test_out_must_not_overlap():
    memory = np.ones((1, 2, 4, 4))
    plan = convc.prepare(np.ones((2, 2, 1, 1)), None, memory.shape)
    with pytest.raises(ValueError, match="out must not overlap x"):
        plan(memory, memory)
    assert (memory == 1).all()
