"""The oracle: every operator from its definition, in loops over output positions, in float64.

Slow and plain on purpose. Arrays are channels-first, (n, c, *space); padding is one (before, after) a spatial axis.
"""

import itertools
import math

import numpy as np


def window(position, kernel, stride, dilation):
    """The slices of a padded image that the window at this output position covers."""
    return tuple(
        slice(p * s, p * s + (k - 1) * d + 1, d) for p, k, s, d in zip(position, kernel, stride, dilation, strict=True)
    )


def output_size(size, kernel, stride, padding, dilation):
    return tuple(
        (n + before + after - d * (k - 1) - 1) // s + 1
        for n, k, s, (before, after), d in zip(size, kernel, stride, padding, dilation, strict=True)
    )


def pad(x, padding, value=0.0):
    return np.pad(x, [(0, 0), (0, 0), *padding], constant_values=value)


def unpad(x, padding):
    inside = tuple(slice(before, n - after) for n, (before, after) in zip(x.shape[2:], padding, strict=True))
    return x[(..., *inside)]


def positions(shape):
    return itertools.product(*map(range, shape))


def blocks(channels, groups):
    """The channels of each group."""
    return [slice(g * channels // groups, (g + 1) * channels // groups) for g in range(groups)]


# ---- convolution ----


def conv(x, weight, bias, stride, padding, dilation, groups):
    x, weight = pad(np.float64(x), padding), np.float64(weight)
    kernel = weight.shape[2:]
    size = output_size(x.shape[2:], kernel, stride, [(0, 0)] * len(kernel), dilation)
    y = np.empty((len(x), len(weight), *size))
    for at in positions(size):
        seen = x[(..., *window(at, kernel, stride, dilation))]
        for ins, outs in zip(blocks(x.shape[1], groups), blocks(len(weight), groups), strict=True):
            y[(slice(None), outs, *at)] = np.tensordot(seen[:, ins], weight[outs], (range(1, x.ndim), range(1, x.ndim)))
    return y if bias is None else y + np.float64(bias).reshape(-1, *[1] * len(kernel))


def conv_backward(grad, x, weight, stride, padding, dilation, groups):
    grad, x, weight = np.float64(grad), pad(np.float64(x), padding), np.float64(weight)
    kernel = weight.shape[2:]
    grad_x, grad_weight = np.zeros_like(x), np.zeros_like(weight)
    for at in positions(grad.shape[2:]):
        here = (..., *window(at, kernel, stride, dilation))
        for ins, outs in zip(blocks(x.shape[1], groups), blocks(len(weight), groups), strict=True):
            g = grad[(slice(None), outs, *at)]
            grad_x[here][:, ins] += np.tensordot(g, weight[outs], 1)
            grad_weight[outs] += np.tensordot(g.T, x[here][:, ins], 1)
    return unpad(grad_x, padding), grad_weight, grad.sum((0, *range(2, grad.ndim)))


# ---- transposed convolution ----


def conv_transpose_size(size, kernel, stride, padding, dilation, output_padding):
    return tuple(
        (n - 1) * s + d * (k - 1) + extra + 1 - before - after
        for n, k, s, (before, after), d, extra in zip(
            size, kernel, stride, padding, dilation, output_padding, strict=True
        )
    )


def conv_transpose(x, weight, bias, stride, padding, dilation, groups, output_padding):
    """Every pixel of x adds its multiple of the kernel to the output, of which the padding is then cut off."""
    x, weight = np.float64(x), np.float64(weight)
    kernel, outs = weight.shape[2:], groups * weight.shape[1]
    size = conv_transpose_size(x.shape[2:], kernel, stride, [(0, 0)] * len(kernel), dilation, output_padding)
    y = np.zeros((len(x), outs, *size))
    for at in positions(x.shape[2:]):
        here = (..., *window(at, kernel, stride, dilation))
        for ins, part in zip(blocks(x.shape[1], groups), blocks(outs, groups), strict=True):
            y[here][:, part] += np.tensordot(x[(slice(None), ins, *at)], weight[ins], 1)
    y = unpad(y, padding)
    return y if bias is None else y + np.float64(bias).reshape(-1, *[1] * len(kernel))


def conv_transpose_backward(grad, x, weight, stride, padding, dilation, groups, output_padding):
    """Each kind of output read where the forward pass wrote it."""
    x, weight = np.float64(x), np.float64(weight)
    kernel = weight.shape[2:]
    wide = pad(np.float64(grad), padding)
    grad_x, grad_weight = np.zeros_like(x), np.zeros_like(weight)
    for at in positions(x.shape[2:]):
        seen = wide[(..., *window(at, kernel, stride, dilation))]
        for ins, outs in zip(blocks(x.shape[1], groups), blocks(grad.shape[1], groups), strict=True):
            part = (slice(None), ins, *at)
            grad_x[part] = np.tensordot(seen[:, outs], weight[ins], (range(1, x.ndim), range(1, x.ndim)))
            grad_weight[ins] += np.tensordot(x[part].T, seen[:, outs], 1)
    return grad_x, grad_weight, np.float64(grad).sum((0, *range(2, grad.ndim)))


# ---- convolution without parameter sharing: weight (positions, k, c, *kernel) ----


def local(x, weight, bias, stride, padding, dilation):
    x, weight = pad(np.float64(x), padding), np.float64(weight)
    kernel = weight.shape[3:]
    size = output_size(x.shape[2:], kernel, stride, [(0, 0)] * len(kernel), dilation)
    y = np.empty((len(x), weight.shape[1], *size))
    for p, at in enumerate(positions(size)):
        seen = x[(..., *window(at, kernel, stride, dilation))]
        y[(..., *at)] = np.tensordot(seen, weight[p], (range(1, x.ndim), range(1, x.ndim)))
        y[(..., *at)] += 0 if bias is None else bias[p]
    return y


def local_backward(grad, x, weight, stride, padding, dilation):
    grad, x, weight = np.float64(grad), pad(np.float64(x), padding), np.float64(weight)
    grad_x, grad_weight = np.zeros_like(x), np.empty_like(weight)
    for p, at in enumerate(positions(grad.shape[2:])):
        here = (..., *window(at, weight.shape[3:], stride, dilation))
        g = grad[(..., *at)]
        grad_x[here] += np.tensordot(g, weight[p], 1)
        grad_weight[p] = np.tensordot(g.T, x[here], 1)
    return unpad(grad_x, padding), grad_weight, grad.sum(0).reshape(weight.shape[1], -1).T


# ---- pooling ----


def pool_size(size, kernel, stride, padding, dilation, fit):
    """`fit="ceil"` keeps a last window that sticks out, if it starts inside the image or the padding before it."""
    sizes = []
    for n, k, s, (before, after), d in zip(size, kernel, stride, padding, dilation, strict=True):
        room = n + before + after - d * (k - 1) - 1
        count = room // s + 1
        if fit == "ceil":
            count = math.ceil(room / s) + 1
            count -= (count - 1) * s >= n + before
        sizes.append(count)
    return tuple(sizes)


def max_pool(x, kernel, stride, padding, dilation, fit="floor"):
    """Values, and their places in the flattened space of x; -inf and -1 for a dilated window that misses the image."""
    size = pool_size(x.shape[2:], kernel, stride, padding, dilation, fit)
    y, indices = np.full((*x.shape[:2], *size), -np.inf), np.full((*x.shape[:2], *size), -1)
    for n, c, *at in positions(y.shape):
        for tap in positions(kernel):
            place = [
                p * s + t * d - before
                for p, s, t, d, (before, _) in zip(at, stride, tap, dilation, padding, strict=True)
            ]
            if any(not 0 <= i < limit for i, limit in zip(place, x.shape[2:], strict=True)):
                continue
            value = x[(n, c, *place)]
            if indices[(n, c, *at)] < 0 or value > y[(n, c, *at)] or np.isnan(value):
                y[(n, c, *at)] = value
                indices[(n, c, *at)] = np.ravel_multi_index(place, x.shape[2:])
    return y, indices


def max_pool_backward(grad, indices, x_shape):
    grad_x = np.zeros((*x_shape[:2], math.prod(x_shape[2:])))
    for n, c, *at in positions(grad.shape):
        grad_x[n, c, indices[(n, c, *at)]] += grad[(n, c, *at)]
    return grad_x.reshape(x_shape)


def strided_windows(size, kernel, stride, padding, fit="floor", count_include_pad=True):
    """For each axis its windows: the elements inside the image, and how many a mean is taken over."""
    axes = []
    counts = pool_size(size, kernel, stride, padding, [1] * len(size), fit)
    for count, n, k, s, (before, after) in zip(counts, size, kernel, stride, padding, strict=True):
        starts = [o * s - before for o in range(count)]
        inside = [slice(max(start, 0), min(start + k, n)) for start in starts]
        whole = [min(start + k, n + after) - start for start in starts]
        taken = whole if count_include_pad else [w.stop - w.start for w in inside]
        axes.append(list(zip(inside, taken, strict=True)))
    return axes


def shares(size, output_size):
    """The windows of adaptive pools."""
    axes = []
    for n, count in zip(size, output_size, strict=True):
        windows = [slice(math.floor(i * n / count), math.ceil((i + 1) * n / count)) for i in range(count)]
        axes.append([(w, w.stop - w.start) for w in windows])
    return axes


def each_window(axes):
    """Output position, slices of the image, and how many elements the mean is taken over."""
    for at in positions(map(len, axes)):
        inside, taken = zip(*(axis[i] for axis, i in zip(axes, at, strict=True)), strict=True)
        yield (..., *at), (..., *inside), math.prod(taken)


def avg_pool(x, axes):
    y = np.empty((*x.shape[:2], *map(len, axes)))
    for at, inside, taken in each_window(axes):
        y[at] = np.float64(x[inside]).sum(tuple(range(2, x.ndim))) / taken
    return y


def avg_pool_backward(grad, x_shape, axes):
    grad_x = np.zeros(x_shape)
    for at, inside, taken in each_window(axes):
        grad_x[inside] += np.float64(grad[at]).reshape(*x_shape[:2], *[1] * len(axes)) / taken
    return grad_x


def lp_pool(x, p, kernel, axes):
    return (avg_pool(np.float64(x) ** p, axes) * math.prod(kernel)) ** (1 / p)


def lp_pool_backward(grad, x, p, kernel, axes):
    """0 where a norm is 0."""
    x, y, grad_x = np.float64(x), lp_pool(x, p, kernel, axes), np.zeros(x.shape)
    for at, inside, taken in each_window(axes):
        column = (*x.shape[:2], *[1] * len(axes))
        g, norm = np.float64(grad[at]).reshape(column), y[at].reshape(column)
        slope = (x[inside] / np.where(norm == 0, 1, norm)) ** (p - 1)
        grad_x[inside] += np.where(norm == 0, 0, g * slope * math.prod(kernel) / taken)
    return grad_x


def adaptive_max_pool(x, axes):
    """Values and places, the first of equals, but the last NaN, as `max_pool`."""
    y, indices = np.empty((*x.shape[:2], *map(len, axes))), np.empty((*x.shape[:2], *map(len, axes)), int)
    places = np.arange(math.prod(x.shape[2:])).reshape(x.shape[2:])
    for at, inside, _ in each_window(axes):
        seen, here = x[inside].reshape(*x.shape[:2], -1), places[inside[1:]].ravel()
        for n, c in positions(x.shape[:2]):
            nans = np.flatnonzero(np.isnan(seen[n, c]))
            best = nans[-1] if nans.size else seen[n, c].argmax()
            y[(n, c, *at[1:])], indices[(n, c, *at[1:])] = seen[n, c, best], here[best]
    return y, indices


def max_unpool(x, indices, size):
    y = np.zeros((*x.shape[:2], math.prod(size)))
    for at in positions(x.shape):
        y[(*at[:2], indices[at])] = x[at]
    return y.reshape(*x.shape[:2], *size)


def max_unpool_backward(grad, indices):
    flat = grad.reshape(*grad.shape[:2], -1)
    return np.take_along_axis(flat, indices.reshape(*indices.shape[:2], -1), 2).reshape(indices.shape)


# ---- matrices ----


def im2col(x, kernel, stride, padding, dilation):
    x = pad(np.float64(x), padding)
    size = output_size(x.shape[2:], kernel, stride, [(0, 0)] * len(kernel), dilation)
    columns = [x[(..., *window(at, kernel, stride, dilation))].reshape(len(x), -1) for at in positions(size)]
    return np.stack(columns, axis=-1)


def col2im(cols, x_shape, kernel, stride, padding, dilation):
    x = pad(np.zeros(x_shape), padding)
    size = output_size(x.shape[2:], kernel, stride, [(0, 0)] * len(kernel), dilation)
    for i, at in enumerate(positions(size)):
        x[(..., *window(at, kernel, stride, dilation))] += cols[..., i].reshape(*x_shape[:2], *kernel)
    return unpad(x, padding)


def gemm(a, b):
    return np.einsum("mk,kn->mn", np.float64(a), np.float64(b))


# ---- normalisation ----


def spread_of(x, axes, eps):
    """The mean over some axes, and the square root of the variance and `eps`, which broadcast to x."""
    x = np.float64(x)
    mean = x.mean(axes, keepdims=True)
    return mean, np.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + eps)


def normalise(x, axes, weight, bias, eps):
    """`weight` and `bias` broadcast to x."""
    mean, std = spread_of(x, axes, eps)
    return (np.float64(x) - mean) / std * weight + bias


def normalise_backward(grad, x, axes, weight, eps):
    """grad_x, and of each element the gradients of its weight and its bias."""
    mean, std = spread_of(x, axes, eps)
    grad, normal = np.float64(grad), (np.float64(x) - mean) / std
    through = grad * weight
    falling = through.mean(axes, keepdims=True) + normal * (through * normal).mean(axes, keepdims=True)
    return (through - falling) / std, grad * normal, grad


def local_response_norm(x, size, alpha, beta, k):
    x = np.float64(x)
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        around = x[:, max(0, c - size // 2) : c + (size - 1) // 2 + 1]
        y[:, c] = x[:, c] / (k + alpha / size * (around**2).sum(1)) ** beta
    return y


# ---- resizing ----


def resize_matrix(n, out, mode, align_corners, scale_factor):
    """Weights (out, n) of the inputs in each output. Coordinates are PyTorch's, in float32 for the nearest modes."""
    linear = mode.endswith("linear")
    real = np.float64 if linear else np.float32
    scale = real(n) / real(out) if scale_factor is None else real(1 / scale_factor)
    if linear and align_corners:
        scale = (n - 1) / (out - 1) if out > 1 else 0.0
    matrix = np.zeros((out, n))
    for o in range(out):
        if out == n and linear:
            at = o
        elif not linear:
            at = min(int(real((o + 0.5) * float(scale)) if mode == "nearest-exact" else real(o) * scale), n - 1)
        else:
            at = min(max(0, o * scale if align_corners else (o + 0.5) * scale - 0.5), n - 1)
        low = int(at)
        matrix[o, low] += 1 - (at - low)
        matrix[o, min(low + 1, n - 1)] += at - low
    return matrix


def resize(x, matrices):
    x = np.float64(x)
    for axis, matrix in enumerate(matrices, 2):
        x = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    return x


# ---- elementwise, and the loss ----


def relu(x):
    return np.where(x < 0, 0.0, x)


def sigmoid(x):
    x = np.longdouble(x)
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def tanh(x):
    return np.tanh(np.longdouble(x))


def silu(x):
    return np.maximum(x, -12000) * sigmoid(x)  # 0 long before


def normal(x):
    """The normal distribution, from erfc in float64 and its derivative for what that argument leaves out."""
    z = np.maximum(np.abs(np.longdouble(x)), 0) / np.sqrt(np.longdouble(2))
    near = np.minimum(z, 40).astype(np.float64)
    rest = np.minimum(z, 40) - near
    tail = np.vectorize(math.erfc, otypes=[float])(near)
    tail = (
        tail - 2 / np.sqrt(np.longdouble(np.pi)) * np.exp(-(np.longdouble(near) ** 2)) * rest * (1 - near * rest)
    ) / 2
    return np.where(x < 0, tail, 1 - tail)


def gelu(x):
    return np.maximum(x, -100) * normal(x)


def _gelu_argument(x):
    x = np.clip(np.longdouble(x), -100, 100)
    factor = 2 * np.sqrt(2 / np.longdouble(np.pi))
    return factor * (x + x**3 * 44715 / 10**6), factor * (1 + 3 * x**2 * 44715 / 10**6)


def gelu_tanh(x):
    return np.maximum(x, -100) * sigmoid(_gelu_argument(x)[0])


def slope(name, x):
    """The derivative of the function of this name, and the sum of the sizes of its terms."""
    x = np.clip(np.longdouble(x), -12000, 12000)
    if name == "gelu":
        first, second = normal(x), x * np.exp(-x * x / 2) / np.sqrt(2 * np.longdouble(np.pi))
    else:
        z, dz = {"silu": (x, 1), "gelu tanh": _gelu_argument(x)}.get(name, (x, 0))
        first, second = sigmoid(z), x * sigmoid(z) * sigmoid(-z) * dz
    return first + second, np.abs(first) + np.abs(second)


def softmax(x, axis):
    e = np.exp(np.float64(x) - np.max(x, axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def cross_entropy(logits, target):
    logits = np.float64(logits)
    top = logits.max(1)
    return np.log(np.exp(logits - top[:, None]).sum(1)) - (logits[np.arange(len(target)), target] - top)


# ---- errors ----


def gamma(terms, dtype):
    """The relative error of a sum of products in any order (Higham, "Accuracy and Stability", section 3.1)."""
    u = np.finfo(dtype).eps / 2
    return terms * u / (1 - terms * u)
