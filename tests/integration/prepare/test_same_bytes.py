"""The same sha-256 of every shard, whoever did the work and whatever happened on the way."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from pipelines.config import ClusterConfig
from pipelines.execution import pool
from pipelines.maintenance.verify import verify
from pipelines.prepare import pipeline
from pipelines.prepare.pipeline import prepare
from pipelines.synthetic import SceneConfig, make_speaker_videos

pytestmark = pytest.mark.slow

PATIENCE_S = 90.0
ONE = ClusterConfig(workers=1)
THREE = ClusterConfig(workers=3)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    make_speaker_videos(folder, count=3, seed=3, scene=SceneConfig(seconds=2.7, size=200))
    return folder


@pytest.fixture
def prepare_into(people, make_command):
    """Prepares the three people; gives the sha-256 of every shard, sidecar and the plan."""

    def into(out, config=None):
        command = make_command(people, out)
        command.prepare.features.f0 = "dio"
        command.cluster = config or ClusterConfig(workers=0)
        prepare(command)
        return hashes(out)

    return into


def hashes(out):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.iterdir()
        if path.suffix in {".tar", ".json"}
    }


@pytest.fixture(scope="module")
def reference(people, make_command, tmp_path_factory):
    """What the plain loop writes."""
    out = tmp_path_factory.mktemp("loop") / "out"
    command = make_command(people, out)
    command.prepare.features.f0 = "dio"
    prepare(command)
    return hashes(out)


def whole(out):
    """Sound, with nothing left over."""
    report = verify(out, clean=True)
    assert report.sound, str(report)
    assert report.samples == 3
    assert not report.removed
    return True


def test_one_worker_and_two_workers_write_what_the_loop_writes(prepare_into, reference, tmp_path):
    with pool.session(ClusterConfig(workers=2), cache=tmp_path):
        assert prepare_into(tmp_path / "two", ClusterConfig(workers=2)) == reference
    with pool.session(ONE, cache=tmp_path):
        assert prepare_into(tmp_path / "one", ONE) == reference
    assert whole(tmp_path / "one")
    assert whole(tmp_path / "two")


@pytest.fixture
def three_nodes(tmp_path_factory):
    """Three machines with a core each, as Ray sees it, and this process joined to them."""
    import ray
    from ray.cluster_utils import Cluster

    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    machines = Cluster(initialize_head=True, head_node_args={**node, "_system_config": quick}, shutdown_at_exit=False)
    try:
        for _ in range(2):
            machines.add_node(num_cpus=1, object_store_memory=80 * 2**20)
        machines.wait_for_nodes()
        yield machines
    finally:
        ray.shutdown()
        machines.shutdown()


def waits_on_the_victim(meeting, build):
    """`build`, which says on which node it runs, and on the victim's node never comes back."""

    def build_there(unit, **options):

        me = os.environ["RAY_RAYLET_PID"]  # a node is its raylet
        (Path(meeting) / f"{me}.{unit.number}{unit.split}").touch()
        assert os.environ["A2H_TEST"] == "brought by the runtime environment"
        deadline = time.monotonic() + PATIENCE_S
        while not (Path(meeting) / "victim").exists() or (Path(meeting) / "victim").read_text() == me:
            if time.monotonic() > deadline:
                raise TimeoutError("nobody was killed")
            time.sleep(0.05)
        return build(unit, **options)

    return build_there


def test_three_nodes_of_which_one_is_killed_write_the_same(prepare_into, reference, tmp_path, three_nodes, monkeypatch):
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    monkeypatch.setattr(pipeline, "build_shard", waits_on_the_victim(str(meeting), pipeline.build_shard))
    killed = []

    def kill_a_busy_node():
        workers = {str(node.all_processes["raylet"][0].process.pid): node for node in three_nodes.worker_nodes}
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            busy = {path.name.partition(".")[0] for path in meeting.iterdir()} & set(workers)
            if len(list(meeting.iterdir())) == 3 and busy:  # all three units are under way
                victim = min(busy)
                (meeting / "victim.part").write_text(victim)
                (meeting / "victim.part").rename(meeting / "victim")
                three_nodes.remove_node(workers[victim], allow_graceful=False)
                killed.append(victim)
                return
            time.sleep(0.05)

    brought = {"env_vars": {"A2H_TEST": "brought by the runtime environment"}}
    with pool.session(ClusterConfig(workers=3, address=three_nodes.address, runtime_env=brought)):
        killer = threading.Thread(target=kill_a_busy_node)
        killer.start()
        try:
            written = prepare_into(tmp_path / "out", THREE)
        finally:
            killer.join()
    assert killed
    arrivals = [path.name for path in meeting.iterdir() if path.name != "victim"]
    assert len(arrivals) == 4, arrivals  # three units, and the lost one again, elsewhere
    assert written == reference
    assert whole(tmp_path / "out")
