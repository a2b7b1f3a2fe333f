"""The map from speech to mouths: learned from made-up talks, and the committed one from real ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from a2h_models.metrics import av_sync
from scripts.fit_mouth_from_speech import Talk, fit, in_sync, learn, make

FRAMES = 150


def talk(seed: int, late: int = 0) -> Talk:
    """A mouth that follows what is heard by one hidden rule, with noise; the sound comes `late`
    frames after it.
    """
    rule = np.random.default_rng(0).normal(size=(20, 3))
    noise = np.random.default_rng(seed + 1)
    heard = gaussian_filter1d(noise.normal(size=(FRAMES + 40, 20)), 1.5, axis=0)
    mouth = heard @ rule + noise.normal(0, 0.5, (FRAMES + 40, 3))
    return Talk(mouth[20:-20], heard[20 - late : FRAMES + 20 - late])


def test_a_hidden_rule_is_learned_and_finds_offsets() -> None:
    weights = fit([talk(seed) for seed in range(40)])
    for late in (-4, 0, 3):
        unseen = talk(100, late)
        assert av_sync.match(unseen.mouth, unseen.heard @ weights).offset == late


def test_what_is_out_of_sync_has_no_part() -> None:
    good = [talk(seed) for seed in range(30)]
    late = [talk(seed, 6) for seed in range(30, 34)]
    assert not any(in_sync(each, fit(good)) for each in late)
    np.testing.assert_array_equal(learn(good + late), fit(good))


def test_the_committed_map_has_the_shape_that_is_used() -> None:
    with np.load(av_sync.WEIGHTS, allow_pickle=False) as file:
        assert file["weights"].shape == (27 * len(av_sync.CONTEXT), 3)
        assert file["weights"].dtype == np.float32
        assert int(file["clips"]) >= 30
    assert av_sync.WEIGHTS.stat().st_size < 5000


@pytest.mark.slow
def test_the_script_makes_the_same_file_again(real_clips, tmp_path) -> None:
    """Of two short real videos; files without sound or face have no part."""
    videos = [
        real_clips / name
        for name in ("lipnet_grid_lbax4n.mpg", "lipnet_grid_lwbsza.mpg", "liveportrait_d0_noaudio.mp4")
    ]
    assert make(videos, tmp_path / "a.npz") == make(reversed(videos), tmp_path / "b.npz") == 2
    with np.load(tmp_path / "a.npz") as first, np.load(tmp_path / "b.npz") as second:
        assert np.array_equal(first["weights"], second["weights"])
        assert np.isfinite(first["weights"]).all()
