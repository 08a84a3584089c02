"""Training: what is learned, what is reported, what is reproducible, and what Ctrl-C and nonsense leave behind."""

import math
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import convc
from convc import loss, nn, optim, train

on_main_thread = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals arrive on the main thread"
)


def task(n=150, dtype=np.float32):
    """Images that are brighter on the left, the right, the top or the bottom."""
    rng = np.random.default_rng(4)
    y = rng.integers(0, 4, n)
    x = rng.normal(size=(n, 1, 6, 6))
    for image, label in zip(x[:, 0], y, strict=True):
        half = image[:3] if label < 2 else image[:, :3]
        half += 3 if label % 2 else -3
    return x.astype(dtype), y


def network(seed=0, dtype=np.float32, dropout=0.2):
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, rng=rng, dtype=dtype),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout, rng=rng),
        nn.Linear(54, 4, rng=rng, dtype=dtype),
    )


def fit(net, x, y, **options):
    return train.fit(net, x, y, **{"epochs": 2, "batch_size": 32, "progress": False, **options})


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


class Recorder(nn.Module):
    """Passes its input on; keeps what it saw, and interrupts or goes mad at a given pass."""

    def __init__(self, stop_at=None, poison_at=None):
        self.seen, self.stop_at, self.poison_at = [], stop_at, poison_at

    def __call__(self, x):
        return x

    def forward(self, x):
        self.seen.append(x.copy())
        if len(self.seen) == self.stop_at:
            raise KeyboardInterrupt
        return x * (np.nan if len(self.seen) == self.poison_at else 1), lambda grad: grad


# ---- learning


def test_learns():
    x, y = task()
    net = network()
    history = fit(net, x[:120], y[:120], epochs=20, validation=(x[120:], y[120:]))
    assert history.train_loss[-1] < history.train_loss[0] / 3
    assert history.train_accuracy[-1] > 0.95
    assert history.val_accuracy[-1] > 0.9
    assert train.evaluate(net, x[120:], y[120:]) == (history.val_loss[-1], history.val_accuracy[-1])
    lengths = {len(getattr(history, name)) for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy")}
    assert lengths == {20}
    assert history.seconds > 0
    assert not history.interrupted
    assert all(type(value) is float for value in (*history.train_accuracy, *history.val_loss, history.seconds))


def test_learns_the_bundled_digits():
    from convc import data

    x, y = data.load_digits("train")
    rng = np.random.default_rng(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, rng=rng), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10, rng=rng)
    )
    fit(net, x, y, epochs=6, optimizer=optim.Adam(net.parameters(), 0.01))
    assert train.evaluate(net, *data.load_digits("test"))[1] > 0.93


def test_each_step_is_pytorchs():
    torch = pytest.importorskip("torch")
    x, y = task(n=40, dtype=np.float64)
    net = network(dtype=np.float64, dropout=0)
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Identity(),
        torch.nn.Linear(54, 4),
    ).double()
    theirs.load_state_dict({name: torch.tensor(value) for name, value in net.state_dict().items()})
    optimizer = torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
    expected = []
    for _ in range(5):
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        value.backward()
        optimizer.step()
        expected.append(value.item())
    ours = optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
    history = fit(net, x, y, epochs=5, batch_size=40, optimizer=ours)
    np.testing.assert_allclose(history.train_loss, expected, rtol=1e-10)
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(net.state_dict()[name], value.numpy(), rtol=1e-10, atol=1e-12)


def test_every_sample_is_used_once_an_epoch_in_a_new_order():
    recorder = Recorder()
    x = np.arange(10.0)[:, np.newaxis]
    net = nn.Sequential(recorder, nn.Linear(1, 2, dtype=np.float64))
    fit(net, x, np.zeros(10, int), epochs=2, batch_size=4)
    assert [len(batch) for batch in recorder.seen] == [4, 4, 2] * 2
    first, second = (np.concatenate(recorder.seen[i : i + 3]).ravel() for i in (0, 3))
    assert sorted(first) == sorted(second) == list(range(10))
    assert list(first) != list(second)
    assert list(first) != list(range(10))


def test_training_means_are_over_samples():
    x, y = task(n=50)
    net = network(dropout=0)
    optimizer = optim.SGD(net.parameters(), 0.1)
    optimizer.lr = 0
    history = fit(net, x, y, epochs=1, batch_size=32, optimizer=optimizer)
    value, accuracy = train.evaluate(net, x, y, batch_size=7)
    assert math.isclose(history.train_loss[0], value, rel_tol=1e-5)
    assert history.train_accuracy[0] == accuracy
    logits = net(x).astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert math.isclose(value, -logs[np.arange(50), y].mean(), rel_tol=1e-5)
    assert accuracy == np.mean(logits.argmax(axis=1) == y)


