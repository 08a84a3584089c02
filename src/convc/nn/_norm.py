"""Normalisation: by the batch, by groups of channels, by samples, and by neighbouring channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from convc import _core, shapes
from convc.nn._module import Array, Backward, Buffer, Module, Parameter
from convc.nn._spatial import _LAYOUTS
from convc.nn._weights import accumulate, choice, data, float_dtype, number


class Norm(Module):
    """What normalisations share: a weight and a bias, or none, and gradients from what the forward pass measured."""

    weight: Parameter | None
    bias: Parameter | None
    eps: float
    dtype: np.dtype[Any]

    def _set_affine(self, shape: tuple[int, ...], affine: bool, bias: bool, eps: float, dtype: Any) -> None:
        self.eps, self.dtype = number(eps, "eps"), float_dtype(dtype)
        if not self.eps >= 0:
            raise ValueError(f"eps must be at least 0, got {eps!r}")
        self.weight = Parameter(np.ones(shape, self.dtype)) if affine else None
        self.bias = Parameter(np.zeros(shape, self.dtype)) if affine and bias else None

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return self._forward(x, ("x",))

    def forward_data(self, x: Array) -> tuple[Array, Backward]:
        return self._forward(x, ())

    def _forward(self, x: Array, needs: tuple[str, ...]) -> tuple[Array, Backward]:
        raise NotImplementedError

    def _backward(self, gradient: Callable[..., Any], needs: tuple[str, ...]) -> Backward:
        """`gradient` takes the gradient of the output and, by keyword, the weight and what is needed."""
        weight, bias = self.weight, self.bias
        needs += (() if weight is None else ("weight",)) + (() if bias is None else ("bias",))
        return lambda grad: accumulate(weight, bias, gradient(grad, weight=data(weight), needs=needs))

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(input_shape)


class BatchNorm(Norm):
    """What `BatchNorm1d`, `BatchNorm2d` and `BatchNorm3d` share."""

    _ndim: ClassVar[int]

    running_mean: Buffer | None
    running_var: Buffer | None
    num_batches_tracked: Buffer | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        layout: str | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.num_features = shapes.integer(num_features, "num_features", 1)
        self.momentum = None if momentum is None else number(momentum, "momentum")
        self.layout = choice(layout or _LAYOUTS[self._ndim][0], "layout", _LAYOUTS[self._ndim])
        self._set_affine((self.num_features,), affine, affine, eps, dtype)
        self.running_mean = self.running_var = self.num_batches_tracked = None
        if track_running_stats:
            self.running_mean = Buffer(np.zeros(self.num_features, self.dtype))
            self.running_var = Buffer(np.ones(self.num_features, self.dtype))
            self.num_batches_tracked = Buffer(np.array(0), optional=True)  # files of old networks lack it

    @staticmethod
    def state_shapes(
        num_features: int, affine: bool, track_running_stats: bool, **_: Any
    ) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays of such a layer."""
        names = ("weight",) * bool(affine) + ("running_mean",) * bool(track_running_stats)
        return dict.fromkeys(names, (num_features,))

    def __call__(self, x: Array) -> Array:
        y: Array = self._normalise(x, self.running_mean is None, 0.0, False)
        return y

    def _forward(self, x: Array, needs: tuple[str, ...]) -> tuple[Array, Backward]:
        if self.num_batches_tracked is None:
            return self._with_gradient(x, needs, True, 0.0)
        batches = int(self.num_batches_tracked.data) + 1
        # Without a momentum the running statistics are the mean of those of all batches.
        result = self._with_gradient(x, needs, True, 1 / batches if self.momentum is None else self.momentum)
        self.num_batches_tracked.data[...] = batches
        return result

    def forward_inference(self, x: Array) -> tuple[Array, Backward]:
        return self._with_gradient(x, ("x",), self.running_mean is None, 0.0)

    def _with_gradient(
        self, x: Array, needs: tuple[str, ...], training: bool, momentum: float
    ) -> tuple[Array, Backward]:
        y, mean, inv_std = self._normalise(x, training, momentum, True)

        def gradient(grad: Array, **options: Any) -> Any:
            layout = self._layout_of(x)
            return _core.batch_norm_backward(grad, x, mean, inv_std, training=training, layout=layout, **options)

        return y, self._backward(gradient, needs)

    def _normalise(self, x: Array, training: bool, momentum: float, return_statistics: bool) -> Any:
        return _core.batch_norm(
            x,
            data(self.running_mean),
            data(self.running_var),
            data(self.weight),
            data(self.bias),
            training,
            momentum,
            self.eps,
            layout=self._layout_of(x),
            return_statistics=return_statistics,  # type: ignore[call-overload]
        )

    def _layout_of(self, x: Array) -> Any:
        if self._ndim == 1 and np.ndim(x) == 2:
            return None
        if np.ndim(x) != self._ndim + 2:
            axes = "2 or 3" if self._ndim == 1 else f"{self._ndim + 2}"
            raise ValueError(f"{self} needs an input of {axes} axes, got shape {np.shape(x)}")
        return self.layout

    def in_use(self) -> tuple[Array, Array] | None:
        """Scale and shift of each channel in use, in float64; None if they depend on the batch."""
        if self.running_mean is None or self.running_var is None:
            return None
        one = np.ones(self.num_features)
        scale = (one if self.weight is None else self.weight.data) / np.sqrt(one * self.running_var.data + self.eps)
        return scale, (0 * one if self.bias is None else self.bias.data) - self.running_mean.data * scale

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(input_shape) != self._ndim + 1 and not (self._ndim == 1 and len(input_shape) == 1):
            raise ValueError(f"{self} needs an input of {self._ndim + 1} axes, got {tuple(input_shape)}")
        if input_shape[0 if self.layout == _LAYOUTS[self._ndim][0] else -1] != self.num_features:
            raise ValueError(
                f"{self} needs {self.num_features} channels, got {tuple(input_shape)} in {self.layout[1:]}"
            )
        return tuple(input_shape)

    def config(self) -> dict[str, Any]:
        return {
            "num_features": self.num_features,
            "eps": self.eps,
            "momentum": self.momentum,
            "affine": self.weight is not None,
            "track_running_stats": self.running_mean is not None,
            "layout": self.layout,
            "dtype": self.dtype.name,
        }

    def __repr__(self) -> str:
        text = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.weight is not None}"
        text += f", track_running_stats={self.running_mean is not None}"
        layout = "" if self.layout == _LAYOUTS[self._ndim][0] else f", layout={self.layout!r}"
        return f"{type(self).__name__}({text}{layout})"


