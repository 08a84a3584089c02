"""Weights in dictionaries and in files: names, exchange with PyTorch, damaged files, writes that fail halfway."""

import json
import os
import stat
import subprocess
import sys

import numpy as np
import pytest

import convc
from convc import nn


def small_net(seed=0, dtype=np.float32):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, rng=seed, dtype=dtype),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(64, 5, bias=False, rng=seed, dtype=dtype)),
    )


def images(dtype=np.float32):
    return np.random.default_rng(9).normal(size=(3, 1, 8, 8)).astype(dtype)


def equal_states(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


# ---- dictionaries


def test_state_dict_is_a_snapshot():
    net = small_net()
    state = net.state_dict()
    assert list(state) == ["0.weight", "0.bias", "3.2.weight"]
    before = state["0.weight"].copy()
    net[0].weight.data += 1
    np.testing.assert_array_equal(state["0.weight"], before)
    assert net.load_state_dict(state) == ([], [])
    np.testing.assert_array_equal(net[0].weight.data, before)


def test_loading_keeps_the_arrays_that_optimizers_hold():
    net, array = small_net(), None
    array = net[0].weight.data
    net.load_state_dict(small_net(seed=1).state_dict())
    assert net[0].weight.data is array
    assert equal_states(net.state_dict(), small_net(seed=1).state_dict())


def test_all_that_does_not_fit_is_named_and_nothing_changes():
    net = small_net()
    before, state = net.state_dict(), small_net(seed=1).state_dict()
    state["0.weight"] = state["0.weight"][:3]
    state["extra"] = state.pop("0.bias")
    with pytest.raises(ValueError) as error:
        net.load_state_dict(state)
    for piece in ("0.bias is missing", "extra is unexpected", "(3, 1, 3, 3)", "needs (4, 1, 3, 3)"):
        assert piece in str(error.value)
    assert equal_states(net.state_dict(), before)


def test_not_strict_takes_what_is_there_but_shapes_must_fit():
    net, other = small_net(), small_net(seed=1)
    state = other.state_dict()
    state["extra"] = state.pop("0.bias")
    result = net.load_state_dict(state, strict=False)
    assert result.missing == ["0.bias"]
    assert result.unexpected == ["extra"]
    np.testing.assert_array_equal(net[0].weight.data, other[0].weight.data)
    np.testing.assert_array_equal(net[0].bias.data, small_net()[0].bias.data)
    with pytest.raises(ValueError, match=r"0\.weight has shape"):
        net.load_state_dict({"0.weight": np.zeros(3)}, strict=False)


def test_other_floating_point_types_are_converted_and_nothing_else():
    net, source = small_net(), small_net(seed=1, dtype=np.float64)
    net.load_state_dict(source.state_dict())
    assert net[0].weight.data.dtype == np.float32
    np.testing.assert_array_equal(net[0].weight.data, source[0].weight.data.astype(np.float32))
    for dtype in (np.int64, bool, np.complex128, object):
        with pytest.raises(TypeError, match=r"0\.bias must hold floating-point numbers"):
            net.load_state_dict({"0.bias": np.zeros(4, dtype)}, strict=False)


def test_pytorch_tensors_load_directly():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(48, 2))
    ours = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).normal(size=(4, 2, 6, 6)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours(x), expected, rtol=1e-4, atol=1e-5)


def test_norms_and_slopes_of_pytorch_load_by_name():
    torch = pytest.importorskip("torch")

    def build(lib):
        return lib.Sequential(lib.GroupNorm(2, 6), lib.PReLU(6), lib.LayerNorm((4, 5)), lib.PReLU(), lib.LayerNorm(5))

    ours, theirs = build(nn), build(torch.nn)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.2)
        assert ours.load_state_dict(theirs.state_dict()) == ([], [])
        x = torch.randn(3, 6, 4, 5, generator=generator)
        np.testing.assert_allclose(ours(x.numpy()), theirs(x).numpy(), rtol=1e-4, atol=1e-5)


