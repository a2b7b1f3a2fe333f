"""The only decoding and encoding: decord in, the bundled ffmpeg out.

ffmpeg    the binary, and how it is called: no shell, always a time limit
probe     what is in a file, by its own time stamps
video     frames at exactly 25 fps; what is odd is made plain first
piping    frames of large videos, one at a time
speech    sound as 16 kHz mono, in step with the frames
crops     the crop of a sample, to bytes and back
writer    a stream of frames and speech → mp4, webm, gif
pictures  the same → a folder of PNGs
metadata  what a file says of itself
portrait  one picture
"""

from pipelines.media.crops import count_frames, decode_crop, encode_crop
from pipelines.media.encoder import VIDEO_FORMATS, write_video
from pipelines.media.ffmpeg import ffmpeg_path, raise_if_full
from pipelines.media.ffmpeg_reader import CropRegion
from pipelines.media.metadata import read_metadata
from pipelines.media.pictures import write_pictures
from pipelines.media.portrait import load_portrait
from pipelines.media.probing import VideoInfo, probe
from pipelines.media.speech import give_back, read_speech
from pipelines.media.video import VideoReader, open_video, read_clip

__all__ = [
    "VIDEO_FORMATS",
    "CropRegion",
    "VideoInfo",
    "VideoReader",
    "count_frames",
    "decode_crop",
    "encode_crop",
    "ffmpeg_path",
    "give_back",
    "load_portrait",
    "open_video",
    "probe",
    "raise_if_full",
    "read_clip",
    "read_metadata",
    "read_speech",
    "write_pictures",
    "write_video",
]
