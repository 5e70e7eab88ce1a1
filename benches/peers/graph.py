"""Inception as the frozen graph that TensorFlow published, from weights under pytorch-fid's names: the wire format of
protobuf by hand, so that no TensorFlow is needed. Names and order are those of `classify_image_graph_def.pb`."""
import struct

import numpy as np


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def field(tag: int, body: bytes) -> bytes:
    return varint(tag << 3 | 2) + varint(len(body)) + body


def number(tag: int, value: int) -> bytes:
    return varint(tag << 3) + varint(value)


def tensor(values: np.ndarray) -> bytes:
    kind = {"float32": 1, "int32": 3}[values.dtype.name]
    shape = b"".join(field(2, number(1, n)) for n in values.shape)
    return field(8, number(1, kind) + field(2, shape) + field(4, np.ascontiguousarray(values).tobytes()))


def numbers(values: list[int]) -> bytes:
    return field(1, field(3, b"".join(map(varint, values))))


class Graph:
    def __init__(self, weights: dict[str, np.ndarray]):
        self.weights, self.parts = weights, []

    def node(self, name: str, op: str, inputs=(), **attributes: bytes) -> str:
        body = field(1, name.encode()) + field(2, op.encode()) + b"".join(field(3, i.encode()) for i in inputs)
        body += b"".join(field(5, field(1, k.encode()) + field(2, v)) for k, v in attributes.items())
        self.parts.append(field(1, body))
        return name

    def const(self, name: str, values: np.ndarray) -> str:
        return self.node(name, "Const", value=tensor(values))

    def conv(self, name: str, torch: str, x: str, stride=1, padding="SAME") -> str:
        weight = self.weights[f"{torch}.conv.weight"].transpose(2, 3, 1, 0)
        y = self.node(f"{name}/Conv2D", "Conv2D", [x, self.const(f"{name}/conv2d_params", weight)],
                      strides=numbers([1, stride, stride, 1]), padding=field(2, padding.encode()))
        leaves = {"moving_mean": "running_mean", "moving_variance": "running_var", "beta": "bias", "gamma": "weight"}
        y = self.node(f"{name}/batchnorm", "BatchNormWithGlobalNormalization",
                      [y] + [self.const(f"{name}/batchnorm/{a}", self.weights[f"{torch}.bn.{b}"]) for a, b in leaves.items()],
                      variance_epsilon=varint(4 << 3 | 5) + struct.pack("<f", 0.001), scale_after_normalization=number(5, 1))
        return self.node(name, "Relu", [y])

    def pool(self, name: str, op: str, x: str, side=3, stride=2, padding="VALID") -> str:
        return self.node(name, op, [x], ksize=numbers([1, side, side, 1]), strides=numbers([1, stride, stride, 1]),
                         padding=field(2, padding.encode()))

    def tower(self, name: str, torch: list[str], x: str, halves=False) -> str:
        for i, weights in enumerate(torch):
            last = halves and i + 1 == len(torch)
            x = self.conv(f"{name}/conv" + (f"_{i}" if i else ""), weights, x, *((2, "VALID") if last else (1, "SAME")))
        return x


def inception(weights: dict[str, np.ndarray]) -> bytes:
    g = Graph(weights)
    x = g.node("ResizeBilinear", "ResizeBilinear",
               [g.node("ExpandDims", "ExpandDims"), g.const("ResizeBilinear/size", np.array([299, 299], np.int32))])
    x = g.node("Sub", "Sub", [x, g.const("Sub/y", np.array(128, np.float32))])
    x = g.node("Mul", "Mul", [x, g.const("Mul/y", np.array(1 / 128, np.float32))])
    x = g.conv("conv", "Conv2d_1a_3x3", x, 2, "VALID")
    x = g.conv("conv_1", "Conv2d_2a_3x3", x, 1, "VALID")
    x = g.conv("conv_2", "Conv2d_2b_3x3", x)
    x = g.pool("pool", "MaxPool", x)
    x = g.conv("conv_3", "Conv2d_3b_1x1", x, 1, "VALID")
    x = g.conv("conv_4", "Conv2d_4a_3x3", x, 1, "VALID")
    x = g.pool("pool_1", "MaxPool", x)
    for number_, letter in enumerate(["5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"]):
        name, at = "mixed" + (f"_{number_}" if number_ else ""), f"Mixed_{letter}."
        some = lambda leaf, n: [f"{at}{leaf}_{i + 1}" for i in range(n)]
        if number_ in (3, 8):
            parts = [g.tower(name, [at + "branch3x3"], x, True)] if number_ == 3 else []
            first, second = (None, some("branch3x3dbl", 3)) if number_ == 3 else (some("branch3x3", 2), some("branch7x7x3", 4))
            parts += [g.tower(f"{name}/tower", first, x, True)] if first else []
            parts += [g.tower(f"{name}/tower_1", second, x, True), g.pool(f"{name}/pool", "MaxPool", x)]
        else:
            parts = [g.tower(name, [at + "branch1x1"], x)]
            if number_ >= 9:
                for tower, leaf, n in (("tower", "branch3x3", 1), ("tower_1", "branch3x3dbl", 2)):
                    y = g.tower(f"{name}/{tower}", some(leaf, n), x)
                    parts += [g.conv(f"{name}/{tower}/mixed/{end}", f"{at}{leaf}_{n + 1}{ab}", y)
                              for end, ab in (("conv", "a"), ("conv_1", "b"))]
            else:
                one, two = (("branch5x5", 2), ("branch3x3dbl", 3)) if number_ < 3 else (("branch7x7", 3), ("branch7x7dbl", 5))
                parts += [g.tower(f"{name}/tower", some(*one), x), g.tower(f"{name}/tower_1", some(*two), x)]
            y = g.pool(f"{name}/tower_2/pool", "MaxPool" if number_ == 10 else "AvgPool", x, 3, 1, "SAME")
            parts.append(g.tower(f"{name}/tower_2", [at + "branch_pool"], y))
        axis = g.const(f"{name}/join/concat_dim", np.array(3, np.int32))
        x = g.node(f"{name}/join", "Concat", [axis] + parts)
    g.pool("pool_3", "AvgPool", x, 8, 1)
    g.node("softmax/logits/MatMul", "MatMul", ["pool_3/_reshape", g.const("softmax/weights", weights["fc.weight"].T)])
    return b"".join(g.parts)
