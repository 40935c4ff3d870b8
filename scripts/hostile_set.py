"""ONNX files that a stranger could send: damaged, forged, or made to take all memory or time, and some that are only unusual. See check-hostile.

The same files are made every time. `cases` gives them by kind; each knows which commands must take it, and which must not.
"""

import dataclasses
import json
import os
import pathlib
import random
import socket
import struct
from collections.abc import Callable

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64

# What a file without protection could read or show of others.
SECRET = numpy.array([31337.0, 4242.0], numpy.float32)

# Of names that forge what a program says, and steer the terminal that shows it.
FORGED = "x\nerror: forged by the file\x1b[2J\x1b]0;forged\x07\r\u202eerror: forged"

RUNTIMES = ("bench", "predict", "eval")


@dataclasses.dataclass
class Case:
    """A file. `content` is its bytes, or writes them into a folder, as `model.onnx`, with what belongs to them."""

    kind: str
    name: str
    content: bytes | Callable[[pathlib.Path], None]
    # Whether images are classified with it too.
    image: bool = False
    # Commands that must end with 0: what they refuse is valid.
    accepted: tuple[str, ...] = ()
    # Commands that must not end with 0: what they take is not what it says, or not theirs to read.
    refused: tuple[str, ...] = ()
    # The name of the file.
    file: str = "model.onnx"
    # Whether the file says itself how its images are prepared, so that no command may be told.
    stated: bool = False
    # Parameters and multiply-adds of a file that must be counted: {"params": …, "madds": …, "weight_bytes": …}.
    counts: dict | None = None

    def write(self, folder):
        path = folder / self.file
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        else:
            self.content(folder)
        return path


# --- What files are made of.


def varint(value):
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def field(number, payload, wire=2):
    """A field of a protocol buffer: bytes with their length, or what a number of another wire type is written as."""
    tag = varint(number << 3 | wire)
    return tag + varint(len(payload)) + payload if wire == 2 else tag + payload


def fields(message):
    """The fields of a message as they lie in it: number, wire type, and where tag, contents and end are."""
    at = 0

    def number():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        start = at
        tag = number()
        wire = tag & 7
        if wire == 2:
            length = number()
            inner, at = at, at + length
        else:
            inner = at
            if wire == 0:
                number()
            else:
                at += {1: 8, 5: 4}[wire]
        yield tag >> 3, wire, start, inner, at


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def tensor(name, array, kind=None):
    array = numpy.asarray(array) if kind is None else numpy.asarray(array, kind)
    return numpy_helper.from_array(array, name)


def ints(name, *values):
    return tensor(name, list(values), "int64")


def floats(name, *values):
    return tensor(name, list(values), "float32")


def weight(name, *shape, seed=1, kind="float32"):
    return tensor(name, numpy.random.default_rng(seed).standard_normal(shape) * 0.1, kind)


def node(op, inputs, outputs, name=None, **attributes):
    return helper.make_node(op, inputs, outputs, name or f"{op}_{outputs[0] if outputs else ''}", **attributes)


def model(nodes, weights=(), inputs=None, outputs=None, opset=17, ir=8, domains=(), **more):
    """A model as it is, whatever is wrong with it."""
    inputs = [value("x", FLOAT, [1, 3, 8, 8])] if inputs is None else inputs
    outputs = [value("y", FLOAT, [1, 2])] if outputs is None else outputs
    functions = more.pop("functions", [])
    graph = helper.make_graph(list(nodes), "g", inputs, outputs, list(weights), **more)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir, functions=functions)


def written(of):
    return of.SerializeToString()


