"""Networks of equal convolutions, to measure measuring with."""

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper


def chain(path, layers, channels, size):
    """Writes a classifier with that many equal 3×3 convolutions: half as many again take half as long again."""
    random = numpy.random.default_rng(layers)
    weights, nodes, value = [], [], "x"

    def weight(name, *shape):
        weights.append(numpy_helper.from_array((random.standard_normal(shape) * (2 / numpy.prod(shape[1:])) ** 0.5).astype("float32"), name))
        return name

    for layer in range(layers):
        w = weight(f"w{layer}", channels, channels, 3, 3)
        nodes.append(helper.make_node("Conv", [value, w], [f"c{layer}"], f"conv{layer}", pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"], f"relu{layer}"))
        value = f"r{layer}"
    nodes.append(helper.make_node("GlobalAveragePool", [value], ["pooled"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["y"], "flatten"))
    shape = [1, channels, size, size]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, channels])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
