"""The column matrix and its adjoint."""

import numpy as np
import reference
from hypothesis import given
from strategies import convolutions, integers

import convc


@given(convolutions())
def test_im2col(case):
    convc.set_isa(case.isa)
    w = case.window
    cols = convc.im2col(case.laid_out(case.x), w.kernel, **w.options, layout=case.layout)
    np.testing.assert_array_equal(cols, reference.im2col(case.x, w.kernel, *w.geometry))


@given(convolutions())
def test_col2im(case):
    convc.set_isa(case.isa)
    w = case.window
    shape = reference.im2col(case.x, w.kernel, *w.geometry).shape
    cols = integers(np.random.default_rng(12), *shape, dtype=case.x.dtype)
    image = convc.col2im(case.view(cols), case.x.shape[2:], w.kernel, **w.options, layout=case.layout)
    np.testing.assert_array_equal(case.first(image), reference.col2im(cols, case.x.shape, w.kernel, *w.geometry))


@given(convolutions())
def test_convolution_is_a_product_with_the_columns(case):
    if case.groups > 1:
        case = case.with_arrays(weight=case.weight[:5].repeat(case.groups, 1), groups=1)
    cols = convc.im2col(case.laid_out(case.x), case.window.kernel, **case.window.options, layout=case.layout)
    y = case.function()(case.laid_out(case.x), case.weight, **case.options)
    matrix = case.weight.reshape(len(case.weight), -1)
    product = np.stack([convc.gemm(matrix, image) for image in cols])
    np.testing.assert_array_equal(product.reshape(case.first(y).shape), case.first(y))


def test_pytorch_agrees(torch):
    x = np.random.default_rng(13).standard_normal((2, 3, 11, 9))
    options = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}
    cols = convc.im2col(x, (3, 2), **options)
    theirs = torch.nn.functional.unfold(torch.from_numpy(x), (3, 2), **options)
    np.testing.assert_array_equal(cols, theirs.numpy())
    theirs = torch.nn.functional.fold(theirs, (11, 9), (3, 2), **options)
    np.testing.assert_allclose(convc.col2im(cols, (11, 9), (3, 2), **options), theirs.numpy(), rtol=1e-14)
