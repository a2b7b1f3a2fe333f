"""What becomes the files and tags of a new version: a trained stage, or a bundle of three.

The files are safetensors, JSON and Parquet; nothing is pickled. Their origin is recorded in files
beside them (`provenance.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from a2h_models.errors import RegistryError
from pipelines.dataset.provenance import DatasetOrigin, as_table
from pipelines.registry import provenance
from pipelines.registry.pyfunc_packaging import save_pyfunc
from pipelines.registry.versions import ModelVersion
from pipelines.tracking import UNKNOWN, code_tags

NetworkT = TypeVar("NetworkT")


def write_stage(weights: Path, target: Path, values: Mapping[str, object], origin: DatasetOrigin | None) -> None:
    """Write the files of a stage's version into an empty folder: weights and provenance.

    Raises:
        RegistryError: if the weights are missing.
    """
    if not weights.is_file():
        raise RegistryError(f"{weights} does not exist, so there is nothing to register")
    shutil.copy2(weights, target)
    provenance.write_provenance(target, values, origin.sources if origin else as_table([]))


def write_bundle(stages: Mapping[str, Path], target: Path, *, run_id: str, tags: Mapping[str, str]) -> Path:
    """Write the files of a bundle's version, an MLflow pyfunc, below a folder; return their root.

    Args:
        stages: stage → folder of its version.
        target: an empty folder.
        run_id: the run that joins them.
        tags: of the new version.

    Raises:
        RegistryError: if the stages do not fit each other.
    """
    bundle = target / "bundle"
    join_stages(stages, bundle)
    known = {stage: provenance.read_provenance(folder) for stage, folder in stages.items()}
    sources = provenance.join_sources([provenance.read_sources(folder) for folder in stages.values()])
    provenance.write_provenance(bundle, provenance.bundle_provenance(run_id, tags, known), sources)
    return save_pyfunc(bundle, target / "model")


def join_stages(folders: Mapping[str, Path], bundle: Path) -> None:
    """Load three stages strictly and write them as one bundle.

    Stages that do not fit fail here and not in production.

    Raises:
        RegistryError: if the stages were trained with different networks.
    """
    from a2h_models.inference.animator import Animator
    from a2h_models.networks import HeadPose, ImageGenerator, MotionField, load

    image_generator, config = load(folders["image_generator"], "image_generator")
    motion_field, config_of_motion = load(folders["motion_field"], "motion_field")
    head_pose, config_of_pose = load(folders["head_pose"], "head_pose")
    if not config == config_of_motion == config_of_pose:
        raise RegistryError(
            "the three stages were trained with different networks", hint="register stages of one scale"
        )
    Animator(
        _of_type(image_generator, ImageGenerator),
        _of_type(motion_field, MotionField),
        _of_type(head_pose, HeadPose),
        config,
    ).save(bundle)


def _of_type(network: object, kind: type[NetworkT]) -> NetworkT:
    if not isinstance(network, kind):
        raise TypeError(f"{type(network).__name__} is no {kind.__name__}")  # load() gives each stage its own class
    return network


def stage_tags(stage: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Tags of a stage's version: the code's, then the given ones; unknown where nothing is said."""
    return {**code_tags(), "dataset_fingerprint": UNKNOWN, "config_hash": UNKNOWN, **tags, "stage": stage}


def bundle_tags(stages: Mapping[str, ModelVersion]) -> dict[str, str]:
    """Tags of a bundle's version.

    What differs between stages is joined by commas. The code counts as clean only if it was for
    every stage and is now.
    """
    tags = code_tags()
    tags_of_stages = [version.tags for version in stages.values()]

    def joined(key: str) -> str:
        return ",".join(dict.fromkeys(tags_of_stage.get(key, UNKNOWN) for tags_of_stage in tags_of_stages))

    clean = all(any_tags.get("code_clean") == "true" for any_tags in [*tags_of_stages, tags])
    return {
        **tags,
        "dataset_fingerprint": joined("dataset_fingerprint"),
        "config_hash": joined("config_hash"),
        "schema_version": joined("schema_version"),
        "training_git_sha": joined("git_sha"),
        "code_clean": str(clean).lower(),
        **{stage: version.uri for stage, version in stages.items()},
    }
