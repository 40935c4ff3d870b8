"""Compares params, multiply-adds and bytes of `adwp cost` with independent_count.py, network by network. See check-cost.

    check_counts.py ADWP PACKAGES NETWORKS

PACKAGES and NETWORKS are folders. A difference counts as explained where `adwp cost` itself says that its figures are without the nodes or arrays
that make it, or refuses the file and says why: the same is then left out of the other count, and the rest must be equal.
"""

import collections
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings

import onnx
import package_networks
from independent_count import count
from onnx import TensorProto, numpy_helper
from package_networks import inputs, noise

# Operators that the figures are without and that a line names.
MOST_OPERATORS = 6


def ours(adwp, path, shapes):
    """What `adwp cost` says: its figures, or why it gives none."""
    command = [adwp, "cost", path, "--layers", "--json"]
    for name, shape in shapes.items():
        command += ["--input", f"{name}={'x'.join(map(str, shape))}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout), None
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    return None, (lines or done.stderr.splitlines() or [f"exit code {done.returncode}"])[0].replace(path, "FILE")


def is_open(value):
    """Whether `adwp cost` has to be told the shape: another dimension than the first is open."""
    tensor = value.type.tensor_type
    return not tensor.HasField("shape") or any(dim.dim_value <= 0 for dim in tensor.shape.dim[1:])


def of_pytorch(folder):
    for name in sorted(os.listdir(folder)):
        if name.endswith(".onnx"):
            path = os.path.join(folder, name)
            model = onnx.load(path)
            shapes = {}
            described = path[: -len("onnx")] + "json"
            if os.path.exists(described):
                with open(described) as file:
                    shapes = json.load(file)["shapes"]
            shapes = {value.name: shapes[value.name] for value in inputs(model) if is_open(value)}
            yield name[: -len(".onnx")], path, shapes, noise(model, shapes, {})


def array(value):
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, onnx.SequenceProto):
        return numpy_helper.to_list(value)
    if isinstance(value, onnx.OptionalProto):
        return numpy_helper.to_optional(value)
    return value


