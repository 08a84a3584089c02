"""The command line: what it prints, what it writes, and that mistakes give one line and an exit code."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from data_files import CIFAR_NAMES, cifar_files, cifar_tar, idx_bytes, make_mnist, write

import convc
from convc import _commands, data, nn, train
from convc.__main__ import main

pytest.importorskip("safetensors")


def run(capsys, *arguments):
    """Exit code, stdout and stderr of a command run in this process."""
    capsys.readouterr()
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as end:  # argparse
        code = end.code
    out, err = capsys.readouterr()
    return code, out, err


def fails(capsys, *arguments, code=1):
    """The one line that a wrong command prints."""
    got, _, err = run(capsys, *arguments)
    assert got == code
    assert "Traceback" not in err
    line = err.strip().splitlines()[-1]
    assert line.startswith("convc")
    assert "error: " in line
    if code == 1:
        assert err.count("\n") == 1
    return line


@pytest.fixture(autouse=True)
def one_thread(keep_settings, monkeypatch):
    """Tests that run side by side have a core each; the bits are the same for any number of threads."""
    convc.set_num_threads(1)
    monkeypatch.setenv("CONVC_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network trained on the digits for two epochs."""
    path = tmp_path_factory.mktemp("model") / "digits.safetensors"
    threads = convc.get_num_threads()
    convc.set_num_threads(1)
    assert main(["train", "--data", "digits", "--epochs", "2", "--no-progress", "--save", str(path)]) == 0
    convc.set_num_threads(threads)
    return path


def test_info(capsys):
    code, out, err = run(capsys, "info")
    facts = convc.cpu_info()
    assert code == 0
    assert err == ""
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert rows["convc"] == convc.__version__
    assert rows["ISA"].startswith(facts["isa"] + " ")
    assert all(isa in rows["ISA"] for isa in facts["available_isas"])
    assert rows["threads"].split()[0] == str(facts["num_threads"])
    assert rows["NumPy"] == np.__version__
    assert rows["CPU"]
    assert rows["Python"]


