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

from pipelines.media.bundled import ffmpeg, raise_if_full
from pipelines.media.crops import count_frames, decode_crop, encode_crop
from pipelines.media.metadata import read_metadata
from pipelines.media.pictures import write_pictures
from pipelines.media.piping import Part
from pipelines.media.portrait import load_portrait
from pipelines.media.probing import VideoInfo, probe
from pipelines.media.speech import give_back, read_speech
from pipelines.media.video import Video, open_video, read_clip
from pipelines.media.writer import VIDEO_FORMATS, write_video

__all__ = [
    "VIDEO_FORMATS",
    "Part",
    "Video",
    "VideoInfo",
    "count_frames",
    "decode_crop",
    "encode_crop",
    "ffmpeg",
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