def of_node_tests(folder):
    """The tests of single operators of the ONNX project, with the inputs that they come with."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    for case in cases:
        path = os.path.join(folder, "model.onnx")
        onnx.save(case.model, path)
        given = inputs(case.model)
        feeds = {value.name: array(data) for value, data in zip(given, case.data_sets[0][0])}
        states = lambda value: value.type.tensor_type.HasField("shape") and all(dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim)
        shapes = {value.name: feeds[value.name].shape for value in given if hasattr(feeds.get(value.name), "shape") and not states(value)}
        # A scalar has no sizes to tell.
        yield case.name, path, {name: shape for name, shape in shapes.items() if shape}, feeds


def difference(counted, other):
    """In words, with the first layers that differ."""
    lines = []
    for name, theirs in [("params", other.params), ("madds", other.madds), ("weight_bytes", other.bytes)]:
        if counted[name] != theirs:
            lines.append(f"{name} {counted[name]:,} and {theirs:,}")
    layers = collections.Counter()
    for layer in counted["layers"]:
        layers[layer["name"]] += layer["madds"]
    differ = [f"{name} {layers[name]:,} and {other.layers.get(name, 0):,}" for name in [*layers, *(other.layers.keys() - layers.keys())] if layers[name] != other.layers.get(name, 0)]
    return "; ".join(lines + differ[:3])


def compare(adwp, name, path, shapes, feeds):
    """The outcome, in a word, and the line of the table."""
    counted, refusal = ours(adwp, path, shapes)
    if refusal:
        return "refused", f"adwp refuses it: {refusal}"
    named = {node["name"] for node in counted["unknown"]}
    arrays = {array["name"] for array in counted.get("left_out", [])}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = count(path, feeds, named, arrays)
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        return "not run", f"it does not run here, so that nothing is known of its shapes: {type(error).__name__}: {reason[:150]}"
    figures = f"{counted['params']:,} params, {counted['madds']:,} madds, {counted['weight_bytes']:,} bytes"
    without = collections.Counter(node["op"] for node in counted["unknown"])
    words = []
    if without:
        most = [f"{op} ({times})" for op, times in without.most_common(MOST_OPERATORS)]
        others = without.total() - sum(times for _, times in without.most_common(MOST_OPERATORS))
        words.append("without " + ", ".join(most + ([f"{others} others"] if others else [])))
    reasons = collections.Counter(re.sub(r" \d+ times$", "", array["reason"]) for array in counted.get("left_out", []))
    words += [f"no params are {times} arrays: {reason}" for reason, times in reasons.items()]
    doubtful = collections.Counter(array["reason"] for array in counted.get("doubtful", []))
    words += [f"params are {times} arrays that may be none: {reason}" for reason, times in doubtful.items()]
    if "batch" in counted and counted["madds"]:
        batch = counted["batch"]
        of = f"a whole run, since {batch['joined_by']} joins them" if batch["joined_by"] else "one of them"
        words.append(f"of {batch['images']} along the first dimension of {batch['input']} multiply-adds are those of {of}")
    if "once" in counted:
        words.append(f"{sum(node['madds'] for node in counted['once']):,} multiply-adds without an image are not counted")
    if "contradicted" in counted:
        words.append(f"{len(counted['contradicted'])} tensors have another shape than the file states")
    apart = counted.get("taken_apart", [])
    if apart:
        words.append(f"parts of {len(apart)} arrays are counted as if they had no element in common")
    said = f"; adwp says: {'; '.join(words)}" if words else ""
    if other.uncounted:
        return "different", f"{figures}: DIFFERENT: it does not say that it is without {', '.join(other.uncounted[:3])}{said}"
    if (counted["params"], counted["madds"], counted["weight_bytes"]) == (other.params, other.madds, other.bytes):
        return ("equal but for what is named" if words else "equal"), f"{figures}: equal{said}"
    more = counted["params"] - other.params
    if (counted["madds"], counted["weight_bytes"]) == (other.madds, other.bytes) and 0 < more <= sum(array["elements"] for array in apart):
        return "equal but for what is named", f"{figures}: {more:,} params more{said}"
    return "different", f"{figures}: DIFFERENT: {difference(counted, other)}{said}"


def group(title, adwp, networks, every):
    """Compares all of them; with `every`, a line for each, else for those that are refused, do not run or differ."""
    print(f"{title}\n")
    outcomes, different = collections.Counter(), []
    for name, path, shapes, feeds in networks:
        outcome, line = compare(adwp, name, path, shapes, feeds)
        outcomes[outcome] += 1
        if outcome == "different":
            different.append(name)
        if every or not outcome.startswith("equal"):
            print(f"  {name}: {line}", flush=True)
    print(f"\n  {outcomes.total()} files: " + ", ".join(f"{times} {outcome}" for outcome, times in outcomes.most_common()) + "\n", flush=True)
    return outcomes, different


def main():
    adwp, packages, folder = sys.argv[1:4]
    chosen = sys.argv[4:] or ["packages", "pytorch", "nodes"]
    with tempfile.TemporaryDirectory() as scratch:
        groups = {
            "packages": ("Networks that are parts of packages", package_networks.with_feeds(packages), True),
            "pytorch": ("Networks that PyTorch wrote", of_pytorch(folder), True),
            "nodes": ("Tests of single operators of the ONNX project", of_node_tests(scratch), False),
        }
        results = [group(title, adwp, networks, every) for title, networks, every in (groups[name] for name in chosen)]
    total = sum((outcomes for outcomes, _ in results), collections.Counter())
    different = [name for _, names in results for name in names]
    print(f"{total.total()} files: " + ", ".join(f"{times} {outcome}" for outcome, times in total.most_common()))
    if different:
        print(f"different without a reason: {', '.join(different)}")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