class TestDemo:
    def test_whole(self, capsys, tmp_path):
        """The promise of the README: at least 98.5 % on the held-out digits, and the picture."""
        pytest.importorskip("matplotlib")
        picture = tmp_path / "demo.png"
        code, out, _ = run(capsys, "demo", "--no-progress", "--output", picture)
        assert code == 0
        accuracy, right = re.search(r"Held-out accuracy: ([\d.]+) % \((\d+) of 359 right\)", out).groups()
        assert float(accuracy) >= 98.5
        assert abs(float(accuracy) - 100 * int(right) / 359) < 0.01
        assert "359 held out" in out
        assert str(picture) in out
        wrong = sum(int(count) for count in re.findall(r"\d taken for \d +(\d+) time", out))
        assert wrong == 359 - int(right)
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 50_000

    def test_progress_bar(self, tmp_path):
        pytest.importorskip("tqdm")
        command = [sys.executable, "-m", "convc", "demo", "--epochs", "1", "--output", str(tmp_path / "a.png")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "loss" in done.stderr
        assert "%" in done.stderr
        quiet = subprocess.run([*command, "--no-progress"], capture_output=True, text=True, check=True)
        assert quiet.stderr == ""

    def test_without_matplotlib(self, capsys, tmp_path, monkeypatch):
        monkeypatch.setattr(_commands, "_installed", lambda package: package != "matplotlib")
        code, out, _ = run(capsys, "demo", "--epochs", 1, "--no-progress", "--output", tmp_path / "a.png")
        assert code == 0
        assert "Held-out accuracy" in out
        assert "pip install matplotlib" in out
        assert os.listdir(tmp_path) == []

    def test_without_tqdm(self, capsys, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "tqdm", None)
        monkeypatch.setattr(_commands, "_installed", lambda package: package not in ("tqdm", "matplotlib"))
        code, out, err = run(capsys, "demo", "--epochs", 1, "--output", tmp_path / "a.png")
        assert code == 0
        assert "Epoch 1/1: loss" in err
        assert "pip install tqdm" in out

    def test_bad_output(self, capsys, tmp_path):
        pytest.importorskip("matplotlib")
        assert "not a directory" in fails(capsys, "demo", "--no-progress", "--output", tmp_path / "no" / "a.png")
        assert "is a directory" in fails(capsys, "demo", "--no-progress", "--output", tmp_path)
        assert ".png" in fails(capsys, "demo", "--no-progress", "--output", tmp_path / "a.txt")


class TestTrain:
    def test_same_seed_same_file(self, capsys, tmp_path, model):
        for seed, same in ((0, True), (1, False)):
            path = tmp_path / "again.safetensors"
            arguments = ("--data", "digits", "--epochs", 2, "--no-progress", "--save", path, "--seed", seed)
            assert run(capsys, "train", *arguments)[0] == 0
            assert (path.read_bytes() == model.read_bytes()) is same

    def test_says_what_it_did(self, capsys, tmp_path):
        pytest.importorskip("matplotlib")
        path, picture = tmp_path / "m.safetensors", tmp_path / "curves.svg"
        code, out, _ = run(
            capsys, "train", "--data", "digits", "--epochs", 1, "--no-progress", "--save", path, "--plot", picture
        )
        assert code == 0
        assert "1 epoch in" in out
        assert "Held-out accuracy" in out
        assert str(path) in out
        assert str(picture) in out
        assert b"<svg" in picture.read_bytes()

    def test_mnist(self, capsys, tmp_path):
        make_mnist(tmp_path, n=20, suffix=".gz")
        path = tmp_path / "m.safetensors"
        options = ("--data", "mnist", "--path", tmp_path)
        code, out, _ = run(capsys, "train", *options, "--epochs", 1, "--batch-size", 8, "--no-progress", "--save", path)
        assert code == 0
        assert "of 20 right" in out
        assert run(capsys, "predict", path, *options)[1].splitlines()[0] == next(
            line for line in out.splitlines() if "Held-out" in line
        )

    def test_cifar10(self, capsys, tmp_path):
        archive = write(tmp_path / "cifar.tar.gz", cifar_tar(cifar_files()))
        path = tmp_path / "m.safetensors"
        options = ("--data", "cifar10", "--path", archive)
        code, out, _ = run(capsys, "train", *options, "--epochs", 1, "--no-progress", "--save", path)
        assert code == 0
        assert "of 3 right" in out
        code, out, _ = run(capsys, "predict", path, *options)
        assert code == 0
        assert "of 3 right" in out
        confused = re.findall(r"(\w+) taken for (\w+)", out)
        assert all(name in data.CIFAR10_CLASSES for pair in confused for name in pair)

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")
    def test_ctrl_c_keeps_the_model(self, tmp_path):
        pytest.importorskip("tqdm")
        path = tmp_path / "m.safetensors"
        words = ["-u", "-m", "convc", "train", "--data", "digits", "--epochs", "10000", "--save"]
        command = [sys.executable, *words, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while b"loss" not in process.stderr.readline():  # the progress bar is there: training has begun
                assert process.poll() is None
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert b"Traceback" not in err
        assert b"Interrupted after" in out
        assert str(path).encode() in out
        accuracy = train.evaluate(nn.load_model(path), *data.load_digits("test"))[1]
        assert f"Held-out accuracy: {100 * accuracy:.2f} %".encode() in out


class TestPredict:
    def test_on_the_held_out_digits(self, capsys, model):
        code, out, _ = run(capsys, "predict", model, "--data", "digits")
        assert code == 0
        assert int(re.search(r"\((\d+) of 359 right\)", out).group(1)) > 300

    def test_own_images(self, capsys, model, tmp_path):
        """One image or many, fractions or whole numbers, .npy or IDX: the same answers."""
        images, labels = data.load_digits("test")
        whole = np.round(images[:40, 0] * 255).astype(np.uint8)
        np.save(tmp_path / "n1hw.npy", whole[:, np.newaxis] / np.float32(255))
        np.save(tmp_path / "nhw.npy", whole.astype(np.int64))
        np.save(tmp_path / "strided.npy", np.asfortranarray(whole / 255.0))
        write(tmp_path / "idx.gz", idx_bytes(whole), compress=True)
        answers = []
        for name in ("n1hw.npy", "nhw.npy", "strided.npy", "idx.gz"):
            code, out, _ = run(capsys, "predict", model, "--input", tmp_path / name)
            assert code == 0
            answers.append(out)
        assert len(set(answers)) == 1
        rows = re.findall(r"^(\d+): (\d) \((\d+\.\d) %\)$", answers[0], re.MULTILINE)
        assert [int(row[0]) for row in rows] == list(range(40))
        assert sum(int(row[1]) == label for row, label in zip(rows, labels, strict=False)) > 30
        np.save(tmp_path / "one.npy", whole[0])
        assert run(capsys, "predict", model, "--input", tmp_path / "one.npy")[1] == answers[0].splitlines(True)[0]

    def test_weights_from_pytorch(self, capsys, tmp_path):
        torch = pytest.importorskip("torch")
        save_file = pytest.importorskip("safetensors.torch").save_file
        torch.manual_seed(0)
        layers = torch.nn
        net = layers.Sequential(
            layers.Conv2d(1, 5, 3, padding=1), layers.ReLU(), layers.MaxPool2d(2),
            layers.Conv2d(5, 7, 3, padding=1), layers.ReLU(), layers.MaxPool2d(2),
            layers.Flatten(), layers.Dropout(), layers.Linear(28, 10),
        ).eval()  # fmt: skip
        save_file(net.state_dict(), tmp_path / "torch.safetensors")
        images, _ = data.load_digits("test")
        np.save(tmp_path / "images.npy", images)
        _, out, _ = run(capsys, "predict", tmp_path / "torch.safetensors", "--input", tmp_path / "images.npy")
        with torch.no_grad():
            expected = net(torch.from_numpy(images)).argmax(1).tolist()
        assert [int(line.split()[1]) for line in out.splitlines()] == expected

    @pytest.mark.parametrize(
        ("array", "expected"),
        [
            (np.zeros((3, 12, 8)), "12 x 8"),
            (np.zeros(64), "64"),
            (np.zeros((3, 2, 8, 8)), "2, 8, 8"),
            (np.full((8, 8), 256), "256"),
            (np.full((8, 8), -1), "-1"),
            (np.full((8, 8), 1.5), "1.5"),
            (np.full((8, 8), np.nan), "nan"),
            (np.zeros((8, 8), dtype=complex), "complex128"),
            (np.zeros((8, 8), dtype=bool), "bool"),
            (np.full((8, 8), "a"), "<U1"),
        ],
    )
    def test_wrong_images(self, capsys, model, tmp_path, array, expected):
        np.save(tmp_path / "wrong.npy", array)
        line = fails(capsys, "predict", model, "--input", tmp_path / "wrong.npy")
        assert expected in line
        assert "wrong.npy" in line or "does not take images" in line

    def test_no_images(self, capsys, model, tmp_path):
        np.save(tmp_path / "none.npy", np.zeros((0, 8, 8)))
        assert run(capsys, "predict", model, "--input", tmp_path / "none.npy") == (0, "", "")

    def test_damaged_files(self, capsys, model, tmp_path):
        np.save(tmp_path / "a.npy", np.zeros((4, 8, 8)))
        whole = (tmp_path / "a.npy").read_bytes()
        pickled = tmp_path / "pickled.npy"
        np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
        files = {"cut.npy": whole[:-1], "head.npy": whole[:20], "empty": b"", "text": b"hello"}
        files["bracket.npy"] = whole.replace(b"'}", b"'(").replace(b", }", b", (")
        files["syntax.npy"] = whole.replace(b"<f8", b"?,)")
        files["huge.npy"] = whole.replace(b"(4, 8, 8)", b"(4" + b"0" * 12 + b", 8, 8)")
        for path in [pickled, *(write(tmp_path / name, content) for name, content in files.items())]:
            assert path.name in fails(capsys, "predict", model, "--input", path)

    def test_not_a_model(self, capsys, model, tmp_path):
        from safetensors.numpy import save_file

        save_file({"0.weight": np.zeros((2, 2), np.float32)}, tmp_path / "other.safetensors")
        # Its second convolution would need 90 GB, if it were what follows from the other shapes.
        wide = tmp_path / "wide.safetensors"
        tensors = {"0.weight": (50_000, 1, 1, 1), "3.weight": (50_000, 1, 1, 1), "8.weight": (1, 50_000)}
        save_file({name: np.zeros(shape, np.float32) for name, shape in tensors.items()}, wide)
        content = model.read_bytes()
        for path in (
            tmp_path / "other.safetensors",
            write(tmp_path / "cut.safetensors", content[:-1]),
            write(tmp_path / "head.safetensors", content[:9]),
            write(tmp_path / "huge.safetensors", b"\xff" * 8 + content[8:]),
            write(tmp_path / "text.safetensors", b"hello"),
            write(tmp_path / "empty.safetensors", b""),
            tmp_path / "absent.safetensors",
            tmp_path,
            wide,
        ):
            assert path.name in fails(capsys, "predict", path, "--data", "digits")

    def test_any_network_that_convc_saved(self, capsys, tmp_path):
        rng = np.random.default_rng(0)
        images, labels = data.load_digits("test")
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, dtype=np.float64, rng=rng))
        net.save(tmp_path / "linear.safetensors")
        right = int((net(images.astype(np.float64)).argmax(axis=1) == labels).sum())
        _, out, _ = run(capsys, "predict", tmp_path / "linear.safetensors", "--data", "digits")
        assert f"({right} of 359 right)" in out
        nn.Sequential(nn.Flatten(), nn.Linear(64, 3, rng=rng)).save(tmp_path / "three.safetensors")
        assert "3 classes" in fails(capsys, "predict", tmp_path / "three.safetensors", "--data", "digits")
        nn.Sequential(nn.Conv2d(1, 2, 3, rng=rng)).save(tmp_path / "maps.safetensors")
        assert "no classifier" in fails(capsys, "predict", tmp_path / "maps.safetensors", "--data", "digits")

    def test_colour_images(self, capsys, tmp_path):
        """One picture of three channels is not three of one."""
        net = nn.Sequential(nn.Conv2d(3, 2, 3, rng=0), nn.Flatten(), nn.Linear(2 * 9, 4, rng=0))
        net.save(tmp_path / "colour.safetensors")
        for shape, count in (((3, 5, 5), 1), ((7, 3, 5, 5), 7)):
            np.save(tmp_path / "a.npy", np.zeros(shape))
            _, out, _ = run(capsys, "predict", tmp_path / "colour.safetensors", "--input", tmp_path / "a.npy")
            assert out.count("\n") == count
        np.save(tmp_path / "a.npy", np.zeros((5, 5)))
        assert "3 channels" in fails(capsys, "predict", tmp_path / "colour.safetensors", "--input", tmp_path / "a.npy")

    def test_other_shape(self, capsys, model, tmp_path):
        make_mnist(tmp_path)
        line = fails(capsys, "predict", model, "--data", "mnist", "--path", tmp_path)
        assert "digits.safetensors does not take images of 1 x 28 x 28" in line