def test_gradients_are_gone_afterwards():
    net = network()
    fit(net, *task(), epochs=1)
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint64, ">i4"])
def test_labels_of_any_integer_type(dtype):
    x, y = task(n=40)
    one, other = network(), network()
    fit(one, x, y, epochs=1)
    fit(other, x, y.astype(dtype), epochs=1)
    assert same(one.state_dict(), other.state_dict())


def test_any_loss_with_any_targets():
    class SquaredError:
        def forward(self, output, target):
            difference = output - target
            return float((difference**2).mean()), lambda: 2 / difference.size * difference

    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3))
    target = x @ np.array([[1.0], [-2.0], [0.5]])
    net = nn.Sequential(nn.Linear(3, 1, dtype=np.float64, rng=0))
    optimizer = optim.Adam(net.parameters(), 0.1)
    history = fit(net, x, target, epochs=60, batch_size=16, loss=SquaredError(), optimizer=optimizer)
    assert history.train_loss[-1] < 1e-3
    assert math.isnan(history.train_accuracy[-1])
    np.testing.assert_allclose(net[0].weight.data, [[1, -2, 0.5]], atol=0.05)
    assert train.evaluate(net, x, target, loss=SquaredError())[0] < 1e-3


# ---- reproducible


def test_a_seed_decides_every_bit():
    x, y = task()
    states, losses = [], []
    for seed in (1, 1, 2):
        net = network()
        net.seed(np.random.SeedSequence(len(states)))  # what happened to the streams before does not matter
        losses.append(fit(net, x, y, seed=seed, validation=(x, y)))
        states.append(net.state_dict())
    assert same(states[0], states[1])
    assert not same(states[0], states[2])
    assert losses[0].train_loss == losses[1].train_loss
    assert losses[0].val_loss == losses[1].val_loss


def test_validation_and_progress_do_not_change_training(capsys):
    x, y = task()
    one, other = network(), network()
    fit(one, x, y)
    fit(other, x, y, validation=(x, y), progress=True, callback=lambda epoch, history: None)
    assert same(one.state_dict(), other.state_dict())


def test_the_number_of_threads_changes_no_bit():
    x, y = task()
    before, states = convc.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            convc.set_num_threads(threads)
            net = network()
            fit(net, x, y)
            states.append(net.state_dict())
    finally:
        convc.set_num_threads(before)
    assert same(states[0], states[1])
    assert same(states[0], states[2])


def test_no_seed_is_a_new_one_each_time():
    x, y = task()
    one, other = network(), network()
    fit(one, x, y, seed=None)
    fit(other, x, y, seed=None)
    assert not same(one.state_dict(), other.state_dict())


# ---- callbacks, Ctrl-C, NaN


def test_callback_sees_the_history_and_may_stop():
    calls = []

    def callback(epoch, history):
        calls.append((epoch, len(history.train_loss), history.seconds > 0))
        return epoch == 2

    history = fit(network(), *task(), epochs=10, callback=callback)
    assert calls == [(0, 1, True), (1, 2, True), (2, 3, True)]
    assert len(history.train_loss) == 3
    assert not history.interrupted


def test_callback_may_change_the_learning_rate():
    net = network()
    optimizer = optim.SGD(net.parameters(), 0.1)
    states = []

    def callback(epoch, history):
        optimizer.lr = 0
        states.append(net.state_dict())

    fit(net, *task(), epochs=3, optimizer=optimizer, callback=callback)
    assert same(states[0], states[2])


def test_interrupt_between_epochs():
    def callback(epoch, history):
        if epoch == 1:
            raise KeyboardInterrupt

    history = fit(network(), *task(), epochs=5, callback=callback)
    assert history.interrupted
    assert len(history.train_loss) == 2


