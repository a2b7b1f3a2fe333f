"""Pretrained weights and synthetic speakers on the command line."""

from pathlib import Path

import pytest

from a2h_models.errors import ConfigError, InputError
from pipelines import synthetic
from pipelines.cli import operate
from pipelines.config import AssetsCommand, TalkersCommand
from pipelines.pretrained.assets import list_assets
from pipelines.synthetic import SceneConfig


def test_assets_are_listed_without_a_connection(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert operate.assets(AssetsCommand(folder=str(tmp_path))) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in list_assets(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_fetch_needs_a_name_of_the_list(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a name"):
        operate.assets(AssetsCommand(action="fetch", folder=str(tmp_path)))
    with pytest.raises(InputError, match="no asset 'xyzzy'"):
        operate.assets(AssetsCommand(action="fetch", names=["xyzzy"], folder=str(tmp_path)))


def test_every_key_of_talkers_reaches_the_scene(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[Path, int, int, SceneConfig]] = []

    def make(out: Path, *, count: int, seed: int, scene: SceneConfig) -> list[Path]:
        calls.append((out, count, seed, scene))
        return [out / f"{number}.mp4" for number in range(count)]

    monkeypatch.setattr(synthetic, "make_speaker_videos", make)
    command = TalkersCommand(
        out="o", count=2, seed=7, seconds=1.5, size=96, fps=30, audio_offset=4, second_face=True, cut=True
    )
    assert operate.talkers(command) == 0
    scene = SceneConfig(seconds=1.5, size=96, fps=30, audio_offset_frames=4, second_face=True, cut=True)
    assert calls == [(Path("o"), 2, 7, scene)]
    assert capsys.readouterr().out == "2 videos in o\n"
