"""Networks that are parts of Python packages, and what their files leave open. See check-cost."""

import os

import onnx

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
