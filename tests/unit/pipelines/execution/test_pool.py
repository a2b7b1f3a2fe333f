"""The engine's promises, each on a real Ray session: bounded, retried, timed out, culprits
isolated, errors kept.
"""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest

from a2h_models.errors import ClusterError, InputError
from pipelines.config import ClusterConfig
from pipelines.execution import pool, ray_cluster
from pipelines.execution.sandbox import Failure, working_on
from pipelines.execution.task import Task

PLAIN = ClusterConfig(workers=0)
TWO = ClusterConfig(workers=2, max_retries=0, timeout_s=60.0)


def _square(number):
    return number * number


def _run(function, pieces, config):
    return dict(pool.run(Task(function=function, describe="test", key=str), pieces, config))


@pytest.fixture(scope="module")
def ray_session(tmp_path_factory):
    with pool.session(TWO, cache=tmp_path_factory.mktemp("cache")):
        yield


def test_plain_loop_gives_each_piece_with_its_result():
    assert list(pool.run(Task(function=_square, describe="test", key=str), [3, 1, 2], PLAIN)) == [
        (3, 9),
        (1, 1),
        (2, 4),
    ]


def test_plain_loop_lets_errors_through():
    def refuse(_):
        raise InputError("a.mp4 is not a video", hint="remove it")

    with pytest.raises(InputError, match=r"a\.mp4"):
        _run(refuse, [1], PLAIN)


def test_a_cache_folder_with_a_long_name_is_left_for_a_short_one(tmp_path):
    fallback = ray_cluster._temp_dir(tmp_path / ("long" * 20))
    fallback.rmdir()
    assert len(str(fallback)) <= ray_cluster.MAX_TEMP_DIR


@pytest.mark.slow
def test_sigterm_is_ours_again_after_a_session(tmp_path):
    """Ray's own handler exits with 15; a training after it in the same process must save and exit
    with 0.
    """
    before = signal.getsignal(signal.SIGTERM)
    with pool.session(TWO, cache=tmp_path):
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
    assert isinstance(results[2], Failure)
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


# ----------------------------------------------------------------------------------------- isolated
def _isolated(function, pieces, config=TWO, **options):
    task = Task(function=function, describe="test", key=str, isolated=True, **options)
    return dict(pool.run(task, pieces, config))


@pytest.mark.slow
def test_an_isolated_accident_names_its_culprit_and_hurts_nobody_else(ray_session):
    def work(kind):
        with working_on(f"innocent of {kind}", limit_s=30):
            pass
        with working_on(f"culprit of {kind}", limit_s=1 if kind == "hang" else 30):
            if kind == "crash":
                signal.raise_signal(signal.SIGSEGV)
            while kind == "hang":
                pass
            hoard = []
            while kind == "hoard":
                hoard.append(bytearray(os.urandom(2**20)))
        return kind

    config = replace(TWO, memory_mb_per_worker=400)
    results = _isolated(work, ["crash", "hang", "hoard", "work"], config)
    assert results.pop("work") == "work"
    assert {kind: (failure.reason, failure.culprit) for kind, failure in results.items()} == {
        "crash": ("decoder_crashed", "culprit of crash"),
        "hang": ("timed_out", "culprit of hang"),
        "hoard": ("out_of_memory", "culprit of hoard"),
    }
    assert "SIGSEGV" in results["crash"].message


@pytest.mark.slow
def test_an_isolated_piece_that_crashes_is_tried_again_as_often_as_asked(ray_session, tmp_path):
    def crash_twice(number):
        (tmp_path / f"{number}-{len(list(tmp_path.glob(f'{number}-*')))}").touch()
        if len(list(tmp_path.glob(f"{number}-*"))) <= 2:
            os._exit(139)
        return number

    assert _isolated(crash_twice, [7], retries=2) == {7: 7}
    assert _isolated(crash_twice, [8], retries=1)[8].reason == "decoder_crashed"
    assert len(list(tmp_path.glob("8-*"))) == 2


@pytest.mark.slow
def test_an_innocent_piece_whose_worker_is_lost_is_given_to_another(ray_session, tmp_path):
    """The sandbox of a Ray worker that is killed, by the node's memory guard for example, dies with
    it.
    """

    def kill_the_worker_once(number):
        if not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getppid(), signal.SIGKILL)
            signal.pause()
        return number

    assert _isolated(kill_the_worker_once, range(3)) == {0: 0, 1: 1, 2: 2}


@pytest.mark.slow
def test_a_piece_that_is_lost_again_and_again_ends_the_run_with_a_sentence(ray_session):
    def kill_the_worker(_):
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()

    with pytest.raises(ClusterError, match=r"7: the worker died .* 3 times after all retries"):
        _isolated(kill_the_worker, [7])


@pytest.mark.slow
def test_our_errors_come_back_whole_from_isolation(ray_session):
    def refuse(_):
        raise InputError("a.mp4 is not a video", hint="remove it")

    with pytest.raises(InputError, match=r"a\.mp4") as caught:
        _isolated(refuse, [1])
    assert caught.value.hint == "remove it"


@pytest.mark.slow
def test_an_isolated_function_sees_the_worker_as_one_thread(ray_session):
    def threads(_):
        import cv2

        return cv2.getNumThreads(), os.getpid()

    results = _isolated(threads, range(8))
    assert {count for count, _ in results.values()} == {1}
    assert len({pid for _, pid in results.values()}) <= 2  # kept from piece to piece


@pytest.mark.slow
def test_the_progress_is_reported(ray_session):
    progress = []
    task = Task(
        function=lambda number: number,
        describe="test",
        key=str,
        isolated=True,
        tally=lambda number: {"even" if number % 2 == 0 else "odd": 1},
        hours=lambda _: 0.5,
    )

    def watch(now):
        progress.append((now.done, now.hours, dict(now.counts)))

    dict(pool.run(task, range(6), TWO, watch=watch))
    assert progress[-1] == (6, 3.0, {"even": 3, "odd": 3})
    assert [done for done, _, _ in progress] == sorted(done for done, _, _ in progress)
