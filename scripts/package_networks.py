"""Networks that are parts of Python packages, and what their files leave open. See check-cost."""

import os

import numpy
import onnx
from onnx import helper

# Inputs of the networks whose files leave more open than how many there are.
SHAPES = {
    "ch_PP-OCRv4_det_infer": {"x": [1, 3, 320, 320]},
    "ch_PP-OCRv4_rec_infer": {"x": [1, 3, 48, 320]},
    "ch_ppocr_mobile_v2.0_cls_infer": {"x": [1, 3, 48, 192]},
    "silero_vad": {"input": [1, 576], "state": [2, 1, 128]},
    "silero_vad_16k_op15": {"input": [1, 576], "state": [2, 1, 128]},
    "silero_vad_16k_sequence": {"input": [4, 576], "h": [1, 1, 128], "c": [1, 1, 128]},
    "silero_vad_half": {"input": [1, 576], "state": [2, 1, 128]},
    "silero_vad_op18_ifless": {"input": [1, 576], "state": [2, 1, 128]},
    "silero_vad_openvino_16k": {"input": [1, 576], "state": [2, 1, 128]},
    "common": {"input1": [1, 1, 64, 128]},
    "common_old": {"input1": [1, 1, 64, 128]},
    "320n": {"images": [1, 3, 320, 320]},
    "Run_1663829550_Stage_0": {"input": [1, 3, 100, 160]},
    "Run_1663915512_Stage_0": {"input": [1, 3, 100, 160]},
    "Run_1668423760_Stage_0": {"input": [1, 3, 100, 160]},
    "plcmos_v2": {"degraded_audio": [1, 1, 100, 257]},
    "swift_f0": {"audio": [1, 16000]},
}

# Inputs that choose what is computed.
VALUES = {"silero_vad": {"sr": 16000}, "silero_vad_16k_op15": {"sr": 16000}, "silero_vad_op18_ifless": {"sr": 16000}}
VALUES["swift_f0"] = {"fmin": 46.875, "fmax": 2093.75}


def networks(folder):
    """Name, path, shapes and values of inputs of every network: of the tests of `onnx`, and of the packages in `folder`."""
    light = os.path.join(os.path.dirname(onnx.__file__), "backend/test/data/light")
    for name in sorted(os.listdir(light)):
        if name.endswith(".onnx"):
            yield name[: -len(".onnx")], os.path.join(light, name), {}, {}
    for path, _, files in sorted(os.walk(folder)):
        for file in sorted(files):
            if file.endswith(".onnx"):
                package, name = os.path.relpath(path, folder).split(os.sep)[0], file[: -len(".onnx")]
                known = package if name == "model" else name
                called = known if known.startswith(package) else f"{package}/{os.path.basename(path)}/{known}"
                yield called, os.path.join(path, file), SHAPES.get(known, {}), VALUES.get(known, {})


def with_feeds(folder):
    """Name, path, shapes of what is open, and inputs to run it with."""
    for name, path, shapes, values in networks(folder):
        yield name, path, shapes, noise(onnx.load(path), shapes, values)


def inputs(model):
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def noise(model, shapes, values):
    """Inputs of the shapes that the file states, or of `shapes` where it leaves them open."""
    generator = numpy.random.default_rng(0)
    feeds = {}
    for value in inputs(model):
        dims = [dim.dim_value if dim.dim_value > 0 else 1 for dim in value.type.tensor_type.shape.dim]
        shape, kind = shapes.get(value.name, dims), helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        if value.name in values:
            feeds[value.name] = numpy.asarray(values[value.name], kind)
        elif kind.kind in "iub":
            # The places of words, masks of those that are there.
            feeds[value.name] = numpy.ones(shape, kind)
        else:
            feeds[value.name] = generator.random(shape).astype(kind)
    return feeds
