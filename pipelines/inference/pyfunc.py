"""What MLflow calls to load `audio2head` (`mlflow.pyfunc.load_model`, `mlflow models serve`): rows
of portrait and speech → mp4s.

The bundle names this module and holds no code and no pickle; this project must be installed where
it is served, with its extra `generate`. Its files are compared with the hashes that were written
when it was made: a changed, missing or added one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from a2h_models.errors import RegistryError
from pipelines.registry.artifacts import BUNDLE_FOLDER, compare
from pipelines.registry.pyfunc_packaging import recorded_hashes

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.config import GenerateConfig


class TalkingHead:
    """A loaded bundle, called as MLflow calls its models."""

    def __init__(self, folder: Path) -> None:
        from a2h_models.inference.animator import Animator

        self.animator = Animator.load(folder)

    def predict(self, rows: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Bytes of a picture file (`portrait`) and of a sound file (`speech`) → bytes of an mp4
        (`video`), row by row.

        Args:
            rows: with the two columns.
            params: fields of `GenerateConfig`; MLflow fills in those that the caller leaves out.
        """
        import pandas as pd

        from pipelines.config import GenerateConfig

        config = replace(GenerateConfig(), **dict(params or {}))
        videos = [
            self._video(portrait, speech, config)
            for portrait, speech in zip(rows["portrait"], rows["speech"], strict=True)
        ]
        return pd.DataFrame({"video": videos})

    def _video(self, portrait: bytes, speech: bytes, config: GenerateConfig) -> bytes:
        from pipelines import inference, media

        with TemporaryDirectory() as aside:
            picture, sound, target = Path(aside) / "portrait", Path(aside) / "speech", Path(aside) / "video.mp4"
            picture.write_bytes(portrait)
            sound.write_bytes(speech)
            wave = inference.load_speech(sound, config)
            face = inference.fit(media.load_portrait(picture), config, name="portrait")
            frames = inference.render(self.animator, face, wave, config)
            media.write_video(target, frames, wave, crf=config.crf, metadata={"title": inference.NOTICE})
            return target.read_bytes()


def _load_pyfunc(data_path: str) -> TalkingHead:
    """The name that MLflow asks a loader module for."""
    folder = Path(data_path)
    root = folder.parents[len(Path(BUNDLE_FOLDER).parts) - 1]
    expected = recorded_hashes(root)
    if not expected:
        raise RegistryError(
            f"{root} does not say which files the bundle must have", hint="register it again with this program"
        )
    compare(expected, folder, name="the bundle")
    return TalkingHead(folder)
