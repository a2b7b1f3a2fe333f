"""Two processes as torchrun starts them: the same training as one, no deadlock at uneven ends,
SIGTERM to one ends both well.
"""

import json
import os
import pickle
import runpy
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from a2h_models.errors import DatasetError
from a2h_models.networks import build, load, save
from a2h_models.training.callbacks import LastCheckpoint
from pipelines.config import ClusterConfig, TrackingConfig
from pipelines.training import on_ray
from pipelines.training.launch import train

SCRIPT = Path(__file__).with_name("one_of_two.py")
STAGES = ("image_generator", "head_pose", "motion_field")
VALIDATED, RESUMED, ENDED, WHOLE = "head_pose validated", "head_pose resumed", "head_pose ended", "head_pose whole"
STEPS, BEGUN = 5, 3
PATIENCE_S = 300.0
CLOSE = 1e-5
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def five_to_validate(made_up_dataset, tmp_path_factory):
    """The made-up dataset with its five training clips as validation, too: an odd number for two
    processes.
    """
    folder = tmp_path_factory.mktemp("five")
    for path in made_up_dataset.glob("a2h-train-*.json"):
        for split in ("train", "val"):
            text = path.read_text().replace('"train"', f'"{split}"').replace("a2h-train", f"a2h-{split}")
            sidecar = folder / path.name.replace("train", split)
            sidecar.write_text(text)
            shutil.copy(path.with_suffix(".tar"), sidecar.with_suffix(".tar"))
    return folder


@pytest.fixture(scope="module")
def teacher(stage_folders, tmp_path_factory):
    """One whose Jacobians are not what an untrained student begins with: L1 has no gradient there
    but the sign of a rounding error.
    """
    network, config = load(stage_folders["image_generator"], "image_generator")
    torch.manual_seed(0)
    for parameter in network.detector.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    folder = tmp_path_factory.mktemp("teacher")
    save(network, "image_generator", config, folder)
    return str(folder)


@pytest.fixture(scope="module")
def commands(command_in, stage_of, teacher, five_to_validate, empty_database, tmp_path_factory):
    """Where, name → a training; the same for one process and for two but for where it writes."""
    folder = tmp_path_factory.mktemp("commands")
    shutil.copy(empty_database, folder / "mlflow.db")
    logger = TrackingConfig(
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}", artifacts=str(folder / "artifacts"), experiment="tests"
    )

    def make(where, name):
        stage, _, what = name.partition(" ")
        steps, batches = {"": (1, 0), "validated": (2, 50)}.get(what, (STEPS, 0))
        taught = {"teacher": teacher} if stage == "motion_field" else {}
        wanted = command_in(
            folder / where,
            logger,
            stage_of(stage, **taught),
            steps=steps,
            limit_val_batches=batches,
            val_check_interval=2,
        )
        wanted.dataset.path, wanted.run_name = str(five_to_validate), name
        wanted.dataset.batch_size, wanted.dataset.pairs_per_clip = (4, 2) if stage == "image_generator" else (2, 1)
        wanted.cluster.name = "torchrun" if where == "two" else "local"
        return wanted

    return make


@pytest.fixture(scope="module")
def one(commands):
    """What one process makes of a training: its result, and what each batch held."""
    watcher = runpy.run_path(str(SCRIPT))["watcher"]

    def run(name, where="one", **changes):
        seen, command = [], commands(where, name)
        command.cluster.name = "local"
        for key, value in changes.items():
            setattr(command.trainer, key, value)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LastCheckpoint, "on_train_batch_start", watcher(seen, ""))
            return train(command), seen

    return run


@pytest.fixture(scope="module")
def two(commands, one, tmp_path_factory):
    """What two processes make of all of them, one of which one process has begun: name → its
    folder, and what each process wrote down.
    """
    one(RESUMED, where="two", max_steps=BEGUN)
    folder = tmp_path_factory.mktemp("two")
    tasks = [
        (name, commands("two", name), name.partition(" ")[2]) for name in (*STAGES, VALIDATED, RESUMED, ENDED, WHOLE)
    ]
    (folder / "tasks").write_bytes(pickle.dumps(tasks))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0",
    }
    pair = [
        _start(folder, {**shared, "TORCHELASTIC_RUN_ID": "test", "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"
    ]
    said = [process.communicate(timeout=PATIENCE_S)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], "\n".join(said)
    return {
        name: (
            Path(command.paths.runs) / name,
            [json.loads((folder / f"{name}.{rank}.json").read_text()) for rank in "01"],
        )
        for name, command, _ in tasks
    }


def _start(folder, environment):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder / "tasks"), str(folder)],
        env=os.environ | environment | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _together(processes):
    """What the global batches held."""
    return [[*a, *b] for a, b in zip(*(process["keys"] for process in processes), strict=True)]


