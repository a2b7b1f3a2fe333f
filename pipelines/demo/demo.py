"""Run the whole pipeline once, at a small scale: `a2h demo`.

Videos are prepared, three stages trained, the model evaluated, registered and promoted, a video
generated, and a page written. Every step is the real command with a small configuration. Finished
steps are recorded in `demo.json`; the same command continues after them.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from a2h_models.errors import InputError
from pipelines.config import DemoCommand, config_hash
from pipelines.config.compose import compose
from pipelines.demo.page import write_page
from pipelines.demo.paths import DemoPaths
from pipelines.demo.records import StepRecords
from pipelines.demo.results import DemoResults, held_out_sample

if TYPE_CHECKING:
    from rich.console import Console

STAGES = ("image_generator", "motion_field", "head_pose")  # motion_field learns from image_generator, its teacher
STEPS = 6
MODEL = "audio2head"


def demo(command: DemoCommand) -> Path:
    """Run all steps and return the page.

    Raises:
        InputError: if there are no videos, or none could be used.
        ConfigError: if the folder holds a demo with other videos or settings.
    """
    from rich.console import Console

    console = Console()
    paths = DemoPaths(Path(command.out).resolve())
    paths.root.mkdir(parents=True, exist_ok=True)
    records = StepRecords(paths.steps, config_hash(command))
    _print_heading(console, 1, "the videos")
    videos = _videos(command, paths, records)
    _print_heading(console, 2, f"preparing {videos}")
    records.run_once("prepare", lambda: _prepare(command, paths, videos))
    _print_heading(console, 3, f"training three stages at scale={command.scale}")
    versions = {stage: records.run_once(f"train {stage}", partial(_train, stage, command, paths)) for stage in STAGES}
    _print_heading(console, 4, "registering, evaluating and promoting the model")
    model = records.run_once("register", lambda: _register(versions, paths))
    records.run_once("evaluate", lambda: _evaluate(model, command, paths))
    decision = records.run_once("promote", lambda: _promote(model, paths))
    _print_heading(console, 5, f"generating a video with models:/{MODEL}@champion")
    portrait, speech = records.run_once("inputs", lambda: _inputs(command, paths))
    video = records.run_once("generate", lambda: _generate(portrait, speech, paths))
    _print_heading(console, 6, "writing the page")
    results = DemoResults(
        paths=paths,
        scale=command.scale,
        videos=videos,
        versions=versions,
        model=model,
        decision=decision,
        portrait=Path(portrait),
        speech=Path(speech),
        video=Path(video),
        seconds=records.seconds,
        next_commands=_next_commands(paths, videos),
    )
    write_page(results)
    console.print(_closing_message(results), highlight=False, soft_wrap=True)
    return paths.page


def _print_heading(console: Console, step: int, what: str) -> None:
    console.rule(f"[bold]{step}/{STEPS}  {what}", align="left")


def _videos(command: DemoCommand, paths: DemoPaths, records: StepRecords) -> Path:
    """Return the folder of videos: the user's, or one of synthetic speakers."""
    if command.videos:
        folder = Path(command.videos)
        if not folder.exists():
            raise InputError(f"{folder} does not exist", hint="videos=… takes a folder of talking videos")
        return folder.resolve()
    from pipelines.synthetic import SceneConfig, make_speaker_videos

    scene = SceneConfig(seconds=command.seconds)
    records.run_once(
        "talkers",
        lambda: len(make_speaker_videos(paths.speakers, count=command.count, seed=command.seed, scene=scene)),
    )
    return paths.speakers


def _prepare(command: DemoCommand, paths: DemoPaths, videos: Path) -> dict[str, Any]:
    from pipelines.prepare.pipeline import prepare

    identities = command.identity_csv or (str(videos / "MANIFEST.csv") if (videos / "MANIFEST.csv").is_file() else "")
    overrides = [
        f"videos={videos}",
        f"out={paths.dataset}",
        f"prepare.plan.identity_csv={identities}",
        *paths.overrides("paths"),
    ]
    settings = compose("prepare", [*overrides, "prepare=demo"])
    settings.cluster = command.cluster
    summary = prepare(settings)
    if not summary.accepted:
        raise InputError(
            f"none of the videos in {videos} could be used",
            hint=f"{paths.dataset / 'report.html'} says why, video by video",
        )
    return asdict(summary)


