"""The whole story once, small: videos → shards → three trained stages → measured, registered,
promoted → a talking head, and a page.

Every step is the real command with a small configuration. What is done stands in `demo.json`; the
same command goes on after it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from a2h_models.errors import ConfigError, InputError
from pipelines.config import DemoCommand, config_hash
from pipelines.config.compose import compose
from pipelines.demo.page import DemoPaths, DemoResults, held_out_sample, write_page

if TYPE_CHECKING:
    from rich.console import Console

STAGES = (
    "image_generator",
    "motion_field",
    "head_pose",
)  # the order in which they are trained: motion_field has image_generator as its teacher
STEPS = 6
MODEL = "audio2head"


class StepTimes:
    """What is done, with what came of it and how long it took; written after each step."""

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self.entries: dict[str, dict[str, Any]] = {}
        if path.exists():
            written = json.loads(path.read_text())
            if written["identity"] != identity:
                raise ConfigError(
                    f"{path.parent} holds a demo of other videos or settings",
                    hint="choose another folder with out=… (make demo OUT=…), or remove this one",
                )
            self.entries = written["entries"]
        self.identity = identity

    def once(self, name: str, work: Callable[[], Any]) -> Any:
        """Do it unless it is done; return what came of it (anything that JSON can hold)."""
        if name not in self.entries:
            begun = time.monotonic()
            result = work()
            self.entries[name] = {"result": result, "seconds": round(time.monotonic() - begun, 1)}
            self._write()
        return self.entries[name]["result"]

    @property
    def seconds(self) -> dict[str, float]:
        return {name: float(entry["seconds"]) for name, entry in self.entries.items()}

    def _write(self) -> None:
        aside = self.path.with_suffix(".part")
        aside.write_text(json.dumps({"identity": self.identity, "entries": self.entries}, indent=1) + "\n")
        aside.replace(self.path)


def demo(command: DemoCommand) -> Path:
    """Run the story; return the page.

    Raises:
        InputError: if there are no videos, or none could be used.
        ConfigError: if the folder holds another demo.
    """
    from rich.console import Console

    console = Console()
    places = DemoPaths(Path(command.out).resolve())
    places.root.mkdir(parents=True, exist_ok=True)
    diary = StepTimes(places.root / "demo.json", config_hash(command))
    _print_heading(console, 1, "the videos")
    videos = _videos(command, places, diary)
    _print_heading(console, 2, f"preparing {videos}")
    diary.once("prepare", lambda: _prepare(command, places, videos))
    _print_heading(console, 3, f"training three stages at scale={command.scale}")
    versions = {stage: diary.once(f"train {stage}", partial(_train, stage, command, places)) for stage in STAGES}
    _print_heading(console, 4, "registering, evaluating and promoting the model")
    model = diary.once("register", lambda: _register(versions, places))
    diary.once("evaluate", lambda: _evaluate(model, command, places))
    decision = diary.once("promote", lambda: _promote(model, places))
    _print_heading(console, 5, f"making a head talk with models:/{MODEL}@champion")
    portrait, speech = diary.once("inputs", lambda: _inputs(command, places))
    video = diary.once("generate", lambda: _generate(portrait, speech, places))
    _print_heading(console, 6, "writing the page")
    commands = _next_commands(places, videos)
    write_page(
        DemoResults(
            places=places,
            scale=command.scale,
            videos=videos,
            versions=versions,
            model=model,
            decision=decision,
            portrait=Path(portrait),
            speech=Path(speech),
            video=Path(video),
            seconds=diary.seconds,
            next_commands=commands,
        ),
    )
    console.print(_closing_message(places, Path(video), commands), highlight=False, soft_wrap=True)
    return places.page


def _print_heading(console: Console, step: int, what: str) -> None:
    console.rule(f"[bold]{step}/{STEPS}  {what}", align="left")


def _videos(command: DemoCommand, places: DemoPaths, diary: StepTimes) -> Path:
    """The folder of videos: the user's, or synthetic talkers."""
    if command.videos:
        folder = Path(command.videos)
        if not folder.exists():
            raise InputError(f"{folder} does not exist", hint="videos=… takes a folder of talking videos")
        return folder.resolve()
    from pipelines.synthetic import SceneConfig, make_speaker_videos

    diary.once(
        "talkers",
        lambda: len(
            make_speaker_videos(
                places.talkers, count=command.count, seed=command.seed, scene=SceneConfig(seconds=command.seconds)
            )
        ),
    )
    return places.talkers