class BatchNorm1d(BatchNorm):
    """
    Batch normalisation of (N, C) features or (N, C, W) signals; the arguments are those of `BatchNorm2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.BatchNorm1d(3)(np.ones((2, 3), np.float32)).shape
    (2, 3)
    """

    _ndim = 1


class BatchNorm2d(BatchNorm):
    """
    Batch normalisation of (N, C, H, W) images: each channel minus its mean, divided by its standard deviation.

    In training (`forward`) mean and variance are those of the batch, and the running ones move towards them; in use
    (``layer(x)`` and `forward_inference`) they are the running ones. Ioffe and Szegedy,
    https://arxiv.org/abs/1502.03167.

    Parameters
    ----------
    num_features : int
        Channels.
    eps : float
        Is added to the variance.
    momentum : float or None
        How far the running statistics move; None makes them the mean over all batches.
    affine : bool
        Whether a weight, at first 1, and a bias, at first 0, follow.
    track_running_stats : bool
        Without it the batch decides in use, too.
    layout : {"NCHW", "NHWC"}
    dtype : float32 or float64

    Attributes
    ----------
    weight, bias : Parameter or None, (num_features,)
    running_mean, running_var : Buffer or None, (num_features,)
    num_batches_tracked : Buffer or None
        An int64; a state that is loaded may lack it.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> norm = nn.BatchNorm2d(3)
    >>> y, backward = norm.forward(np.random.default_rng(0).random((2, 3, 8, 8), dtype=np.float32))
    >>> bool(abs(y.mean()) < 1e-6), int(norm.num_batches_tracked.data)
    (True, 1)
    """

    _ndim = 2


