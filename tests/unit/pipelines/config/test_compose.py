"""Every YAML composes, every mistake is one sentence with a hint."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from a2h_models.errors import ConfigError
from pipelines import config
from pipelines.config.compose import COMMANDS, CONF_DIR, STAGES, compose, compose_dict, sweep

REQUIRED = {  # what each command cannot do without
    "prepare": ["videos=in", "out=out"],
    "train": ["stage=image_generator", "dataset.path=shards"],
    "freeze": ["dataset=d", "out=set.json"],
    "evaluate": ["model=m", "dataset=d", "out=o"],
    "register": [],
    "app": [],
    "promote": ["model=audio2head/1"],
    "rollback": [],
    "models": [],
    "card": ["model=audio2head/1"],
    "copy": ["model=audio2head/1", "to=http://production:5000"],
    "keypoints": ["dataset=shards"],
    "import-release": [],
    "export-release": ["model=audio2head/1", "out=x.pth.tar"],
    "export": ["model=audio2head/1", "out=folder"],
    "generate": ["source_image=a.png", "driven_audio=a.wav"],
    "demo": [],
    "verify": ["dataset=d"],
    "split": ["dataset=d", "out=o"],
    "forget": ["dataset=d"],
    "inspect": ["file=a.mp4"],
    "assets": [],
    "talkers": ["out=o"],
}
GROUPS = sorted(path.name for path in CONF_DIR.iterdir() if path.is_dir())
USED_BY = {
    group: [
        command
        for command in COMMANDS
        if (file := CONF_DIR / f"{command}.yaml").is_file() and f"- {group}:" in file.read_text()
    ]
    for group in GROUPS
}
CHOICES = [
    (group, path.stem) for group in GROUPS for path in sorted((CONF_DIR / group).glob("*.yaml")) if group != "recipe"
]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_composes_with_what_it_requires(command: str) -> None:
    assert isinstance(compose(command, REQUIRED[command]), COMMANDS[command])


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=[f"{group}={choice}" for group, choice in CHOICES])
def test_each_choice_of_each_group_composes(group: str, choice: str) -> None:
    assert USED_BY[group], f"no command uses conf/{group}"
    for command in USED_BY[group]:
        required = [override for override in REQUIRED[command] if not override.startswith(f"{group}=")]
        assert isinstance(compose(command, [*required, f"{group}={choice}"]), COMMANDS[command])


@pytest.mark.parametrize("stage", ["image_generator", "motion_field", "head_pose"])
@pytest.mark.parametrize("scale", ["smoke", "small", "paper"])
def test_each_stage_composes_at_each_scale(stage: str, scale: str) -> None:
    command = compose("train", [f"stage={stage}", f"scale={scale}", "dataset.path=shards"])
    assert command.stage.name == stage


def test_what_the_paper_does_not_name_has_no_weight_at_its_scale() -> None:
    paper, small = (
        compose("train", ["stage=head_pose", f"scale={scale}", "dataset.path=x"]).stage for scale in ("paper", "small")
    )
    assert (
        paper.global_variance
        == paper.unseen_identity_spread
        == 0
        < min(small.global_variance, small.unseen_identity_spread)
    )


def test_yaml_holds_only_values() -> None:
    """No `_target_`: what runs is decided in Python."""
    for path in CONF_DIR.rglob("*.yaml"):
        assert "_target_" not in str(yaml.safe_load(path.read_text())), path


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"train", "promote"}))
def test_a_command_composes_to_the_defaults_of_its_dataclass(command: str) -> None:
    """`promote` and `train` have defaults that no dataclass can hold: bounds by metric, and networks."""
    given = dict(word.split("=", 1) for word in REQUIRED[command])
    built = OmegaConf.merge(OmegaConf.structured(COMMANDS[command]), OmegaConf.create(given))
    assert compose(command, REQUIRED[command]) == OmegaConf.to_object(built)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_in_python_is_the_same_training_as_on_the_command_line(stage: str) -> None:
    command = compose("train", [f"stage={stage}", "dataset.path=shards"])
    assert same(command.stage, STAGES[stage]())
    assert command.trainer == config.TrainerConfig()
    assert command.dataset == config.DatasetConfig(path="shards")
    assert (
        compose("promote", ["model=a/1", "promote.lower_bounds={}"]).promote.min_clips == config.PromoteConfig.min_clips
    )


def same(one: Any, other: Any) -> bool:
    """Tell whether two configurations hold the same values; omegaconf gives lists for tuples."""
    return bool(OmegaConf.structured(one) == OmegaConf.structured(other))


def flat(values: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(values, dict):
        return {prefix.rstrip("."): values}
    return {name: value for key, each in values.items() for name, value in flat(each, f"{prefix}{key}.").items()}


GROUP_SCHEMAS = {
    "cluster": config.ClusterConfig,
    "dataset": config.DatasetConfig,
    "evaluate": config.EvaluateConfig,
    "generate": config.GenerateConfig,
    "logger": config.TrackingConfig,
    "paths": config.PathsConfig,
    "prepare": config.PrepareConfig,
    "promote": config.PromoteConfig,
    "trainer": config.TrainerConfig,
}


@pytest.mark.parametrize("path", sorted(CONF_DIR.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF_DIR)))
def test_yaml_holds_no_value_that_is_the_default_anyway(path: Path) -> None:
    group, values = path.parent.name, yaml.safe_load(path.read_text()) or {}
    values.pop("defaults", None)
    if group in {"recipe", "scale", "debug"}:
        stage = path.stem.rpartition("_")[0] if group == "recipe" else "image_generator"
        schema = compose_dict("train", [f"stage={stage}", "dataset.path=x"])
    elif group == "stage":
        schema = OmegaConf.structured(next(STAGES[name] for name in STAGES if path.stem.startswith(name)))
    elif group in GROUP_SCHEMAS:
        schema = OmegaConf.structured(GROUP_SCHEMAS[group])
    else:
        assert group in {"conf", "hparams_search"}
        return
    defaults = flat(OmegaConf.to_container(schema, resolve=False))
    assert [key for key, value in flat(values).items() if key in defaults and defaults[key] == value] == []


@pytest.mark.parametrize(
    ("command", "word", "sentence"),
    [
        ("generate", "generate.batch_size=0", "generate.batch_size is 0, and must be ≥ 1"),
        ("generate", "generate.pose_scale=nan", "generate.pose_scale is nan, and must be ≥ 0"),
        ("generate", "generate.format=avi", "generate.format is avi, and must be mp4 | webm | gif | frames"),
        ("train", "stage.optimiser.lr=-1", "stage.optimiser.lr is -1, and must be > 0"),
        ("train", "stage.pyramid=[1.0,2.0]", "stage.pyramid is [1.0, 2.0], and must be > 0 and ≤ 1"),
        ("prepare", "prepare.plan.val_share=1.5", "prepare.plan.val_share is 1.5, and must be ≥ 0 and < 1"),
        ("evaluate", "evaluate.protocols=[predicted]", "and must be true_pose | predicted_pose"),
        ("app", "port=70000", "port is 70000, and must be ≥ 0 and ≤ 65535"),
    ],
)
def test_a_value_outside_its_range_is_one_sentence_with_the_range(command: str, word: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        compose(command, [*REQUIRED[command], word])


def test_a_value_of_the_command_line_wins() -> None:
    assert compose("prepare", [*REQUIRED["prepare"], "prepare.clips.min_frames=80"]).prepare.clips.min_frames == 80


@pytest.mark.parametrize(
    "path", ["/a b/ä,(c)=[d]/x.png", "it's.png", 'say "x".png', "-dash", "back\\slash", "#hash", "{brace}"]
)
def test_a_path_may_hold_what_hydra_would_read_as_grammar(path: str) -> None:
    command: config.GenerateCommand = compose("generate", [f"source_image={path}", "driven_audio=a.wav"])
    assert command.source_image == path


@pytest.mark.parametrize(
    ("command", "overrides", "message", "hint"),
    [
        ("card", [], "needs a value for model", "model="),
        ("generate", ["sorce_image=x"], "no key sorce_image", "did you mean source_image?"),
        ("generate", ["generate.pose_scal=2"], "no key generate.pose_scal", "did you mean generate.pose_scale?"),
        ("promote", ["model=x/1", "promote=lenient"], "promote=lenient is not a choice", "default"),
        ("promote", ["model=x/1", "dry_run=maybe"], "maybe", "--help"),
        ("train", ["dataset.path=x"], "needs a choice for stage", "image_generator"),
        ("prepare", ["videos=x", "out=y", "prepare.clips.min_frames=many"], "many", "--help"),
        ("prepare", ["videos=x", "out=y", "cluster=moon"], "cluster=moon is not a choice", "local"),
    ],
)
def test_a_mistake_is_one_sentence_with_a_hint(command: str, overrides: list[str], message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(command, overrides)
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert hint in caught.value.hint


def test_the_tracking_server_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert compose_dict("register").logger.tracking_uri == "http://127.0.0.1:5000"


def test_values_behind_commas_make_a_job_each_and_all_combinations() -> None:
    jobs = sweep("train", ["stage=head_pose,motion_field", "stage.optimiser.lr=1e-4,2e-4", "scale=smoke"])
    assert len(jobs) == 4
    assert jobs[0] == ["stage=head_pose", "stage.optimiser.lr=0.0001", "scale=smoke"]


def test_lists_and_paths_are_no_sweeps() -> None:
    words = ["stage.optimiser.milestones=[5,20]", "dataset.path=/a b/[x"]
    assert sweep("train", words) == [words]


def test_a_word_that_is_no_override_is_told() -> None:
    with pytest.raises(ConfigError, match="--multirun"):
        sweep("train", ["stage.optimiser.lr=[1"])


@pytest.mark.parametrize(
    ("choice", "key", "value"),
    [
        ("overfit", "overfit_batches", 1),
        ("fast_dev_run", "fast_dev_run", True),
        ("limit", "max_steps", 20),
        ("profiler", "profiler", "simple"),
    ],
)
def test_a_debug_choice_stands_above_the_recipe(choice: str, key: str, value: object) -> None:
    command = compose("train", ["stage=head_pose", "scale=smoke", "dataset.path=x", f"debug={choice}"])
    assert getattr(command.trainer, key) == value
    assert not command.register