def test_interrupt_within_an_epoch_leaves_the_last_whole_step():
    x, y = task(n=128)
    net = nn.Sequential(Recorder(stop_at=7), *network())
    history = fit(net, x, y, epochs=5, batch_size=32)
    assert history.interrupted
    assert history.seconds > 0
    assert len(history.train_loss) == 1  # four steps each; stopped in the third of the second epoch
    assert all(parameter.grad is None for parameter in net.parameters())

    # The same six steps by hand.
    expected = network()
    _order, dropout = np.random.SeedSequence(0).spawn(2)
    # The recorder is one more layer, so that the dropout of `net` has another stream; take that one.
    nn.Sequential(nn.ReLU(), *expected).seed(dropout)
    optimizer, criterion = optim.Adam(expected.parameters()), loss.CrossEntropyLoss()
    for batch in net[0].seen[:6]:
        rows = [int(np.flatnonzero((x == image).all(axis=(1, 2, 3)))[0]) for image in batch]
        expected.zero_grad()
        logits, backward = expected.forward(batch)
        backward(criterion.forward(logits, y[rows])[1]())
        optimizer.step()
    assert [value.tobytes() for value in net.state_dict().values()] == [
        value.tobytes() for value in expected.state_dict().values()
    ]


@on_main_thread
def test_a_signal_during_a_step_waits_for_its_end():
    class Interrupted(optim.SGD):
        calls = 0

        def _update(self, *arguments):
            super()._update(*arguments)
            self.calls += 1
            if self.calls == 2:  # the first step has changed two of four parameters
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)

    x, y = task()
    net, expected = network(dropout=0), network(dropout=0)
    handler = signal.getsignal(signal.SIGINT)
    history = fit(net, x, y, optimizer=Interrupted(net.parameters(), 0.5), batch_size=len(x))
    assert history.interrupted
    assert history.train_loss == []
    assert signal.getsignal(signal.SIGINT) is handler
    fit(expected, x, y, optimizer=optim.SGD(expected.parameters(), 0.5), batch_size=len(x), epochs=1)
    assert same(net.state_dict(), expected.state_dict())


@on_main_thread
@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_other_signal_handlers_are_left_in_place(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        fit(network(), *task(), epochs=1)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_training_in_a_thread():
    result = []
    thread = threading.Thread(target=lambda: result.append(fit(network(), *task())))
    thread.start()
    thread.join(60)
    assert len(result[0].train_loss) == 2


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_in_a_real_process():
    code = (
        "import numpy as np\n"
        "from convc import nn, train\n"
        "x = np.random.default_rng(0).random((512, 3, 16, 16), np.float32)\n"
        "net = nn.Sequential(nn.Conv2d(3, 16, 3, rng=0), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 196, 2, rng=0))\n"
        "ready = lambda epoch, history: print('ready', flush=True) if epoch == 0 else None\n"
        "y = np.arange(512) % 2\n"
        "history = train.fit(net, x, y, epochs=100000, progress=False, callback=ready)\n"
        "print(history.interrupted, len(history.train_loss) >= 1, np.isfinite(train.predict(net, x)).all())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert output == "True True True\n"
    assert process.returncode == 0


def test_a_loss_that_is_not_finite_stops_before_the_step():
    x, y = task(n=128)
    net, expected = (nn.Sequential(recorder, *network()) for recorder in (Recorder(poison_at=3), Recorder(stop_at=3)))
    with pytest.raises(FloatingPointError, match="loss is nan in epoch 1, step 3: a smaller learning rate than 0"):
        fit(net, x, y, batch_size=32)
    fit(expected, x, y, batch_size=32)
    assert same(net.state_dict(), expected.state_dict())
    assert all(np.isfinite(value).all() for value in net.state_dict().values())


# ---- progress


def test_progress_shows_loss_and_accuracy(capsys, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    x, y = task()
    history = fit(network(), x, y, validation=(x, y), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    last = err.replace("\r", "\n").strip().splitlines()[-1]
    assert "Epoch 2/2" in last
    assert "5/5" in last
    assert f"loss {history.train_loss[1]:.4f}" in last
    assert f"held out: loss {history.val_loss[1]:.4f}, accuracy {100 * history.val_accuracy[1]:.1f} %" in last


@pytest.mark.parametrize("terminal", [True, False])
def test_without_tqdm_or_terminal_there_is_a_line_for_each_epoch(capsys, monkeypatch, terminal):
    if terminal:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    x, y = task()
    history = fit(network(), x, y, progress=True)
    assert capsys.readouterr().err.splitlines() == [
        f"Epoch {i + 1}/2: loss {history.train_loss[i]:.4f}, accuracy {100 * history.train_accuracy[i]:.1f} %"
        for i in range(2)
    ]


def test_optimizer_is_no_class():
    x, y = task()
    with pytest.raises(TypeError, match=r"optimizer must be .* got the class SGD"):
        fit(network(), x, y, optimizer=optim.SGD)


def test_no_progress_is_silent(capsys):
    fit(network(), *task())
    assert capsys.readouterr() == ("", "")


# ---- predict and evaluate


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 100])
def test_predict_is_the_network_for_any_number_of_samples(n):
    net, x = network(), task(n=100)[0][:n]
    result = train.predict(net, x, batch_size=32)
    assert result.shape == (n, 4)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, net(x), rtol=1e-5, atol=1e-6)


def test_evaluate_uses_no_dropout():
    x, y = task()
    net = network(dropout=0.9)
    assert train.evaluate(net, x, y) == train.evaluate(net, x, y)


def test_cross_entropy_loss():
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(5, 3)), rng.integers(0, 3, 5)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    each = -logs[np.arange(5), target]
    for reduction, expected in (("mean", each.mean()), ("sum", each.sum()), ("none", each)):
        criterion = loss.CrossEntropyLoss(reduction)
        value, backward = criterion.forward(logits, target)
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        np.testing.assert_allclose(criterion(logits, target), expected, rtol=1e-12)
        grad = np.full(5, 2.0) if reduction == "none" else 2.0
        numeric = np.empty_like(logits)
        for index in np.ndindex(logits.shape):
            shifted = [logits.copy(), logits.copy()]
            shifted[0][index] += 1e-6
            shifted[1][index] -= 1e-6
            above, below = (np.sum(criterion(values, target)) for values in shifted)
            numeric[index] = 2 * (above - below) / 2e-6
        np.testing.assert_allclose(backward(grad), numeric, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="reduction"):
        loss.CrossEntropyLoss("average")