def _train(stage: str, command: DemoCommand, paths: DemoPaths) -> dict[str, Any]:
    from pipelines.training.launch import train

    settings = compose(
        "train",
        [
            f"stage={stage}",
            f"scale={command.scale}",
            f"dataset.path={paths.dataset}",
            f"run_name={stage}",
            *paths.overrides("paths", "logger"),
        ],
    )
    if command.max_steps:
        settings.trainer.max_steps = command.max_steps
        settings.trainer.val_check_interval = min(settings.trainer.val_check_interval, command.max_steps)
    result = train(settings)
    return {"uri": result.model_uri, "run_id": result.run_id, "folder": str(result.folder)}


def _register(versions: dict[str, dict[str, Any]], paths: DemoPaths) -> str:
    from pipelines.registry import ModelRegistry

    settings = compose("register", paths.overrides("paths", "logger"))
    uris = {stage: str(version["uri"]) for stage, version in versions.items()}
    return str(ModelRegistry.from_config(settings.logger).register_bundle(uris))


def _evaluate(model: str, command: DemoCommand, paths: DemoPaths) -> str:
    from pipelines.evaluation.evaluate import evaluate

    overrides = [f"model={model}", f"dataset={paths.dataset}", f"out={paths.evaluation}", "evaluate=demo"]
    settings = compose("evaluate", [*overrides, *paths.overrides("paths", "logger")])
    settings.cluster = command.cluster
    evaluate(settings)
    return str(paths.evaluation / "metrics.json")


def _promote(model: str, paths: DemoPaths) -> dict[str, Any]:
    from pipelines.promotion import promote

    decision = promote(
        compose(
            "promote", [f"model={model.removeprefix('models:/')}", "promote=demo", *paths.overrides("paths", "logger")]
        )
    )
    return asdict(decision)


def _inputs(command: DemoCommand, paths: DemoPaths) -> tuple[str, str]:
    """Return portrait and recording: the user's, or first frame and sound of a held-out clip."""
    portrait, speech = command.portrait, command.speech
    if not (portrait and speech):
        import soundfile
        from PIL import Image

        from a2h_models.timebase import SAMPLE_RATE

        sample = held_out_sample(paths.dataset)
        if not portrait:
            portrait = str(paths.portrait)
            Image.fromarray(sample.frames[0]).save(portrait)
        if not speech:
            speech = str(paths.speech)
            soundfile.write(speech, sample.wave, SAMPLE_RATE)
    return portrait, speech


def _generate(portrait: str, speech: str, paths: DemoPaths) -> str:
    from pipelines.inference import generate

    overrides = [
        f"source_image={portrait}",
        f"driven_audio={speech}",
        f"result_dir={paths.root}",
        f"model=models:/{MODEL}@champion",
    ]
    if Path(portrait) == paths.portrait:
        overrides.append("generate.preprocess=resize")  # it is a clip's own crop
    return str(generate(compose("generate", [*overrides, *paths.overrides("paths", "logger")])))


def _next_commands(paths: DemoPaths, videos: Path) -> list[str]:
    folder = Path(os.path.relpath(paths.root))
    program = os.path.relpath(sys.argv[0]) if Path(sys.argv[0]).name == "a2h" else "a2h"
    return [
        f"{program} generate --source_image face.jpg --driven_audio speech.wav paths.runs={folder / 'runs'}",
        f"{program} verify {folder / 'dataset'}",
        f"{program} prepare videos={os.path.relpath(videos)} out=datasets/mine",
        f"{program} train stage=image_generator scale=small dataset.path=datasets/mine",
        f"{Path(program).with_name('mlflow')} ui --backend-store-uri sqlite:///{folder / 'runs' / 'mlflow.db'}",
    ]


def _closing_message(results: DemoResults) -> str:
    """List the results and what to try next."""
    folder = Path(os.path.relpath(results.paths.root))
    return "\n".join(
        [
            "",
            f"[bold]Results:[/]  {folder / 'index.html'}",
            f"  the video      {folder / results.video.name}",
            f"  the dataset    {folder / 'dataset'}  (report.html, ledger.parquet, shards)",
            f"  the runs       {folder / 'runs'}",
            f"  the numbers    {folder / 'evaluation' / 'metrics.json'}",
            "",
            "[bold]Try next:[/]",
            *(f"  {command}" for command in results.next_commands),
        ],
    )
