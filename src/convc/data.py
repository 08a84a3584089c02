"""Image data: the digits that ship with the package, and readers for MNIST and CIFAR-10 files the user already has.

Nothing is downloaded and nothing is unpickled. Files are taken to be hostile: a size in a header is compared with what
the file can hold before memory is asked for, and reading stops one byte past what was promised.
"""

from __future__ import annotations

import importlib.resources
import math
import os
import re
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from convc._source import Source, fail

__all__ = [
    "CIFAR10_CLASSES",
    "load_cifar10",
    "load_digits",
    "load_mnist",
    "read_idx",
    "shifted_copies",
    "warped_copies",
]

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

Split = Literal["train", "test"]
Pair = tuple[np.ndarray, np.ndarray]

_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IDX_MAX_NDIM = 32  # what every NumPy can hold
_NUMPY_MAX_BYTES = 2**63 - 1
_MNIST_SIDE = 28
_MNIST_PREFIX = {"train": "train", "test": "t10k"}
_MNIST_MAX_BYTES = 16 + 1_000_000 * _MNIST_SIDE**2  # 60,000 images in MNIST; its extended relatives stay below 1e6
_CIFAR_FILES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
_CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"
_CIFAR_RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes
_CIFAR_MAX_RECORDS = 10_000
_CIFAR_MAX_BYTES = 256 << 20  # the real archive holds 184 MB
_CIFAR_PICKLED = "this is the Python version of CIFAR-10, which is pickled; get the binary version"
_TAR_BLOCK = 512
_WARP_CHUNK = 4096


def load_digits(split: Split | None = None) -> Pair:
    """
    The 1,797 handwritten digits that ship with convc.

    The split is fixed and needs no random numbers: within each class, in the order of the file, the third of every
    five images is a test image. That gives 1,438 training and 359 test images, every class divided 80 : 20.

    Parameters
    ----------
    split : {"train", "test"}, optional
        Which part; all the images, in the order of the file, if not given.

    Returns
    -------
    images : ndarray, float32, (n, 1, 8, 8)
        Ink between 0 (paper) and 1.
    labels : ndarray, int64, (n,)
        The digit, 0 to 9.

    Notes
    -----
    E. Alpaydin, C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
    https://doi.org/10.24432/C50P49, CC BY 4.0. See ``datasets/NOTICE`` in the package.

    Examples
    --------
    >>> from convc.data import load_digits
    >>> images, labels = load_digits("train")
    >>> images.shape, labels[:5].tolist()
    ((1438, 1, 8, 8), [0, 1, 2, 3, 4])
    """
    _check_split(split, optional=True)
    resource = importlib.resources.files("convc") / "datasets" / "digits.npz"
    with resource.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        pixels, labels = archive["images"], archive["labels"].astype(np.int64)
    images = _to_unit(pixels[:, np.newaxis], 16)
    if split is None:
        return images, labels
    chosen = _every_fifth(labels) if split == "test" else ~_every_fifth(labels)
    return images[chosen], labels[chosen]


def _every_fifth(labels: np.ndarray) -> np.ndarray:
    """A mask of the third of every five samples within each class."""
    mask = np.zeros(labels.shape, dtype=bool)
    for label in np.unique(labels):
        mask[np.flatnonzero(labels == label)[2::5]] = True
    return mask


def shifted_copies(images: np.ndarray, labels: np.ndarray, pixels: int = 1) -> Pair:
    """
    Copies of a training set, moved up, down, left and right, to train on beside the originals.

    What moves out of the frame is lost, and zeros come in at the other side.

    Parameters
    ----------
    images : ndarray, (n, channels, height, width)
    labels : ndarray, (n,)
    pixels : int
        How far to move; at least 1 and less than height and width.

    Returns
    -------
    images : ndarray, (4 * n, channels, height, width)
    labels : ndarray, (4 * n,)

    Examples
    --------
    >>> from convc.data import load_digits, shifted_copies
    >>> images, labels = shifted_copies(*load_digits("train"))
    >>> images.shape
    (5752, 1, 8, 8)
    """
    height, width = _check_images(images, labels)
    if not 1 <= pixels < min(height, width):
        raise ValueError(f"pixels must be at least 1 and less than the image size {height} x {width}, got {pixels}")
    padded = np.pad(images, ((0, 0), (0, 0), (pixels, pixels), (pixels, pixels)))
    corners = [(2 * pixels, pixels), (0, pixels), (pixels, 2 * pixels), (pixels, 0)]
    copies = [padded[:, :, top : top + height, left : left + width] for top, left in corners]
    return np.concatenate(copies), np.tile(labels, len(copies))