def head(source="x", features=3):
    """From an image-like tensor to two classes."""
    nodes = [
        node("GlobalAveragePool", [source], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("Gemm", ["flat", "head.w", "head.b"], ["y"]),
    ]
    return nodes, [weight("head.w", features, 2), weight("head.b", 2)]


def classifier(nodes=(), weights=(), result=None, **more):
    """A classifier of 3×8×8 images whose logits have the largest value of tensor `result` added."""
    body = [
        node("GlobalAveragePool", ["x"], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("Gemm", ["flat", "head.w"], ["logits" if result else "y"]),
    ]
    joined = []
    if result:
        joined = [node("ReduceMax", [result], ["largest"], keepdims=0), node("Add", ["logits", "largest"], ["y"])]
    return model([*body, *nodes, *joined], [weight("head.w", 3, 2), *weights], **more)


def small():
    """A valid classifier with the usual parts."""
    nodes = [
        node("Conv", ["x", "conv.w", "conv.b"], ["c"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        node("BatchNormalization", ["c", "scale", "bias", "mean", "var"], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("MaxPool", ["r"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    ends, stored = head("m", 4)
    statistics = [tensor("mean", numpy.zeros(4), "float32"), tensor("var", numpy.ones(4), "float32")]
    weights = [weight("conv.w", 4, 3, 3, 3), weight("conv.b", 4), weight("scale", 4), weight("bias", 4), *statistics, *stored]
    of = model([*nodes, *ends], weights)
    helper.set_model_props(of, {"adwp.classes": '["a", "b"]'})
    return of


def quantised():
    """A valid classifier whose convolution is of 8 bits."""
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["dw"], axis=0),
        node("Conv", ["d", "dw"], ["c"], kernel_shape=[3, 3]),
    ]
    scales = [floats("ws", 0.1, 0.2, 0.1, 0.3), tensor("wz", [0] * 4, "int8")]
    weights = [tensor("s", 0.1, "float32"), tensor("z", 0, "int8"), tensor("w", numpy.arange(108).reshape(4, 3, 3, 3) % 50, "int8"), *scales]
    ends, stored = head("c", 4)
    return model([*nodes, *ends], [*weights, *stored])


def branched():
    """A valid classifier with a branch and a function of its own."""
    inner = [value("chosen", FLOAT, None)]
    then = helper.make_graph([node("Relu", ["x"], ["chosen"])], "then", [], inner)
    other = helper.make_graph([node("Neg", ["x"], ["chosen"])], "else", [], [value("chosen", FLOAT, None)])
    nodes = [
        node("ReduceMax", ["x"], ["top"], keepdims=0),
        node("Greater", ["top", "zero"], ["is_positive"]),
        node("If", ["is_positive"], ["branch"], then_branch=then, else_branch=other),
        node("Twice", ["branch"], ["t"], domain="own"),
    ]
    function = helper.make_function("own", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)])
    ends, stored = head("t", 3)
    return model([*nodes, *ends], [tensor("zero", 0, "float32"), *stored], domains=["own"], functions=[function])


# --- The kinds. Each gives its cases.

KINDS = []


def kind(function):
    KINDS.append((function.__name__.replace("_", "-"), function))
    return function


def case(name, content, **more):
    if not isinstance(content, bytes) and not callable(content):
        content = written(content)
    return Case("", name, content, **more)


ALL = ("cost", "bench", "predict", "eval")


def control(name, content, params=None, madds=None, weight_bytes=None, accepted=ALL, image=True, **more):
    """A file that is valid, with what it costs."""
    counts = {key: number for key, number in (("params", params), ("madds", madds), ("weight_bytes", weight_bytes)) if number is not None}
    return case(name, content, image=image, accepted=accepted, counts=counts or None, **more)


def network(nodes, weights, features, source, **more):
    ends, stored = head(source, features)
    return model([*nodes, *ends], [*weights, *stored], **more)


@kind
def controls():
    linear = lambda features: 2 * features + 2
    one = lambda op, inputs, **attributes: [node(op, inputs, ["c"], **attributes)]
    conv = lambda name, shape, madds, inputs=("x", "w"), **attributes: control(
        name,
        network(one("Conv", list(inputs), **attributes), [weight("w", *shape)], shape[0], "c"),
        params=int(numpy.prod(shape)) + linear(shape[0]),
        madds=madds + 2 * shape[0],
    )
    yield control("small", small(), params=108 + 4 + 8 + 8 + 2, madds=108 * 64 + 8, weight_bytes=4 * (108 + 4 + 16 + 8 + 2))
    prepared = small()
    for key, entry in {"adwp.mean": "[0.5, 0.5, 0.5]", "adwp.std": "[0.25, 0.25, 0.25]"}.items():
        prepared.metadata_props.add(key=key, value=entry)
    yield control("prepared", prepared, madds=108 * 64 + 8, stated=True)
    yield control("quantised", quantised(), params=108 + 8 + 2, madds=108 * 36 + 8)
    yield control("branched", branched(), accepted=("cost", "bench", "predict"))
    yield conv("conv-depthwise", [3, 1, 3, 3], 27 * 36, group=3)
    yield conv("conv-grouped", [6, 1, 3, 3], 54 * 16, group=3, pads=[0, 0, 1, 1], strides=[2, 2])
    yield conv("conv-dilated", [4, 3, 3, 3], 108 * 16, dilations=[2, 2])
    yield conv("conv-same-upper", [4, 3, 3, 3], 108 * 9, auto_pad="SAME_UPPER", strides=[3, 3])
    yield conv("conv-same-lower", [4, 3, 3, 3], 108 * 64, auto_pad="SAME_LOWER")
    yield conv("conv-valid", [4, 3, 3, 3], 108 * 36, auto_pad="VALID")
    yield conv("conv-of-one", [4, 3, 1, 1], 12 * 64)
    yield conv("conv-uneven-pads", [4, 3, 2, 3], 72 * 8 * 9, pads=[0, 1, 1, 2])
    transposed = lambda name, shape, groups, madds, **attributes: control(
        name,
        network(one("ConvTranspose", ["x", "w"], group=groups, **attributes), [weight("w", *shape)], shape[1] * groups, "c"),
        params=int(numpy.prod(shape)) + linear(shape[1] * groups),
        madds=madds + 2 * shape[1] * groups,
    )
    yield transposed("transposed", [3, 4, 3, 3], 1, 108 * 64, strides=[2, 2], output_padding=[1, 1])
    yield transposed("transposed-grouped", [3, 2, 3, 3], 3, 54 * 64, pads=[1, 1, 1, 1])
    yield transposed("transposed-to-a-shape", [3, 4, 3, 3], 1, 108 * 64, strides=[2, 2], output_shape=[16, 16])
    conv3 = [weight("w", 4, 3, 3, 3)]
    after = lambda nodes, weights, shape, accepted=ALL, params=108 + 10, **more: control(
        more.pop("name"),
        network([*nodes, node("Conv", ["z", "w"], ["c"])], [*weights, *conv3], 4, "c", **more),
        params=params,
        madds=108 * shape + 8,
        accepted=accepted,
    )
    resize = lambda name, scale, size, **more: after(
        [node("Resize", ["x", "", "scales"], ["z"], mode="nearest")],
        [floats("scales", 1, 1, scale, scale)],
        (size - 2) ** 2,
        name=name,
        inputs=[value("x", FLOAT, [1, 3, more.pop("of", 8), more.pop("by", 8)])],
    )
    yield resize("resize-twice", 2.0, 16)
    # Of float32: 10 times 0.7 is 7, although 0.7 is a little less than seven tenths.
    yield resize("resize-rounded", 0.7, 7, of=10, by=10)
    yield resize("resize-half", 0.5, 5, of=11, by=11)
    sizes = [node("Resize", ["x", "", "", "sizes"], ["z"], mode="linear")]
    yield after(sizes, [ints("sizes", 1, 3, 5, 5)], 9, name="resize-to-sizes")
    old = [node("Upsample", ["x", "scales"], ["z"], mode="nearest")]
    yield after(old, [floats("scales", 1, 1, 2, 2)], 196, name="upsample", opset=9, ir=4, accepted=("cost", "bench", "predict"))
    pad = [node("Pad", ["x", "pads"], ["z"], mode="reflect")]
    yield after(pad, [ints("pads", 0, 0, 1, 2, 0, 0, 3, 0)], 10 * 8, name="pad-reflect")
    pool = lambda name, size, **attributes: after([node("MaxPool", ["x"], ["z"], **attributes)], [], (size - 2) ** 2, name=name)
    yield pool("pool-ceil", 4, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    yield pool("pool-dilated", 4, kernel_shape=[3, 3], dilations=[2, 2])
    yield after([node("Slice", ["x", "starts", "ends", "axes", "steps"], ["z"])],
        [ints("starts", -1, 7), ints("ends", INT64_MIN, 0), ints("axes", 2, -1), ints("steps", -2, -1)], 2 * 5, name="slice-backwards")
    yield after([node("Tile", ["x", "repeats"], ["z"])], [ints("repeats", 1, 1, 2, 3)], 14 * 22, name="tile")
    yield after([node("Shape", ["x"], ["shape"]), node("Slice", ["shape", "two", "four"], ["sides"]), node("Mul", ["sides", "sides2"], ["larger"]),
        node("Slice", ["shape", "zero", "two"], ["front"]), node("Concat", ["front", "larger"], ["sizes"], axis=0),
        node("Resize", ["x", "", "", "sizes"], ["z"], mode="nearest")],
        [ints("zero", 0), ints("two", 2), ints("four", 4), ints("sides2", 2, 2)], 196, name="shape-arithmetic")
    # The size as exporters compute it: real numbers of 32 bits, rounded down.
    yield after([node("Shape", ["x"], ["shape"]), node("Cast", ["shape"], ["real"], to=FLOAT), node("Mul", ["real", "factor"], ["scaled"]),
        node("Floor", ["scaled"], ["floored"]), node("Cast", ["floored"], ["sizes"], to=INT64), node("Resize", ["x", "", "", "sizes"], ["z"], mode="nearest")],
        [floats("factor", 1, 1, 0.7, 0.7)], 25, name="shape-arithmetic-rounded", inputs=[value("x", FLOAT, [1, 3, 10, 10])])
    # The scales put together in the file: they are no parameters.
    yield after([node("Shape", ["x"], ["shape"]), node("Slice", ["shape", "two", "four"], ["sides"]), node("Cast", ["sides"], ["real"], to=FLOAT), node("Div", ["wanted", "real"], ["factors"]),
        node("Concat", ["ones", "factors"], ["scales"], axis=0), node("Resize", ["x", "", "scales"], ["z"], mode="nearest")],
        [ints("two", 2), ints("four", 4), floats("wanted", 16, 16), floats("ones", 1, 1)], 196, name="scales-arithmetic")
    # Remainders of either sign, and quotients that are cut towards zero: 5 rows and columns of the image.
    yield after([node("Mod", ["minus_seven", "three"], ["rest"], fmod=0), node("Mod", ["minus_seven", "three"], ["c_rest"], fmod=1),
        node("Div", ["minus_seven", "three"], ["quotient"]), node("Sub", ["rest", "c_rest"], ["a"]), node("Sub", ["a", "quotient"], ["b"]),
        node("Concat", ["b", "b"], ["ends"], axis=0), node("Slice", ["x", "starts", "ends", "sides"], ["z"])],
        [ints("minus_seven", -7), ints("three", 3), ints("starts", 0, 0), ints("sides", 2, 3)], 9, name="remainders")
    chain = [node("Identity", ["x"], ["i0"]), *(node("Identity", [f"i{i}"], [f"i{i + 1}"]) for i in range(200))]
    yield control("identities", network(chain, [], 3, "i200"), params=8, madds=6)
    gemm = lambda name, a, b, madds, params, **attributes: control(name, model(
        [node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0), node("Expand", ["m", "shape"], ["e"]), *(
            [node("Transpose", ["e"], ["t"])] if attributes.get("transA") else [node("Identity", ["e"], ["t"])]),
            node("Gemm", ["t", "w"], ["g"], **attributes), node("ReduceMean", ["g"], ["y"], axes=[0], keepdims=1)],
        [ints("shape", *a), weight("w", *b)]), params=params, madds=madds, accepted=("cost", "bench", "predict"))
    yield gemm("gemm", [5, 3], [3, 2], 30, 6)
    yield gemm("gemm-transposed", [5, 3], [2, 3], 30, 6, transA=1, transB=1)
    matmul = lambda name, shape, w, madds, axes: control(name, model(
        [node("Reshape", ["x", "shape"], ["r"]), node("MatMul", ["r", "w"], ["m"]), node("ReduceMean", ["m"], ["v"], axes=axes, keepdims=0),
            node("Reshape", ["v", "out"], ["y"])], [ints("shape", *shape), weight("w", *w), ints("out", 1, 2)]),
        params=int(numpy.prod(w)), madds=madds)
    yield matmul("matmul-batched", [3, 8, 8], [3, 8, 2], 3 * 8 * 8 * 2, [0, 1])
    yield matmul("matmul-broadcast", [3, 8, 8], [8, 2], 3 * 8 * 8 * 2, [0, 1])
    yield control("matmul-of-vector", model(
        [node("Reshape", ["x", "shape"], ["r"]), node("MatMul", ["r", "w"], ["m"]), node("Reshape", ["m", "out"], ["y"])],
        [ints("shape", 2, 96), weight("w", 96), ints("out", 1, 2)]), params=96, madds=192)
    table = [node("Range", ["zero", "end", "one"], ["places"]), node("Gather", ["table", "places"], ["t"]), node("MatMul", ["t", "w"], ["m"]),
        node("ReduceMax", ["m"], ["largest"], keepdims=0), node("GlobalAveragePool", ["x"], ["p"]), node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "head.w"], ["l"]), node("Add", ["l", "largest"], ["y"])]
    long = lambda end: [tensor("zero", 0, "int64"), tensor("end", end, "int64"), tensor("one", 1, "int64"), weight("table", end, 4), weight("w", 4, 2), weight("head.w", 3, 2)]
    # The product of the tables is that of no image.
    yield control("range-short", model(table, long(1000)), params=4000 + 8 + 6, madds=6)
    yield control("range-long", model(table, long(5000)), params=20000 + 8 + 6, madds=6)
    normal = lambda op, opset, inputs, **attributes: control(op.lower(), network(one(op, inputs, **attributes), [weight("s", 3), weight("b", 3)], 3, "c", opset=opset, ir=10),
        params=6 + 8, madds=6, accepted=("cost", "bench", "predict"))
    yield normal("InstanceNormalization", 17, ["x", "s", "b"])
    yield normal("GroupNormalization", 21, ["x", "s", "b"], num_groups=3)
    yield control("layer-normalization", network(one("LayerNormalization", ["x", "s", "b"]), [weight("s", 8), weight("b", 8)], 3, "c"), params=16 + 8, madds=6)
    yield control("slopes", network(one("PRelu", ["x", "s"]), [weight("s", 3, 1, 1)], 3, "c"), params=3 + 8, madds=6)
    yield control("einsum", network(one("Einsum", ["x", "w"], equation="bchw,dc->bdhw"), [weight("w", 4, 3)], 4, "c"), accepted=("cost", "bench", "predict"))
    yield control("constant-weight", network([node("ConstantOfShape", ["shape"], ["w"], value=tensor("", [0.5], "float32")), *one("Conv", ["x", "w"])],
        [ints("shape", 4, 3, 1, 1)], 4, "c"), params=10, madds=12 * 64 + 8)
    yield control("weights-of-nodes", network([node("Constant", [], ["w"], value=weight("", 4, 3, 1, 1)), *one("Conv", ["x", "w"])], [], 4, "c"), params=22, madds=776)
    yield control("shared-weight", network([node("Conv", ["x", "w"], ["a"]), node("Conv", ["a", "w"], ["c"])], [weight("w", 3, 3, 1, 1)], 3, "c"), params=9 + 8, madds=2 * 9 * 64 + 6)
    yield control("unused-weight", network([], [weight("unused", 100)], 3, "x"), params=8, madds=6, weight_bytes=4 * 108)
    half = [node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16), node("Conv", ["h", "w"], ["k"]), node("Cast", ["k"], ["c"], to=FLOAT)]
    yield control("half", network(half, [weight("w", 4, 3, 1, 1, kind="float16")], 4, "c"), params=22, madds=776, weight_bytes=24 + 40)
    double = [node("Cast", ["x"], ["h"], to=TensorProto.DOUBLE), node("MatMul", ["h", "w"], ["k"]), node("Cast", ["k"], ["c"], to=FLOAT)]
    yield control("double", network(double, [weight("w", 8, 8, kind="float64")], 3, "c"), params=64 + 8, madds=3 * 512 + 6, weight_bytes=512 + 32)
    pixels = [node("Cast", ["x"], ["r"], to=FLOAT), node("Transpose", ["r"], ["c"], perm=[0, 3, 1, 2])]
    yield control("pixels", network(pixels, [], 3, "c", inputs=[value("x", TensorProto.UINT8, [1, 8, 8, 3])]), params=8, madds=6, accepted=("cost", "bench"))
    open_batch = lambda batch, **more: network(one("Conv", ["x", "w"]), [weight("w", 4, 3, 1, 1)], 4, "c", inputs=[value("x", FLOAT, [batch, 3, 8, 8])], outputs=[value("y", FLOAT, [batch, 2])])
    yield control("open-batch", open_batch("N"), params=22, madds=776)
    yield control("batch-of-4", open_batch(4), params=22, madds=776, accepted=("cost", "predict", "eval"))
    sparse = helper.make_sparse_tensor(tensor("w", [1, 2], "float32"), ints("w_places", 0, 5), [4, 3, 1, 1])
    yield control("sparse", network([node("Constant", [], ["w"], sparse_value=sparse), *one("Conv", ["x", "w"])], [], 4, "c"), params=2 + 10, madds=776, accepted=("cost", "bench"))
    yield control("two-outputs", network(one("Relu", ["x"]), [], 3, "c", outputs=[value("y", FLOAT, [1, 2]), value("c", FLOAT, [1, 3, 8, 8])]), params=8, madds=6)
    yield control("dropout", network(one("Dropout", ["x"]), [], 3, "c"), params=8, madds=6)
    yield control("lists", network([node("Constant", [], ["k"], value_floats=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]), *one("Mul", ["x", "k"])], [], 3, "c"), params=16, madds=6, weight_bytes=64)
    yield control("unicode", network([node("Relu", ["x"], ["größe→中"]), node("Relu", ["größe→中"], ["c"])], [], 3, "c"), params=8, madds=6)
    nameless = network(one("Relu", ["x"]), [], 3, "c")
    for each in nameless.graph.node:
        each.name = ""
    yield control("nameless", nameless, params=8, madds=6)
    listed = network(one("Conv", ["x", "w"]), [weight("w", 4, 3, 1, 1)], 4, "c", ir=3, opset=9)
    listed.graph.input.extend(value(each.name, FLOAT, list(each.dims)) for each in listed.graph.initializer)
    yield control("weights-among-inputs", listed, params=22, madds=776)
    yield control("opset-7", network(one("Relu", ["x"]), [], 3, "c", ir=4, opset=7), params=8, madds=6)
    yield control("opset-22", network(one("Relu", ["x"]), [], 3, "c", ir=10, opset=22), params=8, madds=6)
    yield control("split", network([node("Split", ["x", "parts"], ["a", "b"], axis=1), node("Concat", ["b", "a", "b"], ["c"], axis=1)], [ints("parts", 1, 2)], 5, "c"), params=12, madds=10)
    yield control("blocks", network([node("SpaceToDepth", ["x"], ["c"], blocksize=2)], [], 12, "c"), params=26, madds=24)
    loop = helper.make_graph([node("Add", ["carried", "carried"], ["next"]), node("Identity", ["go"], ["on"])], "body",
        [value("i", INT64, []), value("go", TensorProto.BOOL, []), value("carried", FLOAT, [1, 3, 8, 8])], [value("on", TensorProto.BOOL, []), value("next", FLOAT, [1, 3, 8, 8])])
    yield control("loop", network([node("Loop", ["trips", "", "x"], ["c"], body=loop)], [tensor("trips", 3, "int64")], 3, "c"), accepted=("cost", "bench", "predict"))
    yield control("sequences", network([node("SplitToSequence", ["x"], ["s"], axis=1), node("ConcatFromSequence", ["s"], ["c"], axis=1)], [], 3, "c"), accepted=("cost", "bench", "predict"))

    def beside(folder):
        of = network(one("Conv", ["x", "w"]), [weight("w", 4, 3, 1, 1)], 4, "c")
        external(of.graph.initializer[0], "weights.bin", 64, 48)
        (folder / "model.onnx").write_bytes(written(of))
        (folder / "weights.bin").write_bytes(bytes(64) + numpy.ones(12, numpy.float32).tobytes())

    yield control("weights-beside", beside, params=22, madds=776, weight_bytes=88)

    def large(folder):
        # The weight has no data yet: its bytes are a hole in the file, and take no place on the disk.
        size = 160 << 20
        of = network([], [], 3, "x")
        hole = TensorProto(name="unused", data_type=TensorProto.UINT8, dims=[size])
        before = written(of)
        part = hole.SerializeToString() + varint(9 << 3 | 2) + varint(size)
        graph = varint(5 << 3 | 2) + varint(len(part) + size) + part
        with open(folder / "model.onnx", "wb") as file:
            file.write(before + varint(7 << 3 | 2) + varint(len(graph) + size) + graph)
            file.truncate(file.tell() + size)

    yield control("large", large, params=8, madds=6, weight_bytes=32 + (160 << 20), image=False, accepted=("cost",))


def external(of, location, offset=None, length=None, *more):
    """Moves the values of a tensor into another file."""
    of.ClearField("raw_data")
    of.ClearField("float_data")
    of.data_location = TensorProto.EXTERNAL
    for key, entry in [("location", location), ("offset", offset), ("length", length), *more]:
        if entry is not None:
            of.external_data.add(key=key, value=str(entry))


def bases():
    return [("small", written(small())), ("quantised", written(quantised())), ("branched", written(branched()))]


@kind
def cut():
    for name, whole in bases():
        for place in range(1, 9):
            at = place * len(whole) // 9
            yield case(f"{name}-at-{at}", whole[:at], image=True, refused=RUNTIMES)
    whole = written(small())
    for last in (1, 2, 3):
        yield case(f"small-by-{last}", whole[:-last], image=True)


@kind
def flipped():
    draw = random.Random(1)
    for name, whole in bases():
        for number in range(14):
            bits = bytearray(whole)
            for _ in range(1 + number % 5):
                bits[draw.randrange(len(bits))] ^= 1 << draw.randrange(8)
            yield case(f"{name}-{number}", bytes(bits), image=True)


