"""Small files in the real formats of IDX, MNIST and CIFAR-10, made for the tests."""

import gzip
import io
import struct
import tarfile

import numpy as np

IDX_CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}
RECORD = 3073


def idx_bytes(array):
    head = bytes([0, 0, IDX_CODES[array.dtype.name], array.ndim])
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(path, content, compress=False):
    path.write_bytes(gzip.compress(content) if compress else content)
    return path


def make_mnist(folder, n=7, suffix="", separator="-", **changes):
    """The four files of MNIST with n images each; `changes` replaces arrays by name."""
    rng = np.random.default_rng(1)
    arrays = {}
    for prefix in ("train", "t10k"):
        arrays[f"{prefix}-images"] = rng.integers(0, 256, (n, 28, 28)).astype(np.uint8)
        arrays[f"{prefix}-labels"] = rng.integers(0, 10, n).astype(np.uint8)
    arrays.update(changes)
    for name, array in arrays.items():
        kind = "idx3" if name.endswith("images") else "idx1"
        write(folder / f"{name}{separator}{kind}-ubyte{suffix}", idx_bytes(array), compress=bool(suffix))
    return arrays


def cifar_batch(seed, records=3):
    batch = np.random.default_rng(seed).integers(0, 256, (records, RECORD)).astype(np.uint8)
    batch[:, 0] %= 10
    return batch


CIFAR_NAMES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]


def cifar_files(**changes):
    """Name to content of the files of CIFAR-10, three records each."""
    files = {"batches.meta.txt": b"airplane\nautomobile\n"}
    files.update((name, cifar_batch(i, 3).tobytes()) for i, name in enumerate(CIFAR_NAMES))
    return {name: content for name, content in (files | changes).items() if content is not None}


def cifar_tar(files, form=tarfile.GNU_FORMAT, mode="w:gz"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=form) as archive:
        folder = tarfile.TarInfo("cifar-10-batches-bin")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            member.mtime = 0.5 if form == tarfile.PAX_FORMAT else 0  # half a second takes a pax header
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
