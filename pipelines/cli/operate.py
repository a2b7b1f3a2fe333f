"""Commands around the others: pretrained weights, synthetic speakers, and the demo."""

from __future__ import annotations

from pathlib import Path

from a2h_models.errors import ConfigError
from pipelines import config
from pipelines.cli.command import Command


def assets(command: config.AssetsCommand) -> int:
    from pipelines.pretrained import assets as pretrained

    listing = pretrained.list_assets(command.folder)
    if command.action == "list":
        print(pretrained.assets_table(listing), end="")
        return 0
    if not command.names:
        raise ConfigError("assets fetch needs a name", hint="`a2h assets` lists them; all fetches every one")
    for asset in pretrained.select_assets(command.names, listing):
        print(f"{asset.name}: {pretrained.fetch(asset)}")
    return 0


def talkers(command: config.TalkersCommand) -> int:
    from pipelines.synthetic import SceneConfig, make_speaker_videos

    scene = SceneConfig(
        seconds=command.seconds,
        size=command.size,
        fps=command.fps,
        audio_offset_frames=command.audio_offset,
        second_face=command.second_face,
        cut=command.cut,
    )
    videos = make_speaker_videos(Path(command.out), count=command.count, seed=command.seed, scene=scene)
    print(f"{len(videos)} videos in {command.out}")
    return 0


def demo(command: config.DemoCommand) -> int:
    from pipelines.demo import demo as demonstration

    demonstration.demo(command)
    return 0


COMMANDS = (
    Command("assets", assets, positional=("action",), rest="names"),
    Command("talkers", talkers, positional=("out",)),
    Command("demo", demo),
)
