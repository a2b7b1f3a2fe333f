"""Portrait + speech → talking-head video: frames are encoded while later ones are computed.

portrait    the face in a picture, cut out as clips are; the frames laid back into it
speech      any sound as 16 kHz mono
pose        where the head's motion comes from, if not from the model
model       a bundle on the fastest device here
one         all of that for one pair
ahead       the networks beside the encoder
provenance  what every file says of itself
mark        the same, visibly
pairs       many pairs, on a cluster
"""

from pipelines.inference.batch import generate_pairs
from pipelines.inference.generation import FrameChunks, generate, render
from pipelines.inference.model import load_animator
from pipelines.inference.portrait import Portrait, crop, find, fit, whole
from pipelines.inference.provenance import NOTICE, inspect, notice
from pipelines.inference.speech import frames_of, load_speech

__all__ = [
    "NOTICE",
    "FrameChunks",
    "Portrait",
    "crop",
    "find",
    "fit",
    "frames_of",
    "generate",
    "generate_pairs",
    "inspect",
    "load_animator",
    "load_speech",
    "notice",
    "render",
    "whole",
]
