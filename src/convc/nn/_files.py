"""Networks in safetensors files: their state under its PyTorch names, the description of the layers beside it.

Nothing here runs code from a file: the format holds numbers and text, and the text can only name the layers below.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Mapping
from typing import Any

from convc.nn import (
    _activation,
    _blocks,
    _dense,
    _local,
    _norm,
    _pool,
    _resize,
    _sequential,
    _spatial,
    _transpose,
    _unpool,
)
from convc.nn._module import Array, IncompatibleKeys, Module
from convc.nn._weights import choice

Path = str | os.PathLike[str]

_KEY, _VERSION = "convc", 1
_LAYERS: dict[str, type[Module]] = {
    layer.__name__: layer
    for layer in (
        _spatial.Conv1d,
        _spatial.Conv2d,
        _spatial.Conv3d,
        _transpose.ConvTranspose1d,
        _transpose.ConvTranspose2d,
        _transpose.ConvTranspose3d,
        _pool.MaxPool1d,
        _pool.MaxPool2d,
        _pool.MaxPool3d,
        _pool.AvgPool1d,
        _pool.AvgPool2d,
        _pool.AvgPool3d,
        _pool.LPPool1d,
        _pool.LPPool2d,
        _pool.LPPool3d,
        _pool.AdaptiveAvgPool1d,
        _pool.AdaptiveAvgPool2d,
        _pool.AdaptiveAvgPool3d,
        _pool.AdaptiveMaxPool1d,
        _pool.AdaptiveMaxPool2d,
        _pool.AdaptiveMaxPool3d,
        _pool.GlobalAvgPool,
        _pool.GlobalMaxPool,
        _unpool.MaxUnpool1d,
        _unpool.MaxUnpool2d,
        _unpool.MaxUnpool3d,
        _local.LocallyConnected1d,
        _local.LocallyConnected2d,
        _dense.Linear,
        _dense.Flatten,
        _dense.Dropout,
        _activation.ReLU,
        _activation.LeakyReLU,
        _activation.PReLU,
        _activation.GELU,
        _activation.SiLU,
        _activation.Sigmoid,
        _activation.Tanh,
        _activation.Softmax,
        _resize.Upsample,
        _norm.BatchNorm1d,
        _norm.BatchNorm2d,
        _norm.BatchNorm3d,
        _norm.GroupNorm,
        _norm.LayerNorm,
        _norm.LocalResponseNorm,
        _sequential.Sequential,
        _blocks.Residual,
        _blocks.Concat,
    )
}
# Layers that hold others: what describes them, and what the numbers in the names of those come after.
_NESTED = {
    "Sequential": ({"layers"}, ""),
    "Residual": ({"layers", "shortcut"}, "body."),
    "Concat": ({"layers", "axis"}, ""),
}


def save(net: Module, path: Path) -> None:
    """See `Module.save`."""
    numpy_format = _safetensors().numpy
    description = _describe(net)
    metadata = None if description is None else {_KEY: json.dumps({"version": _VERSION, "model": description})}
    _write_atomically(path, numpy_format.save(net.state_dict(), metadata))


def load(net: Module, path: Path, strict: bool) -> IncompatibleKeys:
    """See `Module.load`."""
    state, _ = _read(path)
    try:
        return net.load_state_dict(state, strict)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def load_model(path: Path) -> Module:
    """
    Build a network again, layers and parameters, from a file that `Module.save` wrote.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Module

    Raises
    ------
    ValueError
        If the file is damaged, does not describe its layers (as files from PyTorch do not: build the network and
        use its `load`), or describes something other than convc's layers with the parameters in the file.
    ImportError
        If safetensors is not installed.

    Examples
    --------
    >>> import os, tempfile
    >>> from convc import nn
    >>> path = os.path.join(tempfile.mkdtemp(), "net.safetensors")
    >>> nn.Sequential(nn.Linear(4, 3), nn.ReLU()).save(path)
    >>> nn.load_model(path)
    Sequential(
      (0): Linear(in_features=4, out_features=3, bias=True)
      (1): ReLU()
    )
    """
    state, metadata = _read(path)
    if _KEY not in metadata:
        raise ValueError(f"{os.fspath(path)}: no description of the layers; build the network and use its load()")
    try:
        content = json.loads(metadata[_KEY])
        if not isinstance(content, dict) or content.get("version") != _VERSION:
            raise ValueError(f"not a description of version {_VERSION}")
        net = _build(content.get("model"), "", state)
        net.load_state_dict(state)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)}: the description of the layers cannot be used: {error}") from None
    return net


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("files of weights need safetensors: pip install safetensors") from error
    return safetensors


def _read(path: Path) -> tuple[dict[str, Array], Mapping[str, str]]:
    safetensors = _safetensors()
    # The ordinary errors for what is missing, a directory or forbidden, which safetensors does not tell apart.
    with open(path, "rb"):
        pass
    state = {}
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - the handle is no mapping
                try:
                    state[name] = file.get_tensor(name)
                except (TypeError, AttributeError) as error:
                    raise ValueError(f"{os.fspath(path)}: {name}: NumPy cannot read it: {error}") from None
            return state, file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{os.fspath(path)}: damaged, or not a safetensors file: {error}") from error


def _describe(net: Module) -> dict[str, Any] | None:
    """The layers as JSON holds them, or None if there are others than convc's own."""
    if any(_LAYERS.get(type(module).__name__) is not type(module) for module in net.modules()):
        return None
    return _sequential.described(net)


