"""Convolutions, fully connected layers and matrices are one another in disguise: each turned into the other.

`linear_to_conv` lets a classifier slide over larger images; `conv_to_linear` and `conv_to_matrix` show the matrix that
a convolution is, and `backward_as_conv` that its gradients are convolutions again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from convc import _core, nn, shapes
from convc.nn._activation import Activation
from convc.nn._pool import GlobalPool

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["backward_as_conv", "conv_to_linear", "conv_to_matrix", "linear_to_conv"]

Array = np.ndarray[Any, np.dtype[Any]]

_LAYOUTS = {"NCW": 1, "NWC": 1, "NCHW": 2, "NHWC": 2, "NCDHW": 3, "NDHWC": 3}
_CONVS: tuple[Any, ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS: tuple[Any, ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_GIB = 2**30


# ---- fully connected layers as convolutions


@overload
def linear_to_conv(layer: nn.Linear, input_shape: Sequence[int], *, layout: str | None = None) -> Any: ...
@overload
def linear_to_conv(layer: nn.Sequential, input_shape: Sequence[int], *, layout: str | None = None) -> nn.Sequential: ...
def linear_to_conv(layer: nn.Module, input_shape: Sequence[int], *, layout: str | None = None) -> Any:
    """
    Turn fully connected layers into convolutions that compute the same, and then slide over larger images.

    A fully connected layer behind a flattened (C, H, W) volume multiplies each of its numbers by a weight of its own
    and adds up: so does a convolution whose kernel is as large as the volume, H x W, at the only position that there
    is. Fully connected layers behind the first one see vectors, volumes of 1 x 1 pixel, and become 1 x 1 convolutions.
    The weights are the same numbers in another shape.

    The gain is that a convolution does not mind a larger input. A network made for 224 x 224 pixels, whose strides
    multiply to 32, gives (384 - 224) / 32 + 1 = 6 scores along each axis of an image of 384 x 384: those of 36 crops
    that lie 32 pixels apart. One pass computes what the crops share once, for about a tenth of the multiply-adds
    (``examples/sliding_classifier.py``).

    The scores are exactly the crops' if no layer pads. A layer that pads puts zeros where a crop ends, while the large
    image has pixels there; the scores then differ as far as that border is felt. Global and adaptive pools before the
    fully connected layers also end the equality: they make one position of any image.

    Parameters
    ----------
    layer : Linear or Sequential
        A network must have a `Flatten` or a global pool and behind it, up to its end, no layers but `Linear`,
        activations, `BatchNorm1d`, `Dropout` and `Flatten`, within further `Sequential` layers or not.
    input_shape : sequence of int
        What a network takes, or what is flattened in front of a single `Linear`; without the batch axis: (C, H, W), or
        (H, W, C) in the layout ``"NHWC"``. One and three spatial axes do as well.
    layout : str, optional
        ``"NCW"``, ``"NCHW"`` and ``"NCDHW"`` have the channels first, ``"NWC"``, ``"NHWC"`` and ``"NDHWC"`` last; the
        order in which `Flatten` reads them follows from it. If not given, that of the network's layers, else channels
        first.

    Returns
    -------
    Conv1d, Conv2d, Conv3d or Sequential
        For an input of `input_shape` the outputs are (N, out_features, 1, 1), or (N, 1, 1, out_features). The new
        layers have copies of the weights; a network's other layers are the same objects as before. What goes along the
        numbers of a vector, as `Softmax` does, goes along the channels.

    Raises
    ------
    ValueError
        If the layer does not fit `input_shape`, or there is nothing to convert.
    TypeError
        If a layer behind the `Flatten` or global pool cannot do the same at each position.

    References
    ----------
    P. Sermanet et al., "OverFeat: Integrated Recognition, Localization and Detection using Convolutional Networks",
    ICLR 2014; J. Long, E. Shelhamer and T. Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR
    2015.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import convert, nn
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 3 * 3, 10))
    >>> slides = convert.linear_to_conv(net, (1, 8, 8))
    >>> slides[2]
    Conv2d(4, 10, kernel_size=(3, 3), stride=(1, 1))
    >>> image = np.ones((1, 1, 20, 24), np.float32)
    >>> scores = slides(image)
    >>> scores.shape
    (1, 10, 7, 9)
    >>> np.allclose(scores[..., 6, 8], net(image[..., 12:20, 16:24]))
    True
    """
    shape = _shape(input_shape)
    layout = _layout(layout, layer, len(shape) - 1)
    if isinstance(layer, nn.Linear):
        return _slide(layer, shape, layout)
    if not isinstance(layer, nn.Sequential):
        raise TypeError(f"layer must be a Linear or a Sequential, got {layer!r}")
    layers: list[nn.Module] = []
    volume = None  # what the vectors are, once there are any
    for stage in _flat(layer):
        if volume is None:
            output = tuple(stage.output_shape(shape))
            if isinstance(stage, nn.Flatten) and output == (math.prod(shape),):
                volume = shape
            elif isinstance(stage, GlobalPool) and not stage.keepdims:
                layers.append(type(stage)(keepdims=True, layout=stage.layout))
                volume = layers[-1].output_shape(shape)
            else:
                layers.append(stage)
            shape = output
        elif not isinstance(stage, nn.Flatten):
            slide: Any = _slide if isinstance(stage, nn.Linear) else _along_channels
            layers.append(slide(stage, volume, layout))
            volume = layers[-1].output_shape(volume)
    if volume is None:
        raise ValueError(
            "layer has no Flatten and no global pool that makes a vector of each image: there is nothing to convert"
        )
    return nn.Sequential(*layers)


def _slide(linear: nn.Linear, volume: tuple[int, ...], layout: str) -> Any:
    """The convolution whose kernel covers the volume."""
    is_last = layout.endswith("C")
    channels, kernel = (volume[-1], volume[:-1]) if is_last else (volume[0], volume[1:])
    if math.prod(volume) != linear.in_features:
        raise ValueError(f"{linear} needs {linear.in_features} features, but {volume} flattens to {math.prod(volume)}")
    weight = linear.weight.data.reshape(linear.out_features, *volume)
    return _with_arrays(
        _CONVS[len(kernel) - 1](
            channels,
            linear.out_features,
            kernel,
            bias=linear.bias is not None,
            layout=layout,
            activation=linear.activation,
            dtype=weight.dtype,
        ),
        np.moveaxis(weight, -1, 1) if is_last else weight,
        None if linear.bias is None else linear.bias.data,
    )


def _along_channels(stage: nn.Module, volume: tuple[int, ...], layout: str) -> nn.Module:
    """The layer that does with the channels of each position what `stage` does with a vector."""
    is_elementwise = isinstance(stage, (Activation, nn.Dropout)) and not isinstance(stage, (nn.Softmax, nn.PReLU))
    if is_elementwise or (isinstance(stage, nn.PReLU) and stage.num_parameters == 1):
        return stage
    axis = -1 if layout.endswith("C") else 1
    if volume[axis if axis < 0 else 0] == math.prod(volume):  # else the vector is not one of channels alone
        if isinstance(stage, nn.Softmax) and stage.dim in (1, -1):
            return nn.Softmax(axis)
        if isinstance(stage, nn.PReLU) and stage.axis in (1, -1):
            return _with_state(nn.PReLU(**{**stage.config(), "axis": axis}), stage)
        if isinstance(stage, nn.BatchNorm1d):
            return _with_state(_NORMS[len(volume) - 2](**{**stage.config(), "layout": layout}), stage)
    raise TypeError(f"nothing does at each position what {stage!r} does behind a Flatten or a global pool")


def _with_state(layer: nn.Module, other: nn.Module) -> nn.Module:
    layer.load_state_dict(other.state_dict())
    return layer


def _with_arrays(layer: Any, weight: Array, bias: Array | None) -> Any:
    layer.weight.data[...] = weight
    if layer.bias is not None:
        layer.bias.data[...] = bias
    return layer


def _flat(net: nn.Sequential) -> Iterator[nn.Module]:
    for layer in net:
        if isinstance(layer, nn.Sequential):
            yield from _flat(layer)
        else:
            yield layer


# ---- convolutions as matrices


def conv_to_linear(conv: Any, input_shape: Sequence[int], *, max_bytes: int = 2**32) -> nn.Linear:
    """
    The fully connected layer that computes the same as a convolution of images of one size.

    Every convolution is a fully connected layer: each output is a weighted sum of the inputs. Most of the weights are
    0, for an output sees no more than its window, and the others repeat, for all positions share one filter. This
    layer keeps them all, zeros and copies included, so that it shows what locality and parameter sharing save.

    Parameters
    ----------
    conv : Conv1d, Conv2d or Conv3d
    input_shape : sequence of int
        Without the batch axis, in the layout of the convolution.
    max_bytes : int
        A larger weight is refused; it has as many numbers as inputs times outputs.

    Returns
    -------
    Linear
        ``conv(x).reshape(n, -1)`` is ``linear(x.reshape(n, -1))`` but for rounding.

    Raises
    ------
    MemoryError
        If the weight would be larger than `max_bytes`.
    ValueError
        If the convolution does not fit `input_shape`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import convert, nn
    >>> conv = nn.Conv2d(1, 2, 3, rng=0)
    >>> linear = convert.conv_to_linear(conv, (1, 6, 6))
    >>> linear
    Linear(in_features=36, out_features=32, bias=True)
    >>> x = np.ones((5, 1, 6, 6), np.float32)
    >>> np.allclose(linear(x.reshape(5, -1)), conv(x).reshape(5, -1))
    True
    >>> int(np.count_nonzero(linear.weight.data)), conv.weight.data.size
    (288, 18)
    """
    if not isinstance(conv, _CONVS):
        raise TypeError(f"conv must be a Conv1d, Conv2d or Conv3d, got {conv!r}")
    shape = _shape(input_shape)
    outputs = conv.output_shape(shape)
    size = math.prod(outputs), math.prod(shape)
    _check_bytes(math.prod(size) * conv.weight.data.itemsize, max_bytes, size, "; conv_to_matrix keeps no zeros")
    linear = nn.Linear(
        size[1], size[0], conv.bias is not None, activation=conv.activation, dtype=conv.weight.data.dtype
    )
    weight = np.zeros(size, conv.weight.data.dtype)
    rows, columns, values = _entries(
        conv.weight.data, shape, conv._windows(), conv.groups, conv.layout, conv.padding_mode
    )
    np.add.at(weight, (rows, columns), values)  # padding that is not zeros reads an input through several taps
    bias = None
    if conv.bias is not None:
        channels = (
            conv.bias.data if conv.layout.endswith("C") else conv.bias.data.reshape(-1, *[1] * (len(outputs) - 1))
        )
        bias = np.broadcast_to(channels, outputs).ravel()
    return _with_arrays(linear, weight, bias)  # type: ignore[no-any-return]


def conv_to_matrix(
    conv: Any,
    input_shape: Sequence[int],
    stride: shapes.Axes = 1,
    padding: shapes.Padding = 0,
    dilation: shapes.Axes = 1,
    groups: int = 1,
    *,
    layout: str | None = None,
    pad_mode: str = "zeros",
    max_bytes: int = 2**32,
) -> csr_array:
    """
    The sparse matrix M that a convolution is: ``y.ravel() = M @ x.ravel()``, plus the bias.

    A row holds the filter of one output channel, laid out where the window of that output position lies in the image;
    the next position's row holds the same numbers, shifted. So the matrix is large, mostly zero, and made of equal
    blocks (a block Toeplitz matrix, where the stride is 1). Its transpose is what carries the gradient back:
    ``grad_x.ravel() = M.T @ grad_y.ravel()``, which is also what a transposed convolution computes.

    Parameters
    ----------
    conv : Conv1d, Conv2d, Conv3d or ndarray
        A layer without an activation, which no matrix has, or a weight (out_channels, in_channels / groups, *kernel).
    input_shape : sequence of int
        Without the batch axis.
    stride, padding, dilation, groups, layout, pad_mode
        As in `convc.conv2d`, where `conv` is a weight; a layer has its own. The default of `layout` is channels first.
    max_bytes : int
        A matrix with more numbers and indices than that is refused.

    Returns
    -------
    scipy.sparse.csr_array
        (outputs, inputs), with the dtype of the weight.

    Raises
    ------
    ImportError
        If SciPy is not installed.
    MemoryError
        If the matrix would be larger than `max_bytes`.
    ValueError, TypeError
        If the weight does not fit `input_shape`, an argument is wrong, or the layer has an activation.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import convert
    >>> M = convert.conv_to_matrix(np.array([[[1.0, 2.0, 3.0]]]), (1, 5))
    >>> M.toarray()
    array([[1., 2., 3., 0., 0.],
           [0., 1., 2., 3., 0.],
           [0., 0., 1., 2., 3.]])
    """
    shape = _shape(input_shape)
    if isinstance(conv, _CONVS):
        if (stride, padding, dilation, groups, layout, pad_mode) != (1, 0, 1, 1, None, "zeros"):
            raise ValueError("conv is a layer and has a stride, a padding and so on of its own: leave them out")
        if conv.activation is not None:
            raise ValueError(
                f"conv has activation={conv.activation!r}, which no matrix computes: give conv.weight.data with the "
                f"stride, padding and so on, and apply the activation to M @ x.ravel() plus the bias"
            )
        conv.output_shape(shape)  # refuses what does not fit
        weight, windows, groups, layout = conv.weight.data, conv._windows(), conv.groups, conv.layout
        pad_mode = conv.padding_mode
    elif isinstance(conv, np.ndarray) and conv.dtype in (np.float32, np.float64):
        weight = conv
        if conv.ndim != len(shape) + 1:
            raise ValueError(f"conv must be a weight of {len(shape) + 1} axes for images {shape}, got {conv.shape}")
        windows = (conv.shape[2:], stride, padding, dilation)
        layout = _layout(layout, None, len(shape) - 1)
        _check_channels(conv, shape[-1 if layout.endswith("C") else 0], shapes.integer(groups, "groups", 1))
    else:
        got = conv.dtype if isinstance(conv, np.ndarray) else repr(conv)
        raise TypeError(f"conv must be a convolution layer or a weight of float32 or float64, got {got}")
    try:
        from scipy.sparse import csr_array
    except ImportError:
        raise ImportError("conv_to_matrix needs SciPy: pip install scipy") from None
    space = shape[:-1] if layout.endswith("C") else shape[1:]
    positions = math.prod(shapes.output_shape(space, *windows))
    size = len(weight) * positions, math.prod(shape)
    # At the peak there are the entries with both indices, and the compressed rows.
    _check_bytes(weight.size * positions * (2 * weight.itemsize + 24), max_bytes, size, "")
    rows, columns, values = _entries(weight, shape, windows, groups, layout, pad_mode)
    return csr_array((values, (rows, columns)), shape=size)


def _entries(
    weight: Array, input_shape: tuple[int, ...], windows: tuple[Any, ...], groups: int, layout: str, pad_mode: str
) -> tuple[Array, Array, Array]:
    """Row, column and value of each entry of the matrix of a convolution; taps on zeros of the padding have none."""
    kernel, stride, padding, dilation = windows
    is_last = layout.endswith("C")
    channels, space = (input_shape[-1], input_shape[:-1]) if is_last else (input_shape[0], input_shape[1:])
    ndim, filters = len(space), len(weight)
    outputs = shapes.output_shape(space, *windows)
    strides, dilations = shapes.axes(stride, ndim, "stride"), shapes.axes(dilation, ndim, "dilation")
    pads = shapes.padding_axes(padding, kernel, strides, dilations)
    shapes.check_pad_mode(pad_mode, space, pads)
    # seen, inside: (*outputs, *kernel), the place in the flattened space that a tap falls on, and whether it is there.
    seen: Any = 0
    inside: Any = True
    for i in range(ndim):
        place = np.arange(outputs[i])[:, None] * strides[i] - pads[i][0] + np.arange(kernel[i]) * dilations[i]
        place = _read(place, space[i], pad_mode)
        ends = [1] * (2 * ndim)
        ends[i], ends[ndim + i] = place.shape
        seen = seen * space[i] + place.reshape(ends)
        inside = inside & ((place >= 0) & (place < space[i])).reshape(ends)
    inside = np.broadcast_to(inside, seen.shape).reshape(-1, math.prod(kernel))
    position, tap = np.nonzero(inside)
    seen = seen.reshape(inside.shape)[position, tap]

    # All of these: (filters, channels of a group, entries within a plane).
    k = np.arange(filters)[:, None, None]
    c = k // (filters // groups) * (channels // groups) + np.arange(channels // groups)[:, None]
    rows = position * filters + k if is_last else k * math.prod(outputs) + position
    columns = seen * channels + c if is_last else c * math.prod(space) + seen
    values = weight.reshape(filters, channels // groups, -1)[:, :, tap]
    return np.broadcast_to(rows, values.shape).ravel(), columns.ravel(), values.ravel()


def _read(place: Array, size: int, pad_mode: str) -> Array:
    """Where the numbers of the padding come from."""
    if pad_mode == "zeros":
        return place
    if pad_mode == "replicate":
        return place.clip(0, size - 1)
    if pad_mode not in ("reflect", "circular"):
        raise ValueError(f"pad_mode must be 'zeros', 'reflect', 'replicate' or 'circular', got {pad_mode!r}")
    return place % size if pad_mode == "circular" else size - 1 - abs(size - 1 - abs(place))


# ---- gradients as convolutions


def backward_as_conv(
    grad: Array,
    x: Array,
    weight: Array,
    stride: shapes.Axes = 1,
    padding: shapes.Padding = 0,
    dilation: shapes.Axes = 1,
    groups: int = 1,
) -> tuple[Array, Array]:
    """
    Both gradients of a convolution, computed by convolutions.

    The gradient of the input: an input pixel has moved each output whose window covered it, through the tap that lay
    on it. So it collects those outputs' gradients in reverse order of the taps, which is a convolution of `grad` with
    the filters flipped along their spatial axes and with the channels' roles swapped. With a stride, S - 1 zeros go
    between the gradients, so that they lie as far apart as their windows did; a border of zeros as wide as the filter,
    less one, lets the first and the last tap have their turn.

    The gradient of the weight: a tap has met, at each output position, the input that lay under it there. Its gradient
    is the sum of these inputs times `grad`: a convolution of the input with `grad` for a filter, S - 1 zeros between
    its rows and columns, whose output has the size of the kernel. It is summed over the batch, which here plays the
    part of the channels. The dilation of the forward convolution is the stride of this one.

    `convc.conv2d_backward` computes the same without the zeros, which cost as much as the rest: use that one. This
    function is here to be read, and knows padding with zeros only.

    Parameters
    ----------
    grad : ndarray, (N, out_channels, *output size)
        Gradient of the output.
    x : ndarray, (N, in_channels, *size)
    weight : ndarray, (out_channels, in_channels / groups, *kernel)
        One to three spatial axes.
    stride, padding, dilation, groups
        Those of the convolution, as in `convc.conv2d`.

    Returns
    -------
    grad_x, grad_weight : ndarray
        Of the shapes of `x` and `weight`.

    Raises
    ------
    ValueError, TypeError
        If an argument is wrong or the shapes do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> import convc
    >>> from convc import convert
    >>> x, weight = np.arange(49.0).reshape(1, 1, 7, 7), np.arange(9.0).reshape(1, 1, 3, 3)
    >>> grad = np.ones((1, 1, 3, 3))
    >>> grad_x, grad_weight = convert.backward_as_conv(grad, x, weight, stride=2)
    >>> expected_x, expected_weight, _ = convc.conv2d_backward(grad, x, weight, stride=2)
    >>> np.array_equal(grad_x, expected_x), np.array_equal(grad_weight, expected_weight)
    (True, True)
    """
    ndim = _check_images(grad, x, weight)
    groups = shapes.integer(groups, "groups", 1)
    _check_channels(weight, x.shape[1], groups)
    kernel, size = weight.shape[2:], x.shape[2:]
    strides, dilations = shapes.axes(stride, ndim, "stride"), shapes.axes(dilation, ndim, "dilation")
    pads = shapes.padding_axes(padding, kernel, strides, dilations)
    expected = (len(x), len(weight), *shapes.output_shape(size, kernel, strides, pads, dilations))
    if grad.shape != expected:
        raise ValueError(f"grad must have the shape of the output, {expected}, got {grad.shape}")
    if len(x) == 0:
        return np.zeros_like(x), np.zeros_like(weight)
    conv = (_core.conv1d, _core.conv2d, _core.conv3d)[ndim - 1]

    # The gradients, as far apart as their windows were.
    apart = np.zeros(
        (*grad.shape[:2], *[(n - 1) * s + 1 for n, s in zip(grad.shape[2:], strides, strict=True)]), x.dtype
    )
    spots: Any = (..., *[slice(None, None, s) for s in strides])
    apart[spots] = grad
    # What all windows together have covered of the padded input; the stride may have left a rest beyond.
    reach = [d * (k - 1) for k, d in zip(kernel, dilations, strict=True)]
    covered = [n + r for n, r in zip(apart.shape[2:], reach, strict=True)]

    per_group = weight.reshape(groups, -1, *weight.shape[1:])
    swapped = per_group.swapaxes(1, 2).reshape(x.shape[1], -1, *kernel)
    flipped = np.flip(swapped, tuple(range(2, ndim + 2)))
    grad_padded = conv(apart, flipped, None, 1, [(r, r) for r in reach], dilations, groups)
    grad_x = np.zeros_like(x)
    ours, theirs = _common(size, pads, covered)
    grad_x[ours] = grad_padded[theirs]

    x_covered = np.zeros((*x.shape[:2], *covered), x.dtype)
    x_covered[theirs] = x[ours]
    # The channels of a group become a batch, and the groups' batches the channels of a grouped convolution.
    by_group = x_covered.reshape(len(x), groups, -1, *covered)
    images = np.moveaxis(by_group, (2, 1, 0), (0, 1, 2)).reshape(-1, groups * len(x), *covered)
    grad_weight = conv(images, apart.swapaxes(0, 1), None, dilations, 0, 1, groups).swapaxes(0, 1)
    return grad_x, np.ascontiguousarray(grad_weight)


def _common(size: Sequence[int], pads: Sequence[tuple[int, int]], covered: Sequence[int]) -> tuple[Any, Any]:
    """Where the input lies in what the windows cover: slices of the one and of the other."""
    last = [min(n, c - before) for n, (before, _), c in zip(size, pads, covered, strict=True)]
    ours = [slice(0, max(0, end)) for end in last]
    theirs = [slice(before, max(before, before + end)) for end, (before, _) in zip(last, pads, strict=True)]
    return (..., *ours), (..., *theirs)


# ---- arguments


def _shape(input_shape: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(input_shape, Sequence):
        raise TypeError(f"input_shape must be a tuple of integers without the batch axis, got {input_shape!r}")
    shape = shapes.axes(input_shape, len(input_shape), "input_shape")
    if not 2 <= len(shape) <= 4:
        raise ValueError(f"input_shape must have channels and one to three spatial axes, got {shape}")
    return shape


def _layout(layout: str | None, net: nn.Module | None, ndim: int) -> str:
    """The layout asked for, else that of the network's layers, else channels first."""
    names = [name for name, axes in _LAYOUTS.items() if axes == ndim]
    if layout is None and net is not None:
        found = (getattr(module, "layout", None) for module in net.modules())
        layout = next((name for name in found if name in names), None)  # BatchNorm1d of vectors has another
    layout = layout or ("NCW", "NCHW", "NCDHW")[ndim - 1]
    if layout not in names:
        raise ValueError(f"layout must be {names[0]!r} or {names[1]!r} for {ndim} spatial axes, got {layout!r}")
    return layout