@kind
def rearranged():
    draw = random.Random(2)

    def mutated(message, depth):
        """With one field of it, or of a message in it, removed, doubled, exchanged, renumbered, or with another length."""
        spans = list(fields(message))
        if not spans:
            return message
        number, wire, start, inner, end = draw.choice(spans)
        if depth and wire == 2 and draw.random() < 0.75:
            try:
                changed = mutated(message[inner:end], depth - 1)
                return message[:start] + field(number, changed) + message[end:]
            except (IndexError, KeyError):
                pass
        whole, action = message[start:end], draw.randrange(8)
        if action == 0:
            return message[:start] + message[end:]
        if action == 1:
            return message[:end] + whole + message[end:]
        if action == 2:
            other = draw.choice(spans)
            return message[:start] + message[other[2] : other[4]] + message[end:]
        if action == 3:
            return message[end:] + message[:end]
        if action == 4:
            return message[:start] + varint(draw.randrange(1, 30) << 3 | wire) + message[start + 1 :]
        if action == 5 and wire == 2:
            return message[: start + 1] + varint(draw.choice([0, 1, 2**31 - 1, 2**31, 2**32, 2**63, 2**64 - 1])) + message[inner:]
        if action == 6 and wire == 0:
            return message[:inner] + varint(draw.choice([-1, 0, 2**31, 2**62, INT64_MIN])) + message[end:]
        return message[:start] + whole * draw.choice([2, 50]) + message[end:]

    for name, whole in bases():
        for number in range(18):
            yield case(f"{name}-{number}", mutated(whole, 4), image=True)


@kind
def enormous():
    real = lambda values: tensor("", values, "float32")
    bomb = lambda name, nodes, weights=(), **more: case(name, classifier(nodes, weights, "h", **more), image=True)
    for sizes in ([2**40], [2**31], [2**20, 2**20], [2**62], [2**32 - 1] * 2, [65536, 65536, 1], [1] * 100, [2**16] * 4):
        text = "x".join(f"{size}" for size in sizes[:2]) + ("" if len(sizes) < 3 else f"x{len(sizes)}")
        yield bomb(f"constant-of-shape-{text}", [node("ConstantOfShape", ["s"], ["h"], value=real([1.0]))], [ints("s", *sizes)])
    for sizes in ([2**40], [2**33], [2**17, 2**17], [INT64_MAX]):
        text = "x".join(map(str, sizes))
        yield bomb(f"expand-{text}", [node("Expand", ["one", "s"], ["h"])], [floats("one", 1), ints("s", *sizes)])
        yield bomb(f"expand-input-{text}", [node("ReduceMax", ["x"], ["one"], keepdims=0), node("Expand", ["one", "s"], ["h"])], [ints("s", *sizes)])
    yield bomb("tile", [node("Tile", ["one", "s"], ["h"])], [floats("one", 1), ints("s", 2**34)])
    yield bomb("tile-input", [node("Tile", ["x", "s"], ["h"])], [ints("s", 1, 1, 2**14, 2**14)])
    yield bomb("pad", [node("Pad", ["one", "s"], ["h"])], [floats("one", 1), ints("s", 2**34, 2**34)])
    yield bomb("pad-input", [node("Pad", ["x", "s"], ["h"])], [ints("s", 0, 0, 2**15, 0, 0, 0, 2**15, 0)])
    yield bomb("resize", [node("Resize", ["x", "", "s"], ["h"])], [floats("s", 1, 1, 4096, 4096)])
    yield bomb("resize-sizes", [node("Resize", ["x", "", "", "s"], ["h"])], [ints("s", 1, 3, 2**16, 2**16)])
    yield bomb("range", [node("Range", ["a", "b", "c"], ["r"]), node("Cast", ["r"], ["h"], to=FLOAT)],
        [tensor("a", 0, "int64"), tensor("b", 2**40, "int64"), tensor("c", 1, "int64")])
    yield bomb("range-float", [node("Range", ["a", "b", "c"], ["h"])], [tensor("a", 0.0, "float32"), tensor("b", 1e30, "float32"), tensor("c", 1.0, "float32")])
    yield bomb("one-hot", [node("OneHot", ["i", "d", "v"], ["h"])], [ints("i", *range(1000)), tensor("d", 2**31, "int64"), floats("v", 0, 1)])
    yield bomb("eye", [node("ConstantOfShape", ["s"], ["z"], value=real([1.0])), node("EyeLike", ["z"], ["h"])], [ints("s", 2**18, 2**18)])
    yield bomb("random", [node("RandomNormal", [], ["h"], shape=[2**17, 2**17])])
    yield bomb("string-of-shape", [node("ConstantOfShape", ["s"], ["t"], value=tensor("", ["a" * 4096], object)), node("Size", ["t"], ["n"]), node("Cast", ["n"], ["h"], to=FLOAT)], [ints("s", 2**24)])
    yield bomb("outer-add", [node("ConstantOfShape", ["a"], ["u"], value=real([1.0])), node("ConstantOfShape", ["b"], ["v"], value=real([1.0])), node("Add", ["u", "v"], ["h"])],
        [ints("a", 2**18, 1), ints("b", 1, 2**18)])
    yield bomb("outer-einsum", [node("ConstantOfShape", ["a"], ["u"], value=real([1.0])), node("Einsum", ["u", "u", "u"], ["h"], equation="i,j,k->ijk")], [ints("a", 2**12)])
    yield bomb("outer-einsum-input", [node("Reshape", ["x", "a"], ["u"]), node("Einsum", ["u"] * 6, ["h"], equation="a,b,c,d,e,f->abcdef")], [ints("a", 192)])
    yield bomb("outer-matmul", [node("ConstantOfShape", ["a"], ["u"], value=real([1.0])), node("ConstantOfShape", ["b"], ["v"], value=real([1.0])), node("MatMul", ["u", "v"], ["h"])],
        [ints("a", 2**18, 1), ints("b", 1, 2**18)])
    for doublings in (40, 1000):
        concat = [node("Concat", [f"c{i}", f"c{i}"], [f"c{i + 1}"], axis=0) for i in range(doublings)]
        yield bomb(f"doubled-{doublings}", concat + [node("Identity", [f"c{doublings}"], ["h"])], [floats("c0", 1)])
    concat = [node("Concat", [f"c{i}", f"c{i}"], [f"c{i + 1}"], axis=3) for i in range(25)]
    yield bomb("doubled-input", [node("Identity", ["x"], ["c0"]), *concat, node("Identity", ["c25"], ["h"])])
    add = [node("Mul", [f"c{i}", f"c{i}"], [f"c{i + 1}"]) for i in range(1000)]
    yield bomb("squared-1000", add + [node("Cast", ["c1000"], ["h"], to=FLOAT)], [ints("c0", 3)])
    gather = [node("Gather", [f"c{i}", "i"], [f"c{i + 1}"]) for i in range(60)]
    yield bomb("gathered", [node("Identity", ["x"], ["c0"]), *gather, node("Identity", ["c60"], ["h"])], [tensor("i", numpy.zeros((1, 1)), "int64")])
    yield bomb("attribute-of-shape", [node("RandomUniform", [], ["h"], shape=[INT64_MAX, 4])])


@kind
def slow():
    """Small files whose loading or running takes long, or would."""
    net = lambda name, nodes, weights, source, features, **more: case(name, network(nodes, weights, features, source, **more), image=True)
    for dilation in (2**20, 2**31 - 1, 2**40, INT64_MAX):
        pads = min(dilation, 2**40)
        yield net(f"dilated-{dilation}", [node("Conv", ["x", "w"], ["c"], dilations=[dilation, 1], pads=[pads, 0, pads, 0])], [weight("w", 1, 3, 3, 1)], "c", 1)
    yield net("padded", [node("Conv", ["x", "w"], ["c"], pads=[30000] * 4)], [weight("w", 1, 3, 1, 1)], "c", 1)
    yield net("transposed", [node("ConvTranspose", ["x", "w"], ["c"], strides=[8000, 8000])], [weight("w", 3, 1, 1, 1)], "c", 1)
    yield net("transposed-shape", [node("ConvTranspose", ["x", "w"], ["c"], output_shape=[60000, 60000])], [weight("w", 3, 1, 1, 1)], "c", 1)
    yield net("pooled", [node("MaxPool", ["x"], ["c"], kernel_shape=[30000, 30000], pads=[15000] * 4, strides=[100, 100])], [], "c", 3)
    yield net("pooled-dilated", [node("MaxPool", ["x"], ["c"], kernel_shape=[2, 2], dilations=[2**40, 2**40], pads=[1] * 4)], [], "c", 3)
    yield net("normalised", [node("LRN", ["x"], ["c"], size=2**31 - 1)], [], "c", 3)
    # Multiply-adds of a file of two kilobytes: 2^60.
    squares = [node("MatMul", [f"m{i}", f"m{i}"], [f"m{i + 1}"]) for i in range(8)]
    square = [node("ConstantOfShape", ["s"], ["m0"], value=tensor("", [1e-9], "float32")), *squares, node("ReduceMax", ["m8"], ["h"], keepdims=0), node("Add", ["x", "h"], ["c"])]
    yield net("squared-matrices", square, [ints("s", 8000, 8000)], "c", 3)
    body = lambda: helper.make_graph([node("Identity", ["go"], ["on"]), node("Relu", ["carried"], ["next"])], "body",
        [value("i", INT64, []), value("go", TensorProto.BOOL, []), value("carried", FLOAT, None)], [value("on", TensorProto.BOOL, []), value("next", FLOAT, None)])
    for trips in (10**7, INT64_MAX):
        yield net(f"loop-{trips}", [node("Loop", ["n", "", "x"], ["c"], body=body())], [tensor("n", trips, "int64")], "c", 3)
    yield net("loop-for-ever", [node("Loop", ["", "yes", "x"], ["c"], body=body())], [tensor("yes", True, "bool")], "c", 3)
    scanned = helper.make_graph([node("Identity", ["go"], ["on"]), node("Identity", ["t"], ["next"]), node("Identity", ["t"], ["kept"])], "body",
        [value("i", INT64, []), value("go", TensorProto.BOOL, []), value("t", FLOAT, None)], [value("on", TensorProto.BOOL, []), value("next", FLOAT, None), value("kept", FLOAT, None)])
    yield net("loop-that-keeps", [node("Loop", ["n", "", "x"], ["c", "all"], body=scanned)], [tensor("n", 10**8, "int64")], "c", 3)
    yield net("loop-of-constants", [node("Loop", ["n", "", "k"], ["l"], body=body()), node("Add", ["x", "l"], ["c"])], [tensor("n", INT64_MAX, "int64"), tensor("k", 1.0, "float32")], "c", 3)
    boxes = [node("NonMaxSuppression", ["boxes", "scores"], ["kept"]), node("Size", ["kept"], ["n"]), node("Cast", ["n"], ["r"], to=FLOAT), node("Mul", ["x", "r"], ["c"])]
    made = [node("ConstantOfShape", ["bs"], ["boxes"], value=tensor("", [1.0], "float32")), node("ConstantOfShape", ["ss"], ["scores"], value=tensor("", [1.0], "float32"))]
    yield net("suppressed", made + boxes, [ints("bs", 1, 50000, 4), ints("ss", 1, 1, 50000)], "c", 3)
    yield net("einsum-contracted", [node("ConstantOfShape", ["s"], ["u"], value=tensor("", [1.0], "float32")), node("Einsum", ["u"] * 4, ["e"], equation="ab,cd,ef,gh->"),
        node("Mul", ["x", "e"], ["c"])], [ints("s", 300, 300)], "c", 3)
    chain = lambda op, length: [node("Identity", ["x"], ["n0"]), *(node(op, [f"n{i}"], [f"n{i + 1}"]) for i in range(length))]
    yield net("relus-10000", chain("Relu", 10_000), [], "n10000", 3)
    yield net("sines-3000", chain("Sin", 3000), [], "n3000", 3)
    sums = [node("Identity", ["x"], ["n0"]), *(node("Add", [f"n{i}", f"n{max(0, i - 1)}"], [f"n{i + 1}"]) for i in range(3000))]
    yield net("fibonacci-3000", sums, [], "n3000", 3)
    yield net("kept-2000", [*(node("Relu", ["x"], [f"r{i}"]) for i in range(2000)), node("Sum", [f"r{i}" for i in range(2000)], ["c"])], [], "c", 3)
    yield net("transposes", [node("Identity", ["x"], ["n0"]), *(node("Transpose", [f"n{i}"], [f"n{i + 1}"], perm=[0, 1, 3, 2]) for i in range(3001)), node("Identity", ["n3001"], ["c"])], [], "c", 3)


