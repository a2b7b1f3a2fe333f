"""Frozen evaluation sets: what is written down, what is taken, and what is refused; and which clips
a split gives.
"""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from a2h_models.errors import ConfigError, DatasetError, InputError
from pipelines.cli.main import main
from pipelines.config import EvaluateCommand, EvaluateConfig, FreezeCommand
from pipelines.config.compose import CONF_DIR, compose
from pipelines.core.storage import Storage
from pipelines.dataset import shard_format
from pipelines.evaluation.sets import choose_clips, first_of_videos, freeze, read_members, select_clips


@pytest.fixture
def frozen(small_dataset: Path, tmp_path: Path) -> Path:
    path = tmp_path / "set.json"
    freeze(FreezeCommand(dataset=str(small_dataset), out=str(path), evaluate=EvaluateConfig(max_frames=20)))
    return path


def command(**values: str) -> EvaluateCommand:
    return EvaluateCommand(model="any", out="anywhere", **values)


def test_the_file_holds_the_hashes_of_the_members(frozen: Path, small_dataset: Path) -> None:
    written = json.loads(frozen.read_text())
    assert [(clip["key"], clip["identity"], clip["frames"]) for clip in written["clips"]] == [
        ("clip-a", "eve", 20),
        ("clip-b", "zoe", 20),
    ]
    (sidecar,) = (found for found in shard_format.read_sidecars(Storage(small_dataset)) if found.split == "test")
    members = shard_format.read_members(Storage(small_dataset), sidecar, "clip-b").members
    assert written["clips"][1]["members"] == {
        name: hashlib.sha256(members[name]).hexdigest() for name in ("flac", "mp4", "pose.npy", "speech.npy")
    }
    assert (written["fingerprint"], written["split"], written["max_frames"], written["portrait"]) == (
        "e" * 64,
        "test",
        20,
        "first frame",
    )


