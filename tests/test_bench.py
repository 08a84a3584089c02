"""The benchmark: what it counts and writes, and that each library it times computes the right thing. No timings."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / "benchmarks").is_dir() or sys.platform == "win32":
    pytest.skip("the benchmark is not part of this copy, or cannot run here", allow_module_level=True)
sys.path.insert(0, str(ROOT))

from benchmarks import libraries, report, rows, summary  # noqa: E402
from benchmarks.measure import Cell, Run, Table  # noqa: E402
from benchmarks.processes import Failed, Process  # noqa: E402


def made_up():
    """A run of two rows with round numbers: 2 GFLOP at 100 GFLOP/s peak."""
    row = {
        "convc plan": Cell([0.1, 0.04, 0.05], error=1e-7),
        "torch": Cell([0.1, 0.2, 0.1], error=2e-7),
        "ncnn": Cell([0.025, 0.025, 0.025], error=3e-6),
    }
    other = {"convc plan": Cell([0.001]), "torch": Cell([0.008])}
    table = Table("forward", 2, ["convc plan", "torch", "ncnn"], {"one": row, "two": other})
    table.flops = {"one": 2 * 10**9, "two": 10**6}
    table.peak = [90e9, 100e9, 5e9, 101e9, 110e9]
    return summary.summarise(Run([table, Table("backward", 2, ["convc"])], {"convc": "0"}, {"cpu": "C", "isa": "i"}))


def test_flops_of_a_convolution_counted_by_hand():
    row = rows.Conv("hand", 2, 6, (5, 7), 4, 3, 2, 1, 1, 2)
    assert row.y_shape == (2, 4, 3, 4)
    # 96 outputs, each of 3 channels of a 3x3 kernel, a multiplication and an addition each
    assert row.flops == 96 * 27 * 2
    assert rows.flops("backward", row) == 2 * row.flops
    assert rows.find("forward", "vgg3_2").flops == 2 * 56 * 56 * 256 * 256 * 9


@pytest.mark.parametrize("row", rows.ROWS, ids=lambda row: row.name)
def test_output_shapes_are_those_of_convc(row):
    import convc

    where = {"stride": row.stride, "padding": row.pad, "dilation": row.dilation, "groups": row.groups}
    weight = np.zeros(row.weight_shape, np.float32)
    assert convc.prepare(weight, None, row.x_shape, **where).output_shape == row.y_shape


def test_inputs_depend_on_the_name_alone():
    x, weight, bias = rows.TINY.data()
    again = rows.TINY.data()
    assert all(np.array_equal(a, b) for a, b in zip((x, weight, bias), again, strict=True))
    assert x.dtype == weight.dtype == bias.dtype == np.float32
    assert not np.array_equal(x, rows.normal("other", x.shape))
    double = rows.find("operators", "rn2_3x3_f64").data()[0]
    assert double.dtype == np.float64


def test_rows_are_chosen_by_patterns():
    assert [row.name for row in rows.cases("forward", ["vgg[12]*", "tiny"])] == ["vgg1_2", "vgg2_2", "tiny"]
    assert [case.name for case in rows.cases("operators", ["call_r*"])] == ["call_relu"]
    assert rows.cases("backward", ["nothing"]) == []
    assert all(len({case.name for case in rows.cases(s)}) == len(rows.cases(s)) for s in rows.SECTIONS)


def test_medians_rates_and_ratios():
    results = made_up()
    assert results["rounds"] == 3
    (table,) = results["tables"]  # the backward table has no rows
    one, two = table["rows"]
    assert table["peak_gflops"] == 100
    assert one["cells"]["convc plan"]["ms"] == 50
    assert one["cells"]["convc plan"]["gflops"] == pytest.approx(40)
    assert one["cells"]["convc plan"]["percent_of_peak"] == pytest.approx(40)
    assert (one["best_peer"], one["ratio"]) == ("ncnn", pytest.approx(0.5))
    assert one["speedup"] == {"torch": pytest.approx(2), "ncnn": pytest.approx(0.5)}
    assert (two["best_peer"], two["ratio"]) == ("torch", pytest.approx(8))
    means = {"torch": pytest.approx(4), "ncnn": pytest.approx(0.5), "best peer": pytest.approx(2)}
    assert table["geometric_means"] == means


def test_geometric_mean():
    assert summary.geometric_mean([1, 2, 4]) == pytest.approx(2)
    assert summary.geometric_mean([]) is None


def test_error_is_relative_to_the_largest_reference():
    reference = [np.array([1.0, -4.0]), np.array([10.0])]
    assert libraries.error([np.array([1.0, -3.0]), np.array([10.0])], reference) == 0.25
    assert libraries.error([np.array([1.0, -4.0]), np.array([15.0])], reference) == 0.5
    assert math.isnan(libraries.error([np.array([np.nan, -4.0]), np.array([15.0])], reference))
    assert math.isnan(libraries.error([np.array([1.0, -4.0, 0.0]), np.array([10.0])], reference))


def test_text_of_the_report():
    results = {"date": "today", "cpus": 2, "system": "S", **made_up()}
    text = report.terminal(results)
    assert "Forward, 2 threads; FMA peak 100 GFLOP/s" in text
    line = next(line for line in text.splitlines() if line.startswith("one"))
    assert line.split() == [
        "one",
        "40.0",
        "(50.0)",
        "20.0",
        "(100.)",
        "80.0",
        "(25.0)",
        "0.50",
        "ncnn",
        "40",
        "1.0e-07",
    ]
    assert "4.00 of torch, 0.50 of ncnn, 2.00 of best peer" in text
    assert "| two | 1.0 (1.00) | 0.1 (8.00) | - | 8.00 | torch | 1 | - |" in report.markdown(results)
    assert "| one | 1.0e-07 | 2.0e-07 | 3.0e-06 |" in report.markdown(results)


def test_chart_of_layers_without_flops(tmp_path):
    pytest.importorskip("matplotlib")
    from benchmarks import chart

    rows = {"both": {"convc": Cell([0.1]), "torch": Cell([0.2])}, "peer": {"torch": Cell([0.1])}}
    table = Table("layers", 1, ["convc", "torch"], rows, flops=dict.fromkeys(rows, 0))
    results = summary.summarise(Run([table], {"convc": "0"}, {"cpu": "C", "isa": "i"}))
    chart.write({"date": "today", **results}, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 10_000


def test_duration_picks_the_unit():
    assert [report.duration(ms) for ms in (0.0031, 0.42, 32.84)] == ["3.10 us", "0.420 ms", "32.8 ms"]


def test_run_from_the_command_line(tmp_path):
    command = ["--forward", "--only=tiny", "--rounds=1", "--peers=none", "--threads=1", "--out"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *command, str(tmp_path / "new")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert "Forward, 1 thread" in done.stdout
    assert "%|" not in done.stderr  # no progress bar where there is no terminal
    results = json.loads((tmp_path / "new" / "results.json").read_text())
    assert results["rounds"] == 1
    assert results["machine"]["cpu"]
    (table,) = results["tables"]
    (row,) = table["rows"]
    assert (row["name"], row["flops"]) == ("tiny", 2 * 4 * 8 * 8 * 9)
    assert table["columns"] == ["convc plan", "convc", "convc nhwc"]
    for cell in row["cells"].values():
        assert 0 < cell["error"] < 1e-6
        assert cell["samples_ms"] == [cell["ms"]]
    text = (tmp_path / "new" / "results.md").read_text()
    assert "| tiny |" in text
    assert "results.png" in text
    assert (tmp_path / "new" / "results.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "nothing"], "matches no row"),
        (["--peers", "caffe"], "caffe: there are torch"),
        (["--threads", "0"], "positive"),
        (["--threads", "100000"], "more than the"),
        (["--rounds", "0"], "at least 1"),
    ],
)
def test_wrong_options(arguments, message, capsys):
    from benchmarks.__main__ import main

    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


def process_state(process):
    """The letter that Linux shows for a process."""
    return Path(f"/proc/{process._process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Files with the right answers of a few cases, from convc in double precision, in a process that is asleep."""
    process = Process("convc", 1)
    files = {}
    for section, case in (("forward", "lenet5x5_b64"), ("forward", "mb_dw512"), ("backward", "mb_dw512")):
        files[section, case] = str(tmp_path_factory.mktemp("reference") / "answers.npz")
        assert process.ask("reference", section=section, case=case, path=files[section, case])["arrays"]
    yield files
    process.close()