@pytest.mark.parametrize("name", STAGES)
def test_two_processes_on_half_batches_step_as_one_on_the_whole(name, one, two, state, tiny_networks):
    result, seen = one(name)
    folder, processes = two[name]
    assert _together(processes) == seen
    checkpoints = [state(path / "checkpoints" / "last.ckpt") for path in (result.folder, folder)]
    names = [f"network.{part}" for part, _ in build(name, tiny_networks).named_parameters()]
    weights, others = (torch.cat([each["state_dict"][part].flatten() for part in names]) for each in checkpoints)
    gradients, theirs = (
        torch.cat([part["exp_avg"].flatten() for part in each["optimizer_states"][0]["state"].values()])
        for each in checkpoints
    )
    noise = CLOSE * gradients.abs().max()
    assert (gradients - theirs).abs().max() <= noise
    # Adam's first step is the sign of the gradient, which for the others is that of a rounding
    # error
    felt = gradients.abs() > noise
    assert felt.float().mean() > 0.3
    assert (weights - others)[felt].abs().max() <= CLOSE


def test_an_odd_number_of_clips_is_validated_by_two(two):
    folder, processes = two[VALIDATED]
    assert [process["code"] for process in processes] == [None, None]
    assert "val/pose_ssim" in json.loads((folder / "result.json").read_text())["metrics"]


def test_a_run_that_one_process_began_goes_on_in_two_with_the_same_samples(one, two):
    _, straight = one(RESUMED)
    assert _together(two[RESUMED][1]) == straight[BEGUN:]
    assert len(straight) == STEPS


def test_sigterm_to_one_of_two_ends_both_after_the_same_batch(two, state):
    folder, processes = two[ENDED]
    assert [process["code"] for process in processes] == [0, 0]
    assert state(folder / "checkpoints" / "last.ckpt")["WindowDataModule"]["batches"] == len(processes[0]["keys"]) == 3


# ---------------------------------------------------------------------------------------- Ray Train
@pytest.fixture(scope="module")
def two_nodes():
    """Two machines with a core each, as Ray sees it, and this process outside."""
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    machines = Cluster(
        initialize_head=True, head_node_args={**node, "include_dashboard": False}, shutdown_at_exit=False
    )
    try:
        machines.add_node(**node)
        machines.wait_for_nodes()
        yield machines
    finally:
        ray.shutdown()
        machines.shutdown()


def _dying_once(work, folder, script):
    """`work` of a Ray worker that notes what its batches hold; one of the two is killed once."""

    def work_there(config):
        import runpy

        from a2h_models.training.callbacks import LastCheckpoint

        note = runpy.run_path(script)["watcher"]([], "")

        def watch(self, trainer, module, batch, batch_idx):
            note(self, trainer, module, batch, batch_idx)
            with Path(folder, f"{trainer.global_rank}").open("a") as notes:
                notes.write(f"{os.environ['RAY_RAYLET_PID']} {batch_idx}\n")
            if trainer.global_rank == 1 and batch_idx == BEGUN + 1 and not Path(folder, "killed").exists():
                Path(folder, "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)

        LastCheckpoint.on_train_batch_start = watch
        work(config)

    return work_there


def test_ray_train_on_two_nodes_outlives_a_killed_worker_and_ends_with_the_same_bits(
    commands, two, two_nodes, state, assert_equal, tmp_path
):
    """It goes on from the last checkpoint: the batches between that and the kill are seen twice,
    and no others.
    """
    wanted = commands("ray", WHOLE)
    wanted.cluster = ClusterConfig(name="ray", address=two_nodes.address, workers=2, max_failures=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_ray, "_ray_worker", _dying_once(on_ray._ray_worker, str(tmp_path), str(SCRIPT)))
        result = train(wanted)

    notes = [[line.split() for line in (tmp_path / rank).read_text().splitlines()] for rank in "01"]
    assert len({node for lines in notes for node, _ in lines}) == 2
    batches = [[int(batch) for _, batch in lines] for lines in notes]
    assert batches == [[*range(BEGUN + 2), *range(BEGUN, STEPS)]] * 2
    assert result.steps == STEPS
    assert list((Path(wanted.paths.runs) / "ray" / WHOLE).rglob("checkpoint.ckpt"))
    there, here = state(result.checkpoint), state(two[WHOLE][0] / "checkpoints" / "last.ckpt")
    assert_equal(there["state_dict"], here["state_dict"])
    assert_equal(there["optimizer_states"], here["optimizer_states"])
    assert train(wanted) == result


def test_ray_tells_which_sample_is_damaged(commands, two_nodes, five_to_validate, damage, tmp_path):
    wanted = commands("ray", "head_pose damaged")
    wanted.dataset.path = str(damage(five_to_validate, "train0b", tmp_path / "damaged"))
    wanted.cluster = ClusterConfig(name="ray", address=two_nodes.address, workers=1, max_failures=0)
    with pytest.raises(DatasetError, match=r"a2h-train-000000\.tar: sample train0b: .*cannot be opened"):
        train(wanted)
