"""The engine's promises, each on a real Ray session: bounded, retried, timed out, culprits isolated, errors kept."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest

from a2h_models.errors import InputError
from pipelines import cluster
from pipelines.config import ClusterConfig

PLAIN = ClusterConfig(workers=0)
TWO = ClusterConfig(workers=2, max_retries=0, timeout_s=60.0)


def _square(number):
    return number * number


def _run(function, pieces, config):
    return dict(cluster.run(function, pieces, config, describe="test", key=str))


@pytest.fixture(scope="module")
def ray_session(tmp_path_factory):
    with cluster.session(TWO, cache=tmp_path_factory.mktemp("cache")):
        yield


def test_plain_loop_gives_each_piece_with_its_result():
    assert list(cluster.run(_square, [3, 1, 2], PLAIN, describe="test", key=str)) == [(3, 9), (1, 1), (2, 4)]


def test_plain_loop_lets_errors_through():
    def refuse(_):
        raise InputError("a.mp4 is not a video", hint="remove it")

    with pytest.raises(InputError, match=r"a\.mp4"):
        _run(refuse, [1], PLAIN)


def test_a_cache_folder_with_a_long_name_is_left_for_a_short_one(tmp_path):
    fallback = cluster._temp_dir(tmp_path / ("long" * 20))
    fallback.rmdir()
    assert len(str(fallback)) <= cluster.MAX_TEMP_DIR


@pytest.mark.slow
def test_sigterm_is_ours_again_after_a_session(tmp_path):
    """Ray's own handler exits with 15; a training after it in the same process must save and exit with 0."""
    before = signal.getsignal(signal.SIGTERM)
    with cluster.session(TWO, cache=tmp_path):
        pass
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
def test_ray_gives_what_the_loop_gives(ray_session):
    def square(number):
        return number * number

    assert _run(square, range(20), TWO) == _run(square, range(20), PLAIN)


@pytest.mark.slow
def test_our_errors_come_back_whole(ray_session):
    def refuse(_):
        raise InputError("a.mp4 is not a video", hint="remove it")

    with pytest.raises(InputError, match=r"a\.mp4") as caught:
        _run(refuse, [1], TWO)
    assert caught.value.hint == "remove it"


@pytest.mark.slow
def test_a_dying_worker_is_a_failure_of_its_piece_only(ray_session):
    def die_at_two(number):
        if number == 2:
            os._exit(11)
        return number

    results = _run(die_at_two, range(5), TWO)
    assert isinstance(results[2], cluster.Failure)
    assert results[2].reason == "decoder_crashed"
    assert [results[n] for n in (0, 1, 3, 4)] == [0, 1, 3, 4]


@pytest.mark.slow
def test_a_worker_that_dies_once_is_tried_again(ray_session, tmp_path):
    marker = tmp_path / "died"

    def die_once(number):
        if not marker.exists():
            marker.touch()
            os._exit(11)
        return number

    assert _run(die_once, [7], replace(TWO, max_retries=2)) == {7: 7}


@pytest.mark.slow
def test_a_hanging_piece_is_stopped(ray_session):
    def hang_at_one(number):
        while number == 1:
            pass
        return number

    results = _run(hang_at_one, range(3), replace(TWO, timeout_s=4.0))
    assert results[1].reason == "timed_out"
    assert (results[0], results[2]) == (0, 2)


@pytest.mark.slow
def test_isolation_names_every_culprit_and_nobody_else(ray_session):
    poison = {"c", "f"}

    def trial(items):
        if poison & set(items):
            os._exit(11)

    found = cluster.isolate(trial, "abcdefg", TWO, cluster.Failure("decoder_crashed", "died"), describe="test")
    assert set(found) == poison


def test_isolation_of_a_single_item_needs_no_trial():
    failure = cluster.Failure("timed_out", "too long")
    assert cluster.isolate(lambda _: None, ["a"], PLAIN, failure, describe="test") == {"a": failure}