@pytest.mark.parametrize("library", libraries.LIBRARIES)
def test_each_library_computes_the_right_answer(library, reference):
    if absent := libraries.missing(library):
        pytest.skip(f"{absent[0]} is not installed")
    process = Process(library, 1)
    try:
        if sys.platform == "linux":
            assert process_state(process) == "T"
        compared = 0
        for (section, case), path in reference.items():
            for column in libraries.LIBRARIES[library].columns.get(section, ()):
                answer = process.ask("prepare", section=section, case=case, column=column, path=path)
                if answer["offered"]:
                    assert answer["error"] < 1e-5, (section, case, column)
                    compared += 1
                    assert process.ask("time", section=section, case=case, column=column)["seconds"] > 0
        assert compared
        with pytest.raises(Failed, match="StopIteration"):
            process.ask("prepare", section="forward", case="nothing", column=library, path=None)
        assert process.alive()
    finally:
        process.close()
    assert not process.alive()


FIRST_ROWS = {case.operator: case for case in reversed(rows.LAYERS_BESIDE) if math.prod(case.x_shape) < 4_000_000}


@pytest.mark.parametrize("operator", FIRST_ROWS)
def test_layers_compute_what_pytorchs_do(torch, operator):
    from benchmarks.libraries import our_layers, torch_layers

    for section in ("layers", "gradients"):
        with torch.inference_mode():
            expected = torch_layers.task(section, FIRST_ROWS[operator], False).results()
        tasks = [our_layers.task(section, FIRST_ROWS[operator], last) for last in (False, True)]
        for task in filter(None, tasks):
            assert libraries.error(task.results(), [np.float64(part) for part in expected]) < 2e-5, section


