"""MediaPipe's graphs: pictures in, messages out. The only file that uses MediaPipe.

Its `solutions` work the same graphs, but hand each step to another thread and make a class for each
answer. Here the thread that asks does the steps itself: the same numbers in two thirds of the time.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

FRAME_US = 33_333  # from one picture to the next: a graph wants times that grow, and these are the `solutions`' own
# A landmark in a serialised list of them: its own tag and length, then a tag before each coordinate
LANDMARK = np.dtype(
    [
        ("tag", "u1"),
        ("length", "u1"),
        ("tag_x", "u1"),
        ("x", "<f4"),
        ("tag_y", "u1"),
        ("y", "<f4"),
        ("tag_z", "u1"),
        ("z", "<f4"),
    ]
)


class Model(NamedTuple):
    """A graph of MediaPipe's wheel, and how it is to work."""

    file: str  # within its modules, without the ending
    output: str  # a stream of lists of messages
    told: tuple[tuple[str, int], ...] = ()  # what it is told when it starts: names and values
    limits: tuple[tuple[str, float], ...] = ()  # the least score of what a detecting node lets pass: nodes and values


class MediaPipeGraph:
    """A graph at work. It may carry state from one picture to the next."""

    def __init__(self, model: Model) -> None:
        mp = _library()
        self._output, self._time = model.output, 0
        self._packets: dict[str, Any] = {}
        self._one_at_a_time = threading.Lock()
        with _quiet():
            self._graph = mp.CalculatorGraph(graph_config=_configured(model))
            self._graph.observe_output_stream(model.output, self._packets.__setitem__)
            self._graph.start_run({name: _side_packet(value) for name, value in model.told})

    def look(self, picture: UInt8[np.ndarray, "h w 3"]) -> list[Any]:
        """The messages on an RGB picture, which comes after those before; none where nothing is
        found.
        """
        mp = _library()
        image = mp.packet_creator.create_image_frame(np.ascontiguousarray(picture), image_format=mp.ImageFormat.SRGB)
        with self._one_at_a_time, nullcontext() if self._time else _quiet():  # a graph speaks at its first picture
            self._packets.clear()
            self._time += FRAME_US
            self._graph.add_packet_to_input_stream("image", image.at(self._time))
            self._graph.wait_until_idle()
            found = self._packets.get(self._output)
        return [] if found is None else list(mp.packet_getter.get_proto_list(found))

    def close(self) -> None:
        """End its work; it holds some 100 MB until then."""
        self._graph.close()


def points(landmarks: Any) -> Float32[np.ndarray, "n 3"]:
    """x, y and z of a list of landmarks, as shares of the picture's sides.

    Read from the message's bytes: one by one, 468 landmarks take a tenth of the time of finding
    them.
    """
    written = landmarks.SerializeToString()
    count = len(landmarks.landmark)
    if len(written) != count * LANDMARK.itemsize:  # a landmark holds more than its coordinates
        return np.array([(point.x, point.y, point.z) for point in landmarks.landmark], np.float32).reshape(-1, 3)
    records = np.frombuffer(written, LANDMARK)
    return np.stack([records["x"], records["y"], records["z"]], axis=1)


def _configured(model: Model) -> Any:
    """The graph with all that it is made of, its limits set, worked by the thread that waits for
    it.
    """
    mp = _library()
    from mediapipe.calculators.tensor.tensors_to_detections_calculator_pb2 import (
        TensorsToDetectionsCalculatorOptions as Options,
    )
    from mediapipe.framework import calculator_pb2

    package = Path(mp.__file__).parent
    mp.resource_util.set_resource_dir(str(package.parent))
    whole = mp.ValidatedGraphConfig()
    whole.initialize(binary_graph_path=str(package / "modules" / f"{model.file}.binarypb"))
    config = calculator_pb2.CalculatorGraphConfig.FromString(whole.binary_config)
    del config.executor[:]  # one of several threads
    config.executor.add(type="ApplicationThreadExecutor")
    nodes = {node.name: node for node in config.node}
    for name, least in model.limits:
        nodes[name].options.Extensions[Options.ext].min_score_thresh = least
    return config


def _side_packet(value: int) -> Any:
    create = _library().packet_creator
    return create.create_bool(value) if isinstance(value, bool) else create.create_int(value)


def _library() -> Any:
    os.environ.setdefault("GLOG_minloglevel", "3")  # read when the library is loaded
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mediapipe as mp
    return mp


@contextmanager
def _quiet() -> Iterator[None]:
    """Send away what MediaPipe's native code writes to the error stream when a graph starts; no
    setting of its own stops it.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
