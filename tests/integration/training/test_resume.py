"""Twenty steps in a row, and ten, a kill, and ten more, end with the same bits: in every stage and
in each of its later phases.
"""

import shutil

import pytest
import torch

from a2h_models.training.callbacks import LastCheckpoint
from pipelines.tracking import Tracker
from pipelines.training.launch import train

STEPS = 20  # four epochs of five clips, at two draws a batch
SAVED, KILLED = 10, 12  # batches; both within an epoch
ACCUMULATE = 4  # batches a step: the checkpoint falls between two
EMA = 0.9
LEARNT = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers", "global_step")


@pytest.fixture
def phases(stage_of, stage_folders):
    """Name → stage, and batches a step."""
    head_pose = str(stage_folders["head_pose"])
    augmented = {"mirror": 0.5, "jitter": 0.1}
    drawn = {
        "rendered_frames": 2,
        "pixel": 10.0,
        "head_pose": head_pose,
        "predicted_share": 0.5,
        "predicted_to": 15,
        "jitter": 0.1,
    }
    return {
        "image_generator": (stage_of("image_generator", **augmented), 1),
        "image_generator, adversarial": (
            stage_of("image_generator", adversarial=1.0, feature_matching=10.0, **augmented),
            ACCUMULATE,
        ),
        "head_pose": (
            stage_of("head_pose", jitter=0.1, unseen_identity_spread=5000.0, unseen_identity_start_step=5),
            1,
        ),
        "head_pose, forced": (stage_of("head_pose", forced_every=16, forced_until=15), ACCUMULATE),
        "motion_field": (stage_of("motion_field"), 1),
        "motion_field, drawn": (stage_of("motion_field", **drawn), ACCUMULATE),
    }


PHASES = (
    "image_generator",
    "image_generator, adversarial",
    "head_pose",
    "head_pose, forced",
    "motion_field",
    "motion_field, drawn",
)


def _keeping(runs, keys, kept):
    """Note what each batch holds; at batch KILLED keep what a kill would leave of the run: its
    files as they are.
    """

    def watch(self, trainer, module, batch, batch_idx):
        keys.append(batch.keys)
        if batch_idx == KILLED and not kept.exists():
            shutil.copytree(runs, kept)

    return watch


@pytest.mark.slow
@pytest.mark.parametrize("name", PHASES)
def test_a_killed_run_that_goes_on_ends_with_the_same_bits(
    name, phases, command, monkeypatch, state, assert_equal, tmp_path
):
    stage, accumulate = phases[name]
    stage.ema_decay = EMA
    changes = {"accumulate_grad_batches": accumulate, "checkpoint_every_n_steps": SAVED, "limit_val_batches": 0}
    wanted = command(stage, steps=STEPS, **changes)
    if not name.startswith("image_generator"):
        wanted.dataset.pairs_per_clip = 1
    keys, runs, killed = [], tmp_path / "runs", tmp_path / "killed"
    monkeypatch.setattr(LastCheckpoint, "on_train_batch_start", _keeping(runs, keys, killed))

    whole = train(wanted)
    straight, keys[:] = list(keys), []
    torch.manual_seed(1234)  # whatever the resumed process does with the global generator must not matter
    runs.rename(tmp_path / "whole")
    killed.rename(runs)
    resumed = train(wanted)

    assert len(straight) == STEPS
    assert keys == straight[SAVED:]
    a, b = state(tmp_path / "whole" / whole.checkpoint.relative_to(runs)), state(resumed.checkpoint)
    for part in LEARNT:
        assert_equal(a[part], b[part], part)
    assert resumed.run_id == whole.run_id  # so what both logged of a step stands side by side
    logged = _logged(wanted.logger, whole.run_id)
    # logged are batches, or steps of several batches
    resumed_from = SAVED * (1 + max(step for _, step in logged)) // STEPS
    assert {len(values) for (_, step), values in logged.items() if step >= resumed_from} == {2}
    assert all(len(set(values)) == 1 for values in logged.values())


def _logged(logger, run_id):
    """(Loss term, step) → the values that were logged."""
    found = {}
    with Tracker(logger).session() as client:
        for name in client.get_run(run_id).data.metrics:
            for metric in client.get_metric_history(run_id, name):
                if name.startswith("train/"):
                    found.setdefault((name, metric.step), []).append(metric.value)
    return found