@kind
def reader():
    """What would take the reader itself much memory or time."""
    shown = classifier()

    def short(op, inputs, outputs):
        return field(1, b"".join(field(1, name.encode()) for name in inputs) + b"".join(field(2, name.encode()) for name in outputs) + field(4, op.encode()))

    def graph_of(body, weights=(), opset=17):
        """A classifier that begins with nodes in bytes, which read `x` and give `n`."""
        ends, stored = head("n", 3)
        rest = model(ends, [*stored, *weights], opset=opset)
        return field(7, body) + written(rest)

    for count in (10_000, 120_000):
        names = ["x", *(f"{i:x}" for i in range(1, count)), "n"]
        body = b"".join(short("Identity", [names[i]], [names[i + 1]]) for i in range(count))
        yield case(f"identities-{count}", graph_of(body), image=True)
        # The last ones of all: what tells whether the result is a probability goes back through them.
        ends, stored = head("x", 3)
        ends[-1].output[0] = "0"
        names = [*(f"{i:x}" for i in range(count)), "y"]
        body = b"".join(short("Identity", [names[i]], [names[i + 1]]) for i in range(count))
        first = model(ends, stored)
        yield case(f"identities-at-the-end-{count}", written(first) + field(7, body), image=True)
    for count in (3000, 30_000):
        # Every sum has more stored tensors in it than the last.
        stored = b"".join(field(5, field(1, b"\x02", 2) + field(2, b"\x01", 0) + field(8, f"w{i:x}".encode()) + field(9, bytes(8))) for i in range(count + 1))
        names = ["w0", *(f"{i:x}" for i in range(1, count)), "s"]
        body = b"".join(short("Add", [names[i], f"w{i + 1:x}"], [names[i + 1]]) for i in range(count))
        last = short("ReduceMax", ["s"], ["m"]) + short("Add", ["x", "m"], ["n"])
        yield case(f"sums-of-weights-{count}", graph_of(stored + body + last), image=True)
    count = 100_000
    body = b"".join(short("Mul", ["x" if i == 0 else f"{i:x}", f"w{i:x}"], ["n" if i == count // 2 - 1 else f"{i + 1:x}"]) for i in range(count // 2))
    stored = b"".join(field(5, field(1, b"\x08", 2) + field(2, b"\x01", 0) + field(8, f"w{i:x}".encode()) + field(9, bytes(32))) for i in range(count // 2))
    yield case("scales-50000", graph_of(short("DynamicQuantizeLinear", ["x"], ["q", "qs", "qz"]) + stored + body), image=True)
    axes = lambda count: field(1, field(1, b"x") + field(2, b"n") + field(4, b"Unsqueeze") + field(5, field(1, b"axes") + field(8, b"".join(varint(i) for i in range(count))) + field(20, b"\x07", 0)))
    yield case("axes-400000", graph_of(axes(400_000), opset=11), image=True)
    # Every message of two bytes becomes a structure.
    filled = lambda number, count, payload=b"": field(number, payload) * count
    with_node = lambda inner: field(7, field(1, inner)) + written(shown)
    yield case("attributes-499000", with_node(field(4, b"Relu") + filled(5, 499_000)), image=True)
    yield case("attributes-5000000", with_node(field(4, b"Relu") + filled(5, 5_000_000)), image=True)
    yield case("nodes-499000", field(7, filled(1, 499_000)) + written(shown), image=True)
    yield case("tensors-499000", field(7, filled(5, 499_000)) + written(shown), image=True)
    yield case("functions-499000", filled(25, 499_000) + written(shown), image=True)
    yield case("infos-499000", field(7, filled(13, 499_000)) + written(shown), image=True)
    yield case("trainings-499000", filled(20, 499_000) + written(shown), image=True)
    # A group ends what some readers look at, and decoders pass over it.
    group = varint(100 << 3 | 3) + varint(100 << 3 | 4)
    yield case("group", field(7, group) + written(shown), image=True)
    yield case("attributes-behind-a-group", with_node(group + field(4, b"Relu") + filled(5, 3_000_000)), image=True)
    yield case("nodes-behind-a-group", field(7, group + filled(1, 6_000_000)) + written(shown), image=True)
    yield case("groups-in-groups", field(7, varint(100 << 3 | 3) * 100_000) + written(shown), image=True)
    yield case("top-level-groups", group * 10 + written(shown), image=True)
    # Types of maps hold types as their second field.
    dims = filled(1, 8_000_000)
    mapped = field(5, varint(1 << 3) + b"\x07" + field(2, field(1, varint(1 << 3) + b"\x01" + field(2, dims))))
    yield case("dims-in-a-map", field(7, field(13, field(1, b"i") + field(2, mapped))) + written(shown), image=True)
    deep = b""
    for _ in range(2000):
        deep = field(4, field(1, deep))
    yield case("sequences-in-sequences", field(7, field(13, field(1, b"i") + field(2, deep))) + written(shown), image=True)
    deep = b""
    for _ in range(2000):
        deep = field(5, varint(1 << 3) + b"\x07" + field(2, deep))
    yield case("maps-in-maps", field(7, field(13, field(1, b"i") + field(2, deep))) + written(shown), image=True)
    # Numbers of a byte each become numbers of eight.
    yield case("ints-packed", with_node(field(4, b"Relu") + field(5, field(1, b"a") + field(8, bytes(60 << 20)))), image=True)
    yield case("ints-one-by-one", with_node(field(4, b"Relu") + field(5, field(1, b"a") + b"\x40\x00" * (20 << 20))), image=True)
    yield case("dims-packed", field(7, field(5, field(1, b"\x01" * (40 << 20)) + field(8, b"w"))) + written(shown), image=True)
    yield case("strings-400000", with_node(field(4, b"Relu") + field(5, field(1, b"a") + filled(9, 400_000))), image=True)
    yield case("inputs-400000", with_node(field(4, b"Sum") + filled(1, 400_000)), image=True)
    yield case("outputs-200000", graph_of(field(1, field(1, b"x") + b"".join(field(2, f"{i:x}".encode()) for i in range(200_000)) + field(4, b"Split")) + short("Relu", ["x"], ["n"])), image=True)
    yield case("metadata-400000", filled(14, 400_000) + written(shown), image=True)
    yield case("unknown-fields", field(7, filled(90, 2_000_000)) + written(shown), image=True)
    yield case("merged-graphs", field(7, b"") * 300_000 + written(shown), image=True)
    # The longest list that is followed, again and again.
    pieces = [node("Concat", ["k", "k"], ["p0"], axis=0), *(node("Slice", ["p0", "a", "b", "c", "d"], [f"p{i + 1}"]) for i in range(20_000))]
    yield case("slices-20000", classifier(pieces, [ints("k", *range(512)), ints("a", -1), ints("b", INT64_MIN), ints("c", 0), ints("d", -1)]), image=True)


@kind
def order():
    ends, stored = head("b", 3)
    wrong = lambda name, nodes, **more: case(name, model(nodes, [*stored, *more.pop("weights", [])], **more), image=True, refused=RUNTIMES)
    yield wrong("cycle-of-two", [node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), *ends])
    yield wrong("cycle-of-one", [node("Add", ["x", "b"], ["b"]), *ends])
    yield wrong("backwards", [*reversed(ends), node("Relu", ["x"], ["b"])])
    yield wrong("shuffled-5000", random.Random(3).sample([node("Relu", [f"n{i}"], [f"n{i + 1}"]) for i in range(5000)], 5000) + [node("Relu", ["n5000"], ["b"]), *ends])
    yield wrong("undefined-input", [node("Add", ["x", "nowhere"], ["b"]), *ends])
    yield wrong("undefined-output", [node("Relu", ["x"], ["b"]), *ends], outputs=[value("nowhere", FLOAT, [1, 2])])
    yield wrong("written-twice", [node("Relu", ["x"], ["b"]), node("Neg", ["x"], ["b"]), *ends])
    yield wrong("writes-the-input", [node("Relu", ["x"], ["x"]), node("Relu", ["x"], ["b"]), *ends])
    yield wrong("writes-a-weight", [node("Relu", ["x"], ["head.w"]), node("Relu", ["x"], ["b"]), *ends])
    yield wrong("two-inputs-of-one-name", [node("Relu", ["x"], ["b"]), *ends], inputs=[value("x", FLOAT, [1, 3, 8, 8])] * 2)
    yield wrong("two-weights-of-one-name", [node("Relu", ["x"], ["b"]), *ends], weights=[stored[0]])
    yield case("output-is-input", model([], [], outputs=[value("x", FLOAT, [1, 3, 8, 8])]))
    yield case("output-is-input-of-classes", model([], [], inputs=[value("x", FLOAT, [1, 2, 1, 1])], outputs=[value("x", FLOAT, [1, 2, 1, 1])]), image=True)
    yield case("output-is-weight", model([node("Relu", ["x"], ["b"])], [tensor("y", [[1, 2]], "float32")]), image=True)
    yield case("output-twice", network([node("Relu", ["x"], ["b"])], [], 3, "b", outputs=[value("y", FLOAT, [1, 2])] * 2), image=True)
    yield case("output-is-empty-name", model([node("Relu", ["x"], [""])], [], outputs=[value("", FLOAT, [1, 2])]), image=True)
    yield case("no-nodes", model([], []))
    yield case("no-graph", b"\x08\x08\x42\x04\x0a\x00\x10\x11", image=True, refused=ALL)
    yield case("empty-graph", b"\x08\x08\x3a\x00\x42\x04\x0a\x00\x10\x11", image=True, refused=RUNTIMES)
    yield case("node-without-outputs", network([node("Relu", ["x"], []), node("Relu", ["x"], ["b"])], [], 3, "b"), image=True)
    yield case("node-without-anything", network([helper.make_node("", [], []), node("Relu", ["x"], ["b"])], [], 3, "b"), image=True)
    hidden = helper.make_graph([node("Relu", ["b"], ["r"])], "then", [], [value("r", FLOAT, None)])
    yield wrong("cycle-through-a-branch", [node("If", ["yes"], ["b"], then_branch=hidden, else_branch=hidden), *ends], weights=[tensor("yes", True, "bool")])


@kind
def traps():
    """Arithmetic that traps, of constants, which are folded as the file is loaded, and of what the input determines."""
    wide = {"int64": (INT64_MIN, -1), "int32": (-(2**31), -1)}
    bomb = lambda name, nodes, weights=(), **more: case(name, classifier(nodes, weights, "h", **more), image=True)
    cast = node("Cast", ["t"], ["h"], to=FLOAT)
    for of, (least, minus) in wide.items():
        number = TensorProto.INT64 if of == "int64" else TensorProto.INT32
        for op, by in (("Div", minus), ("Div", 0), ("Mod", minus), ("Mod", 0)):
            name = f"{op.lower()}-{of}-by-{by}"
            yield bomb(name, [node(op, ["a", "b"], ["t"]), cast], [tensor("a", [least], of), tensor("b", [by], of)])
            # Casting an infinity gives the least number.
            late = [node("ReduceMax", ["x"], ["m"], keepdims=1), node("Div", ["m", "nought"], ["i"]), node("Cast", ["i"], ["a"], to=number)]
            yield bomb(f"{name}-late", [*late, node(op, ["a", "b"], ["t"]), cast], [tensor("nought", -0.0, "float32"), tensor("b", [by], of)])
    yield bomb("mod-uint8-by-0", [node("Mod", ["a", "b"], ["t"]), cast], [tensor("a", [1], "uint8"), tensor("b", [0], "uint8")])
    yield bomb("fmod-by-0", [node("Mod", ["a", "b"], ["h"], fmod=1)], [floats("a", 1), floats("b", 0)])
    yield bomb("shift-by-200", [node("BitShift", ["a", "b"], ["t"], direction="LEFT"), cast], [tensor("a", [1], "uint64"), tensor("b", [200], "uint64")])
    yield bomb("power", [node("Pow", ["a", "b"], ["t"]), cast], [ints("a", 10), ints("b", INT64_MIN)])
    yield bomb("negated", [node("Neg", ["a"], ["t"]), cast], [ints("a", INT64_MIN)])
    yield bomb("absolute", [node("Abs", ["a"], ["t"]), cast], [ints("a", INT64_MIN)])
    for text, scale in (("infinite", numpy.inf), ("nan", numpy.nan), ("zero", 0), ("negative", -1), ("tiny", 1e-45), ("huge", 1e38)):
        yield bomb(f"resize-{text}", [node("Resize", ["x", "", "s"], ["h"])], [floats("s", 1, 1, scale, scale)])
        yield bomb(f"resize-constant-{text}", [node("Resize", ["k", "", "s"], ["h"], mode="linear")], [weight("k", 1, 1, 4, 4), floats("s", 1, 1, scale, scale)])
    yield bomb("resize-cubic", [node("Resize", ["x", "", "s"], ["h"], mode="cubic", cubic_coeff_a=float("nan"))], [floats("s", 1, 1, 2, 2)])
    yield bomb("resize-region", [node("Resize", ["x", "roi", "s"], ["h"], coordinate_transformation_mode="tf_crop_and_resize")],
        [floats("roi", *[numpy.nan] * 8), floats("s", 1, 1, 2, 2)])
    yield bomb("upsample-zero", [node("Upsample", ["x", "s"], ["h"])], [floats("s", 1, 1, 0, 0)], opset=9, ir=4)
    for name, target in (("twice-open", [-1, -1]), ("minus-two", [-2, 96]), ("least", [INT64_MIN, 1]), ("overflow", [2**32, 2**32]), ("zeros", [0, 0, 0, 0, 0]), ("not-whole", [-1, 7])):
        yield bomb(f"reshape-{name}", [node("Reshape", ["x", "s"], ["h"])], [ints("s", *target)])
        yield bomb(f"reshape-constant-{name}", [node("Reshape", ["k", "s"], ["h"])], [weight("k", 192), ints("s", *target)])
    for name, (start, end, step) in {"step-0": (0, 10, 0), "backwards": (0, 10, -1), "least": (INT64_MIN, INT64_MAX, 1), "least-step": (INT64_MAX, INT64_MIN, INT64_MIN), "far": (INT64_MAX - 2, INT64_MAX, INT64_MAX)}.items():
        yield bomb(f"range-{name}", [node("Range", ["a", "b", "c"], ["t"]), cast], [tensor(name, number, "int64") for name, number in zip("abc", (start, end, step))])
    for name, (start, end, step) in {"nan": (0, numpy.nan, 1), "step-nan": (0, 1, numpy.nan), "infinite": (0, numpy.inf, 1), "tiny": (0, 1, 1e-45), "step-0.0": (0, 1, 0)}.items():
        yield bomb(f"range-{name}", [node("Range", ["a", "b", "c"], ["h"])], [tensor(name, number, "float32") for name, number in zip("abc", (start, end, step))])
    for name, (starts, ends, axes, steps) in {"step-0": ([0], [1], [0], [0]), "least": ([INT64_MIN], [INT64_MAX], [0], [INT64_MIN]), "axis": ([0], [1], [9], [1]), "axes-twice": ([0, 0], [1, 1], [1, 1], [1, 1]), "lengths": ([0, 0], [1], [0], [1])}.items():
        given = [ints("a", *starts), ints("b", *ends), ints("c", *axes), ints("d", *steps)]
        yield bomb(f"slice-{name}", [node("Slice", ["x", "a", "b", "c", "d"], ["h"])], given)
    single = lambda name, op, weights=(), inputs=("x",), outputs=("h",), **attributes: bomb(name, [node(op, list(inputs), list(outputs), **attributes)], weights)
    yield single("tile-negative", "Tile", [ints("s", 1, 1, -1, 1)], ("x", "s"))
    yield single("tile-overflow", "Tile", [ints("s", 1, 1, 2**62, 4)], ("x", "s"))
    yield single("expand-negative", "Expand", [ints("s", 1, 3, -8, 8)], ("x", "s"))
    yield single("of-negative-shape", "ConstantOfShape", [ints("s", -5)], ("s",))
    yield single("pad-negative", "Pad", [ints("s", 0, 0, -9, 0, 0, 0, -9, 0)], ("x", "s"))
    yield single("pad-least", "Pad", [ints("s", 0, 0, INT64_MIN, 0, 0, 0, INT64_MIN, 0)], ("x", "s"))
    yield single("pad-reflect-far", "Pad", [ints("s", 0, 0, 1000, 0, 0, 0, 0, 0)], ("x", "s"), mode="reflect")
    yield single("pad-wrap-empty", "Pad", [weight("k", 0, 3), ints("s", 5, 0, 5, 0)], ("k", "s"), mode="wrap")
    yield single("gather-outside", "Gather", [ints("i", 99)], ("x", "i"))
    yield single("gather-least", "Gather", [weight("k", 4, 4), ints("i", INT64_MIN)], ("k", "i"))
    yield single("gather-elements-outside", "GatherElements", [tensor("i", [[[[10**9]]]], "int64")], ("x", "i"), axis=3)
    yield single("gather-nd-outside", "GatherND", [tensor("i", [[0, 5, 5, 5]], "int64")], ("x", "i"))
    yield single("scatter-nd-outside", "ScatterND", [weight("k", 4), tensor("i", [[2**40]], "int64"), floats("u", 1)], ("k", "i", "u"))
    yield single("scatter-elements-outside", "ScatterElements", [weight("k", 4), ints("i", -5), floats("u", 1)], ("k", "i", "u"))
    yield single("one-hot-negative", "OneHot", [ints("i", 1), tensor("d", -5, "int64"), floats("v", 0, 1)], ("i", "d", "v"))
    yield single("top-k-negative", "TopK", [ints("k", -1)], ("x", "k"), ("h", "i"))
    yield single("top-k-large", "TopK", [ints("k", 2**40)], ("x", "k"), ("h", "i"))
    yield single("split-wrong", "Split", [ints("s", 5, -2)], ("x", "s"), ("h", "o"), axis=1)
    yield single("split-overflow", "Split", [ints("s", INT64_MAX, INT64_MAX - 1)], ("x", "s"), ("h", "o"), axis=1)
    yield single("transpose-twice", "Transpose", perm=[0, 0, 1, 1])
    yield single("transpose-outside", "Transpose", perm=[0, 1, 2, 99])
    yield single("unsqueeze-twice", "Unsqueeze", [ints("a", 1, 1)], ("x", "a"))
    yield single("unsqueeze-far", "Unsqueeze", [ints("a", INT64_MAX)], ("x", "a"))
    yield single("squeeze-wrong", "Squeeze", [ints("a", 1)], ("x", "a"))
    yield single("squeeze-twice", "Squeeze", [weight("k", 1, 4), ints("a", 0, 0, -2)], ("k", "a"))
    yield single("concat-axis", "Concat", inputs=("x", "x"), axis=INT64_MIN)
    yield single("concat-nothing", "Concat", inputs=(), axis=0)
    yield single("flatten-axis", "Flatten", axis=INT64_MIN)
    yield single("softmax-axis", "Softmax", axis=77)
    yield single("cumsum-axis", "CumSum", [tensor("a", 99, "int64")], ("x", "a"))
    yield single("blocks-0", "DepthToSpace", blocksize=0)
    yield single("blocks-far", "SpaceToDepth", blocksize=INT64_MAX)
    yield single("norm-of-0", "LRN", size=0)
    yield single("pool-kernel-0", "MaxPool", kernel_shape=[0, 0])
    yield single("pool-stride-0", "MaxPool", kernel_shape=[2, 2], strides=[0, 0])
    yield single("pool-pads", "AveragePool", kernel_shape=[2, 2], pads=[9, 9, 9, 9])
    yield single("pool-pads-overflow", "AveragePool", kernel_shape=[2, 2], pads=[INT64_MAX] * 4)
    yield single("pool-pads-negative", "MaxPool", kernel_shape=[2, 2], pads=[-4, -4, -4, -4])
    yield single("pool-rank", "MaxPool", kernel_shape=[2] * 9)
    yield single("lp-pool-0", "LpPool", kernel_shape=[2, 2], p=0)
    kernel = [weight("w", 3, 3, 3, 3)]
    for name, attributes in {"group-0": {"group": 0}, "group-negative": {"group": -1}, "group-far": {"group": INT64_MAX}, "stride-0": {"strides": [0, 0]}, "stride-least": {"strides": [INT64_MIN] * 2},
            "dilation-0": {"dilations": [0, 0]}, "dilation-negative": {"dilations": [-1, -1]}, "kernel": {"kernel_shape": [9, 9]}, "pads-least": {"pads": [INT64_MIN] * 4}, "pads-few": {"pads": [1]},
            "auto-pad": {"auto_pad": "SOME"}, "strides-many": {"strides": [1] * 1000}}.items():
        yield single(f"conv-{name}", "Conv", kernel, ("x", "w"), **attributes)
        if name in ("group-0", "stride-0", "pads-least", "dilation-negative"):
            yield single(f"transposed-{name}", "ConvTranspose", kernel, ("x", "w"), **attributes)
    yield single("transposed-output-padding", "ConvTranspose", kernel, ("x", "w"), output_padding=[INT64_MAX, INT64_MAX])
    yield single("transposed-output-shape", "ConvTranspose", kernel, ("x", "w"), output_shape=[-1, -1])
    yield single("conv-empty-kernel", "Conv", [weight("w", 0, 3, 3, 3)], ("x", "w"))
    yield single("conv-of-nothing", "Conv", [weight("w", 3, 3, 0, 0)], ("x", "w"))
    yield single("groups-0", "InstanceNormalization", [weight("s", 0), weight("b", 0)], ("x", "s", "b"))
    yield bomb("group-normalization-0", [node("GroupNormalization", ["x", "s", "b"], ["h"], num_groups=0)], [weight("s", 3), weight("b", 3)], opset=21, ir=10)
    yield bomb("layer-normalization-axis", [node("LayerNormalization", ["x", "s"], ["h"], axis=-99)], [weight("s", 8)])
    yield single("batch-normalization-short", "BatchNormalization", [weight("s", 1), weight("v", 1)], ("x", "s", "s", "s", "v"))
    yield single("einsum-empty", "Einsum", inputs=("x",), equation="")
    yield single("einsum-many", "Einsum", inputs=("x",), equation="," * 5000 + "->")
    yield single("einsum-letters", "Einsum", inputs=("x",), equation="\N{SNOWMAN}bcd->b")
    yield single("lstm-0", "LSTM", [weight("w", 1, 0, 8), weight("r", 1, 0, 0)], ("x", "w", "r"), hidden_size=0)
    yield single("lstm-negative", "LSTM", [weight("w", 1, 4, 8), weight("r", 1, 4, 1)], ("x", "w", "r"), hidden_size=-1)
    yield single("roi-0", "RoiAlign", [weight("b", 1, 4), ints("i", 99)], ("x", "b", "i"), output_height=0, output_width=-1)
    yield bomb("quantised-axis", [node("DequantizeLinear", ["q", "s"], ["h"], axis=99)], [tensor("q", numpy.zeros((4, 4)), "int8"), weight("s", 4)])
    yield bomb("quantised-blocks-0", [node("DequantizeLinear", ["q", "s"], ["h"], block_size=-1)], [tensor("q", numpy.zeros((4, 4)), "int8"), weight("s", 4, 4)], opset=21, ir=10)
    yield bomb("microsoft-bits", [node("MatMulNBits", ["x", "q", "s"], ["h"], domain="com.microsoft", K=8, N=2**40, bits=4, block_size=0)],
        [tensor("q", numpy.zeros((2, 1, 16)), "uint8"), weight("s", 2)], domains=["com.microsoft"])
    yield bomb("microsoft-attention", [node("Attention", ["k", "w", "b"], ["h"], domain="com.microsoft", num_heads=0)],
        [weight("k", 1, 2, 4), weight("w", 4, 12), weight("b", 12)], domains=["com.microsoft"])
    yield bomb("cast-of-nan", [node("Cast", ["k"], ["s"], to=INT64), node("ConstantOfShape", ["s"], ["h"])], [floats("k", numpy.nan)])
    yield bomb("cast-of-infinity", [node("Cast", ["k"], ["s"], to=INT64), node("ConstantOfShape", ["s"], ["h"])], [floats("k", numpy.inf)])
    yield single("cast-to-nothing", "Cast", to=0)
    yield single("cast-to-unknown", "Cast", to=9999)
    yield single("string-to-number", "Cast", [tensor("k", ["one", "1e999", "-"], object)], ("k",), to=FLOAT)


@kind
def functions():
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    function = lambda name, nodes, inputs=("a",), outputs=("b",): helper.make_function("own", name, list(inputs), list(outputs), nodes, imports)
    call = lambda name, inputs, outputs: node(name, inputs, outputs, domain="own")

    def calling(name, functions, called="F0", **more):
        nodes = more.pop("nodes", [call(called, ["x"], ["c"])])
        return case(name, network(nodes, more.pop("weights", []), 3, "c", domains=["own"], functions=functions), image=True, **more)

    twice = lambda levels: [function(f"F{i}", [call(f"F{i + 1}", ["a"], ["m"]), call(f"F{i + 1}", ["m"], ["b"])]) for i in range(levels)] + [function(f"F{levels}", [node("Relu", ["a"], ["b"])])]
    for levels in (3, 14, 20, 40, 60):
        yield calling(f"doubled-{levels}", twice(levels))
    chain = [function(f"F{i}", [call(f"F{i + 1}", ["a"], ["b"])]) for i in range(3000)] + [function("F3000", [node("Relu", ["a"], ["b"])])]
    yield calling("chain-3000", chain)
    yield calling("calls-itself", [function("F0", [call("F0", ["a"], ["b"])])], refused=RUNTIMES)
    yield calling("call-each-other", [function("F0", [call("F1", ["a"], ["b"])]), function("F1", [call("F0", ["a"], ["b"])])], refused=RUNTIMES)
    yield calling("missing", [], refused=RUNTIMES)
    yield calling("without-results", [function("F0", [], (), ())])
    yield calling("two-of-one-name", [function("F0", [node("Relu", ["a"], ["b"])]), function("F0", [node("Neg", ["a"], ["b"])])])
    yield calling("reads-outside", [function("F0", [node("Add", ["a", "head.w"], ["b"])])], refused=RUNTIMES)
    yield calling("cycle-inside", [function("F0", [node("Add", ["a", "d"], ["b"]), node("Relu", ["b"], ["d"])])], refused=RUNTIMES)
    yield calling("empty-name", [function("", [node("Relu", ["a"], ["b"])])], called="")
    standard = helper.make_function("", "Relu", ["a"], ["b"], [node("Neg", ["a"], ["b"])], [helper.make_opsetid("", 17)])
    yield case("of-the-standard", network([node("Relu", ["x"], ["c"])], [], 3, "c", functions=[standard]), image=True)
    many = [function(f"G{i}", [node("Relu", ["a"], ["b"])]) for i in range(5000)]
    yield calling("unused-5000", [*many, function("F0", [node("Relu", ["a"], ["b"])])])
    big = function("F0", [node("Constant", [], ["k"], value_ints=[2**40]), node("ConstantOfShape", ["k"], ["z"]), node("Add", ["a", "z"], ["b"])])
    yield calling("with-a-bomb", [big])
    referring = helper.make_node("ConstantOfShape", ["k"], ["z"])
    referring.attribute.add(name="value", type=onnx.AttributeProto.TENSOR, ref_attr_name="absent")
    yield calling("refers-to-nothing", [function("F0", [node("Shape", ["a"], ["k"]), referring, node("Add", ["a", "z"], ["b"])])])


@kind
def nested():
    def branches(depth, wide=1):
        """Branches in branches."""
        inner = helper.make_graph([node("Relu", ["x"], ["d0"])], "g", [], [value("d0", FLOAT, None)])
        for level in range(1, depth + 1):
            nodes = [node("If", ["yes"], [f"d{level}" if i == 0 else f"d{level}_{i}"], then_branch=inner, else_branch=inner if wide > 1 else flat(level)) for i in range(1)]
            inner = helper.make_graph(nodes, "g", [], [value(f"d{level}", FLOAT, None)])
        return inner

    def flat(level):
        return helper.make_graph([node("Neg", ["x"], [f"e{level}"])], "g", [], [value(f"e{level}", FLOAT, None)])

    yes = tensor("yes", True, "bool")
    for depth in (3, 10, 14, 20, 24, 30):
        inner = branches(depth)
        nodes = [node("If", ["yes"], ["c"], then_branch=inner, else_branch=flat(0))]
        yield case(f"branches-{depth}", network(nodes, [yes], 3, "c"), image=True)
    wide = branches(12, wide=2)
    yield case("branches-doubled-12", network([node("If", ["yes"], ["c"], then_branch=wide, else_branch=wide)], [yes], 3, "c"), image=True)
    # Deeper than a decoder would write it: graph, node, attribute, again and again.
    for depth in (64, 200, 5000):
        inner = b""
        for _ in range(depth):
            inner = field(1, field(4, b"If") + field(5, field(1, b"then_branch") + field(6, inner)))
        yield case(f"graphs-{depth}", field(7, inner) + written(classifier()), image=True)
        inner = b""
        for _ in range(depth):
            inner = field(1, field(4, b"If") + field(5, field(1, b"graphs") + field(11, inner)))
        yield case(f"lists-of-graphs-{depth}", field(7, inner) + written(classifier()), image=True)
    def loops(depth):
        inner = [node("Relu", [f"v{depth}"], [f"w{depth}"])]
        for level in range(depth, 0, -1):
            inputs = [value(f"i{level}", INT64, []), value(f"k{level}", TensorProto.BOOL, []), value(f"v{level}", FLOAT, None)]
            outputs = [value(f"o{level}", TensorProto.BOOL, []), value(f"w{level}", FLOAT, None)]
            body = helper.make_graph([node("Identity", [f"k{level}"], [f"o{level}"]), *inner], "g", inputs, outputs)
            inner = [node("Loop", ["n", "", f"v{level - 1}"], [f"w{level - 1}"], body=body)]
        return inner
    for depth in (2, 8):
        yield case(f"loops-{depth}", network([node("Identity", ["x"], ["v0"]), *loops(depth)], [tensor("n", 100, "int64")], 3, "w0"), image=True)
    shadow = helper.make_graph([node("Relu", ["x"], ["x2"])], "g", [value("x", FLOAT, [1])], [value("x2", FLOAT, None)])
    yield case("branch-with-inputs", network([node("If", ["yes"], ["c"], then_branch=shadow, else_branch=shadow)], [yes], 3, "c"), image=True)
    yield case("branch-missing", network([node("If", ["yes"], ["c"])], [yes], 3, "c"), image=True, refused=RUNTIMES)
    bomb = helper.make_graph([node("Constant", [], ["k"], value_ints=[2**40]), node("ConstantOfShape", ["k"], ["z"])], "g", [], [value("z", FLOAT, None)])
    yield case("bomb-in-a-branch", network([node("If", ["yes"], ["b"], then_branch=bomb, else_branch=bomb), node("ReduceMax", ["b"], ["m"], keepdims=0), node("Add", ["x", "m"], ["c"])], [yes], 3, "c"), image=True)


@kind
def elsewhere():
    """Weights in files that are not the model's."""

    def away(name, location, offset=None, length=8, *more, prepare=None, place="initializer", refused=RUNTIMES, dims=(1, 2), of="float32"):
        def write(folder):
            (folder.parent / "secret.bin").write_bytes(SECRET.tobytes())
            if prepare:
                prepare(folder)
            outside = str(folder.parent / "secret.bin")
            stored = tensor("k", numpy.zeros(dims), of)
            external(stored, location.replace("SECRET", outside), offset, length, *more)
            if place == "initializer":
                model_ = classifier([], [stored], "k")
            elif place == "constant":
                model_ = classifier([node("Constant", [], ["k"], value=stored)], [], "k")
            elif place == "sparse":
                sparse = onnx.SparseTensorProto(values=stored, indices=ints("", 0, 1), dims=[1, 2])
                stored.dims[:] = [2]
                model_ = classifier([node("Constant", [], ["k"], sparse_value=sparse)], [], "k")
            elif place == "sparse-initializer":
                stored.dims[:] = [2]
                model_ = classifier([], [], "k")
                model_.graph.sparse_initializer.append(onnx.SparseTensorProto(values=stored, indices=ints("", 0, 1), dims=[1, 2]))
            elif place == "branch":
                inner = helper.make_graph([node("Identity", ["k"], ["r"])], "g", [], [value("r", FLOAT, None)], [stored])
                model_ = classifier([node("If", ["yes"], ["h"], then_branch=inner, else_branch=inner)], [tensor("yes", True, "bool")], "h")
            elif place == "function":
                function = helper.make_function("own", "F", ["a"], ["b"], [node("Constant", [], ["k"], value=stored), node("Add", ["a", "k"], ["b"])], [helper.make_opsetid("", 17)])
                model_ = classifier([node("ReduceMax", ["x"], ["m"], keepdims=0), node("F", ["m"], ["h"], domain="own")], [], "h", domains=["own"], functions=[function])
            elif place == "function-default":
                inner = [node("Add", ["a", "k"], ["b"])]
                constant = helper.make_node("Constant", [], ["k"])
                constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR, ref_attr_name="w")
                function = helper.make_function("own", "F", ["a"], ["b"], [constant, *inner], [helper.make_opsetid("", 17)], attribute_protos=[helper.make_attribute("w", stored)])
                model_ = classifier([node("ReduceMax", ["x"], ["m"], keepdims=0), node("F", ["m"], ["h"], domain="own")], [], "h", domains=["own"], functions=[function], ir=9)
            else:
                model_ = classifier([node("ConstantOfShape", ["s"], ["k"], value=stored)], [ints("s", 1, 2)], "k")
                stored.dims[:] = [1]
            (folder / "model.onnx").write_bytes(written(model_))

        return case(name, write, image=True, refused=refused)

    def linked(target):
        return lambda folder: (folder / "link.bin").symlink_to(target(folder))

    yield away("absolute", "SECRET")
    yield away("parent", "../secret.bin")
    yield away("parent-behind-a-folder", "sub/../../secret.bin", prepare=lambda folder: (folder / "sub").mkdir())
    yield away("parent-behind-nothing", "nowhere/../../secret.bin")
    yield away("link", "link.bin", prepare=linked(lambda folder: folder.parent / "secret.bin"))
    yield away("link-to-a-folder", "sub/secret.bin", prepare=lambda folder: (folder / "sub").symlink_to(folder.parent))
    yield away("link-in-a-circle", "link.bin", prepare=linked(lambda folder: folder / "link.bin"))
    yield away("link-to-a-device", "link.bin", prepare=linked(lambda _: "/dev/zero"))
    yield away("device", "/dev/zero")
    yield away("terminal", "/dev/stdin")
    yield away("process", "/proc/self/environ")
    yield away("pipe", "pipe.bin", prepare=lambda folder: os.mkfifo(folder / "pipe.bin"))
    yield away("socket", "socket.bin", prepare=lambda folder: bound(folder / "socket.bin"))
    yield away("folder", "sub", prepare=lambda folder: (folder / "sub").mkdir())
    yield away("itself", "model.onnx", 0, 8, refused=())
    yield away("missing", "nowhere.bin")
    yield away("empty-location", "")
    yield away("nul", "weights.bin\0/../../secret.bin")
    yield away("backslash", "..\\secret.bin")
    yield away("url", "file:///etc/passwd")
    yield away("escape", "\x1b[2Jerror: forged\nerror: forged by the file")
    yield away("memory", "*/_ORT_MEM_ADDR_/*", 0)
    yield away("memory-of-the-program", "*/_ORT_MEM_ADDR_/*", 0x400000)
    yield away("memory-high", "*/_ORT_MEM_ADDR_/*", 2**63 + 4096)
    here = lambda folder: (folder / "weights.bin").write_bytes(SECRET.tobytes())
    yield away("second-location", "weights.bin", None, 8, ("location", "../secret.bin"), prepare=here)
    yield away("second-location-first", "../secret.bin", None, 8, ("location", "weights.bin"), prepare=here)
    yield away("second-offset", "weights.bin", 0, 8, ("offset", 4096), prepare=here, refused=())
    yield away("negative-offset", "weights.bin", -8, 8, prepare=here)
    yield away("far-offset", "weights.bin", INT64_MAX, 8, prepare=here)
    yield away("far-offset-that-wraps", "weights.bin", 2**64 - 8, 8, prepare=here)
    yield away("text-offset", "weights.bin", "0x0", 8, prepare=here)
    yield away("short-file", "weights.bin", 0, 8, prepare=lambda folder: (folder / "weights.bin").write_bytes(b"1234"))
    yield away("wrong-length", "weights.bin", 0, 4, prepare=here)
    yield away("long-length", "weights.bin", 0, 2**40, prepare=here)
    yield away("name-of-10000", "w" * 10_000)
    yield away("hole-of-a-terabyte", "hole.bin", 0, 2**40, prepare=lambda folder: hole(folder / "hole.bin", 2**40), dims=(0,), refused=())
    for place in ("constant", "sparse", "sparse-initializer", "branch", "function", "function-default", "attribute"):
        yield away(f"parent-in-{place}", "../secret.bin", place=place)
        yield away(f"memory-in-{place}", "*/_ORT_MEM_ADDR_/*", 0x400000, place=place)
    yield away("absolute-in-function", "SECRET", place="function")
    yield away("device-in-function", "/dev/zero", place="function")

    def inconsistent(folder):
        (folder.parent / "secret.bin").write_bytes(SECRET.tobytes())
        stored = tensor("k", [[1, 2]], "float32")
        stored.external_data.add(key="location", value="../secret.bin")
        (folder / "model.onnx").write_bytes(written(classifier([], [stored], "k")))

    yield case("values-and-a-location", inconsistent, image=True)

    def through_a_link(folder):
        (folder / "sub").mkdir()
        (folder / "sub" / "weights.bin").write_bytes(SECRET.tobytes())
        stored = tensor("k", [[0, 0]], "float32")
        external(stored, "weights.bin", None, 8)
        (folder / "sub" / "real.onnx").write_bytes(written(classifier([], [stored], "k")))
        (folder / "model.onnx").symlink_to("sub/real.onnx")

    yield case("model-is-a-link", through_a_link, image=True)


def bound(path):
    """A socket that nobody listens on. Its address is relative, since addresses are short."""
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        of = socket.socket(socket.AF_UNIX)
        of.bind(path.name)
        of.close()
    finally:
        os.chdir(here)


def hole(path, size):
    with open(path, "wb") as file:
        file.truncate(size)


@kind
def names():
    long = "n" * 70_000
    texts = {"forged": FORGED, "long": long, "newline": "a\nerror: forged by the file", "turned": "a\u202eb\u2066c", "c1": "a\u009b2Jb\u0085c", "nul": "a\0b"}

    def placed(place, text):
        nodes = [node("Relu", ["x"], ["c"])]
        of = network(nodes, [], 3, "c")
        first = of.graph.node[0]
        if place == "node":
            first.name = text
        elif place == "unknown-op":
            first.op_type = text
        elif place == "domain":
            first.domain = text
            of.opset_import.add(domain=text, version=1)
        elif place == "tensor":
            first.output[0] = of.graph.node[1].input[0] = text
        elif place == "input":
            first.input[0] = of.graph.input[0].name = text
        elif place == "output":
            of.graph.node[-1].output[0] = of.graph.output[0].name = text
        elif place == "weight":
            of.graph.initializer[0].name = of.graph.node[-1].input[1] = text
        elif place == "undefined":
            first.input[0] = text
        elif place == "classes":
            helper.set_model_props(of, {"adwp.classes": json.dumps([text, "b"])})
        elif place == "metadata":
            helper.set_model_props(of, {text: text, "adwp.dataset": text, "adwp.mean": text})
        elif place == "producer":
            of.producer_name = of.producer_version = of.doc_string = of.domain = of.graph.name = text
        elif place == "dimension":
            of.graph.input[0].type.tensor_type.shape.dim[0].dim_param = text
        elif place == "open-dimension":
            of.graph.input[0].type.tensor_type.shape.dim[2].dim_param = text
        elif place == "attribute":
            first.attribute.add(name=text, type=onnx.AttributeProto.INT, i=1)
        elif place == "auto-pad":
            of = network([node("Conv", ["x", "w"], ["c"], auto_pad=text)], [weight("w", 3, 3, 1, 1)], 3, "c")
        elif place == "location":
            external(of.graph.initializer[0], text)
        elif place == "left-out":
            of = network([node("Mul", ["x", text], ["c"], text)], [weight(text, 3, 1, 1)], 3, "c")
        elif place == "peak":
            of = network([node("Concat", ["x", "x"], ["k"], text, axis=2), node("Relu", ["k"], ["c"])], [], 3, "c")
        return of

    for place in ("node", "unknown-op", "domain", "tensor", "input", "output", "weight", "undefined", "classes", "metadata", "producer", "dimension", "open-dimension", "attribute", "auto-pad", "location", "left-out", "peak"):
        for name, text in texts.items():
            if name in ("forged", "long") or place in ("node", "unknown-op", "classes", "undefined"):
                yield case(f"{place}-{name}", placed(place, text), image=True)
    # What is not UTF-8 takes the place of as many letters.
    for place in ("node", "unknown-op", "tensor", "classes", "producer", "input"):
        whole = written(placed(place, "QQQQ"))
        yield case(f"{place}-not-utf-8", whole.replace(b"QQQQ", b"\xff\x1b\xfe\n"), image=True)
        if place in ("node", "tensor"):
            yield case(f"{place}-surrogate", whole.replace(b"QQQQ", b"\xed\xa0\x80Q"), image=True)
    for name, file in {"forged": "x\nerror: forged by the name.onnx", "escape": "\x1b[2J\r\u202e.onnx", "not-utf-8": os.fsdecode(b"\xff\xfe.onnx"), "long": "f" * 250 + ".onnx"}.items():
        yield case(f"file-{name}", small(), image=True, file=file)
        yield case(f"damaged-file-{name}", written(small())[:-1], image=True, file=file)
    yield case("all-of-a-megabyte", placed("node", "m" * (1 << 20)), image=True)
    yield case("unknown-of-a-megabyte", placed("unknown-op", "m" * (1 << 20)), image=True)


@kind
def ends():
    """Inputs and outputs of odd shapes and types."""
    types = TensorProto
    given = lambda shape, kind=FLOAT: [value("x", kind, shape)]
    take = lambda name, inputs, **more: case(name, network([], [], 3, "x", inputs=inputs, outputs=more.pop("outputs", None)), image=True, **more)
    for name, shape in {"input-enormous": [1, 3, 2**31, 2**31], "input-batch": [2**40, 3, 8, 8], "input-batch-2-31": [2**31, 3, 8, 8], "input-wide": [1, 3, 100_000, 100_000], "input-large": [1, 3, 20_000, 20_000], "input-most": [1, 3, INT64_MAX, 8], "input-channels": [1, 2**30, 8, 8],
            "input-negative": [1, 3, -8, 8], "input-least": [INT64_MIN] * 4, "input-zero": [1, 3, 0, 8], "input-no-images": [0, 3, 8, 8], "input-rank-0": [], "input-rank-2": [1, 192], "input-rank-100": [1] * 100, "input-unknown": None, "input-open": ["N", "C", "H", "W"]}.items():
        yield take(name, given(shape))
    for name, number in {"string": types.STRING, "bool": types.BOOL, "complex64": types.COMPLEX64, "int4": types.INT4, "float8": types.FLOAT8E4M3FN, "bfloat16": types.BFLOAT16, "double": types.DOUBLE, "int64": types.INT64, "undefined": 0, "unknown": 999, "negative": -1, "uint8": types.UINT8}.items():
        yield take(f"input-of-{name}", given([1, 3, 8, 8], number))
        yield take(f"output-of-{name}", None, outputs=[value("y", number, [1, 2])])
    for name, shape in {"output-enormous": [1, 2**40], "output-of-thousand": [1, 1000], "output-of-million": [1, 10**6], "output-batch": [2**40, 2], "output-negative": [1, -2], "output-zero": [1, 0], "output-rank-0": [], "output-rank-4": [1, 2, 1, 1], "output-unknown": None, "output-open": ["N", "M"]}.items():
        yield take(name, None, outputs=[value("y", FLOAT, shape)])
    typeless = network([], [], 3, "x")
    typeless.graph.input[0].ClearField("type")
    yield case("input-without-type", typeless, image=True)
    typeless = network([], [], 3, "x")
    typeless.graph.output[0].ClearField("type")
    yield case("output-without-type", typeless, image=True)
    yield case("no-inputs", model([node("Constant", [], ["y"], value=tensor("", [[1, 2]], "float32"))], [], inputs=[]), image=True)
    yield case("no-outputs", model([node("Relu", ["x"], ["r"])], [], outputs=[]), image=True, refused=RUNTIMES)
    yield take("thousand-inputs", [*given([1, 3, 8, 8]), *(value(f"i{i}", FLOAT, [1]) for i in range(1000))])
    for name, of in {"sequence": helper.make_tensor_sequence_value_info("x", FLOAT, [1, 3, 8, 8]),
            "optional": helper.make_value_info("x", helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, [1, 3, 8, 8]))),
            "map": helper.make_value_info("x", helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, [1]))),
            "sparse": helper.make_value_info("x", helper.make_sparse_tensor_type_proto(FLOAT, [1, 3, 8, 8]))}.items():
        yield take(f"input-is-{name}", [of])
    yield case("output-is-sequence", model([node("SequenceConstruct", ["x"], ["y"])], [], outputs=[helper.make_tensor_sequence_value_info("y", FLOAT, None)]), image=True)
    # What the file says of its output is not so.
    yield case("output-not-as-said", network([node("Concat", ["x", "x"], ["c"], axis=0)], [], 3, "c"), image=True)
    yield case("output-of-other-classes", model([node("GlobalAveragePool", ["x"], ["p"]), node("Flatten", ["p"], ["y"])], []), image=True)
    lying = network([node("Relu", ["x"], ["c"])], [], 3, "c", value_info=[value("c", types.INT64, [7, 2**31, 5])])
    yield case("said-in-between", lying, image=True)
    lying = network([node("Odd", ["x"], ["c"], domain="own")], [], 3, "c", value_info=[value("c", FLOAT, [2**31, 2**31, 2**31, 5])], domains=["own"])
    yield case("said-of-the-unknown", lying, image=True)


