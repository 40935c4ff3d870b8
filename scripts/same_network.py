"""Whether two files of a run say the same, whatever they say of themselves: exit code 0 or 1.

    same_network.py A B      two of *.json, *.safetensors or *.onnx

Left out are the checksums and settings that run files carry, and the metadata and descriptions of an
ONNX file: these grew while the numbers stayed. All tensors, nodes, names and types are compared.
"""

import json
import struct
import sys

import onnx


def of_json(path):
    with open(path, encoding="utf-8") as file:
        value = json.load(file)
    value.pop("checksum", None)
    return value


def of_safetensors(path):
    with open(path, "rb") as file:
        content = file.read()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    data = content[8 + length :]
    return {
        name: (tensor["dtype"], tensor["shape"], data[slice(*tensor["data_offsets"])])
        for name, tensor in header.items()
    }


def of_onnx(path):
    model = onnx.load(path)
    del model.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    return model.SerializeToString(deterministic=True)


READERS = {"json": of_json, "safetensors": of_safetensors, "onnx": of_onnx}


def main():
    first, second = sys.argv[1:]
    read = READERS[first.rsplit(".", 1)[-1]]
    sys.exit(read(first) != read(second))


main()
