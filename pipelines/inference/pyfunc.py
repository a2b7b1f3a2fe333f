"""Serve a model with MLflow (`mlflow.pyfunc.load_model`, `mlflow models serve`).

The registered bundle names this module as its loader and holds no code and no pickle, so this
project must be installed where it is served, with its extra `generate`. The bundle's files are
compared with the hashes recorded at registration; a changed, missing or added file is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from a2h_models.errors import RegistryError
from pipelines.registry.artifacts import BUNDLE_FOLDER, compare_hashes
from pipelines.registry.pyfunc_packaging import recorded_hashes

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.config import GenerateConfig


class TalkingHead:
    """A loaded bundle with the interface of an MLflow model."""

    def __init__(self, folder: Path) -> None:
        from a2h_models.inference.animator import Animator

        self.animator = Animator.load(folder)

    def predict(self, rows: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Generate one video for each row.

        Args:
            rows: columns `portrait` and `speech`, the bytes of a picture file and of a sound file.
            params: fields of `GenerateConfig`; MLflow fills in those that the caller leaves out.

        Returns:
            A column `video`, the bytes of an mp4.
        """
        import pandas as pd

        from pipelines.config import GenerateConfig

        config = replace(GenerateConfig(), **dict(params or {}))
        videos = [
            self._generate(portrait, speech, config)
            for portrait, speech in zip(rows["portrait"], rows["speech"], strict=True)
        ]
        return pd.DataFrame({"video": videos})

    def _generate(self, portrait: bytes, speech: bytes, config: GenerateConfig) -> bytes:
        from pipelines import inference, media

        with TemporaryDirectory() as folder:
            picture, sound, target = (Path(folder) / name for name in ("portrait", "speech", "video.mp4"))
            picture.write_bytes(portrait)
            sound.write_bytes(speech)
            wave = inference.load_speech(sound, config)
            face = inference.fit_portrait(media.load_portrait(picture), config, name="portrait").crop
            frames = inference.render(self.animator, face, wave, config)
            media.write_video(target, frames, wave, crf=config.crf, metadata={"title": inference.NOTICE})
            return target.read_bytes()


def _load_pyfunc(data_path: str) -> TalkingHead:
    """Load a bundle; MLflow asks a loader module for a function of this name."""
    folder = Path(data_path)
    root = folder.parents[len(Path(BUNDLE_FOLDER).parts) - 1]
    expected = recorded_hashes(root)
    if not expected:
        raise RegistryError(
            f"{root} does not say which files the bundle must have", hint="register it again with this program"
        )
    compare_hashes(expected, folder, name="the bundle")
    return TalkingHead(folder)
