"""The reverse of max pooling. Apart from pools, for these layers have two inputs: values, and the places they go to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from convc import _core, shapes
from convc.nn._module import Array, Backward
from convc.nn._pool import _Pool
from convc.shapes import ReceptiveField


class _MaxUnpool(_Pool):
    _operator: ClassVar[Callable[..., Array]]

    def __init__(
        self,
        kernel_size: shapes.Axes,
        stride: shapes.Axes | None = None,
        padding: shapes.Padding = 0,
        *,
        layout: str | None = None,
    ) -> None:
        self._set(kernel_size, stride, padding, 1, layout, "floor")

    def __call__(self, x: Array, indices: Array, output_size: shapes.Axes | None = None) -> Array:  # type: ignore[override]
        return type(self)._operator(x, indices, *self._windows()[:3], output_size, layout=self.layout)

    def forward(  # type: ignore[override]
        self, x: Array, indices: Array, output_size: shapes.Axes | None = None
    ) -> tuple[Array, Backward]:
        y = self(x, indices, output_size)
        return y, lambda grad: type(self)._gradient(grad, indices, layout=self.layout)

    forward_data = forward_inference = forward  # type: ignore[assignment]

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """What there is without `output_size`."""
        channels, size = self._split(input_shape)
        return self._shape(channels, shapes.conv_transpose_output_shape(size, *self._windows()[:3]))

    def receptive_field(self, field: ReceptiveField | None) -> ReceptiveField | None:
        return field and field.after_transposed(self.kernel_size, self.stride, self.dilation, self.padding)

    def dropped(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (0,) * self._ndim

    def config(self) -> dict[str, Any]:
        return {
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "layout": self.layout,
        }

    def __repr__(self) -> str:
        text = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return f"{type(self).__name__}({text}{self._extras()})"


class MaxUnpool1d(_MaxUnpool):
    """
    The reverse of `MaxPool1d`; the arguments are those of `MaxUnpool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.MaxUnpool1d(2)(np.array([[[3.0, 4.0]]]), np.array([[[0, 3]]]))
    array([[[3., 0., 0., 4.]]])
    """

    _ndim = 1
    _operator, _gradient = staticmethod(_core.max_unpool1d), staticmethod(_core.max_unpool1d_backward)


class MaxUnpool2d(_MaxUnpool):
    """
    The reverse of `MaxPool2d`: zeros, but the values of the input at the places that indices name.

    ``layer(x, indices, output_size=None)`` has two inputs, so that it is no layer of a `Sequential`: a module of one's
    own gives it what a pool with ``return_indices=True`` returned. ``layer.forward`` takes the same, and the gradient
    that it continues is that of `x`.

    Parameters
    ----------
    kernel_size : int or one int for each axis
    stride : int or one int for each axis, optional
        `kernel_size` if not given.
    padding : int or one int for each axis
        All three are those of the pool; `output_size`, in the call, is the size of the pool's input where several sizes
        are pooled to the same, see `convc.max_unpool2d`.
    layout : {"NCHW", "NHWC"}

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> pool, unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
    >>> x = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> unpool(*pool(x))
    array([[[[ 0.,  0.,  0.,  0.],
             [ 0.,  5.,  0.,  7.],
             [ 0.,  0.,  0.,  0.],
             [ 0., 13.,  0., 15.]]]])

    Training, with whatever lies between the two:

    >>> (y, indices), pool_backward = pool.forward(x)
    >>> z, unpool_backward = unpool.forward(y, indices)
    >>> int(pool_backward(unpool_backward(np.ones_like(z))).sum())
    4
    """

    _ndim = 2
    _operator, _gradient = staticmethod(_core.max_unpool2d), staticmethod(_core.max_unpool2d_backward)


class MaxUnpool3d(_MaxUnpool):
    """
    The reverse of `MaxPool3d`; the arguments are those of `MaxUnpool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> y, indices = nn.MaxPool3d(2, return_indices=True)(np.ones((1, 1, 4, 4, 4)))
    >>> nn.MaxUnpool3d(2)(y, indices).shape
    (1, 1, 4, 4, 4)
    """

    _ndim = 3
    _operator, _gradient = staticmethod(_core.max_unpool3d), staticmethod(_core.max_unpool3d_backward)
