"""Writes what fuzzing begins with into a folder: the small models of the onnx package, and classifiers as adwp exports them. See fuzz."""

import pathlib
import sys

import onnx

from bench_models import chain

# Mutations of larger files rarely reach anything but weights.
LARGEST = 4096


def described(path):
    """Adds what adwp writes beside the graph: constants of normalisation, and names of classes."""
    model = onnx.load(path)
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    entries = {
        "adwp.classes": str([f"c{index}" for index in range(classes)]).replace("'", '"'),
        "adwp.mean": str([0.5] * channels),
        "adwp.std": str([0.25] * channels),
        "adwp.params": "1200",
        "adwp.madds": "3400",
        "adwp.genotype": '{"schema":"adwp/genotype/1","cells":[]}',
        "adwp.test_accuracy": "0.9",
        "adwp.dataset": "cifar10",
    }
    onnx.helper.set_model_props(model, entries)
    onnx.save(model, path)


def main():
    folder = pathlib.Path(sys.argv[1])
    package = pathlib.Path(onnx.__file__).parent
    for model in sorted(package.rglob("*.onnx")):
        if model.stat().st_size <= LARGEST:
            # The names of the files are alike, those of their folders are not.
            name = "-".join(model.relative_to(package).parts[-2:])
            (folder / name).write_bytes(model.read_bytes())
    for layers, channels, size in [(1, 2, 4), (3, 4, 8)]:
        path = folder / f"chain-{layers}x{channels}x{size}.onnx"
        chain(str(path), layers, channels, size)
        described(path)


main()