def _prepare(command: DemoCommand, places: DemoPaths, videos: Path) -> dict[str, Any]:
    from pipelines.prepare.pipeline import prepare

    identities = command.identity_csv or (str(videos / "MANIFEST.csv") if (videos / "MANIFEST.csv").is_file() else "")
    overrides = [
        f"videos={videos}",
        f"out={places.dataset}",
        f"prepare.plan.identity_csv={identities}",
        *places.overrides("paths"),
    ]
    settings = compose("prepare", [*overrides, "prepare=demo"])
    settings.cluster = command.cluster
    summary = prepare(settings)
    if not summary.accepted:
        raise InputError(
            f"none of the videos in {videos} could be used",
            hint=f"{places.dataset / 'report.html'} says why, video by video",
        )
    return asdict(summary)


def _train(stage: str, command: DemoCommand, places: DemoPaths) -> dict[str, Any]:
    from pipelines.training.launch import train

    settings = compose(
        "train",
        [
            f"stage={stage}",
            f"scale={command.scale}",
            f"dataset.path={places.dataset}",
            f"run_name={stage}",
            *places.overrides("paths", "logger"),
        ],
    )
    if command.max_steps:
        settings.trainer.max_steps = command.max_steps
        settings.trainer.val_check_interval = min(settings.trainer.val_check_interval, command.max_steps)
    result = train(settings)
    return {"uri": result.model_uri, "run_id": result.run_id, "folder": str(result.folder)}


def _register(versions: dict[str, dict[str, Any]], places: DemoPaths) -> str:
    from pipelines.registry import register_bundle

    uris = [f"{stage}={version['uri']}" for stage, version in versions.items()]
    return str(register_bundle(compose("register", [*uris, *places.overrides("paths", "logger")])))


def _evaluate(model: str, command: DemoCommand, places: DemoPaths) -> str:
    from pipelines.evaluation.evaluate import evaluate

    overrides = [f"model={model}", f"dataset={places.dataset}", f"out={places.evaluation}", "evaluate=demo"]
    settings = compose("evaluate", [*overrides, *places.overrides("paths", "logger")])
    settings.cluster = command.cluster
    evaluate(settings)
    return str(places.evaluation / "metrics.json")


def _promote(model: str, places: DemoPaths) -> dict[str, Any]:
    from pipelines.promotion import promote

    decision = promote(
        compose(
            "promote", [f"model={model.removeprefix('models:/')}", "promote=demo", *places.overrides("paths", "logger")]
        )
    )
    return asdict(decision)


def _inputs(command: DemoCommand, places: DemoPaths) -> tuple[str, str]:
    """The portrait and the speech: the user's, or the first frame and the sound of a clip that no
    stage was trained on.
    """
    portrait, speech = command.portrait, command.speech
    if not (portrait and speech):
        import soundfile
        from PIL import Image

        from a2h_models.timebase import SAMPLE_RATE

        sample = held_out_sample(places.dataset)
        if not portrait:
            portrait = str(places.portrait)
            Image.fromarray(sample.frames[0]).save(portrait)
        if not speech:
            speech = str(places.root / "speech.wav")
            soundfile.write(speech, sample.wave, SAMPLE_RATE)
    return portrait, speech


def _generate(portrait: str, speech: str, places: DemoPaths) -> str:
    from pipelines.inference import generate

    overrides = [
        f"source_image={portrait}",
        f"driven_audio={speech}",
        f"result_dir={places.root}",
        f"model=models:/{MODEL}@champion",
    ]
    if Path(portrait) == places.portrait:
        overrides.append("generate.preprocess=resize")  # it is a clip's own crop
    return str(generate(compose("generate", [*overrides, *places.overrides("paths", "logger")])))


def _next_commands(places: DemoPaths, videos: Path) -> list[str]:
    here = Path(os.path.relpath(places.root))
    program = os.path.relpath(sys.argv[0]) if Path(sys.argv[0]).name == "a2h" else "a2h"
    return [
        f"{program} generate --source_image face.jpg --driven_audio speech.wav paths.runs={here / 'runs'}",
        f"{program} verify {here / 'dataset'}",
        f"{program} prepare videos={os.path.relpath(videos)} out=datasets/mine",
        f"{program} train stage=image_generator scale=small dataset.path=datasets/mine",
        f"{Path(program).with_name('mlflow')} ui --backend-store-uri sqlite:///{here / 'runs' / 'mlflow.db'}",
    ]


def _closing_message(places: DemoPaths, video: Path, commands: list[str]) -> str:
    """Where everything lies, and what to try next."""
    here = Path(os.path.relpath(places.root))
    return "\n".join(
        [
            "",
            f"[bold]Look at it:[/]  {here / 'index.html'}",
            f"  the video      {here / video.name}",
            f"  the dataset    {here / 'dataset'}  (report.html, ledger.parquet, shards)",
            f"  the runs       {here / 'runs'}",
            f"  the numbers    {here / 'evaluation' / 'metrics.json'}",
            "",
            "[bold]Try next:[/]",
            *(f"  {command}" for command in commands),
        ],
    )
