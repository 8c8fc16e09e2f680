"""Writes a real ONNX file of a few bytes in FastestDet's layout: it sees red as a person, green as a car, blue as a dog.

Protobuf by hand, so that the tests need no ONNX package: average pool 16 x 16, then a 1 x 1 convolution. 32 x 32 pixels
in, 2 x 2 cells out; each cell's box is its quadrant.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

CHANNELS, SIDE = 85, 32
PERSON, CAR, DOG = 0, 2, 16


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _tensor(name: str, values: np.ndarray) -> bytes:
    dims = b"".join(_number(1, side) for side in values.shape)
    return dims + _number(2, 1) + _bytes(8, name) + _bytes(9, values.astype("<f4").tobytes())


def _node(op: str, inputs: list[str], output: str, **lists: list[int]) -> bytes:
    attributes = b"".join(
        _bytes(5, _bytes(1, name) + b"".join(_number(8, value) for value in values) + _number(20, 7))
        for name, values in lists.items()
    )
    return b"".join(_bytes(1, name) for name in inputs) + _bytes(2, output) + _bytes(4, op) + attributes


def _value(name: str, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(_bytes(1, _number(1, side)) for side in shape)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, 1) + _bytes(2, dims)))


def write_colour_detector(path: Path, confidence: float = 0.9) -> Path:
    """`confidence`: the score that a cell of pure colour gets."""
    weights, bias = np.zeros((CHANNELS, 3, 1, 1)), np.zeros(CHANNELS)
    weights[0] = confidence  # objectness: any light
    for blue_green_red, number in ((2, PERSON), (1, CAR), (0, DOG)):
        weights[5 + number, blue_green_red] = confidence
    bias[1:3] = np.arctanh(0.5)  # box centre in the middle of the cell; width and height sigmoid(0) = half the picture
    graph = (
        _bytes(1, _node("AveragePool", ["pixels"], "pooled", kernel_shape=[16, 16], strides=[16, 16]))
        + _bytes(1, _node("Conv", ["pooled", "weights", "bias"], "cells", kernel_shape=[1, 1]))
        + _bytes(2, "colours")
        + _bytes(5, _tensor("weights", weights)) + _bytes(5, _tensor("bias", bias))
        + _bytes(11, _value("pixels", (1, 3, SIDE, SIDE))) + _bytes(12, _value("cells", (1, CHANNELS, 2, 2)))
    )  # fmt: skip
    path.write_bytes(_number(1, 8) + _bytes(7, graph) + _bytes(8, _number(2, 13)))
    return path


def picture(*quadrants: str) -> np.ndarray:
    """uint8[64, 64, 3] RGB with up to four quadrants painted "red", "green", "blue" or "black"."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    for number, colour in enumerate(quadrants):
        top, left = 32 * (number // 2), 32 * (number % 2)
        if colour != "black":
            pixels[top : top + 32, left : left + 32, ("red", "green", "blue").index(colour)] = 255
    return pixels
