"""Holds the lines of the README against `adwp predict` and `adwp eval`. See check-preprocessing."""

import json
import os
import pathlib
import sys

import numpy
import onnxruntime

from checked import machine, run, write

ADWP = os.environ["ADWP"]
LINES = pathlib.Path(__file__).parent.parent / "export/src/onnx/logits.py"
# Of a process with thousands of images.
SECONDS = 3600
TOLERANCE = 1e-5
# Arguments of one process.
MOST = 1000


def pieces(all_of_them):
    return [all_of_them[start : start + MOST] for start in range(0, len(all_of_them), MOST)]


def main(model, folder, out=None):
    classes = json.loads(onnxruntime.InferenceSession(model).get_modelmeta().custom_metadata_map["adwp.classes"])
    images = sorted(str(path) for path in (pathlib.Path(folder) / "val").glob("*/*"))
    if not images:
        sys.exit(f"{folder}/val has no images in folders")
    logits, seen = [], []
    for some in pieces(images):
        printed = run([sys.executable, str(LINES), model, *some], SECONDS)[1]
        logits += [[float(value) for value in line.split()] for line in printed.splitlines()]
        command = [ADWP, "predict", model, "--runtime", "ort", "--top", str(len(classes)), "--json", "--quiet", *some]
        seen += [[of["probability"] for of in sorted(image["top"], key=lambda of: of["class"])] for image in json.loads(run(command, SECONDS)[1])]
    logits, seen = numpy.array(logits), numpy.array(seen)
    powers = numpy.exp(logits - logits.max(1, keepdims=True))
    probabilities = powers / powers.sum(1, keepdims=True)
    evaluated = json.loads(run([ADWP, "eval", model, "--dataset", "image-folder", "--data", folder, "--json", "--quiet"], SECONDS)[1])
    labels = [classes.index(pathlib.Path(path).parent.name) for path in images]
    result = {
        "machine": machine(),
        "images": len(images),
        "classes_equal": int((probabilities.argmax(1) == seen.argmax(1)).sum()),
        "largest_difference": float(abs(probabilities - seen).max()),
        "right_by_the_lines": int((probabilities.argmax(1) == labels).sum()),
        "right_by_eval": {of["runtime"]: of["top1_correct"] for of in evaluated},
    }
    print(json.dumps({key: value for key, value in result.items() if key != "machine"}, indent=1))
    write(out, result)
    right = set(result["right_by_eval"].values()) | {result["right_by_the_lines"]}
    return result["classes_equal"] == len(images) and len(right) == 1 and result["largest_difference"] <= TOLERANCE


sys.exit(0 if main(*sys.argv[1:]) else 1)