def warped_copies(
    images: np.ndarray,
    labels: np.ndarray,
    copies: int = 4,
    *,
    rotation: float = 12.0,
    scale: float = 0.1,
    shear: float = 0.1,
    shift: float = 0.7,
    seed: int = 0,
) -> Pair:
    """
    Copies of a training set, each image turned, stretched, slanted and moved a little, to train on beside them.

    Every image of every copy gets an affine map of its own, drawn uniformly. Pixels are interpolated linearly, and
    are zero outside the frame.

    Parameters
    ----------
    images : ndarray, (n, channels, height, width)
        Of floating point.
    labels : ndarray, (n,)
    copies : int
    rotation : float
        The largest angle, in degrees, either way.
    scale : float
        Height and width change, each on its own, by a factor of at most exp(scale) or at least exp(-scale).
    shear : float
        The largest sideways move, as a fraction of the distance from the middle row.
    shift : float
        The largest move in each direction, in pixels.
    seed : int

    Returns
    -------
    images : ndarray, (copies * n, channels, height, width)
    labels : ndarray, (copies * n,)

    Examples
    --------
    >>> from convc.data import load_digits, warped_copies
    >>> images, labels = warped_copies(*load_digits("train"), copies=2)
    >>> images.shape, images.dtype
    ((2876, 1, 8, 8), dtype('float32'))
    """
    _check_images(images, labels)
    if copies < 1:
        raise ValueError(f"copies must be at least 1, got {copies}")
    if not np.issubdtype(images.dtype, np.floating):
        raise TypeError(f"images must be of floating point, got {images.dtype}")
    rng = np.random.default_rng(seed)
    count = copies * len(images)
    angle = np.deg2rad(rng.uniform(-rotation, rotation, count))
    stretch = np.exp(rng.uniform(-scale, scale, (2, count)))
    slant = rng.uniform(-shear, shear, count)
    move = rng.uniform(-shift, shift, (count, 2, 1))
    # Where the pixel at (y, x) from the centre comes from: matrix @ (y, x) + move.
    matrix = np.empty((count, 2, 2))
    matrix[:, 0, 0], matrix[:, 0, 1] = np.cos(angle) * stretch[0], -np.sin(angle) * stretch[0]
    matrix[:, 1, 0], matrix[:, 1, 1] = np.sin(angle) * stretch[1] + slant, np.cos(angle) * stretch[1]
    warped = np.empty((count, *images.shape[1:]), images.dtype)
    for start in range(0, count, _WARP_CHUNK):  # in pieces, because coordinates take far more room than pixels
        part = slice(start, start + _WARP_CHUNK)
        sources = np.arange(count)[part] % len(images)
        warped[part] = _warp(images[sources], matrix[part], move[part])
    return warped, np.tile(labels, copies)


def _warp(images: np.ndarray, matrix: np.ndarray, move: np.ndarray) -> np.ndarray:
    """Image i read at the places matrix[i] @ (y, x) + move[i], counted from the centre."""
    height, width = images.shape[2:]
    centre = np.array([[height - 1], [width - 1]]) / 2
    grid = np.indices((height, width)).reshape(2, -1) - centre
    places = matrix @ grid + move + centre
    # A frame of zeros one pixel wide stands for everything outside; places beyond it are drawn in.
    y, x = np.clip(places[:, 0] + 1, 0, height + 1), np.clip(places[:, 1] + 1, 0, width + 1)
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1))).transpose(0, 2, 3, 1)
    top, left = np.minimum(y.astype(np.intp), height), np.minimum(x.astype(np.intp), width)
    each = np.arange(len(images))[:, np.newaxis]
    down, right = (y - top)[..., np.newaxis], (x - left)[..., np.newaxis]
    above = (1 - right) * padded[each, top, left] + right * padded[each, top, left + 1]
    below = (1 - right) * padded[each, top + 1, left] + right * padded[each, top + 1, left + 1]
    warped: np.ndarray = (1 - down) * above + down * below
    return warped.transpose(0, 2, 1).reshape(images.shape)