@kind
def versions():
    plain = lambda **more: network([node("Relu", ["x"], ["c"])], [], 3, "c", **more)
    for opset in (0, 1, 6, 29, 1000, -1, INT64_MIN, INT64_MAX):
        yield case(f"opset-{opset}", plain(opset=opset), image=True)
    for ir in (0, 1, 2, 999, -1, INT64_MAX):
        yield case(f"ir-{ir}", plain(ir=ir), image=True)
    of = plain()
    of.opset_import.add(domain="", version=9)
    yield case("opset-twice", of, image=True)
    of = plain()
    of.opset_import.add(domain="ai.onnx", version=7)
    yield case("opset-by-both-names", of, image=True)
    of = plain()
    del of.opset_import[:]
    yield case("no-opset", of, image=True)
    of.opset_import.add(domain="com.microsoft", version=1)
    yield case("another-opset", of, image=True, refused=RUNTIMES)
    of = plain()
    of.ClearField("ir_version")
    yield case("no-ir", of, image=True)
    of = plain()
    of.opset_import.extend(helper.make_opsetid(f"d{i}", 1) for i in range(50_000))
    yield case("opsets-50000", of, image=True)
    yield case("newest-operator", network([node("Attention", ["q", "q", "q"], ["k"], q_num_heads=0, kv_num_heads=0), node("Reshape", ["k", "s"], ["c"])], [weight("q", 1, 8, 24), ints("s", 1, 3, 8, 8)], 3, "c", opset=23, ir=11), image=True)


