"""The bundled digits, and the readers: real formats made here, and every way of damaging them."""

import gzip
import hashlib
import io
import os
import struct
import tarfile
import tracemalloc

import numpy as np
import pytest
from data_files import IDX_CODES, RECORD, cifar_batch, cifar_files, cifar_tar, idx_bytes, make_mnist, write
from hypothesis import given, settings
from hypothesis import strategies as st

from convc import data


def error_of(read, path, *args):
    """The one ValueError, whose message names the file; no more memory than a few MB was asked for on the way."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as caught:
            read(path, *args)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert type(caught.value) is ValueError
    message = str(caught.value)
    assert "\n" not in message
    return message


def outcome(read, *args):
    """What was read and "", or None and the message of the ValueError."""
    try:
        return read(*args), ""
    except ValueError as error:
        return None, str(error)


class TestDigits:
    def test_all(self):
        images, labels = data.load_digits()
        assert images.shape == (1797, 1, 8, 8)
        assert images.dtype == np.float32
        assert labels.shape == (1797,)
        assert labels.dtype == np.int64
        assert images.min() == 0
        assert images.max() == 1
        assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
        raw = (images * 16).astype(np.uint8).tobytes() + labels.astype(np.uint8).tobytes()
        assert hashlib.sha256(raw).hexdigest() == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"

    def test_same_as_scikit_learn(self):
        theirs = pytest.importorskip("sklearn.datasets").load_digits()
        images, labels = data.load_digits()
        np.testing.assert_array_equal(images[:, 0] * 16, theirs.images)
        np.testing.assert_array_equal(labels, theirs.target)

    def test_split_is_a_fixed_stratified_partition(self):
        images, labels = data.load_digits()
        train, test = data.load_digits("train"), data.load_digits("test")
        assert len(train[1]) == 1438
        assert len(test[1]) == 359
        share = np.bincount(test[1]) / np.bincount(labels)
        assert np.all(np.abs(share - 0.2) < 0.005)
        for digit in range(10):  # the documented rule
            np.testing.assert_array_equal(test[0][test[1] == digit], images[labels == digit][2::5])
        whole = sorted(image.tobytes() for image in images)
        assert sorted(image.tobytes() for part in (train, test) for image in part[0]) == whole

    def test_split_names(self):
        for split in ("validation", "", 1, True):
            with pytest.raises(ValueError, match="split"):
                data.load_digits(split)

    def test_result_is_the_callers_own(self):
        first, _ = data.load_digits()
        first[:] = 7
        assert data.load_digits()[0].max() == 1

    def test_notice_is_beside_the_data(self):
        notice = os.path.join(os.path.dirname(data.__file__), "datasets", "NOTICE")
        with open(notice, encoding="utf-8") as file:
            text = file.read()
        for needed in ("Alpaydin", "Kaynak", "CC BY 4.0", "doi.org/10.24432/C50P49", "changed"):
            assert needed in text


class TestShiftedCopies:
    def test_moves_by_one_pixel(self):
        images = np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3)
        moved, labels = data.shifted_copies(images, np.array([4]))
        assert moved.dtype == np.float32
        assert labels.tolist() == [4] * 4
        assert moved[:, 0].tolist() == [
            [[4, 5, 6], [7, 8, 9], [0, 0, 0]],
            [[0, 0, 0], [1, 2, 3], [4, 5, 6]],
            [[2, 3, 0], [5, 6, 0], [8, 9, 0]],
            [[0, 1, 2], [0, 4, 5], [0, 7, 8]],
        ]

    @pytest.mark.parametrize("pixels", [0, -1, 3])
    def test_pixels(self, pixels):
        with pytest.raises(ValueError, match="pixels"):
            data.shifted_copies(np.zeros((1, 1, 3, 4)), np.zeros(1), pixels)

    def test_shapes(self):
        for images, labels in ((np.zeros((1, 3, 4)), np.zeros(1)), (np.zeros((2, 1, 3, 4)), np.zeros(1))):
            for function in (data.shifted_copies, data.warped_copies):
                with pytest.raises(ValueError, match="images"):
                    function(images, labels)


STILL = {"rotation": 0, "scale": 0, "shear": 0, "shift": 0}


class TestWarpedCopies:
    def test_nothing_to_do(self):
        images, labels = data.load_digits("test")
        copies, copied_labels = data.warped_copies(images, labels, 2, **STILL)
        np.testing.assert_allclose(copies, np.concatenate([images, images]), atol=1e-6)
        np.testing.assert_array_equal(copied_labels, np.concatenate([labels, labels]))

    def test_many_images_many_channels(self):
        """More than one piece; every channel is treated alike."""
        image = np.random.default_rng(0).random((5000, 1, 5, 7))
        copies, _ = data.warped_copies(np.concatenate([image, 2 * image], axis=1), np.zeros(5000), 1)
        np.testing.assert_allclose(copies[:, 1], 2 * copies[:, 0])
        np.testing.assert_allclose(copies[:, :1], data.warped_copies(image, np.zeros(5000), 1)[0])

    def test_linear_ramp_stays_linear(self):
        """Linear interpolation of a plane is exact, so the map can be read off far from the border."""
        plane = np.indices((21, 21)).astype(float)[np.newaxis].repeat(50, axis=0)
        copies, _ = data.warped_copies(plane, np.zeros(50), 1, rotation=20, shift=1)
        inner = copies[:, :, 7:14, 7:14]
        for axis in (2, 3):
            np.testing.assert_allclose(np.diff(inner, 2, axis=axis), 0, atol=1e-9)
        assert np.abs(copies[:, :, 10, 10] - 10).max() <= 1 + 1e-9
        slopes = np.stack([np.diff(inner, axis=axis)[:, :, 0, 0] for axis in (2, 3)], axis=2)
        angles = np.degrees(np.arctan2(-slopes[:, 0, 1], slopes[:, 0, 0]))
        assert np.abs(angles).max() <= 20 + 1e-6
        assert np.abs(angles).max() > 10

    def test_outside_is_zero(self):
        images = np.ones((40, 1, 6, 6), np.float32)
        copies, _ = data.warped_copies(images, np.zeros(40), 1, **(STILL | {"shift": 50}))
        assert copies.min() == 0
        assert copies.max() <= 1
        assert np.any(copies.reshape(40, -1).max(axis=1) == 0)

    def test_seed(self):
        images, labels = data.load_digits("test")
        first, again, other = (data.warped_copies(images, labels, 1, seed=seed)[0] for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_arguments(self):
        with pytest.raises(ValueError, match="copies"):
            data.warped_copies(np.zeros((1, 1, 3, 4)), np.zeros(1), 0)
        with pytest.raises(TypeError, match="uint8"):
            data.warped_copies(np.zeros((1, 1, 3, 4), np.uint8), np.zeros(1))


class TestIdx:
    @pytest.mark.parametrize("compress", [False, True])
    @pytest.mark.parametrize("dtype", IDX_CODES)
    def test_every_dtype(self, tmp_path, dtype, compress):
        array = (np.arange(2 * 3 * 4) * 5 - 60).reshape(2, 3, 4).astype(dtype)
        got = data.read_idx(write(tmp_path / "a", idx_bytes(array), compress))
        assert got.dtype == np.dtype(dtype)
        assert got.dtype.isnative
        np.testing.assert_array_equal(got, array)
        assert got.flags.writeable

    @pytest.mark.parametrize("shape", [(0,), (3, 0, 2), (1,) * 32])
    def test_unusual_shapes(self, tmp_path, shape):
        assert data.read_idx(write(tmp_path / "a", idx_bytes(np.ones(shape, np.uint8)))).shape == shape

    def test_longer_than_one_read(self, tmp_path):
        array = np.random.default_rng(0).integers(0, 256, (3 << 20) + 5).astype(np.uint8)
        for compress in (False, True):
            np.testing.assert_array_equal(data.read_idx(write(tmp_path / "a", idx_bytes(array), compress)), array)

    @pytest.mark.parametrize("compress", [False, True])
    def test_every_truncation(self, tmp_path, compress):
        content = idx_bytes(np.arange(6, dtype=np.int16).reshape(2, 3))
        for length in range(len(content)):
            message = error_of(data.read_idx, write(tmp_path / "cut", content[:length], compress))
            assert "cut: at byte" in message
            assert "truncated" in message

    @pytest.mark.parametrize("compress", [False, True])
    def test_bytes_left_over(self, tmp_path, compress):
        content = idx_bytes(np.arange(6, dtype=np.uint8))
        message = error_of(data.read_idx, write(tmp_path / "long", content + b"x", compress))
        assert f"at byte {len(content)}" in message
        assert "left over" in message

    @pytest.mark.parametrize(
        "head", [b"\x01\0\x08\x01", b"\0\x01\x08\x01", b"\0\0\x0a\x01", b"\0\0\x08\0", b"\0\0\x08\x21"]
    )
    def test_wrong_magic(self, tmp_path, head):
        message = error_of(data.read_idx, write(tmp_path / "magic", head + bytes(400)))
        assert "at byte 0" in message
        assert "not an IDX file" in message

    @pytest.mark.parametrize("compress", [False, True])
    @pytest.mark.parametrize(
        "shape", [(2**32 - 1,), (2**20, 2**10), (2**16, 2**16), (2**32 - 1,) * 32, (0, 2**32 - 1, 2**32 - 1, 2**32 - 1)]
    )
    def test_header_sizes_are_not_trusted(self, tmp_path, shape, compress):
        content = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + bytes(100)
        assert "at byte" in error_of(data.read_idx, write(tmp_path / "huge", content, compress))

    def test_max_bytes(self, tmp_path):
        path = write(tmp_path / "a", idx_bytes(np.zeros(100, np.uint8)))
        assert data.read_idx(path, max_bytes=108).size == 100
        with pytest.raises(ValueError, match="max_bytes=107"):
            data.read_idx(path, max_bytes=107)

    def test_gzip_bomb_is_not_unfolded(self, tmp_path):
        """256 MB of zeros behind a header that promises ten bytes."""
        path = tmp_path / "bomb.gz"
        with gzip.open(path, "wb") as file:
            file.write(bytes([0, 0, 8, 1, 0, 0, 0, 10]))
            for _ in range(256):
                file.write(bytes(1 << 20))
        assert "at byte 18" in error_of(data.read_idx, path)

    def test_damaged_gzip(self, tmp_path):
        whole = gzip.compress(idx_bytes(np.arange(200, dtype=np.uint8)))
        for position in (3, len(whole) // 2, len(whole) - 6, len(whole) - 1):  # header, data, checksum, length
            broken = bytearray(whole)
            broken[position] ^= 0xFF
            assert "damaged" in error_of(data.read_idx, write(tmp_path / "gz", bytes(broken)))
        for length in range(2, len(whole)):
            assert "gz: at byte" in error_of(data.read_idx, write(tmp_path / "gz", whole[:length]))

    def test_not_a_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="absent"):
            data.read_idx(tmp_path / "absent")
        assert "not a regular file" in error_of(data.read_idx, tmp_path)
        if hasattr(os, "mkfifo"):
            os.mkfifo(tmp_path / "pipe")
            assert "not a regular file" in error_of(data.read_idx, tmp_path / "pipe")

    @settings(max_examples=300, deadline=None)
    @given(
        st.binary(max_size=60),
        st.sampled_from(sorted(IDX_CODES.values())),
        st.lists(st.one_of(st.integers(0, 4), st.integers(0, 2**32 - 1)), min_size=1, max_size=5),
        st.binary(max_size=40),
        st.booleans(),
    )
    def test_any_bytes(self, tmp_path_factory, noise, code, shape, rest, compress):
        """Whatever the file holds: its array, or one ValueError."""
        path = tmp_path_factory.getbasetemp() / "any"
        for content in (noise, bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + rest):
            write(path, content, compress)
            array, message = outcome(data.read_idx, path)
            if array is None:
                assert f"{path}: at byte" in message
            else:
                assert idx_bytes(array)[: 4 + 4 * array.ndim] == content[: 4 + 4 * array.ndim]
                assert 4 + 4 * array.ndim + array.nbytes == len(content)


class TestMnist:
    @pytest.mark.parametrize("suffix", ["", ".gz"])
    @pytest.mark.parametrize("separator", ["-", "."])
    def test_reads(self, tmp_path, suffix, separator):
        arrays = make_mnist(tmp_path, suffix=suffix, separator=separator)
        for split, prefix in (("train", "train"), ("test", "t10k")):
            images, labels = data.load_mnist(tmp_path, split)
            assert images.shape == (7, 1, 28, 28)
            assert images.dtype == np.float32
            assert labels.dtype == np.int64
            np.testing.assert_allclose(images[:, 0], arrays[f"{prefix}-images"] / 255.0, rtol=1e-7)
            np.testing.assert_array_equal(labels, arrays[f"{prefix}-labels"])

    def test_offset_of_a_wrong_label(self, tmp_path):
        make_mnist(tmp_path, **{"train-labels": np.array([1, 2, 77, 3, 4, 5, 6], np.uint8)})
        assert "at byte 10: label 77" in error_of(data.load_mnist, tmp_path)

    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
            data.load_mnist(tmp_path)

    def test_wrong_split(self, tmp_path):
        with pytest.raises(ValueError, match="split"):
            data.load_mnist(tmp_path, None)

    @pytest.mark.parametrize(
        ("name", "array", "expected"),
        [
            ("train-labels", np.array([1, 2, 10, 3, 4, 5, 6], np.uint8), "label 10"),
            ("train-labels", np.zeros(6, np.uint8), "7 images.*6 labels"),
            ("train-labels", np.zeros(7, np.int16), "int16"),
            ("train-labels", np.zeros((7, 1), np.uint8), r"\(7, 1\)"),
            ("train-images", np.zeros((7, 28, 27), np.uint8), r"\(7, 28, 27\)"),
            ("train-images", np.zeros((7, 28, 28), np.float32), "float32"),
        ],
    )
    def test_wrong_contents(self, tmp_path, name, array, expected):
        make_mnist(tmp_path, **{name: array})
        with pytest.raises(ValueError, match=f"train-(images|labels)-idx[13]-ubyte: at byte.*{expected}"):
            data.load_mnist(tmp_path)


def check_cifar(path):
    for split, seeds in (("train", range(5)), ("test", [5])):
        images, labels = data.load_cifar10(path, split)
        records = np.concatenate([cifar_batch(seed) for seed in seeds])
        assert images.shape == (len(records), 3, 32, 32)
        assert images.dtype == np.float32
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(labels, records[:, 0])
        np.testing.assert_allclose(images.reshape(len(records), -1), records[:, 1:] / 255.0, rtol=1e-7)


class TestCifar10:
    @pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin"])
    def test_directory(self, tmp_path, inner):
        (tmp_path / inner).mkdir(exist_ok=True)
        for name, content in cifar_files().items():
            write(tmp_path / inner / name, content)
        check_cifar(tmp_path)

    @pytest.mark.parametrize("mode", ["w:gz", "w"])
    @pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT])
    def test_archive(self, tmp_path, form, mode):
        check_cifar(write(tmp_path / "cifar", cifar_tar(cifar_files(), form, mode)))
        assert os.listdir(tmp_path) == ["cifar"]  # nothing was unpacked

    def test_directory_with_the_archive(self, tmp_path):
        write(tmp_path / "cifar-10-binary.tar.gz", cifar_tar(cifar_files()))
        check_cifar(tmp_path)

    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="absent"):
            data.load_cifar10(tmp_path / "absent")
        with pytest.raises(FileNotFoundError, match=r"data_batch_1\.bin"):
            data.load_cifar10(tmp_path)
        path = write(tmp_path / "c", cifar_tar(cifar_files(**{"data_batch_3.bin": None})))
        assert "without data_batch_3.bin" in error_of(data.load_cifar10, path)
        assert data.load_cifar10(path, "test")[1].shape == (3,)

    def test_pickled_version_is_named(self, tmp_path):
        path = write(tmp_path / "c", cifar_tar({"data_batch_1": b"\x80\x02}"}))
        assert "pickled" in error_of(data.load_cifar10, path)
        write(tmp_path / "data_batch_1", b"\x80\x02}")
        assert "pickled" in error_of(data.load_cifar10, tmp_path)

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"", "at byte 0: 0 bytes"),
            (bytes(RECORD - 1), "at byte 0: 3072 bytes"),
            (bytes(2 * RECORD + 1), f"at byte {2 * RECORD}: {2 * RECORD + 1} bytes"),
            (bytes(10_001 * RECORD), f"at byte {10_000 * RECORD}: "),
            (bytes(RECORD) + b"\x0a" + bytes(RECORD - 1), f"at byte {RECORD}: label 10"),
        ],
    )
    def test_wrong_batch(self, tmp_path, content, expected):
        files = cifar_files(**{"data_batch_2.bin": content})
        for name, file in files.items():
            write(tmp_path / name, file)
        for path in (tmp_path, write(tmp_path / "c.tar.gz", cifar_tar(files))):
            message = error_of(data.load_cifar10, path)
            assert "data_batch_2.bin" in message
            assert expected in message

    def test_a_batch_that_grew_a_gzip_layer(self, tmp_path):
        for name, content in cifar_files().items():
            write(tmp_path / name, content, compress=name == "data_batch_1.bin")
        assert "gzip" in error_of(data.load_cifar10, tmp_path)

    def test_twice_in_the_archive(self, tmp_path):
        plain = cifar_tar({"test_batch.bin": cifar_batch(0).tobytes()}, mode="w")
        member = plain[512 : 512 + 512 + 19 * 512]
        path = write(tmp_path / "c", plain[:512] + member + member + bytes(1024))
        assert "twice" in error_of(data.load_cifar10, path, "test")

    def test_a_link_is_not_followed(self, tmp_path):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            member = tarfile.TarInfo("test_batch.bin")
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
            archive.addfile(member)
        assert "without test_batch.bin" in error_of(data.load_cifar10, write(tmp_path / "c", buffer.getvalue()), "test")

    def test_archive_bomb(self, tmp_path):
        """A member that unfolds to 600 MB before the wanted one is given up on at the limit."""
        path = tmp_path / "bomb.tar.gz"
        with gzip.open(path, "wb", compresslevel=1) as file:
            member = tarfile.TarInfo("first")
            member.size = 600 << 20
            file.write(member.tobuf())
            for _ in range(600):
                file.write(bytes(1 << 20))
        assert "holds more than" in error_of(data.load_cifar10, path)

    def test_not_an_archive(self, tmp_path):
        for content in (b"hello" * 200, gzip.compress(b"hello" * 200)):
            assert "not a tar archive" in error_of(data.load_cifar10, write(tmp_path / "c", content))

    def test_damaged_checksum_of_gzip(self, tmp_path):
        content = bytearray(cifar_tar(cifar_files()))
        content[-6] ^= 1
        assert "damaged gzip" in error_of(data.load_cifar10, write(tmp_path / "c", bytes(content)))

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_any_damage(self, tmp_path_factory, draw):
        """Cut anywhere, bytes changed anywhere: right records, or one ValueError naming the file."""
        plain = cifar_tar({"test_batch.bin": bytes(RECORD)}, mode="w")[: 512 * 11]
        broken = bytearray(plain[: draw.draw(st.integers(0, len(plain)))])
        for position in draw.draw(st.lists(st.integers(0, 1023), max_size=4)):
            if position < len(broken):
                broken[position] = draw.draw(st.integers(0, 255))
        path = write(tmp_path_factory.getbasetemp() / "tar", bytes(broken), draw.draw(st.booleans()))
        loaded, message = outcome(data.load_cifar10, path, "test")
        if loaded is None:
            assert str(path) in message
            assert "at byte" in message
        else:
            assert loaded[0].shape == (1, 3, 32, 32)
            assert loaded[1].tolist() == [0]
