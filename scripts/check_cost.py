"""Compares the counts of `adwp cost` with those of onnx-tool, node by node. See check-cost."""

import contextlib
import importlib.metadata
import io
import json
import math
import subprocess
import sys
import warnings

import onnx
import onnx_tool
import package_networks
from onnx_tool.tensor import volume

LINEAR = {"Conv", "Gemm", "MatMul", "ConvTranspose"}

# What onnx-tool counts too, in a way of its own that follows neither the standard nor the file: these are not compared.
OTHERS = {"Einsum", "RNN", "GRU", "LSTM"}


def ours(adwp, path, shapes):
    command = [adwp, "cost", path, "--layers", "--json"]
    for name, shape in shapes.items():
        command += ["--input", f"{name}={'x'.join(map(str, shape))}"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def theirs(path, feeds):
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = onnx_tool.Model(path)
        model.graph.shape_infer(feeds)
        model.graph.profile()
    return model.graph


def compare(name, path, shapes, feeds, adwp):
    counted = ours(adwp, path, shapes)
    try:
        graph = theirs(path, feeds)
    except Exception as error:
        print(f"{name}: onnx-tool cannot count it: {type(error).__name__}: {error}\n")
        return None
    nodes = {node.output[0]: node for node in graph.nodemap.values() if node.output}
    layers = {layer["name"]: layer for layer in counted["layers"]}
    unknown = {node["name"] for node in counted["unknown"]}
    equal, without, alone, explained, unexplained, other = 0, 0, 0, {}, [], {}
    for proto in onnx.load(path).graph.node:
        output = next((output for output in proto.output if output), "")
        label, node = proto.name or output, nodes.get(output)
        if node is None or proto.op_type == "Constant":
            continue
        layer = layers.get(label)
        macs = int(node.macs[0])
        if proto.op_type not in LINEAR:
            if macs:
                other[proto.op_type] = other.get(proto.op_type, 0) + macs
            if layer is not None and proto.op_type in OTHERS:
                alone += layer["madds"]
            continue
        if layer is None and label in unknown:
            without += macs
            continue
        if layer is None:
            unexplained.append(f"  {label} ({proto.op_type}): not counted by adwp")
            continue
        if list(node.outshape) != layer["output_shape"]:
            unexplained.append(f"  {label} ({proto.op_type}): shapes {layer['output_shape']} and {list(node.outshape)}")
        difference = macs - layer["madds"]
        outputs = math.prod(layer["output_shape"])
        bias = outputs if len(proto.input) > 2 else 0
        if difference == 0:
            equal += 1
        elif difference == bias:
            explained.setdefault("it adds one for each output of a node with a bias", []).append(difference)
        elif proto.op_type == "ConvTranspose":
            # Every input meets the kernel of each output channel of its group; onnx-tool takes the outputs instead, as of a convolution.
            weight = graph.tensormap[proto.input[1]].get_shape()
            inputs = volume(graph.tensormap[proto.input[0]].get_shape())
            right = inputs * volume(weight[1:])
            if right == layer["madds"] and macs == outputs * volume(weight[1:]) + bias:
                reason = "of a ConvTranspose it multiplies the outputs by the kernel; each input meets the kernel once"
                explained.setdefault(reason, []).append(difference)
            else:
                unexplained.append(f"  {label} ({proto.op_type}): {layer['madds']} and {macs}")
        else:
            unexplained.append(f"  {label} ({proto.op_type}): {layer['madds']} and {macs}")
    total = equal + sum(map(len, explained.values()))
    print(f"{name}: {counted['madds']:,} multiply-adds, {counted['params']:,} params; onnx-tool {int(graph.macs[0]):,}, {int(graph.params):,}")
    print(f"  {total} convolutions and linear layers agree in shape and multiply-adds, {equal} of them as they are")
    for reason, differences in explained.items():
        print(f"  {len(differences)} differ: {reason}: {sum(differences):,}")
    if other:
        print("  onnx-tool counts other operators: " + ", ".join(f"{op} {macs:,}" for op, macs in sorted(other.items())))
    rest = int(graph.macs[0]) - (counted["madds"] - alone) - sum(map(sum, explained.values())) - sum(other.values()) - without
    if alone:
        print(f"  adwp counts of recurrent layers and Einsum: {alone:,}")
    print(f"  left unexplained of the totals: {rest:,}")
    if without:
        print(f"  convolutions and linear layers that adwp says it is without: {without:,}")
    for node in counted["unknown"]:
        print(f"  adwp says that its figures are without {node['name']} ({node['op']})")
    for line in unexplained:
        print(line)
    print()
    return not unexplained and rest == 0


def main():
    adwp, folder = sys.argv[1:]
    print(f"onnx {onnx.__version__}, onnx-tool {importlib.metadata.version('onnx-tool')}\n")
    networks = package_networks.with_feeds(folder)
    outcomes = {name: compare(name, path, shapes, feeds, adwp) for name, path, shapes, feeds in networks}
    agree = [name for name, outcome in outcomes.items() if outcome]
    differ = [name for name, outcome in outcomes.items() if outcome is False]
    print(f"{len(agree)} networks agree: {', '.join(agree)}")
    if differ:
        print(f"{len(differ)} differ: {', '.join(differ)}")
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
