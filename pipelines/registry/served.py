"""What MLflow calls to load `audio2head` (`mlflow.pyfunc.load_model`, `mlflow models serve`): rows of portrait and speech → mp4s.

The bundle names this module and holds no code and no pickle; this project must be installed where it is served.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


class TalkingHead:
    """A loaded bundle, called as MLflow calls its models."""

    def __init__(self, folder: Path) -> None:
        from a2h_models.animator import Animator

        self.animator = Animator.load(folder)

    def predict(self, rows: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002  MLflow's signature
        """Bytes of a picture file (`portrait`) and of a sound file (`speech`) → bytes of an mp4 (`video`), row by row."""
        import pandas as pd

        videos = [self._video(portrait, speech) for portrait, speech in zip(rows["portrait"], rows["speech"], strict=True)]
        return pd.DataFrame({"video": videos})

    def _video(self, portrait: bytes, speech: bytes) -> bytes:
        from pipelines import generate, media
        from pipelines.config import GenerateConfig

        config = GenerateConfig()
        with TemporaryDirectory() as aside:
            picture, sound, target = Path(aside) / "portrait", Path(aside) / "speech", Path(aside) / "video.mp4"
            picture.write_bytes(portrait)
            sound.write_bytes(speech)
            wave = generate.load_speech(sound, config)
            frames = generate.render(self.animator, generate.crop(media.load_portrait(picture), name="portrait"), wave, config)
            media.write_video(target, frames, wave, crf=config.crf, metadata={"title": generate.NOTICE})
            return target.read_bytes()


def _load_pyfunc(data_path: str) -> TalkingHead:
    """The name that MLflow asks a loader module for."""
    return TalkingHead(Path(data_path))
