"""What every layer is made of: parameters and buffers, and modules that hold them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from convc.shapes import ReceptiveField

if TYPE_CHECKING:
    from convc.nn._summary import Summary

Array = np.ndarray[Any, np.dtype[Any]]
Backward = Callable[[Array], Any]  # takes the gradient of the output, returns that of the input


class IncompatibleKeys(NamedTuple):
    """What `Module.load_state_dict` skipped."""

    missing: list[str]
    unexpected: list[str]


class Parameter:
    """
    An array that training changes, and its gradient.

    Parameters
    ----------
    data : ndarray of float32 or float64
        Kept as it is if it is C-contiguous and writeable, else copied.

    Attributes
    ----------
    data : ndarray
    grad : ndarray or None
        Sum of the gradients since the last `zero_grad`.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> scale = nn.Parameter(np.ones(3))
    >>> scale.accumulate(np.full(3, 0.5))
    >>> scale.grad
    array([0.5, 0.5, 0.5])
    """

    __slots__ = ("data", "grad")

    data: Array
    grad: Array | None

    def __init__(self, data: Array) -> None:
        if not isinstance(data, np.ndarray) or data.dtype not in (np.float32, np.float64):
            got = data.dtype if isinstance(data, np.ndarray) else type(data).__name__
            raise TypeError(f"data must be an array of float32 or float64, got {got}")
        self.data = np.require(data, requirements=("C", "W"))
        self.grad = None

    def accumulate(self, grad: Array) -> None:
        """Add a gradient of the shape of `data`. The array is kept, not copied, if it is the first."""
        if grad.shape != self.data.shape:
            raise ValueError(f"grad must have the shape of the parameter, {self.data.shape}, got {grad.shape}")
        if self.grad is None:
            self.grad = grad
        else:
            self.grad += grad

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self.grad = None

    def __repr__(self) -> str:
        return f"Parameter({self.data!r})"


class Buffer:
    """
    An array that belongs to a layer but is not trained, such as a running mean; it is saved with the parameters.

    Parameters
    ----------
    data : ndarray of float32, float64 or int64
        Kept as it is if it is C-contiguous and writeable, else copied.
    optional : bool
        Whether a state that is loaded may lack it; it then stays as it is.

    Attributes
    ----------
    data : ndarray
    optional : bool

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> nn.Buffer(np.zeros(2))
    Buffer(array([0., 0.]))
    """

    __slots__ = ("data", "optional")

    data: Array
    optional: bool

    def __init__(self, data: Array, *, optional: bool = False) -> None:
        if not isinstance(data, np.ndarray) or data.dtype not in (np.float32, np.float64, np.int64):
            got = data.dtype if isinstance(data, np.ndarray) else type(data).__name__
            raise TypeError(f"data must be an array of float32, float64 or int64, got {got}")
        self.data = np.require(data, requirements=("C", "W"))
        self.optional = optional

    def __repr__(self) -> str:
        return f"Buffer({self.data!r})"


class Module:
    """
    A layer, or a network of layers.

    A module of one's own sets its `Parameter`, `Buffer` and `Module` objects as attributes and defines `forward`;
    names, saving, gradients and the summary follow. Its state is its parameters and buffers: what `backward` needs is
    kept by `backward`. If it acts differently in use, or holds layers that do, it defines `forward_inference` too.

    Examples
    --------
    >>> import numpy as np
    >>> from convc import nn
    >>> class Scale(nn.Module):
    ...     def __init__(self):
    ...         self.factor = nn.Parameter(np.ones(1))
    ...     def forward(self, x):
    ...         def backward(grad):
    ...             self.factor.accumulate(np.sum(grad * x, keepdims=True).reshape(1))
    ...             return grad * self.factor.data
    ...         return x * self.factor.data, backward
    >>> y, backward = Scale().forward(np.array([1.0, 2.0]))
    >>> backward(np.ones(2))
    array([1., 1.])
    """

    #: The axis of `weight` along which output channels lie, if a scale of the output can be taken into the weights.
    out_axis: ClassVar[int | None] = None

    def __setattr__(self, name: str, value: Any) -> None:
        held = self.__dict__.get(name)
        if isinstance(held, (Parameter, Buffer)) and not (value is None or isinstance(value, type(held))):
            kind = type(held).__name__
            raise TypeError(f"{name} must be a {kind}, got {type(value).__name__}: write to {name}.data[...] instead")
        super().__setattr__(name, value)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        """
        Output for training, and the function that continues the gradient.

        Returns
        -------
        y : ndarray
        backward : callable
            ``grad_x = backward(grad_y)`` adds to the `grad` of each parameter.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward(x) -> (y, backward)")

    def forward_data(self, x: Array) -> tuple[Array, Backward]:
        """Like `forward`, where nobody asks for the gradient of `x`: `backward` may leave it out and return None."""
        return self.forward(x)

    def forward_inference(self, x: Array) -> tuple[Array, Backward]:
        """
        What the module gives in use, ``layer(x)``, and the function that continues the gradient through just that.

        Dropout is off, and normalisation has the running statistics and leaves them alone. It is what saliency maps
        need, and training that must not change the statistics.
        """
        return self.forward(x)

    def __call__(self, x: Array) -> Array:
        """Output for use: dropout is off, and nothing is kept for a backward pass."""
        return self.forward_inference(x)[0]

    # ---- what there is inside

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside, in the order in which they were set."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def modules(self) -> Iterator[Module]:
        """This module and all those inside, outer ones first."""
        yield self
        for _, child in self.named_children():
            yield from child.modules()

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Every parameter with its PyTorch name, such as ``"0.weight"``; a shared one under each of its names."""
        return self._named((Parameter,), prefix)

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Buffer]]:
        """Every buffer with its PyTorch name, such as ``"1.running_mean"``."""
        return self._named((Buffer,), prefix)

    def _named(self, kinds: tuple[type, ...], prefix: str = "") -> Iterator[tuple[str, Any]]:
        for kind in kinds:
            for name, value in vars(self).items():
                if isinstance(value, kind):
                    yield prefix + name, value
        for name, child in self.named_children():
            yield from child._named(kinds, f"{prefix}{name}.")

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter, once."""
        seen = set()
        for _, parameter in self.named_parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield parameter

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def seed(self, seed: int | np.random.SeedSequence | None) -> None:
        """
        Start every random stream inside (that of `Dropout`) again.

        A module of one's own that draws random numbers during training overrides this.
        """
        sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
        children = [child for _, child in self.named_children()]
        for child, stream in zip(children, sequence.spawn(len(children)), strict=True):
            child.seed(stream)

    # ---- state

    def state_dict(self) -> dict[str, Array]:
        """Copies of all parameters and buffers under their PyTorch names; later training does not change them."""
        return {name: held.data.copy() for name, held in self._named((Parameter, Buffer))}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """
        Copy values into the parameters and buffers.

        Parameters
        ----------
        state : mapping of str to array
            Arrays or CPU tensors, of any floating-point type for floating-point numbers and any type of integers for
            integers; they are converted to the types of the network.
        strict : bool
            Whether the names must be exactly those of the network, up to buffers that are optional.

        Returns
        -------
        IncompatibleKeys
            The names that were not found (`missing`) and not used (`unexpected`).

        Raises
        ------
        ValueError
            If names or shapes do not match; all of them are listed, and nothing has changed.
        TypeError
            If an entry does not hold the kind of numbers that the network does.
        """
        held = dict(self._named((Parameter, Buffer)))
        missing = [name for name in held if name not in state and not getattr(held[name], "optional", False)]
        unexpected = [name for name in state if name not in held]
        problems = [f"{name} is missing" for name in missing] + [f"{name} is unexpected" for name in unexpected]
        if not strict:
            problems.clear()
        values = {}
        for name in held.keys() & state.keys():
            values[name] = value = np.asarray(state[name])
            if value.dtype.kind != held[name].data.dtype.kind:
                wanted = "integers" if held[name].data.dtype.kind == "i" else "floating-point numbers"
                raise TypeError(f"state_dict: {name} must hold {wanted}, got {value.dtype}")
        for name in held:
            if name in values and values[name].shape != held[name].data.shape:
                problems.append(f"{name} has shape {values[name].shape}, the network needs {held[name].data.shape}")
        if problems:
            raise ValueError(f"state_dict does not fit the network: {'; '.join(problems)}")
        for name, value in values.items():
            np.copyto(held[name].data, value, casting="same_kind")
        return IncompatibleKeys(missing, unexpected)

    def save(self, path: str | os.PathLike[str]) -> None:
        """
        Write the parameters and buffers to a safetensors file under their PyTorch names.

        The file replaces an older one in a single step: at no moment is there half a file under this name. If the
        network consists of convc's own layers, their description goes into the metadata, from which `nn.load_model`
        builds it again.

        Raises
        ------
        ImportError
            If safetensors is not installed.
        """
        from convc.nn import _files

        _files.save(self, path)

    def load(self, path: str | os.PathLike[str], strict: bool = True) -> IncompatibleKeys:
        """
        Read the parameters and buffers from a safetensors file, one of convc's or of PyTorch's.

        Raises
        ------
        ValueError
            If the file is damaged, or its names or shapes do not match; it names the file.
        ImportError
            If safetensors is not installed.
        """
        from convc.nn import _files

        return _files.load(self, path, strict)

    def config(self) -> dict[str, Any]:
        """The arguments that make this module again, as JSON can hold them."""
        raise NotImplementedError(f"{type(self).__name__} does not describe itself")

    def fuse(self) -> Module:
        """
        A copy of the network for use alone, faster: same outputs up to rounding, from fewer layers.

        A batch normalisation that follows a convolution or a fully connected layer is folded into its weights (scaled
        in float64, and rounded once), and dropout is left out of chains of layers. This network is not changed.

        Behind a fully connected layer, `BatchNorm1d` normalises features if each sample is a vector, but positions if
        it is a sequence of vectors. It is folded where a `Flatten` or a global pool before it says that there are
        vectors; one in front of the first layer does no more than say so. With ``layout="NWC"``, it is folded anyway.

        Returns
        -------
        Module
            Chains in chains have become one, so that parameters may have other names. A module of one's own must keep
            the modules inside as attributes.

        Examples
        --------
        >>> from convc import nn
        >>> nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout()).fuse()
        Sequential(
          (0): Conv2d(3, 2, kernel_size=(1, 1), stride=(1, 1))
          (1): ReLU()
        )
        """
        from convc.nn._fuse import fuse

        return fuse(self)

    # ---- sizes; all shapes are without the batch axis

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the output for one input of the given shape. A module that does not define it is tried on zeros."""
        dtype = next((parameter.data.dtype for parameter in self.parameters()), np.dtype(np.float32))
        shape: tuple[int, ...] = self(np.zeros((1, *input_shape), dtype)).shape
        return shape[1:]

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Multiply-adds for one input of the given shape; a module that has any defines this."""
        return 0

    def unshared_parameters(self, input_shape: tuple[int, ...]) -> int:
        """Parameters that it would have if each output position had its own; a convolution defines this."""
        return sum(parameter.data.size for parameter in self.parameters())

    def dropped(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """How many positions at the end of each spatial axis no window reaches; a layer of windows defines this."""
        return ()

    def receptive_field(self, field: ReceptiveField | None) -> ReceptiveField | None:
        """
        What an output position sees of the network's input, from what an input position sees.

        None is everything; a summary tells it from what `Upsample` and adaptive pools make unknown.

        A module that looks at more than one position defines this.
        """
        return field

    def summary(self, input_shape: tuple[int, ...]) -> Summary:
        """
        Layers, output volumes, parameters, receptive fields and multiply-adds; printing it shows a table.

        An asterisk marks the layers whose stride does not fit, so that the end of their input is never read. A question
        mark stands where a module of one's own does not define `macs` or, having modules inside, `receptive_field`, and
        behind `Upsample` and adaptive pools whose windows depend on the size of the input.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of one input, without the batch axis.

        Raises
        ------
        ValueError
            If a layer does not fit its input; the error names it.

        Examples
        --------
        >>> from convc import nn
        >>> net = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
        >>> net.summary((1, 28, 28))
           layer          output       parameters  receptive field  jump   multiply-adds
        --------------------------------------------------------------------------------
           input          1 x 28 x 28
        0  Conv2d 5x5     6 x 28 x 28         156  5 x 5            1 x 1        117,600
        1  ReLU           6 x 28 x 28           0  5 x 5            1 x 1              0
        2  MaxPool2d 2x2  6 x 14 x 14           0  6 x 6            2 x 2              0
        --------------------------------------------------------------------------------
           total                              156                                117,600
        """
        from convc.nn._summary import summarize

        return summarize(self, input_shape)

    # ---- text

    def extra_repr(self) -> str:
        """What `repr` shows of a module that holds others, beside these."""
        return ""

    def __repr__(self) -> str:
        lines = [self.extra_repr()] if self.extra_repr() else []
        lines += [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        return f"{type(self).__name__}(" + "".join(f"\n  {line}" for line in lines) + ("\n)" if lines else ")")
