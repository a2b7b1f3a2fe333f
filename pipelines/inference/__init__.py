"""Generate talking-head videos from a portrait and a recording.

generation    one portrait and one recording → one file
batch         many of them, on a cluster
portrait      find the face in a picture, crop it, paste generated frames back
speech        decode any recording to 16 kHz mono
driving_pose  head poses from a file or from another video
model         load a model on the fastest device of this machine
export        write a model's networks as ONNX files
provenance    the metadata of every generated file
watermark     the same, visibly
pyfunc        the entry point of `mlflow.pyfunc.load_model` and `mlflow models serve`
"""

from pipelines.inference.batch import generate_pairs
from pipelines.inference.generation import FrameChunks, generate, render
from pipelines.inference.model import LoadedModel, load_animator
from pipelines.inference.portrait import Portrait, crop_to_face, fit_portrait, resize_square
from pipelines.inference.provenance import NOTICE, read_provenance
from pipelines.inference.speech import frame_count, load_speech

__all__ = [
    "NOTICE",
    "FrameChunks",
    "LoadedModel",
    "Portrait",
    "crop_to_face",
    "fit_portrait",
    "frame_count",
    "generate",
    "generate_pairs",
    "load_animator",
    "load_speech",
    "read_provenance",
    "render",
    "resize_square",
]
