"""How many processes a training is, by those that started it."""

import pytest

from a2h_models.errors import ConfigError
from pipelines.training.trainer import STARTERS, started


@pytest.mark.parametrize("cluster", STARTERS)
def test_the_starter_says_how_many_processes_there_are(cluster, monkeypatch):
    _, here, everywhere = STARTERS[cluster]
    monkeypatch.setenv(here, "8")
    monkeypatch.setenv(everywhere, "24")
    assert started(cluster) == (8, 3)


@pytest.mark.parametrize("cluster", STARTERS)
def test_a_process_that_nobody_started_says_who_should_have(cluster, monkeypatch):
    starter, *names = STARTERS[cluster]
    for name in names:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=f"{names[0]} is not set: {starter} did not start this process"):
        started(cluster)


@pytest.mark.parametrize("cluster", ["local", "ray"])
def test_elsewhere_lightning_or_ray_starts_them(cluster):
    assert started(cluster) is None
