"""One call of every operator, large enough that threads share it out. Run as a script it is a process that forks."""

import os
import sys

import numpy as np

import convc


def everything():
    """Name -> array, the same bits in every call."""
    rng = np.random.default_rng(0)
    results = {}

    def normal(*shape, dtype=np.float32):
        return rng.standard_normal(shape).astype(dtype)

    for layout, dtype in (("NCHW", np.float32), ("NHWC", np.float32), ("NCHW", np.float64)):
        key = f"{layout} {dtype.__name__}"
        for name, channels, outs, groups, k, stride in (
            ("3x3", 48, 56, 1, 3, 1),
            ("strided", 33, 40, 1, 3, 2),
            ("1x1", 96, 160, 1, 1, 1),
            ("depthwise", 96, 96, 96, 3, 1),
            ("grouped", 64, 64, 16, 3, 1),
            ("first", 3, 32, 1, 7, 2),
        ):
            shape = (2, channels, 41, 37) if layout == "NCHW" else (2, 41, 37, channels)
            x, weight, bias = (
                normal(*shape, dtype=dtype),
                normal(outs, channels // groups, k, k, dtype=dtype),
                normal(outs),
            )
            options = {"stride": stride, "padding": k // 2, "groups": groups, "layout": layout}
            y = convc.conv2d(x, weight, bias.astype(dtype), **options)
            results[f"conv {name} {key}"] = y
            results[f"plan {name} {key}"] = convc.prepare(weight, None, x.shape, **options)(x)
            for part, gradient in zip("xwb", convc.conv2d_backward(y, x, weight, **options), strict=True):
                results[f"backward {name} {part} {key}"] = gradient
        x = normal(*((3, 20, 17, 15) if layout == "NCHW" else (3, 17, 15, 20)), dtype=dtype)
        weight = normal(17 * 15, 24, 20, 3, 3, dtype=dtype)
        y = convc.locally_connected2d(x, weight, padding=1, layout=layout)
        results[f"locally connected {key}"] = y
        gradients = convc.locally_connected2d_backward(y, x, weight, padding=1, layout=layout)
        for part, gradient in zip("xwb", gradients, strict=True):
            results[f"locally connected backward {part} {key}"] = gradient
        x = normal(4, 64, 56, 56, dtype=dtype)
        y, indices = convc.max_pool2d(x, 3, 2, 1, layout=layout, return_indices=True)
        results[f"pool {key}"], results[f"pool indices {key}"] = y, indices
        results[f"pool backward {key}"] = convc.max_pool2d_backward(y, indices, x.shape, layout=layout)
        results |= normalisations(key, layout, x, normal(56, dtype=dtype))
        y = convc.avg_pool2d(x, 3, 2, 1, layout=layout)
        results[f"average {key}"] = y
        results[f"average backward {key}"] = convc.avg_pool2d_backward(y, x.shape, 3, 2, 1, layout=layout)
        y = convc.adaptive_avg_pool2d(x, 7, layout=layout)
        results[f"adaptive {key}"] = y
        results[f"adaptive backward {key}"] = convc.adaptive_avg_pool2d_backward(y, x.shape, layout=layout)
        results[f"global {key}"] = convc.global_avg_pool(x, layout=layout)
        results[f"relu {key}"] = convc.relu(x)
        results[f"relu backward {key}"] = convc.relu_backward(x, x)
        results |= activations(key, x, 1 if layout == "NCHW" else -1)
        resizing = {"size": (61, 100), "mode": "bilinear", "layout": layout}
        results[f"resized {key}"] = y = convc.interpolate(x, **resizing)
        results[f"resized backward {key}"] = convc.interpolate_backward(y, x.shape, **resizing)
        results[f"softmax {key}"] = convc.softmax(x, 1)
        logits, target = normal(4000, 40, dtype=dtype), rng.integers(0, 40, 4000)
        results[f"loss {key}"] = convc.cross_entropy(logits, target, reduction="none")
        results[f"loss backward {key}"] = convc.cross_entropy_backward(logits, target)
        weight = normal(300, 700, dtype=dtype)
        rows = normal(256, 700, dtype=dtype)
        results[f"linear {key}"] = convc.linear(rows, weight)
        results[f"one row {key}"] = convc.linear(rows[:1], weight)
        for part, gradient in zip("xwb", convc.linear_backward(results[f"linear {key}"], rows, weight), strict=True):
            results[f"linear backward {part} {key}"] = gradient
        cols = convc.im2col(x[:1, :16], 3)
        results[f"im2col {key}"], results[f"col2im {key}"] = cols, convc.col2im(cols, (56, 56), 3)
    return results


def normalisations(key, layout, x, weight):
    if layout == "NCHW":
        x = x[:, :56]
    results, grad = {}, x[::-1]
    forms = {
        "batch": (convc.batch_norm, convc.batch_norm_backward, (None, None), (), {"training": True, "layout": layout}),
        "group": (convc.group_norm, convc.group_norm_backward, (7,), (7,), {"layout": layout}),
        "layer": (convc.layer_norm, convc.layer_norm_backward, (56,), (56,), {}),
    }
    for name, (forward, backward, options, same, keywords) in forms.items():
        y, mean, inv_std = forward(x, *options, weight, weight, **keywords, return_statistics=True)
        results[f"{name} norm {key}"] = y
        for part, gradient in zip("xwb", backward(grad, x, *same, mean, inv_std, weight, **keywords), strict=True):
            results[f"{name} norm backward {part} {key}"] = gradient
    results[f"response {key}"] = convc.local_response_norm(x, 5, layout=layout)
    results[f"response backward {key}"] = convc.local_response_norm_backward(grad, x, 5, layout=layout)
    return results


def activations(key, x, axis):
    results = {}
    for name in ("leaky_relu", "sigmoid", "tanh", "silu", "gelu"):
        results[f"{name} {key}"] = getattr(convc, name)(x)
        results[f"{name} backward {key}"] = getattr(convc, f"{name}_backward")(x, x)
    slopes = np.linspace(-1, 1, x.shape[axis], dtype=x.dtype)
    results[f"prelu {key}"] = convc.prelu(x, slopes, axis)
    for part, gradient in zip("xw", convc.prelu_backward(x, x, slopes, axis), strict=True):
        results[f"prelu backward {part} {key}"] = gradient
    return results


def differences(ours, theirs):
    return [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()]


def small():
    """A forward and a backward pass that threads share out, quick enough to do often."""
    rng = np.random.default_rng(1)
    x, weight = rng.standard_normal((1, 32, 40, 40)), rng.standard_normal((32, 32, 3, 3))
    y = convc.conv2d(x, weight, padding=1)
    return dict(zip("yxwb", (y, *convc.conv2d_backward(y, x, weight, padding=1)), strict=True))


def fork_many(count):
    """Children of a process whose threads have worked must compute the same, and end."""
    expected = small()
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            os._exit(min(len(differences(small(), expected)), 99) if convc.get_num_threads() == 1 else 100)
        children.append(child)
        if differences(small(), expected):  # the parent keeps its threads
            sys.exit("the parent computes something else after a fork")
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(codes):
        sys.exit(f"children ended with {codes}")


if __name__ == "__main__":
    fork_many(int(sys.argv[1]))