def _check_images(images: np.ndarray, labels: np.ndarray) -> tuple[int, int]:
    if images.ndim != 4 or labels.shape != images.shape[:1]:
        raise ValueError(
            "images must be of shape (n, channels, height, width) and labels of shape (n,), "
            f"got {images.shape} and {labels.shape}"
        )
    return images.shape[2], images.shape[3]


def read_idx(path: str | os.PathLike[str], *, max_bytes: int = 1 << 30) -> np.ndarray:
    """
    Read a file in the IDX format of MNIST, compressed with gzip or not.

    Parameters
    ----------
    path : path-like
    max_bytes : int
        Refuse a file that holds more than this, counted after decompression. 1 GiB by default.

    Returns
    -------
    ndarray
        The array of the file: uint8, int8, int16, int32, float32 or float64, in the byte order of this machine.

    Raises
    ------
    ValueError
        If the file is not IDX, is truncated, has bytes left over or is larger than `max_bytes`. The message names the
        file and the offset, counted in the decompressed data.
    OSError
        If the file cannot be opened.

    Notes
    -----
    The format: two zero bytes, a type code, the number of axes, each axis as a big-endian 32-bit integer, the data in
    row-major order, big-endian. http://yann.lecun.com/exdb/mnist/

    Examples
    --------
    >>> import tempfile, os
    >>> from convc.data import read_idx
    >>> path = os.path.join(tempfile.mkdtemp(), "labels-idx1-ubyte")
    >>> with open(path, "wb") as file:
    ...     _ = file.write(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    >>> read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    return _read_idx(path, max_bytes)


def _read_idx(
    path: str | os.PathLike[str], max_bytes: int, accept: Callable[[np.dtype, tuple[int, ...]], str] | None = None
) -> np.ndarray:
    """`read_idx`, where `accept` may refuse (by returning a reason) what the header promises before it is read."""
    with Source(path) as source:
        zero, zero_too, code, ndim = source.exactly(4)
        if zero or zero_too or code not in _IDX_DTYPES or not 1 <= ndim <= _IDX_MAX_NDIM:
            source.fail("not an IDX file: it must begin with 0, 0, a type code and the number of axes", offset=0)
        shape = tuple(np.frombuffer(source.exactly(4 * ndim), ">u4").tolist())
        dtype = np.dtype(_IDX_DTYPES[code])
        reason = accept(dtype, shape) if accept else ""
        if reason:
            source.fail(reason, offset=0)
        size = math.prod(shape) * dtype.itemsize
        if source.offset + size > max_bytes:
            source.fail(f"the header promises {size} bytes of data, more than max_bytes={max_bytes} allows", offset=4)
        if math.prod(axis or 1 for axis in shape) * dtype.itemsize > _NUMPY_MAX_BYTES:
            source.fail(f"no array can have the shape {shape} of the header", offset=4)
        array = source.array(size).view(dtype).reshape(shape)
        source.expect_end()
    return array.astype(dtype.newbyteorder("="), copy=False)


def load_mnist(directory: str | os.PathLike[str], split: Split = "train") -> Pair:
    """
    Read MNIST, or a set in the same files such as Fashion-MNIST, from a directory.

    Parameters
    ----------
    directory : path-like
        Where ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
        ``t10k-labels-idx1-ubyte`` are, each with or without ``.gz``. ``train-images.idx3-ubyte`` is found too.
    split : {"train", "test"}

    Returns
    -------
    images : ndarray, float32, (n, 1, 28, 28)
        Between 0 (background) and 1.
    labels : ndarray, int64, (n,)
        0 to 9.

    Raises
    ------
    FileNotFoundError
        If a file is missing; the message lists the names looked for.
    ValueError
        If a file is not what it should be; the message names the file and the offset.

    Examples
    --------
    >>> from convc.data import load_mnist
    >>> images, labels = load_mnist("mnist", "test")  # doctest: +SKIP
    """
    _check_split(split)

    def accept_images(dtype: np.dtype, shape: tuple[int, ...]) -> str:
        if dtype.str == "|u1" and len(shape) == 3 and shape[1:] == (_MNIST_SIDE, _MNIST_SIDE):
            return ""
        return f"MNIST images are bytes of shape (n, 28, 28), this file holds {dtype.name} of shape {shape}"

    def accept_labels(dtype: np.dtype, shape: tuple[int, ...]) -> str:
        if dtype.str == "|u1" and len(shape) == 1:
            return ""
        return f"MNIST labels are bytes of shape (n,), this file holds {dtype.name} of shape {shape}"

    prefix = _MNIST_PREFIX[split]
    image_path = _find(directory, [f"{prefix}-images{sep}idx3-ubyte{end}" for sep in "-." for end in ("", ".gz")])
    label_path = _find(directory, [f"{prefix}-labels{sep}idx1-ubyte{end}" for sep in "-." for end in ("", ".gz")])
    labels = _read_idx(label_path, _MNIST_MAX_BYTES, accept_labels)
    _check_labels(label_path, labels, first=8, step=1)
    pixels = _read_idx(image_path, _MNIST_MAX_BYTES, accept_images)
    if len(pixels) != len(labels):
        fail(image_path, 4, f"{len(pixels)} images, but {os.path.basename(label_path)} holds {len(labels)} labels")
    return _to_unit(pixels[:, np.newaxis], 255), labels.astype(np.int64)


def load_cifar10(path: str | os.PathLike[str], split: Split = "train") -> Pair:
    """
    Read the binary version of CIFAR-10.

    Parameters
    ----------
    path : path-like
        The archive ``cifar-10-binary.tar.gz``, which is read in memory, or a directory with the archive or with its
        files ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin``.
    split : {"train", "test"}

    Returns
    -------
    images : ndarray, float32, (n, 3, 32, 32)
        Red, green and blue between 0 and 1.
    labels : ndarray, int64, (n,)
        0 to 9; the names are in `CIFAR10_CLASSES`.

    Raises
    ------
    FileNotFoundError
        If the path or one of the batch files is missing.
    ValueError
        If a file is not what it should be; the message names the file and the offset.

    Notes
    -----
    A record is one byte with the label and 3 * 1,024 bytes with the planes; a file holds at most 10,000 records.
    A. Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images,
    https://www.cs.toronto.edu/~kriz/cifar.html

    Examples
    --------
    >>> from convc.data import load_cifar10
    >>> images, labels = load_cifar10("cifar-10-binary.tar.gz", "test")  # doctest: +SKIP
    """
    _check_split(split)
    names = _CIFAR_FILES[split]
    archive = os.path.join(path, _CIFAR_ARCHIVE)
    if os.path.isfile(archive) and not os.path.exists(os.path.join(path, names[0])):
        path = archive
    batches = _cifar_directory(path, names) if os.path.isdir(path) else _cifar_archive(path, names)
    records = np.concatenate(batches)
    return _to_unit(records[:, 1:].reshape(-1, 3, 32, 32), 255), records[:, 0].astype(np.int64)


def _cifar_directory(path: str | os.PathLike[str], names: list[str]) -> list[np.ndarray]:
    inner = os.path.join(path, "cifar-10-batches-bin")
    folder = inner if os.path.isdir(inner) else os.fspath(path)
    if os.path.exists(os.path.join(folder, "data_batch_1")):
        raise ValueError(f"{folder}: {_CIFAR_PICKLED}")
    batches = []
    for name in names:
        with Source(_find(folder, [name])) as source:
            if source.compressed:
                source.fail("gzip data; expected the batch file itself, or the path of the whole archive")
            batches.append(_cifar_batch(source, source.path, source.disk_size))
            source.expect_end()
    return batches


def _cifar_archive(path: str | os.PathLike[str], names: list[str]) -> list[np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with Source(path, limit=_CIFAR_MAX_BYTES) as source:
        for header, name, size in _tar_files(source):
            if re.fullmatch(r"data_batch_\d", name):
                source.fail(_CIFAR_PICKLED, header)
            if name in found:
                source.fail(f"{name} is in the archive twice", header)
            if name in names:
                found[name] = _cifar_batch(source, f"{source.path}({name})", size)
        missing = [name for name in names if name not in found]
        if missing:
            source.fail(f"the archive ends without {', '.join(missing)}")
        source.drain()
    return [found[name] for name in names]


def _tar_files(source: Source) -> Iterator[tuple[int, str, int]]:
    """
    Walk through a tar archive: header offset, base name and size of each file, with the source at its data.

    The few lines of ustar that this takes, not the tarfile module: links, long names and sparse maps, which a hostile
    archive could bring along, are then not there to be followed. What the caller leaves unread is skipped.
    """
    while True:
        offset = source.offset
        header = source.exactly(_TAR_BLOCK)
        if not any(header):
            return
        checksum = sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
        if _octal(header[148:156]) != checksum:
            source.fail("not a tar archive" if offset == 0 else "damaged tar header: its checksum is wrong", offset)
        size = _octal(header[124:136])
        if size is None:
            source.fail("damaged tar header: the file size is no octal number", offset)
        if header[156:157] in (b"0", b"\0"):  # a regular file
            yield offset, os.path.basename(header[:100].partition(b"\0")[0].decode("ascii", "replace")), size
        source.skip_to(offset + _TAR_BLOCK * (1 + math.ceil(size / _TAR_BLOCK)))


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    return int(digits, 8) if re.fullmatch(rb"[0-7]+", digits) else None


def _cifar_batch(source: Source, where: str, size: int) -> np.ndarray:
    """The next `size` bytes of the source as CIFAR-10 records; `where` is the file that errors are about."""
    records, rest = divmod(size, _CIFAR_RECORD)
    if rest or not 1 <= records <= _CIFAR_MAX_RECORDS:
        whole = min(records, _CIFAR_MAX_RECORDS) * _CIFAR_RECORD
        fail(where, whole, f"{size} bytes are not 1 to {_CIFAR_MAX_RECORDS} records of {_CIFAR_RECORD} bytes each")
    batch = source.array(size).reshape(records, _CIFAR_RECORD)
    _check_labels(where, batch[:, 0], first=0, step=_CIFAR_RECORD)
    return batch


def _check_labels(where: str, labels: np.ndarray, first: int, step: int) -> None:
    """Labels are 0 to 9; label i is the byte at first + i * step of the file."""
    wrong = np.flatnonzero(labels > 9)
    if wrong.size:
        fail(where, first + int(wrong[0]) * step, f"label {labels[wrong[0]]}, expected 0 to 9")


def _check_split(split: object, optional: bool = False) -> None:
    if split not in ("train", "test") and not (optional and split is None):
        expected = '"train", "test" or None' if optional else '"train" or "test"'
        raise ValueError(f"split must be {expected}, got {split!r}")


def _find(directory: str | os.PathLike[str], names: list[str]) -> str:
    """The first of these files that the directory has."""
    for name in names:
        path = os.path.join(directory, name)
        if os.path.exists(path):
            return path
    missing = "not a directory" if os.path.exists(directory) else "no such directory"
    reason = f"no file {' or '.join(names)} there" if os.path.isdir(directory) else missing
    raise FileNotFoundError(f"{os.fspath(directory)}: {reason}")


def _to_unit(pixels: np.ndarray, full: int) -> np.ndarray:
    """Integer pixels as float32, `full` as 1."""
    fractions: np.ndarray = np.divide(pixels, np.float32(full), dtype=np.float32)
    return fractions