@kind
def tensors():
    """Stored tensors that are not what their type and dimensions say."""

    def stored(name, change, dims=(3, 2), of="float32", **more):
        model_ = network([], [], 3, "x")
        # The first is what the result is computed with.
        change(model_.graph.initializer[0])
        return case(name, model_, image=True, **more)

    def raw(bytes_):
        def change(of):
            of.raw_data = bytes_

        return change

    yield stored("raw-short", raw(bytes(23)), refused=ALL)
    yield stored("raw-long", raw(bytes(28)), refused=ALL)
    yield stored("raw-empty", raw(b""), refused=ALL)
    yield stored("raw-and-numbers", lambda of: of.float_data.extend([1.0] * 6))
    yield stored("segment", lambda of: (of.segment.__setattr__("begin", 0), of.segment.__setattr__("end", 2**40)))

    def retyped(kind, clear=True):
        def change(of):
            of.data_type = kind
            if clear:
                of.ClearField("raw_data")

        return change

    for name, number in {"undefined": 0, "unknown": 999, "negative": -1, "string": TensorProto.STRING, "complex64": TensorProto.COMPLEX64, "complex128": TensorProto.COMPLEX128, "int4": TensorProto.INT4, "uint4": TensorProto.UINT4, "float4": 23, "uint2": 25, "float6": 27, "float8": TensorProto.FLOAT8E5M2, "e8m0": 24, "bfloat16": TensorProto.BFLOAT16}.items():
        yield stored(f"of-{name}", retyped(number, clear=False), refused=RUNTIMES)
        yield stored(f"of-{name}-without-values", retyped(number), refused=RUNTIMES)

    def sized(*dims, clear=False, number=None):
        def change(of):
            of.dims[:] = dims
            if clear:
                of.ClearField("raw_data")
            if number is not None:
                of.data_type = number

        return change

    for name, dims in {"negative": [-3, 2], "least": [INT64_MIN, INT64_MIN], "overflow": [2**32, 2**32], "wraps": [2**63 - 1, 2, 3], "enormous": [2**40], "zero": [0, 2], "zero-and-enormous": [0, 2**40], "rank-1000": [1] * 1000}.items():
        yield stored(f"dims-{name}", sized(*dims), refused=RUNTIMES)
        yield stored(f"dims-{name}-without-values", sized(*dims, clear=True), refused=RUNTIMES)
    # Without values, nothing of their length is looked at: such a tensor could claim any size.
    for name, number in {"int4": TensorProto.INT4, "uint2": 25, "string": TensorProto.STRING, "complex64": TensorProto.COMPLEX64, "undefined": 0}.items():
        def claim(of, number=number):
            sized(2**20, 2**19, clear=True, number=number)(of)

        yield stored(f"claims-{name}", claim, refused=ALL)
        large = TensorProto(name="unused", data_type=number, dims=[2**20, 2**19])
        yield case(f"claims-unused-{name}", network([], [large], 3, "x"), image=True, refused=("cost",))
    # Below a byte, and an odd number of them.
    for name, number, bits in (("int4", TensorProto.INT4, 4), ("uint4", TensorProto.UINT4, 4)):
        for extra in (-1, 0, 1, 5):
            count = (27 * bits + 7) // 8 + extra
            packed = TensorProto(name="w", data_type=number, dims=[3, 3, 3, 1], raw_data=bytes(count))
            nodes = [node("DequantizeLinear", ["w", "s"], ["d"]), node("Conv", ["x", "d"], ["c"])]
            yield case(f"{name}-odd{extra:+}", network(nodes, [packed, tensor("s", 0.1, "float32")], 3, "c", opset=21, ir=10), image=True,
                **({"accepted": ("cost",), "counts": {"madds": 27 * 48 + 6, "params": 27 + 8}} if extra == 0 else {}), refused=("cost",) if extra == -1 else ())
    for name, number in {"nan": numpy.nan, "infinity": numpy.inf, "minus-infinity": -numpy.inf}.items():
        yield stored(f"weights-{name}", raw(struct.pack("<6f", *[number] * 6)), refused=("predict", "eval"))
    yield stored("weights-large", raw(struct.pack("<6f", *[3.4e38] * 6)))
    yield stored("weights-subnormal", raw(struct.pack("<6f", *[1e-45] * 6)))
    yield case("nan-within", network([node("Neg", ["x"], ["m"]), node("Sub", ["m", "one"], ["n"]), node("Log", ["n"], ["c"])], [tensor("one", 9.0, "float32")], 3, "c"), image=True, refused=("predict", "eval"))
    yield case("nan-then-argmax", network([node("Constant", [], ["k"], value_float=float("nan")), node("Add", ["x", "k"], ["n"]), node("ArgMax", ["n"], ["a"], axis=1), node("Cast", ["a"], ["c"], to=FLOAT)], [], 1, "c"), image=True)
    nameless = network([], [TensorProto(name="", data_type=FLOAT, dims=[1], raw_data=bytes(4))], 3, "x")
    yield case("nameless", nameless, image=True)
    sparse = lambda values, places, dims: onnx.SparseTensorProto(values=values, indices=places, dims=dims)
    two = tensor("k", [1, 2], "float32")
    for name, of in {"outside": sparse(two, ints("", 0, 99), [1, 2]), "negative": sparse(two, ints("", -1, 1), [1, 2]), "unsorted": sparse(two, ints("", 1, 0), [1, 2]), "twice": sparse(two, ints("", 1, 1), [1, 2]), "enormous": sparse(two, ints("", 0, 1), [2**20, 2**20]),
            "overflow": sparse(two, ints("", 0, 1), [2**40, 2**40]), "negative-dims": sparse(two, ints("", 0, 1), [-1, 2]), "places-short": sparse(two, ints("", 0), [1, 2]), "places-of-floats": sparse(two, floats("", 0, 1), [1, 2]), "without-values": sparse(None, ints("", 0, 1), [1, 2]),
            "without-places": sparse(two, None, [1, 2]), "strings": sparse(tensor("k", ["a", "b"], object), ints("", 0, 1), [1, 2])}.items():
        result = classifier([], [], "k")
        result.graph.sparse_initializer.append(of)
        yield case(f"sparse-{name}", result, image=True, refused=RUNTIMES if name in ("outside", "negative", "overflow", "negative-dims", "enormous") else ())
        result = classifier([helper.make_node("Constant", [], ["k"])], [], "k")
        result.graph.node[3].attribute.add(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR).sparse_tensor.CopyFrom(of)
        yield case(f"sparse-constant-{name}", result, image=True)
    empty = network([node("Concat", ["x", "none"], ["c"], axis=2)], [weight("none", 1, 3, 0, 8)], 3, "c")
    yield control("zero-sized", empty, params=8, madds=6, accepted=("cost", "bench", "predict"))