def test_a_process_that_dies_says_so():
    process = Process("convc", 1)
    process._process.kill()
    with pytest.raises(Failed, match="its process ended with -9"):
        process.ask("version")
    assert not process.alive()
    process.close()


def test_sweep_measures_what_fits_and_draws_it(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    from benchmarks import sweep

    monkeypatch.setattr(sweep, "SAMPLE_SECONDS", 0)
    monkeypatch.setattr(sweep, "CHANNELS", (1, 3))
    monkeypatch.setattr(sweep, "SIZES", (5, 8, 40))
    monkeypatch.setattr(sweep, "MOST_FLOPS", 1e6)
    steps = []
    maps = sweep.sweep("NHWC", lambda: 1e9, lambda: steps.append(1))
    assert list(maps) == [(s, k) for s in sweep.STRIDES for k in sweep.KERNELS]
    assert len(steps) == sum(np.isfinite(found).sum() for found in maps.values())
    assert np.isnan(maps[1, 7][:, 0]).all(), "the kernel is larger than the image"
    assert np.isnan(maps[1, 11][1, 2]), "too much work"
    sweep.draw(maps, "title", tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").stat().st_size > 10_000


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
@pytest.mark.skipif("CONVC_SANITIZED" in os.environ, reason="sanitizers need memory of their own")
def test_working_memory_is_small():
    from benchmarks import memory

    command = [sys.executable, "-m", "benchmarks.memory", "--case", next(iter(memory.CASES)), "--size", "256"]
    shown = subprocess.run([*command, "--threads", "1"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0 < float(shown.stdout) <= 4
