"""The benchmark of training measures what is there today: each of its parts runs."""

from argparse import Namespace
from importlib.util import module_from_spec, spec_from_file_location

import pytest

from tests.paths import ROOT

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def benchmark_of_training(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = spec_from_file_location("benchmark_train", BENCHMARKS / "train.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # as `measurement.workplace` does
def test_all_parts_run(benchmark_of_training, made_up_dataset, tmp_path, capsys):
    dataset = str(made_up_dataset)
    benchmark_of_training.loader(dataset, tmp_path, pairs=8, rounds=1)
    benchmark_of_training.step(dataset, tmp_path, steps=1)
    timer, flops = benchmark_of_training.timed_training(dataset, tmp_path, 1)
    benchmark_of_training.on_gpu(dataset, tmp_path, Namespace())
    said = capsys.readouterr().out
    assert "× whole videos" in said
    assert "× folders of PNGs" in said
    assert "No GPU" in said
    assert len(timer.steps) == len(timer.waits) == 1 + benchmark_of_training.WARM_STEPS
    assert flops > 1e9