@kind
def constants():
    """`Constant` nodes and attributes that contradict themselves."""
    attributes = onnx.AttributeProto

    def constant(name, *given, **more):
        of = classifier([helper.make_node("Constant", [], ["k"])], [], "k")
        for key, kind_, set_ in given:
            attribute = of.graph.node[3].attribute.add(name=key, type=kind_)
            for key, entry in set_.items():
                if isinstance(entry, list):
                    getattr(attribute, key).extend(entry)
                elif hasattr(entry, "CopyFrom"):
                    getattr(attribute, key).CopyFrom(entry)
                else:
                    setattr(attribute, key, entry)
        return case(name, of, image=True, **more)

    yield constant("without-value", refused=RUNTIMES)
    yield constant("two-values", ("value_float", attributes.FLOAT, {"f": 1.0}), ("value_floats", attributes.FLOATS, {"floats": [1.0, 2.0]}))
    yield constant("value-twice", ("value_float", attributes.FLOAT, {"f": 1.0}), ("value_float", attributes.FLOAT, {"f": 2.0}))
    yield constant("wrong-type", ("value", attributes.INT, {"i": 5}))
    yield constant("undefined-type", ("value_float", 0, {"f": 5.0}))
    yield constant("two-in-one", ("value_float", attributes.FLOAT, {"f": 5.0, "i": 7, "s": b"x", "ints": [1, 2], "t": tensor("", [1.0], "float32")}))
    yield constant("unknown-value", ("value_of_nothing", attributes.FLOAT, {"f": 5.0}))
    yield constant("string", ("value_string", attributes.STRING, {"s": b"\xff\x1b[2J"}))
    yield constant("empty-list", ("value_ints", attributes.INTS, {}))
    yield constant("long-list", ("value_floats", attributes.FLOATS, {"floats": [1.0] * 300_000}))
    yield constant("tensor-without-type", ("value", attributes.TENSOR, {"t": TensorProto(dims=[1])}))
    yield constant("refers", ("value", attributes.TENSOR, {"ref_attr_name": "outside"}))
    doubled = network([node("Conv", ["x", "w"], ["c"], group=1)], [weight("w", 3, 1, 3, 3)], 3, "c")
    doubled.graph.node[0].attribute.add(name="group", type=attributes.INT, i=3)
    yield case("group-twice", doubled, image=True)
    wrong = network([node("Conv", ["x", "w"], ["c"])], [weight("w", 3, 3, 3, 3)], 3, "c")
    wrong.graph.node[0].attribute.add(name="strides", type=attributes.FLOAT, f=2.0)
    yield case("strides-of-float", wrong, image=True)
    wrong = network([node("Conv", ["x", "w"], ["c"])], [weight("w", 3, 3, 3, 3)], 3, "c")
    wrong.graph.node[0].attribute.add(name="strides", type=attributes.INTS)
    yield case("strides-of-nothing", wrong, image=True)