# ---- files


@pytest.fixture
def path(tmp_path):
    pytest.importorskip("safetensors")
    return tmp_path / "net.safetensors"


def test_save_and_load(path):
    net = small_net(seed=1)
    net.save(path)
    loaded = small_net()
    assert loaded.load(str(path)) == ([], [])
    assert equal_states(net.state_dict(), loaded.state_dict())
    assert os.listdir(path.parent) == [path.name]


def test_load_model_builds_the_same_network(path):
    net = nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), (1, 2), ((1, 0), 2), 2, 2, False, layout="NHWC", fit="exact", activation="relu", rng=0),
        nn.MaxPool2d(2, 1, 1, layout="NHWC", fit="ceil"),
        nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Sequential()),
        nn.Dropout(0.25),
        nn.Linear(140, 3, activation="relu", rng=1),
    )
    x = np.random.default_rng(0).normal(size=(2, 9, 5, 2)).astype(np.float32)
    net.save(path)
    loaded = nn.load_model(path)
    assert repr(loaded) == repr(net)
    np.testing.assert_array_equal(loaded(x), net(x))


def test_load_model_builds_every_layer(path):
    f64 = np.float64
    net = nn.Sequential(
        nn.Conv1d(1, 2, 3, padding="same", dtype=f64),
        nn.Conv3d(1, 2, 3, dtype=f64),
        nn.MaxPool1d(2),
        nn.MaxPool3d(2),
        nn.LocallyConnected1d(1, 2, 9, 3, 2, ((1, 0),), 2, dtype=f64),
        nn.LocallyConnected2d(2, 3, (4, 5), 3, padding="same", bias=False, layout="NHWC", activation="relu"),
    )
    net.save(path)
    loaded = nn.load_model(path)
    assert repr(loaded) == repr(net)
    assert equal_states(loaded.state_dict(), net.state_dict())
    single = nn.Linear(3, 2)
    single.save(path)
    assert equal_states(nn.load_model(path).state_dict(), single.state_dict())


def test_load_model_builds_every_pool(path):
    pools = [nn.AvgPool1d(2), nn.AvgPool2d(3, (2, 1), 1, count_include_pad=False, fit="ceil"), nn.AvgPool3d(2)]
    pools += [nn.LPPool1d(2, 3), nn.LPPool2d(1.5, (2, 3), 2, layout="NHWC"), nn.LPPool3d(2, 2)]
    pools += [nn.AdaptiveAvgPool1d(3), nn.AdaptiveAvgPool2d((None, 3), layout="NHWC"), nn.AdaptiveAvgPool3d(2)]
    pools += [nn.AdaptiveMaxPool1d(3), nn.AdaptiveMaxPool2d((7, 7)), nn.AdaptiveMaxPool3d((1, None, 2))]
    net = nn.Sequential(*pools, nn.GlobalAvgPool(), nn.GlobalMaxPool(True, layout="NDHWC"))
    net.save(path)
    loaded = nn.load_model(path)
    assert repr(loaded) == repr(net)
    assert loaded.config() == net.config()


def test_a_file_of_pytorch_gives_the_same_outputs(path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    def layers(lib):
        return lib.Sequential(
            lib.Conv2d(1, 4, 3, padding=1),
            lib.ReLU(),
            lib.MaxPool2d(2),
            lib.Sequential(lib.Flatten(), lib.Dropout(0.1), lib.Linear(64, 5, bias=False)),
        )

    theirs = layers(torch.nn).eval()
    save_file(theirs.state_dict(), path)
    ours = layers(nn)
    ours.load(path)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images())).numpy()
    np.testing.assert_allclose(ours(images()), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=f"{path.name}: no description of the layers; build the network"):
        nn.load_model(path)