def test_equal_data_give_equal_files(frozen: Path, small_dataset: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.json"
    freeze(FreezeCommand(dataset=str(small_dataset), out=str(again), evaluate=EvaluateConfig(max_frames=20)))
    assert again.read_bytes() == frozen.read_bytes()


def test_a_frozen_set_and_its_split_have_the_same_id(frozen: Path, small_dataset: Path) -> None:
    ours = select_clips(command(set=str(frozen)))
    split = select_clips(replace(command(dataset=str(small_dataset)), evaluate=EvaluateConfig(max_frames=20)))
    keys = ["clip-a", "clip-b"]
    assert [clip.key for clip in ours.clips] == keys
    assert ours.set_id(keys) == split.set_id(keys) == json.loads(frozen.read_text())["set_id"]


def test_a_changed_member_is_refused(frozen: Path, small_dataset: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(small_dataset, moved)
    selection = select_clips(command(set=str(frozen), dataset=str(moved)))
    assert set(read_members(selection.clips[1])) == {"flac", "mp4", "pose.npy", "speech.npy"}
    offset, _ = selection.clips[1].sidecar.index["clip-b"]["flac"]
    tar = moved / selection.clips[1].sidecar.shard
    with tar.open("r+b") as file:
        file.seek(offset + 100)
        byte = file.read(1)
        file.seek(offset + 100)
        file.write(bytes([byte[0] ^ 1]))
    assert read_members(selection.clips[0])
    with pytest.raises(DatasetError, match=r"clip-b\.flac .* is not what the evaluation set was frozen with"):
        read_members(selection.clips[1])


def test_a_clip_that_is_gone_is_refused(frozen: Path, made_up_dataset: Path) -> None:
    with pytest.raises(DatasetError, match="does not hold the clip clip-a"):
        select_clips(command(set=str(frozen), dataset=str(made_up_dataset)))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "a2h-evaluation-set"}'])
def test_other_files_are_no_sets(text: str, tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    path.write_text(text)
    with pytest.raises(InputError, match="is not an evaluation set"):
        select_clips(command(set=str(path)))
    with pytest.raises(InputError, match="does not exist"):
        select_clips(command(set=str(tmp_path / "none.json")))


@pytest.mark.parametrize("change", [("max_frames", 3), ("split", "train"), ("sha256", "")])
def test_a_set_that_somebody_edited_is_refused(change: tuple[str, object], frozen: Path) -> None:
    values = json.loads(frozen.read_text())
    frozen.write_text(json.dumps({**values, "dataset": "elsewhere"}))
    with pytest.raises(DatasetError, match="elsewhere does not hold the clip"):  # its place may be mended by hand
        select_clips(command(set=str(frozen)))
    values["clips"][0]["frames"] -= 1
    for edited in (values, dict([*json.loads(frozen.read_text()).items(), change])):
        frozen.write_text(json.dumps(edited))
        with pytest.raises(InputError, match="was changed after it was frozen"):
            select_clips(command(set=str(frozen)))


def test_neither_dataset_nor_set() -> None:
    with pytest.raises(ConfigError, match="dataset or set"):
        select_clips(command())


def test_the_command_line(small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "set.json"
    assert main(["freeze", str(small_dataset), "--split", "train", "--out", str(out)]) == 0
    assert "1 clips, 24 frames, 1 people" in capsys.readouterr().out
    assert json.loads(out.read_text())["split"] == "train"
    assert main(["freeze", str(small_dataset), "--split", "all", "--out", str(out)]) == 2
    assert "evaluate.split is all, and must be train | val | test" in capsys.readouterr().err


def test_the_first_clip_of_each_video() -> None:
    def sidecar(*rows: tuple[str, str, int]) -> shard_format.Sidecar:
        keys = [key for key, _, _ in rows]
        ledger = [{"key": key, "sha256": video, "start": start} for key, video, start in rows if video]
        return shard_format.Sidecar(
            shard="s.tar",
            split="test",
            unit="u",
            plan="p",
            sha256="",
            size=0,
            frames=dict.fromkeys(keys, 9),
            identities=dict.fromkeys(keys, "i"),
            index={key: {} for key in keys},
            ledger=ledger,
        )

    found = first_of_videos(
        [
            sidecar(("a", "v1", 300), ("b", "v1", 0), ("x", "", 0)),
            sidecar(("c", "v2", 50), ("d", "v1", 150), ("y", "", 0)),
        ]
    )
    assert found == {"b", "c", "x", "y"}


@pytest.mark.parametrize("preset", sorted(path.stem for path in (CONF_DIR / "evaluate").glob("*.yaml")))
def test_each_preset_loads(preset: str) -> None:
    config = compose("evaluate", ["model=m", "out=o", f"evaluate={preset}"]).evaluate
    assert config.min_frames <= config.max_frames
    assert set(config.protocols) <= {"true_pose", "predicted_pose"}


def test_one_clip_of_a_video_also_without_a_ledger(small_dataset: Path) -> None:
    _, clips = choose_clips(Storage(small_dataset), EvaluateConfig(first_clip_of_video=True))
    assert [clip.key for clip in clips] == ["clip-a", "clip-b"]


def test_a_split_without_clips_says_where_there_are_some(small_dataset: Path) -> None:
    with pytest.raises(
        InputError, match=r"no clip of 16 frames or more in its val split \(splits with clips: test, train\)"
    ) as caught:
        choose_clips(Storage(small_dataset), EvaluateConfig(split="val"))
    assert "any_split" in caught.value.hint


def test_any_split_takes_the_next_that_has_clips(small_dataset: Path) -> None:
    split, clips = choose_clips(Storage(small_dataset), EvaluateConfig(split="val", any_split=True))
    assert split == "test"
    assert [clip.key for clip in clips] == ["clip-a", "clip-b"]


def test_clips_are_bounded_in_number_and_length(small_dataset: Path) -> None:
    _, clips = choose_clips(Storage(small_dataset), EvaluateConfig(max_clips=1, max_frames=17))
    assert [(clip.key, clip.frames, clip.identity) for clip in clips] == [("clip-a", 17, "eve")]
    with pytest.raises(InputError, match="100 frames or more"):
        choose_clips(Storage(small_dataset), EvaluateConfig(min_frames=100))


def test_a_folder_without_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no dataset"):
        choose_clips(Storage(tmp_path), EvaluateConfig())
