"""Matrix products and fully connected layers."""

import numpy as np
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import dtypes, integers, isas, views

import convc

sizes = st.one_of(st.integers(1, 40), st.sampled_from([63, 64, 65, 129, 400]))


@given(sizes, sizes, sizes, dtypes, views, views, views, isas, st.booleans())
def test_gemm(m, n, k, dtype, view_a, view_b, view_c, isa, accumulate):
    convc.set_isa(isa)
    rng = np.random.default_rng(m + n + k)
    a, b, start = integers(rng, m, k), integers(rng, k, n), integers(rng, m, n)
    out = view_c(start.astype(dtype))
    result = convc.gemm(view_a(a.astype(dtype)), view_b(b.astype(dtype)), accumulate=accumulate, out=out)
    assert result is out
    np.testing.assert_array_equal(out, reference.gemm(a, b) + accumulate * start)


@given(sizes, sizes, sizes, dtypes, isas)
def test_gemm_is_within_the_bound(m, n, k, dtype, isa):
    convc.set_isa(isa)
    rng = np.random.default_rng(m * n * k)
    a, b = (rng.standard_normal(shape).astype(dtype) for shape in ((m, k), (k, n)))
    bound = 2 * reference.gamma(k, dtype) * reference.gemm(abs(a), abs(b))
    assert (np.abs(convc.gemm(a, b) - reference.gemm(a, b)) <= bound).all()


@given(st.lists(st.integers(1, 5), max_size=4), sizes, sizes, dtypes, isas, st.booleans(), views, st.booleans())
def test_linear(lead, ins, outs, dtype, isa, biased, view, active):
    convc.set_isa(isa)
    rng = np.random.default_rng(ins + outs)
    x, weight, bias = integers(rng, *lead, ins), integers(rng, outs, ins), integers(rng, outs)
    y = convc.linear(
        view(x.astype(dtype)),
        view(weight.astype(dtype)),
        view(bias.astype(dtype)) if biased else None,
        activation="relu" if active else None,
    )
    expected = x @ weight.T + biased * bias
    np.testing.assert_array_equal(y, reference.relu(expected) if active else expected)


@given(st.lists(st.integers(1, 5), max_size=4), sizes, sizes, dtypes, isas, views)
def test_linear_backward(lead, ins, outs, dtype, isa, view):
    convc.set_isa(isa)
    rng = np.random.default_rng(ins + outs)
    x, weight, grad = integers(rng, *lead, ins), integers(rng, outs, ins), integers(rng, *lead, outs)
    grad_x, grad_weight, grad_bias = convc.linear_backward(
        view(grad.astype(dtype)), view(x.astype(dtype)), view(weight.astype(dtype))
    )
    rows, inputs = grad.reshape(-1, outs), x.reshape(-1, ins)
    np.testing.assert_array_equal(grad_x, grad @ weight)
    np.testing.assert_array_equal(grad_weight, rows.T @ inputs)
    np.testing.assert_array_equal(grad_bias, rows.sum(0))


def test_a_classifier_of_many_features():
    """Long sums over a batch, and few outputs."""
    rng = np.random.default_rng(11)
    x, weight = integers(rng, 64, 3136, dtype=np.float32), integers(rng, 10, 3136, dtype=np.float32)
    np.testing.assert_array_equal(convc.linear(x, weight), reference.gemm(x, weight.T))