def _build(description: Any, prefix: str, state: Mapping[str, Array]) -> Module:
    if not isinstance(description, dict) or description.get("type") not in list(_LAYERS):
        kind = description.get("type") if isinstance(description, dict) else description
        raise ValueError(f"{kind!r} is no layer")
    kind = description["type"]
    options = {key: _tuples(value) for key, value in description.items() if key != "type"}
    if kind in _NESTED:
        return _build_nested(kind, options, prefix, state)
    _check_arrays(_LAYERS[kind], options, prefix, state)
    layer = _LAYERS[kind](**options)
    if layer.config() != options:
        raise ValueError(f"{prefix}{kind}: expected {sorted(layer.config())}, got {options}")
    return layer


def _build_nested(kind: str, options: dict[str, Any], prefix: str, state: Mapping[str, Array]) -> Module:
    wanted, inner = _NESTED[kind]
    if set(options) != wanted or not isinstance(options["layers"], tuple):
        raise ValueError(f"a {kind} has {' and '.join(sorted(wanted))} and nothing else")
    layers = [_build(layer, f"{prefix}{inner}{i}.", state) for i, layer in enumerate(options.pop("layers"))]
    if options.get("shortcut") is not None:
        options["shortcut"] = _build(options["shortcut"], f"{prefix}shortcut.", state)
    return _LAYERS[kind](*layers, **options)


def _check_arrays(kind: type[Any], options: dict[str, Any], prefix: str, state: Mapping[str, Array]) -> None:
    """The arrays are as large as described: a layer of a billion channels is not even begun."""
    if not hasattr(kind, "weight_shape") and not hasattr(kind, "state_shapes"):
        return
    choice(options.get("dtype"), "dtype", ("float32", "float64"))
    try:
        several = hasattr(kind, "state_shapes")
        described = kind.state_shapes(**options) if several else {"weight": kind.weight_shape(**options)}
    except (TypeError, ArithmeticError) as error:
        raise ValueError(f"{prefix}{kind.__name__}: {error}") from None
    for name, shape in described.items():
        full = f"{prefix}{name}"
        if full not in state or state[full].shape != shape:
            got = state[full].shape if full in state else "none"
            raise ValueError(f"{full} is described with the shape {shape}, the file has {got}")


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _write_atomically(path: Path, content: bytes) -> None:
    """Under this name there is the old file or the whole new one, even if the program or the machine stops."""
    target = os.path.realpath(path)  # a link stays a link
    if not os.path.isdir(os.path.dirname(target)):
        raise FileNotFoundError(errno.ENOENT, "No such folder", os.path.dirname(target))
    temporary = f"{target}.{secrets.token_hex(4)}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if os.name == "posix":
        _sync_folder(os.path.dirname(target))


def _sync_folder(path: str) -> None:
    """Make the new name last; where folders cannot be synchronized, the file is there all the same."""
    with contextlib.suppress(OSError):
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