@kind
def metadata():
    def stated(name, props, **more):
        of = network([node("Relu", ["x"], ["c"])], [], 3, "c")
        helper.set_model_props(of, props)
        return case(name, of, image=True, **more)

    yield stated("of-5-megabytes", {"k": "v" * (5 << 20)})
    yield stated("key-of-5-megabytes", {"k" * (5 << 20): "v"})
    yield stated("entries-100000", {f"k{i}": "v" for i in range(100_000)})
    yield stated("classes-deep", {"adwp.classes": "[" * 100_000})
    yield stated("classes-many", {"adwp.classes": json.dumps(["c"] * 100_000)})
    yield stated("classes-alike", {"adwp.classes": '["a", "a"]'})
    yield stated("classes-numbers", {"adwp.classes": "[1, 2]"})
    yield stated("classes-empty", {"adwp.classes": '["", ""]'})
    yield stated("classes-long", {"adwp.classes": json.dumps(["c" * (1 << 20), "b"])})
    normal = lambda mean, std: {"adwp.mean": mean, "adwp.std": std}
    three = "[0.5, 0.5, 0.5]"
    for name, (mean, std) in {"nan": ("[NaN, 0, 0]", three), "infinite": ("[1e400, 0, 0]", three), "std-0": (three, "[0, 1, 1]"), "std-negative": (three, "[-1, 1, 1]"), "std-tiny": (three, "[1e-45, 1e-45, 1e-45]"), "one-channel": ("[0.5]", "[0.5]"), "mean-alone": (three, None), "large": ("[3e38, 3e38, 3e38]", three)}.items():
        yield stated(f"normal-{name}", {key: entry for key, entry in normal(mean, std).items() if entry}, stated=True)
    yield stated("genotype-deep", {"adwp.genotype": '{"a":' * 50_000})
    yield stated("genotype-large", {"adwp.genotype": json.dumps({"cells": [[i] * 10 for i in range(100_000)]})})
    yield stated("numbers", {"adwp.params": "-1", "adwp.madds": "1e30", "adwp.test_accuracy": "1e999"})
    yield stated("accuracy", {"adwp.test_accuracy": "-5e30", "adwp.params": str(2**64 - 1), "adwp.madds": str(2**64 - 1)})
    yield stated("dataset", {"adwp.dataset": "../../etc"})
    of = network([], [], 3, "x")
    for entry in ("a", "b", "c"):
        of.metadata_props.add(key="adwp.classes", value=f'["{entry}", "x"]')
    yield case("key-twice", of, image=True)


@kind
def values():
    """Types beside tensors of numbers, and what training does."""
    net = lambda name, nodes, weights=(), **more: case(name, network(nodes, weights, 3, "c", **more), image=True)
    yield net("strings", [node("Constant", [], ["s"], value_strings=["a", "b", "1"]), node("StringNormalizer", ["s"], ["t"]), node("Size", ["t"], ["n"]), node("Cast", ["n"], ["f"], to=FLOAT), node("Mul", ["x", "f"], ["c"])])
    yield net("string-sorted", [node("Unique", ["s"], ["u"]), node("Size", ["u"], ["n"]), node("Cast", ["n"], ["f"], to=FLOAT), node("Mul", ["x", "f"], ["c"])], [tensor("s", ["b" * 100_000] * 20, object)])
    yield net("string-pattern", [node("RegexFullMatch", ["s"], ["m"], pattern="(a*)*" * 30 + "b"), node("Cast", ["m"], ["f"], to=FLOAT), node("Mul", ["x", "f"], ["c"])], [tensor("s", ["a" * 5000], object)], opset=20, ir=9)
    yield net("string-split", [node("StringSplit", ["s"], ["p", "n"], delimiter="", maxsplit=-5), node("ReduceMax", ["n"], ["m"], keepdims=0), node("Cast", ["m"], ["f"], to=FLOAT), node("Mul", ["x", "f"], ["c"])], [tensor("s", ["a " * 5000], object)], opset=20, ir=9)
    yield net("string-words", [node("TfIdfVectorizer", ["k"], ["t"], max_gram_length=1, max_skip_count=INT64_MAX, min_gram_length=1, mode="TF", ngram_counts=[0], ngram_indexes=[INT64_MAX], pool_int64s=[1]), node("ReduceMax", ["t"], ["f"], keepdims=0), node("Mul", ["x", "f"], ["c"])], [ints("k", 1)])
    yield net("sequence-empty", [node("SequenceEmpty", [], ["s"]), node("ConcatFromSequence", ["s"], ["c"], axis=0)])
    yield net("sequence-outside", [node("SequenceConstruct", ["x"], ["s"]), node("SequenceAt", ["s", "i"], ["c"])], [tensor("i", 99, "int64")])
    yield net("sequence-of-least", [node("SequenceConstruct", ["x"], ["s"]), node("SequenceAt", ["s", "i"], ["c"])], [tensor("i", INT64_MIN, "int64")])
    yield net("sequence-by-0", [node("SplitToSequence", ["x", "n"], ["s"], axis=1), node("ConcatFromSequence", ["s"], ["c"], axis=1)], [tensor("n", 0, "int64")])
    yield net("optional-empty", [node("Optional", [], ["o"], type=helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, [1, 3, 8, 8]))), node("OptionalGetElement", ["o"], ["c"])])
    yield net("optional", [node("Optional", ["x"], ["o"]), node("OptionalGetElement", ["o"], ["c"])])
    yield net("dropout-training", [node("Dropout", ["x", "r", "t"], ["c"])], [tensor("r", 0.5, "float32"), tensor("t", True, "bool")])
    yield net("dropout-all", [node("Dropout", ["x", "r", "t"], ["c"])], [tensor("r", 1.0, "float32"), tensor("t", True, "bool")])
    yield net("dropout-nan", [node("Dropout", ["x", "r", "t"], ["c"])], [tensor("r", numpy.nan, "float32"), tensor("t", True, "bool")])
    statistics = [weight("s", 3), weight("b", 3), tensor("m", [0] * 3, "float32"), tensor("v", [1] * 3, "float32")]
    yield net("normalised-training", [node("BatchNormalization", ["x", "s", "b", "m", "v"], ["c", "m2", "v2"], training_mode=1)], statistics)
    yield net("normalised-negative", [node("BatchNormalization", ["x", "s", "b", "m", "v"], ["c"], epsilon=-5.0)], statistics)
    yield net("random", [node("RandomNormalLike", ["x"], ["r"]), node("Add", ["x", "r"], ["c"])])
    yield net("random-nan", [node("RandomUniformLike", ["x"], ["r"], low=float("nan"), high=float("inf")), node("Add", ["x", "r"], ["c"])])
    yield net("bernoulli", [node("Bernoulli", ["x"], ["c"])])
    yield net("multinomial", [node("Flatten", ["x"], ["f0"]), node("Multinomial", ["f0"], ["m"], sample_size=2**31 - 1), node("ReduceMax", ["m"], ["n"], keepdims=0), node("Cast", ["n"], ["f"], to=FLOAT), node("Mul", ["x", "f"], ["c"])])
    of = network([node("Relu", ["x"], ["c"])], [], 3, "c")
    step = of.training_info.add()
    step.algorithm.node.add(op_type="Nothing", input=["nowhere"], output=["head.w"])
    step.update_binding.add(key="head.w", value="nowhere")
    yield case("training-info", of, image=True)
    stored = tensor("k", [1.0], "float32")
    external(stored, "../../etc/passwd", 0, 4)
    step.algorithm.initializer.append(stored)
    yield case("training-info-elsewhere", of, image=True)
    yield net("unknown-domain", [node("Anything", ["x"], ["c"], domain="nobody")], domains=["nobody"])
    yield net("python", [node("PyOp", ["x"], ["c"], domain="pyopmulti", module="os", compute="system")], domains=["pyopmulti"])
    yield net("engine-context", [node("EPContext", ["x"], ["c"], domain="com.microsoft", ep_cache_context="../secret.bin", embed_mode=0)], domains=["com.microsoft"])
    yield net("quantised-scale-0", [node("QuantizeLinear", ["x", "s"], ["q"]), node("DequantizeLinear", ["q", "s"], ["c"])], [tensor("s", 0.0, "float32")])
    yield net("quantised-scale-nan", [node("QuantizeLinear", ["x", "s"], ["q"]), node("DequantizeLinear", ["q", "s"], ["c"])], [tensor("s", numpy.nan, "float32")])


@kind
def no_files():
    """Paths that lead to no ONNX file."""
    at = lambda function: lambda folder: function(folder / "model.onnx")
    wrong = lambda name, content: case(name, content, image=True, refused=ALL)
    yield wrong("pipe", at(os.mkfifo))
    yield wrong("folder", at(os.mkdir))
    yield wrong("socket", at(bound))
    yield wrong("device", at(lambda path: path.symlink_to("/dev/zero")))
    yield wrong("circle", at(lambda path: path.symlink_to(path)))
    yield wrong("missing", lambda folder: None)
    yield wrong("empty", b"")
    yield wrong("byte", b"\x08")
    yield wrong("zeros", bytes(4096))
    yield wrong("hole-of-a-gigabyte", at(lambda path: hole(path, 1 << 30)))
    yield wrong("hole-of-a-terabyte", at(lambda path: hole(path, 1 << 40)))
    yield wrong("text", b"error: forged by the file\n" * 100)
    yield wrong("image", b"\x89PNG\r\n\x1a\n" + bytes(100))
    yield wrong("archive", b"PK\x03\x04" + bytes(100))
    yield wrong("noise", random.Random(4).randbytes(5000))
    yield wrong("varint-without-end", b"\xff" * 1000)
    yield wrong("length-of-2-63", b"\x3a" + varint(2**63))
    yield wrong("json", b'{"irVersion": "8", "graph": {}}')
    yield case("model-and-more", written(small()) + b"\x00" * 10, image=True)
    yield case("model-twice", written(small()) * 2, image=True)


def cases():
    """All of them, in the order of their kinds."""
    for name, function in KINDS:
        for each in function():
            each.kind = name
            yield each
