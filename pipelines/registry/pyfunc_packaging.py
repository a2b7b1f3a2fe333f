"""The bundle as an MLflow pyfunc: signature, input example and hashes; no pickle.

Its code is a module of this project, by name.
"""

from __future__ import annotations

import io
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from a2h_models.data_types import SIZE
from a2h_models.timebase import SAMPLE_RATE
from pipelines.config import GenerateConfig
from pipelines.registry.artifacts import file_hashes
from pipelines.tracking.tracker import quiet

if TYPE_CHECKING:
    import pandas as pd

LOADER = "pipelines.inference.pyfunc"  # the module that MLflow calls to load a bundle
PACKAGE = "audio2head"
EXTRA = "generate"  # of the package: all that a served bundle needs
HASHES = "sha256"  # in the metadata of the file MLmodel: of each file of the bundle
EXAMPLE_S = 0.2  # of speech
EXAMPLE_HZ = 220.0
# of the example's portrait: half axes of an ellipse, as a share of the picture; its grey value
HEAD_AXES, HEAD_GREY = (0.45, 0.6), 180
# fields of GenerateConfig that a caller may set
CALL_PARAMETERS = ("preprocess", "keypoints", "still", "pose_scale", "batch_size", "crf")


def save_pyfunc(bundle: Path, target: Path) -> Path:
    """Wrap the folder of a bundle; return the folder of the pyfunc.

    MLflow checks the signature against the input example, but runs nothing.
    """
    with quiet():
        import mlflow.pyfunc
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

        defaults = GenerateConfig()
        kinds = {str: DataType.string, bool: DataType.boolean, float: DataType.double, int: DataType.long}
        values = {name: getattr(defaults, name) for name in CALL_PARAMETERS}
        signature = ModelSignature(
            inputs=Schema([ColSpec(DataType.binary, "portrait"), ColSpec(DataType.binary, "speech")]),
            outputs=Schema([ColSpec(DataType.binary, "video")]),
            params=ParamSchema([ParamSpec(name, kinds[type(value)], value) for name, value in values.items()]),
        )
        mlflow.pyfunc.save_model(
            str(target),
            loader_module=LOADER,
            data_path=str(bundle),
            signature=signature,
            input_example=(input_example(), {**values, "preprocess": "resize"}),  # no face is detected in a drawing
            pip_requirements=[_requirement()],
            metadata={HASHES: file_hashes(bundle)},
        )
    return target


def input_example() -> pd.DataFrame:
    """One row of input: a drawn head of 256×256 pixels, and a hum.

    It shows the format, and runs with `preprocess=resize`.
    """
    import pandas as pd
    import soundfile
    from PIL import Image

    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    inside = (x / HEAD_AXES[0]) ** 2 + (y / HEAD_AXES[1]) ** 2 < 1
    picture, sound = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.where(inside[..., None], HEAD_GREY, 0).repeat(3, axis=2).astype(np.uint8)).save(
        picture, format="PNG"
    )
    hum = np.sin(2 * np.pi * EXAMPLE_HZ * np.arange(round(EXAMPLE_S * SAMPLE_RATE)) / SAMPLE_RATE) / 2
    soundfile.write(sound, hum, SAMPLE_RATE, format="FLAC")
    return pd.DataFrame({"portrait": [picture.getvalue()], "speech": [sound.getvalue()]})


def recorded_hashes(root: Path) -> dict[str, str]:
    """Read the SHA-256 of the bundle's files from the file MLmodel; empty where there is none."""
    if not (root / "MLmodel").is_file():
        return {}
    with quiet():
        from mlflow.models import Model

        metadata: dict[str, Any] = Model.load(str(root)).metadata or {}
    return dict(metadata.get(HASHES, {}))


def _requirement() -> str:
    try:
        return f"{PACKAGE}[{EXTRA}]=={version(PACKAGE)}"
    except PackageNotFoundError:  # a checkout that was not installed
        return f"{PACKAGE}[{EXTRA}]"