class TestMistakes:
    @pytest.mark.parametrize(
        "arguments",
        [
            "",
            "dance",
            "demo --epochs 0",
            "demo --epochs 1.5",
            "demo --seed -1",
            "demo --threads 0",
            "demo --threads 99999999999999999999",
            "train --data digits --batch-size 99999999999999999999",
            "train",
            "train --data imagenet",
            "train --data digits --lr 0",
            "train --data digits --lr nan",
            "train --data digits --batch-size -3",
            "train --data digits --save=",
            "train --data digits --plot=",
            "demo --output=",
            "predict",
            "predict m",
            "predict m --data digits --input x",
        ],
    )
    def test_usage(self, capsys, arguments):
        fails(capsys, *arguments.split(), code=2)

    @pytest.mark.parametrize("command", ["", "demo", "info", "train", "predict"])
    def test_help(self, capsys, command):
        code, out, _ = run(capsys, *command.split(), "--help")
        assert code == 0
        assert "usage: convc" in out
        assert out.count("\n") > 5

    def test_path(self, capsys, tmp_path, model):
        assert "--path" in fails(capsys, "train", "--data", "mnist", "--no-progress")
        assert "--path" in fails(capsys, "train", "--data", "digits", "--path", tmp_path, "--no-progress")
        assert "--path" in fails(capsys, "predict", model, "--input", model, "--path", tmp_path)
        assert "t10k-images" in fails(capsys, "train", "--data", "mnist", "--path", tmp_path, "--no-progress")
        absent = tmp_path / "absent"
        assert "absent: no such directory" in fails(capsys, "train", "--data", "mnist", "--path", absent)
        for line in (
            fails(capsys, "train", "--data", "cifar10", "--path", absent),
            fails(capsys, "predict", absent, "--data", "digits"),
            fails(capsys, "predict", model, "--input", absent),
        ):
            assert "absent: No such file" in line
        assert CIFAR_NAMES[5] in fails(capsys, "train", "--data", "cifar10", "--path", tmp_path, "--no-progress")

    def test_damaged_data(self, capsys, tmp_path):
        make_mnist(tmp_path)
        write(tmp_path / "t10k-images-idx3-ubyte", b"\0\0\x08\x03")
        line = fails(capsys, "train", "--data", "mnist", "--path", tmp_path, "--no-progress")
        assert "t10k-images-idx3-ubyte" in line
        assert "at byte" in line

    def test_a_learning_rate_that_explodes(self, capsys):
        assert "smaller learning rate" in fails(capsys, "train", "--data", "digits", "--lr", "1e9", "--no-progress")

    def test_save_is_checked_before_training(self, capsys, tmp_path, monkeypatch):
        arguments = ("train", "--data", "digits", "--no-progress", "--save")
        assert "not a directory" in fails(capsys, *arguments, tmp_path / "no" / "m.safetensors")
        assert "is a directory" in fails(capsys, *arguments, tmp_path)
        monkeypatch.setattr(_commands, "_installed", lambda package: package != "safetensors")
        assert "pip install safetensors" in fails(capsys, *arguments, tmp_path / "m.safetensors")

    @pytest.mark.skipif(sys.platform == "win32", reason="no such pipes on Windows")
    def test_a_reader_that_goes_away(self):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [sys.executable, "-m", "convc", "info"], stdout=writer, stderr=subprocess.PIPE, check=False
        )
        os.close(writer)
        assert done.returncode == 1
        assert done.stderr == b""