# ---- errors

X, Y = task(n=20)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"x": X.astype(np.float64)}, TypeError, r"x is float64, .* are float32: x.astype\(np.float32\)"),
        ({"x": X.astype(np.uint8)}, TypeError, "x is uint8"),
        ({"x": X.tolist()}, TypeError, "x must be an array"),
        ({"x": X[:10]}, ValueError, "x and y must hold equally many samples, at least one, got 10 and 20"),
        ({"x": X[:0], "y": Y[:0]}, ValueError, "at least one"),
        ({"x": X[:, 0]}, ValueError, None),
        ({"y": Y.astype(np.float32)}, TypeError, "y must be one-dimensional and hold integers, got float32"),
        ({"y": np.eye(20, dtype=int)}, TypeError, "one-dimensional"),
        ({"y": Y > 1}, TypeError, "got bool"),
        ({"y": Y.tolist()}, TypeError, "y must be an array"),
        ({"y": Y + 1}, ValueError, "y must be from 0 to 3, the classes of the network, got 1 to 4"),
        ({"y": Y - 1}, ValueError, "got -1 to 2"),
        ({"y": np.full(20, 2**64 - 1, np.uint64)}, ValueError, "from 0 to 3"),
        ({"validation": (X, Y + 1)}, ValueError, "validation y must be from 0 to 3"),
        ({"validation": (X.astype(np.float64), Y)}, TypeError, "validation x is float64"),
        ({"validation": X}, TypeError, "validation must be a pair"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1"),
        ({"epochs": 1.5}, TypeError, "epochs must be an integer"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"batch_size": 2**63}, ValueError, "batch_size"),
        ({"loss": loss.CrossEntropyLoss("sum")}, ValueError, "reduction='mean'"),
        ({"seed": -1}, ValueError, None),
    ],
)
def test_bad_arguments_change_nothing(change, error, match):
    net = network()
    before = net.state_dict()
    arguments = {"x": X, "y": Y, **change}
    with pytest.raises(error, match=match):
        fit(net, arguments.pop("x"), arguments.pop("y"), **arguments)
    assert same(before, net.state_dict())


def test_a_huge_batch_size_is_one_batch():
    history = fit(network(), X, Y, batch_size=2**63 - 1, epochs=1)
    assert len(history.train_loss) == 1


def test_a_network_without_scores_is_refused():
    with pytest.raises(ValueError, match="one row of scores a sample, got shape"):
        fit(nn.Sequential(nn.Conv2d(1, 2, 3)), X, Y)


def test_predict_checks_its_input():
    with pytest.raises(TypeError, match="x is float64"):
        train.predict(network(), X.astype(np.float64))
    with pytest.raises(TypeError, match="x must be an array"):
        train.predict(network(), None)
    with pytest.raises(ValueError, match="batch_size"):
        train.predict(network(), X, batch_size=-1)