def test_pytorch_reads_a_file_of_ours(path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    ours = nn.Sequential(nn.Conv2d(1, 4, 3, rng=0), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5, rng=0))
    ours.save(path)
    theirs = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 5))
    theirs.load_state_dict(load_file(path))
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images())).numpy()
    np.testing.assert_allclose(ours(images()), expected, rtol=1e-4, atol=1e-5)


def test_a_module_of_ones_own_saves_its_weights(path):
    class Own(nn.Module):
        def __init__(self, seed):
            self.linear = nn.Linear(3, 2, rng=seed)

    net, other = nn.Sequential(Own(0)), nn.Sequential(Own(1))
    net.save(path)
    other.load(path)
    assert equal_states(net.state_dict(), other.state_dict())
    assert next(iter(net.state_dict())) == "0.linear.weight"
    with pytest.raises(ValueError, match="no description"):
        nn.load_model(path)


def test_load_names_the_file_and_what_does_not_fit(path):
    small_net().save(path)
    with pytest.raises(ValueError, match=rf"{path.name}: .*0\.weight has shape \(4, 1, 3, 3\).*needs \(2, 1, 3, 3\)"):
        nn.Sequential(nn.Conv2d(1, 2, 3)).load(path)


DAMAGES = {
    "empty": lambda content: b"",
    "one byte": lambda content: content[:1],
    "no data": lambda content: content[:200],
    "last byte missing": lambda content: content[:-1],
    "one byte more": lambda content: content + b"\0",
    "garbage": lambda content: b"not a safetensors file" * 20,
    "huge header": lambda content: b"\xff" * 8 + content[8:],
    "no JSON": lambda content: content[:8] + b"?" + content[9:],
    "zip": lambda content: b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("read", [nn.load_model, lambda path: small_net().load(path)])
def test_damaged_files_are_one_clear_error(path, damage, read):
    small_net().save(path)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(ValueError, match=f"{path.name}: damaged, or not a safetensors file"):
        read(path)


def test_every_truncation_is_an_error(path):
    net = nn.Linear(2, 1)
    net.save(path)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=path.name):
            net.load(path)


def test_missing_files_and_directories_are_ordinary_errors(path):
    with pytest.raises(FileNotFoundError, match=path.name):
        nn.load_model(path)
    with pytest.raises(OSError, match=path.parent.name):
        nn.load_model(path.parent)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        small_net().save(path.parent / "nowhere" / "net.safetensors")
    with pytest.raises(OSError, match=path.parent.name):
        small_net().save(path.parent)
    assert not os.listdir(path.parent)


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e5m2"])
def test_a_type_that_numpy_lacks_is_named(path, dtype):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(1, 2, dtype=getattr(torch, dtype)), "bias": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=f"{path.name}: weight: .*{dtype}"):
        nn.Linear(2, 1).load(path)


def test_any_changed_byte_is_harmless_or_a_clear_error(path):
    nn.Sequential(nn.Linear(2, 1), nn.ReLU()).save(path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(500):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), rng.integers(1, 4)):
            damaged[position] = rng.choice(list(b'0123456789[]{}",:-eF\\\0\xff'))
        path.write_bytes(damaged)
        try:
            nn.load_model(path)
        except ValueError as error:
            errors.append(str(error))
    assert len(errors) > 250
    assert all(path.name in error for error in errors)


def described(model, version=1):
    return {"convc": json.dumps({"version": version, "model": model})}


LINEAR = {"type": "Linear", "in_features": 2, "out_features": 1, "bias": True, "activation": None, "dtype": "float32"}