def _check_images(grad: Array, x: Array, weight: Array) -> int:
    """The number of spatial axes, of which all three have the same."""
    for name, a in (("x", x), ("grad", grad), ("weight", weight)):
        if not isinstance(a, np.ndarray) or a.dtype not in (np.float32, np.float64) or a.dtype != x.dtype:
            got = a.dtype if isinstance(a, np.ndarray) else type(a).__name__
            raise TypeError(f"{name} must be an array of float32 or float64, as x is, got {got}")
        if not 3 <= a.ndim <= 5 or a.ndim != x.ndim:
            raise ValueError(f"{name} must have 3 to 5 axes, as many as x, got shape {a.shape}")
        if 0 in a.shape[1:]:
            raise ValueError(f"{name} must not be empty except along its first axis, got shape {a.shape}")
    return x.ndim - 2


def _check_channels(weight: Array, channels: int, groups: int) -> None:
    if channels % groups or len(weight) % groups or weight.shape[1] != channels // groups or 0 in weight.shape:
        raise ValueError(
            f"weight must be (out_channels, {channels} / {groups}, *kernel) with groups {groups} dividing both numbers "
            f"of channels, got {weight.shape}"
        )


def _check_bytes(needed: int, max_bytes: int, size: tuple[int, ...], advice: str) -> None:
    if needed > max_bytes:
        raise MemoryError(
            f"a matrix of {size[0]:,} x {size[1]:,} would need {needed / _GIB:,.1f} GiB, "
            f"more than max_bytes allows, {max_bytes / _GIB:,.1f} GiB{advice}"
        )