class BatchNorm3d(BatchNorm):
    """
    Batch normalisation of (N, C, D, H, W) volumes; the arguments are those of `BatchNorm2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.BatchNorm3d(2)(np.ones((1, 2, 3, 3, 3), np.float32)).shape
    (1, 2, 3, 3, 3)
    """

    _ndim = 3


class LayerNorm(Norm):
    """
    Layer normalisation: the last axes of each sample minus their mean, divided by their standard deviation.

    Ba, Kiros and Hinton, https://arxiv.org/abs/1607.06450.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The last axes of the input.
    eps : float
    elementwise_affine : bool
        Whether a weight, at first 1, follows.
    bias : bool
        Whether a bias, at first 0, follows that.
    dtype : float32 or float64

    Attributes
    ----------
    weight, bias : Parameter or None, normalized_shape

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.LayerNorm(2, dtype=np.float64)(np.array([[1.0, 3.0], [10.0, 30.0]])).round(3)
    array([[-1.,  1.],
           [-1.,  1.]])
    """

    def __init__(
        self,
        normalized_shape: shapes.Axes,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = np.float32,
    ) -> None:
        axes = len(normalized_shape) if isinstance(normalized_shape, Sequence) else 1
        if axes == 0:
            raise ValueError(f"normalized_shape must have at least one axis, got {normalized_shape!r}")
        self.normalized_shape = shapes.axes(normalized_shape, axes, "normalized_shape")
        self._set_affine(self.normalized_shape, elementwise_affine, bias, eps, dtype)

    @staticmethod
    def state_shapes(
        normalized_shape: tuple[int, ...], elementwise_affine: bool, **_: Any
    ) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays of such a layer."""
        return {"weight": normalized_shape} if elementwise_affine else {}

    def __call__(self, x: Array) -> Array:
        return _core.layer_norm(x, self.normalized_shape, data(self.weight), data(self.bias), self.eps)

    def _forward(self, x: Array, needs: tuple[str, ...]) -> tuple[Array, Backward]:
        shape, affine = self.normalized_shape, (data(self.weight), data(self.bias))
        y, mean, inv_std = _core.layer_norm(x, shape, *affine, self.eps, return_statistics=True)

        def gradient(grad: Array, **options: Any) -> Any:
            return _core.layer_norm_backward(grad, x, shape, mean, inv_std, **options)

        return y, self._backward(gradient, needs)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        if tuple(input_shape[-len(self.normalized_shape) :]) != self.normalized_shape:
            raise ValueError(f"{self} needs {self.normalized_shape} as the last axes, got {tuple(input_shape)}")
        return tuple(input_shape)

    def config(self) -> dict[str, Any]:
        return {
            "normalized_shape": self.normalized_shape,
            "eps": self.eps,
            "elementwise_affine": self.weight is not None,
            "bias": self.bias is not None,
            "dtype": self.dtype.name,
        }

    def __repr__(self) -> str:
        text = f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.weight is not None}"
        return f"LayerNorm({text}{', bias=False' if self.weight is not None and self.bias is None else ''})"


class GroupNorm(Norm):
    """
    Group normalisation: each group of channels of an image minus its mean, divided by its standard deviation.

    Wu and He, https://arxiv.org/abs/1803.08494.

    Parameters
    ----------
    num_groups : int
        Must divide the channels; as many as there are channels make an instance normalisation.
    num_channels : int
    eps : float
    affine : bool
        Whether a weight, at first 1, and a bias, at first 0, follow, one number a channel.
    layout : str, optional
        Such as "NCHW" or "NHWC"; channels first, for inputs of any rank, if not given.
    dtype : float32 or float64

    Attributes
    ----------
    weight, bias : Parameter or None, (num_channels,)

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.GroupNorm(2, 4)(np.ones((1, 4, 5, 5), np.float32)).shape
    (1, 4, 5, 5)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        layout: str | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.num_groups = shapes.integer(num_groups, "num_groups", 1)
        self.num_channels = shapes.integer(num_channels, "num_channels", 1)
        if self.num_channels % self.num_groups:
            raise ValueError(f"num_groups must divide num_channels, got {num_groups} and {num_channels}")
        self.layout = any_layout(layout)
        self._set_affine((self.num_channels,), affine, affine, eps, dtype)

    @staticmethod
    def state_shapes(num_channels: int, affine: bool, **_: Any) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays of such a layer."""
        return {"weight": (num_channels,)} if affine else {}

    def __call__(self, x: Array) -> Array:
        affine = data(self.weight), data(self.bias)
        return _core.group_norm(x, self.num_groups, *affine, self.eps, layout=self.layout)

    def _forward(self, x: Array, needs: tuple[str, ...]) -> tuple[Array, Backward]:
        affine, groups, layout = (data(self.weight), data(self.bias)), self.num_groups, self.layout
        y, mean, inv_std = _core.group_norm(x, groups, *affine, self.eps, layout=layout, return_statistics=True)

        def gradient(grad: Array, **options: Any) -> Any:
            return _core.group_norm_backward(grad, x, groups, mean, inv_std, layout=layout, **options)

        return y, self._backward(gradient, needs)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        _check_rank(self, input_shape)
        axis = -1 if self.layout and self.layout.endswith("C") else 0
        if input_shape[axis] != self.num_channels:
            raise ValueError(f"{self} needs {self.num_channels} channels, got {tuple(input_shape)}")
        return tuple(input_shape)

    def config(self) -> dict[str, Any]:
        return {
            "num_groups": self.num_groups,
            "num_channels": self.num_channels,
            "eps": self.eps,
            "affine": self.weight is not None,
            "layout": self.layout,
            "dtype": self.dtype.name,
        }

    def __repr__(self) -> str:
        text = f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.weight is not None}"
        return f"GroupNorm({text}{f', layout={self.layout!r}' if self.layout else ''})"


class LocalResponseNorm(Module):
    """
    Local response normalisation: ``x / (k + alpha * mean of squares) ** beta`` over neighbouring channels.

    Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks".

    Parameters
    ----------
    size : int
        Neighbours, the channel itself among them.
    alpha, beta, k : float
    layout : str, optional
        Such as "NCHW" or "NHWC"; channels first, for inputs of any rank, if not given.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.LocalResponseNorm(5)(np.ones((1, 4, 5, 5), np.float32)).shape
    (1, 4, 5, 5)
    """

    def __init__(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, layout: str | None = None
    ) -> None:
        self.size = shapes.integer(size, "size", 1)
        self.alpha, self.beta, self.k = number(alpha, "alpha"), number(beta, "beta"), number(k, "k")
        self.layout = any_layout(layout)

    def __call__(self, x: Array) -> Array:
        return _core.local_response_norm(x, self.size, self.alpha, self.beta, self.k, layout=self.layout)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        options = self.size, self.alpha, self.beta, self.k
        return self(x), lambda grad: _core.local_response_norm_backward(grad, x, *options, layout=self.layout)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        _check_rank(self, input_shape)
        return tuple(input_shape)

    def config(self) -> dict[str, Any]:
        return {"size": self.size, "alpha": self.alpha, "beta": self.beta, "k": self.k, "layout": self.layout}

    def __repr__(self) -> str:
        text = f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
        return f"LocalResponseNorm({text}{f', layout={self.layout!r}' if self.layout else ''})"


def any_layout(layout: str | None) -> Any:
    """A layout for inputs of any rank, None being channels first."""
    return choice(layout, "layout", (None, *(name for names in _LAYOUTS.values() for name in names)))


def _check_rank(layer: GroupNorm | LocalResponseNorm, input_shape: tuple[int, ...]) -> None:
    ranks = range(1, 5) if layer.layout is None else (len(layer.layout) - 1,)
    if len(input_shape) not in ranks:
        wanted = " to ".join(str(rank) for rank in (ranks[0], ranks[-1])[: len(ranks)])
        raise ValueError(f"{layer} needs an input of {wanted} axes, got {tuple(input_shape)}")