@pytest.mark.parametrize(
    "metadata",
    [
        {"convc": "{"},
        {"convc": "[]"},
        {"convc": "[" * 100_000},
        described(LINEAR, version=2),
        described(None),
        described([LINEAR]),
        described({"type": "Module"}),
        described({"type": "os.system"}),
        described({"type": ["Linear"]}),
        described({**LINEAR, "rng": 0}),
        described({**LINEAR, "extra": 0}),
        described({key: value for key, value in LINEAR.items() if key != "bias"}),
        described({**LINEAR, "in_features": 2**60, "out_features": 2**40}),
        described({**LINEAR, "in_features": "2"}),
        described({**LINEAR, "in_features": 3}),
        described({**LINEAR, "bias": False}),
        described({**LINEAR, "dtype": "object"}),
        described({**LINEAR, "dtype": "nonsense"}),
        described({**LINEAR, "dtype": ","}),
        described({**LINEAR, "activation": "tanh"}),
        described({"type": "Sequential", "layers": [LINEAR]}),
        described({"type": "Sequential", "layers": 3}),
        described({"type": "Sequential"}),
        described({"type": "Sequential", "layers": [], "extra": 1}),
        described({"type": "Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 3, "groups": 0}),
        described({"type": "Conv2d"}),
    ],
)
def test_descriptions_are_checked(path, metadata):
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros((1, 2), np.float32), "bias": np.zeros(1, np.float32)}, path, metadata)
    with pytest.raises(ValueError, match=f"{path.name}: the description of the layers cannot be used"):
        nn.load_model(path)


def test_the_description_above_is_right_but_for_the_damage(path):
    from safetensors.numpy import save_file

    save_file({"weight": np.ones((1, 2), np.float32), "bias": np.ones(1, np.float32)}, path, described(LINEAR))
    np.testing.assert_array_equal(nn.load_model(path)(np.ones((1, 2), np.float32)), [[3]])


# ---- writing


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_alone(path, monkeypatch, step, error):
    net = small_net()
    net.save(path)
    before = path.read_bytes()

    def fail(*arguments):
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        small_net(seed=1).save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_the_new_file_is_complete_before_it_gets_its_name(path, monkeypatch):
    seen = []
    replace = os.replace

    def spy(source, target):
        loaded = small_net()
        loaded.load(source)
        seen.append((os.path.dirname(source), loaded.state_dict()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    net = small_net(seed=2)
    net.save(path)
    folder, state = seen[0]
    assert os.path.samefile(folder, path.parent)
    assert equal_states(state, net.state_dict())


@pytest.mark.skipif(os.name != "posix", reason="only POSIX synchronizes folders")
def test_a_folder_that_cannot_be_synchronized_is_no_error(path, monkeypatch):
    real = os.open
    refused = []

    def refuse(name, flags, *arguments, **options):
        if not os.path.isdir(name):
            return real(name, flags, *arguments, **options)
        refused.append(name)
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "open", refuse)
    net = small_net()
    net.save(path)
    assert len(refused) == 1
    loaded = small_net(seed=1)
    loaded.load(path)
    assert equal_states(loaded.state_dict(), net.state_dict())


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions and links")
def test_permissions_and_links_are_those_of_an_ordinary_file(path):
    link = path.parent / "link.safetensors"
    link.symlink_to(path)
    old = os.umask(0o027)
    try:
        small_net().save(link)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert not path.is_symlink()
    small_net().load(link)


def output(code, folder):
    """What a new interpreter prints in this folder, with the convc that is tested here."""
    found = os.path.dirname(os.path.dirname(os.path.abspath(convc.__file__)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([found, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def test_without_safetensors_the_error_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['safetensors'] = None\n"
        "from convc import nn\n"
        "net = nn.Linear(1, 1)\n"
        "for call in (net.save, net.load, nn.load_model):\n"
        "    try:\n"
        "        call('net.safetensors')\n"
        "    except ImportError as error:\n"
        "        print(error)\n"
    )
    assert output(code, tmp_path).count("pip install safetensors") == 3


def test_importing_layers_imports_no_extra(tmp_path):
    code = "import sys; from convc import nn, train; print({'safetensors', 'tqdm', 'torch'} & set(sys.modules))"
    assert output(code, tmp_path).strip() == "set()"
