"""From a version back to its source videos; the list and the tree, as they are printed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from a2h_models.errors import RegistryError
from pipelines import promotion, registry
from pipelines.config import ModelsCommand, PromoteCommand, PromoteConfig, TrackingConfig
from pipelines.dataset.provenance import as_table, read_origin
from pipelines.registry import ModelRegistry
from pipelines.registry.model_registry import LATEST_STAGES
from pipelines.tracking import Tracker

Maker = Callable[..., str]
ANN = "a" * 64
EVE = "e" * 64


def models(store: TrackingConfig, model: str = "", **changes: object) -> str:
    return registry.models(ModelsCommand(model=model, logger=store, **changes))


def test_the_list_shows_versions_aliases_and_verdicts(make_version: Maker, store: TrackingConfig) -> None:
    first, second = make_version(store, 25.0), make_version(store, 20.0)
    for uri in (first, second):
        promotion.promote(
            PromoteCommand(model=uri, promote=PromoteConfig(min_clips=1, margins={"true_pose/psnr": 0.0}), logger=store)
        )
    lines = [line.replace("│", " ").split() for line in models(store).splitlines() if "a2h-head-pose/" in line]
    assert [line[:2] for line in lines] == [["a2h-head-pose/2", "refused"], ["a2h-head-pose/1", "champion"]]
    assert models(store, "a2h-head-pose").count("a2h-head-pose/") == 2
    with pytest.raises(RegistryError, match="no model a2h-motion-field"):
        models(store, "a2h-motion-field")


def test_the_lineage_ends_at_the_videos(
    make_version: Maker, store: TrackingConfig, fingerprint: str, paper_dataset: Path
) -> None:
    uri = make_version(store, 25.0)
    text = models(store, uri)
    assert f"dataset {fingerprint}  {paper_dataset}: verified" in text
    assert f"sha256 {ANN}  ann.mp4 (ann; licence: CC-BY 4.0, consent: yes)" in text
    assert "source videos: 1, people: 1" in text
    assert EVE not in text  # of the test split


def test_a_bundle_shows_its_stages(registered: TrackingConfig) -> None:
    text = models(registered, "audio2head@challenger")
    assert "audio2head/1  (challenger)" in text
    for stage, model in registry.STAGE_MODELS.items():
        assert f"{stage}: models:/{model}/1" in text
    assert "source videos: not recorded" in text


def test_a_bundle_joins_the_sources_of_its_stages(
    registered: TrackingConfig, stage_folders: dict[str, Path], paper_dataset: Path, fingerprint: str
) -> None:
    """What two stages share is there once; a stage that says nothing silences the bundle."""
    whole = read_origin(str(paper_dataset), fingerprint)
    train = read_origin(str(paper_dataset), fingerprint, split="train")
    assert whole.sources["sha256"].to_pylist() == [ANN, EVE]
    for stage, origin in (("image_generator", train), ("motion_field", whole), ("head_pose", train)):
        run_id = Tracker(registered).open_run(stage)
        ModelRegistry.from_config(registered).register_stage(
            stage_folders[stage], stage, run_id=run_id, tags={}, identities=["ann"], origin=origin
        )
    made = ModelRegistry.from_config(registered).register_bundle()
    folder = ModelRegistry.from_config(registered).fetch(made.uri)
    assert registry.read_sources(folder)["sha256"].to_pylist() == [ANN, EVE]
    known = registry.read_provenance(folder)
    assert known["datasets"] == [{"path": str(paper_dataset), "fingerprint": fingerprint}]
    assert known["features"] == [{"version": 1, "f0": "harvest", "pose_smoothing_frames": 1.0}]
    silent = ModelRegistry.from_config(registered).register_bundle(
        LATEST_STAGES | {"head_pose": "models:/a2h-head-pose/1"}
    )
    folder = ModelRegistry.from_config(registered).fetch(silent.uri)
    assert len(registry.read_sources(folder)) == 0
    assert registry.read_provenance(folder)["datasets"] == []


def test_many_sources_are_shown_by_example(
    make_version: Maker, tracking_config: TrackingConfig, paper_dataset: Path, fingerprint: str
) -> None:
    origin = read_origin(str(paper_dataset), fingerprint)
    rows = [(f"{number:064d}", f"{number}.mp4", "ann", "own", "yes") for number in range(3000)]
    uri = make_version(tracking_config, 25.0, origin=replace(origin, sources=as_table(rows)))
    text = models(tracking_config, uri)
    assert text.count("sha256 ") == 20
    assert "… and 2980 more; max_sources=0 shows all" in text
    assert models(tracking_config, uri, max_sources=0).count("sha256 ") == 3000


def test_a_dataset_that_is_gone_or_changed_is_told(
    make_version: Maker, tracking_config: TrackingConfig, paper_dataset: Path, fingerprint: str
) -> None:
    origin = read_origin(str(paper_dataset), fingerprint)
    gone = make_version(tracking_config, 25.0, origin=replace(origin, path="/nowhere/at/all"))
    changed = make_version(tracking_config, 25.0, origin=replace(origin, fingerprint="0" * 64))
    assert "/nowhere/at/all: is not here, or has no dataset.json" in models(tracking_config, gone)
    said = " ".join(models(tracking_config, changed).replace("│", " ").split())  # a long path is broken into lines
    assert f"has the fingerprint {fingerprint[:12]} now, not 000000000000" in said
