"""The examples in the package's docstring, run; and a model of the registry by its name."""

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import a2h_models
from a2h_models import Animator
from pipelines.config import TrackingConfig
from pipelines.registry import pretrained
from tests.paths import ROOT


@pytest.mark.slow
def test_the_examples_run(bundle: Path, astronaut: np.ndarray) -> None:
    names = {
        "model": bundle,
        "portrait": astronaut[:256, 100:356],
        "speech": (np.sin(np.arange(8000) / 9) * 9000).astype(np.int16),
    }
    found = doctest.testmod(
        a2h_models, extraglobs=names, optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    )
    assert found.attempted >= 7
    assert found.failed == 0


@pytest.mark.slow
def test_a_model_of_the_registry(registered: TrackingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registered.tracking_uri)
    assert (
        Animator.from_pretrained(str(pretrained.fetch_pretrained("models:/audio2head/1")), "cpu").config.image_size
        == 64
    )


def test_the_registry_is_found_through_an_entry_point() -> None:
    import tomllib

    root = ROOT
    points = tomllib.loads((root / "pyproject.toml").read_text())["project"]["entry-points"]
    from a2h_models.checkpoints.bundle import FETCHERS

    assert points[FETCHERS] == {"models": f"{pretrained.__name__}:{pretrained.fetch_pretrained.__name__}"}


def test_the_package_alone_is_light() -> None:
    code = "import sys, a2h_models; print('torch' in sys.modules); a2h_models.Animator; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "True"]
    with pytest.raises(AttributeError, match="no attribute 'Animtor'"):
        _ = a2h_models.Animtor
