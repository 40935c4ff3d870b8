"""Counts parameters, multiply-adds and bytes of an ONNX file with onnx, numpy and a run of the file.

It follows the words of the README ("What the numbers mean") and shares no code with the counter it is compared with: shapes are those of a run in
which every intermediate result is an output, and which elements of a stored tensor a weight has is found by sending the places of the elements
through the graph instead of their values, and whether the images of a run are kept apart by running it again with another image in the place of one.
"""

import dataclasses
import math

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

# Inputs that no network learns with: statistics, scales and zero points, bounds, sizes, probabilities, first states, places.
NOT_LEARNED = {
    "BatchNormalization": {3, 4}, "Clip": {1, 2}, "Resize": {1, 2, 3}, "Upsample": {1}, "Pad": {2}, "Dropout": {1, 2},
    "QuantizeLinear": {1, 2}, "DequantizeLinear": {1, 2}, "ConvInteger": {2, 3}, "MatMulInteger": {2, 3},
    "QLinearConv": {1, 2, 4, 5, 6, 7}, "QLinearMatMul": {1, 2, 4, 5, 6, 7}, "RNN": {5}, "GRU": {5}, "LSTM": {5, 6},
    "GridSample": {1},
}  # fmt: skip
# Questions, not arithmetic: nothing is learned with what a result is only compared with.
QUESTIONS = {"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "IsNaN", "IsInf", "Shape", "Size", "NonZero"}
# Layers whose weights are weights however few they are.
LAYERS = {
    "Conv": {1, 2}, "ConvTranspose": {1, 2}, "Gemm": {0, 1, 2}, "MatMul": {0, 1}, "PRelu": {1}, "BatchNormalization": {1, 2},
    "InstanceNormalization": {1, 2}, "LayerNormalization": {1, 2}, "GroupNormalization": {1, 2}, "RMSNormalization": {1, 2},
    "RNN": {1, 2, 3}, "GRU": {1, 2, 3}, "LSTM": {1, 2, 3, 7}, "ConvInteger": {1}, "MatMulInteger": {0, 1}, "QLinearConv": {3, 8}, "QLinearMatMul": {0, 3},
}  # fmt: skip
# Operators that only move elements of their first input: places can be sent through them.
MOVES = {
    "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Gather", "GatherElements", "GatherND", "Split", "Expand", "Tile",
    "DepthToSpace", "SpaceToDepth", "Concat",
}  # fmt: skip
# Those with multiply-adds that are not counted here: a counter has to say that it is without them.
MULTIPLYING = {"Attention", "CausalConvWithState", "DFT", "DeformConv", "Det", "FlexAttention", "LinearAttention", "STFT"}
# What computes few values from few.
VALUED = MOVES | {"Cast", "CastLike", "Trilu", "Pad", "Where", "Neg", "Add", "Sub", "Mul", "Div", "Max", "Min", "ConstantOfShape"}
GATES = {"RNN", "GRU", "LSTM"}
PRODUCTS = GATES | {"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "Gemm", "MatMul", "MatMulInteger", "QLinearMatMul", "Einsum"}
RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
REAL = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
# Integers that are places or sizes.
PLACES = {TensorProto.INT64, TensorProto.UINT32, TensorProto.UINT64}
BITS = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2}


@dataclasses.dataclass
class Count:
    params: int
    madds: int
    bytes: int
    layers: dict  # multiply-adds by the name of the node, those that have some
    uncounted: list  # nodes that multiply matrices in a way that is not counted here


def label(node):
    return node.name or next((name for name in node.output if name), node.op_type)


def is_standard(node):
    return node.domain in ("", "ai.onnx")


def stored_tensors(message):
    """Every tensor anywhere in a message: in graphs, nodes, functions and sparse tensors."""
    if isinstance(message, TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if not hasattr(value, "ListFields") else [value]:
                if hasattr(inner, "ListFields"):
                    yield from stored_tensors(inner)


def tensor_bytes(tensor):
    if tensor.data_type == TensorProto.STRING:
        return sum(map(len, tensor.string_data))
    if tensor.raw_data:
        return len(tensor.raw_data)
    elements, name = math.prod(tensor.dims), TensorProto.DataType.Name(tensor.data_type)
    bits = BITS.get(name) or 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return (elements * bits + 7) // 8


def marked(lists):
    """Which places are in any of `lists`; 0 is none."""
    marks = numpy.zeros(max((int(places.max(initial=0)) for places in lists), default=0) + 1, bool)
    for places in lists:
        marks[places.ravel()] = True
    marks[0] = False
    return marks


def constants(nodes):
    """The `Constant` nodes among these, in the graphs inside of them too."""
    for node in nodes:
        if node.op_type == "Constant" and is_standard(node):
            yield node
        for attribute in node.attribute:
            for graph in [attribute.g, *attribute.graphs]:
                yield from constants(graph.node)


def listed_bytes(node):
    """Bytes of a constant that is given as a list of numbers or texts: 4 for each float, 8 for each integer."""
    return sum(
        4 * (len(a.floats) + (a.name == "value_float")) + 8 * (len(a.ints) + (a.name == "value_int")) + sum(map(len, a.strings)) + len(a.s)
        for a in node.attribute
        if a.name.startswith("value_")
    )


def results(model, names, feeds):
    """What a run gives: under ONNX Runtime, or where it does not know an operator, under the reference of the standard."""
    try:
        options = onnxruntime.SessionOptions()
        # Fused nodes would not give what lies between them.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session.run(names, feeds)
    except Exception as error:
        try:
            return ReferenceEvaluator(model).run(names, feeds)
        except Exception:
            raise error from None


class Run:
    """The values of one run, by the names of the tensors."""

    def __init__(self, path, feeds):
        self.feeds = feeds
        self.model = onnx.load(path)
        self.graph = self.model.graph
        exposed = onnx.load(path)
        there = {output.name for output in exposed.graph.output}
        names = [name for node in self.graph.node for name in node.output if name]
        exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
        self.exposed, self.names = exposed, [output.name for output in exposed.graph.output]
        self.values = self.again(feeds)
        self.stored = {}
        for tensor in self.graph.initializer:
            self.stored[tensor.name] = (tensor.data_type, tuple(tensor.dims), math.prod(tensor.dims))
        for sparse in self.graph.sparse_initializer:
            self.stored[sparse.values.name] = (sparse.values.data_type, tuple(sparse.dims), len(sparse.values.dims) and sparse.values.dims[0])
        for node in self.graph.node:
            if node.op_type == "Constant" and is_standard(node):
                self.take_constant(node)
        self.initial = {tensor.name: tensor for tensor in self.graph.initializer}

    def again(self, feeds):
        """The values with other feeds of the same shapes."""
        return {**feeds, **dict(zip(self.names, results(self.exposed, self.names, feeds)))}

    def take_constant(self, node):
        name = node.output[0]
        sparse = [a.sparse_tensor for a in node.attribute if a.name == "sparse_value"]
        value = self.values[name]
        if isinstance(value, numpy.ndarray) and value.dtype.kind not in "OU":
            kind = helper.np_dtype_to_tensor_dtype(value.dtype)
            self.stored[name] = (kind, value.shape, sparse[0].values.dims[0] if sparse else value.size)

    def shape(self, name):
        if name in self.stored:
            return self.stored[name][1]
        return numpy.shape(self.values[name])

    def kind(self, name):
        if name in self.stored:
            return self.stored[name][0]
        value = self.values.get(name)
        if not isinstance(value, (numpy.ndarray, numpy.generic)) or value.dtype.kind in "OU":
            return None
        return helper.np_dtype_to_tensor_dtype(value.dtype)

    def value(self, name):
        return numpy_helper.to_array(self.initial[name]) if name in self.initial else self.values[name]


class Weights:
    """Which tensors no input of the graph determines, and which elements of stored tensors each of them has."""

    def __init__(self, run, without):
        self.run, self.traced = run, {}
        self.makers = {name: node for node in run.graph.node for name in node.output if name}
        # Shapes are the same in every run with inputs of these shapes.
        self.of_shapes, self.fixed = set(), set(run.stored)
        for node in run.graph.node:
            inputs = [name for name in node.input if name]
            given = any(name not in self.fixed and name not in self.of_shapes for name in inputs)
            if node.op_type in ("Shape", "Size") and (given or any(name in self.of_shapes for name in inputs)):
                self.of_shapes.update(node.output)
            elif given or label(node) in without or node.op_type in RANDOM or any(a.HasField("g") for a in node.attribute):
                continue
            elif any(name in self.of_shapes for name in inputs) and not any(self.is_weight(name) for name in inputs):
                self.of_shapes.update(node.output)
            else:
                self.fixed.update(node.output)

    def sources(self, name):
        """Elements of stored tensors that `name` is computed from: for each of those its places, from 1 on, where they are in `name`, 0 where there
        is none, or a flat list of them where that is not known."""
        if name not in self.traced:
            self.traced[name] = self.trace(name)
        return self.traced[name]

    def trace(self, name):
        run = self.run
        if name in run.stored:
            _, shape, elements = run.stored[name]
            whole = numpy.arange(1, elements + 1)
            return {name: whole.reshape(shape) if math.prod(shape) == elements else whole}
        node = self.makers.get(name)
        if node is None or name not in self.fixed:
            return {}
        if node.op_type == "ConstantOfShape":
            # One number is stored, and single numbers are not learned.
            return {}
        if node.op_type in MOVES or self.writes_over(node):
            moved = list(range(len(node.input))) if node.op_type == "Concat" else [0]
            if node.op_type.startswith("Scatter"):
                moved = [0, 2]
            # What a filling writes over is gone, and the filling is no weight.
            is_filling = node.op_type.startswith("Scatter") and self.fills(node.input[2]) and not self.fills(node.input[0])
            weights = moved[:1] if is_filling else moved
            roots = {root for index in weights for root in self.sources(node.input[index])}
            taken = {root: self.moved(node, name, moved, root) for root in roots}
            whole = self.sources(node.input[0]) if node.op_type.startswith("Gather") else {}
            if whole and math.prod(run.shape(name)) >= sum(numpy.count_nonzero(places) for places in whole.values()):
                # Rows of a table, more of them than it has: those that no constant chooses are learned as well.
                return {root: places if numpy.isin(whole[root], places).all() else whole[root].ravel() for root, places in taken.items()}
            return taken
        if node.op_type in QUESTIONS:
            return {}
        left = NOT_LEARNED.get(node.op_type, set())
        read = [name for index, name in enumerate(node.input) if name and index not in left]
        if node.op_type in ("Cast", "CastLike") and run.kind(node.input[0]) in PLACES:
            return {}
        if node.op_type in ("Cast", "CastLike", "QuantizeLinear", "DequantizeLinear") or node.op_type.startswith("Bit"):
            read = read[:1]
        elif node.op_type == "Where":
            read = read[1:]
        else:
            read = [name for name in read if run.kind(name) in REAL]
        none = [source for source in read if self.is_none(node, source, read)]
        read = [source for source in read if source not in none] if len(none) < len(read) else read
        found = {}
        for source in read:
            for root, places in self.sources(source).items():
                found.setdefault(root, []).append(places)
        # A factor or a bound is no weight next to others, whatever these are.
        if len(read) > 1 or any(run.stored[root][2] > 1 if root in run.stored else True for root in found):
            found = {root: lists for root, lists in found.items() if root not in run.stored or run.stored[root][2] > 1}
        return {root: self.joined(lists, run.shape(name)) for root, lists in found.items()}

    def writes_over(self, node):
        """Whether a node puts something in the place of elements of a single stored tensor, of which the others are left."""
        if node.op_type not in ("ScatterND", "ScatterElements") or any(a.name == "reduction" and a.s != b"none" for a in node.attribute):
            return False
        ground = list(self.sources(node.input[0]).values())
        is_one = len(ground) == 1 and numpy.count_nonzero(ground[0]) == math.prod(self.run.shape(node.input[0]))
        return is_one and (self.fills(node.input[2]) or not self.fills(node.input[0]))

    def is_none(self, node, name, read):
        """Whether `name`, of the real inputs `read` that a weight is computed from, is a mask that prunes it, gives way to it, or is what a
        normalisation of it was written with."""
        op, place = node.op_type, read.index(name)
        size = lambda source: math.prod(self.run.shape(source))
        if op == "Mul" and len(read) == 2:
            other = read[1 - place]
            return self.chooses(name) and not self.chooses(other) and size(other) >= size(name)
        if op == "Where" or op.startswith("Scatter"):
            return self.fills(name)
        if op.endswith("Normalization") and place > 0:
            # Ones next to a bias that is learned are a scale before training.
            is_gain = place == 1 and len(read) > 2 and self.levels(name) == {1.0} and not self.levels(read[2]) <= {0.0, 1.0}
            return bool(self.levels(name)) and self.levels(name) <= {0.0, 1.0} and not is_gain
        return False

    def levels(self, name):
        """The different values of a constant tensor, where they are few and made by moving, adding and multiplying what is stored; else none."""
        kind, node = self.run.kind(name), self.makers.get(name)
        if kind == TensorProto.BOOL and name in self.fixed:
            return {0.0, 1.0}
        if name not in self.fixed or kind is None:
            return set()
        if name not in self.run.stored:
            if node is None or node.op_type not in VALUED:
                return set()
            if node.op_type in ("Cast", "CastLike") or node.op_type in MOVES and node.op_type != "Concat":
                return self.levels(node.input[0])
            choices = node.input[1:] if node.op_type == "Where" else [] if node.op_type == "ConstantOfShape" else node.input[:1] if node.op_type in ("Trilu", "Pad") else node.input
            if not all(self.levels(source) for source in choices):
                return set()
        values = numpy.asarray(self.run.value(name))
        if values.dtype.kind not in "fiub" and kind != TensorProto.BFLOAT16:
            return set()
        found = set(numpy.unique(values.astype(numpy.float64)).tolist())
        return found if len(found) <= 8 and not any(map(math.isnan, found)) else set()

    def chooses(self, name):
        """Whether it has zeros and ones, both."""
        return self.levels(name) == {0.0, 1.0}

    def fills(self, name):
        """Whether it has one value in every place, or zeros and ones."""
        levels = self.levels(name)
        return len(levels) == 1 or levels == {0.0, 1.0}

    def forbids(self, name, sign):
        """Whether it has zeros and values that lower a score by 100 or more, when it is added with this sign."""
        levels = {sign * level for level in self.levels(name)}
        return any(level <= -100 for level in levels) and all(level == 0 or level <= -100 for level in levels)

    def is_mask_of_values(self, node, index):
        """Whether input `index` of a node that computed values go through is a mask of them, or what they are put into."""
        op, name = node.op_type, node.input[index]
        if op in LAYERS:
            return False
        if self.forbids(name, -1 if op == "Sub" and index == 1 else 1):
            return True
        if op in ("Mul", "Expand", "Tile") or op.startswith("Gather"):
            return self.chooses(name)
        return op.startswith("Scatter") and self.fills(name)

    def joined(self, lists, shape):
        """Places of one stored tensor in a result of `shape`, which several inputs have."""
        if len(lists) == 1:
            try:
                return numpy.broadcast_to(lists[0], shape)
            except ValueError:
                pass
        return numpy.flatnonzero(marked(lists))

    def moved(self, node, name, moved, root):
        places, run = {}, self.run
        for index, source in enumerate(node.input):
            if not source:
                continue
            if index in moved:
                found = self.sources(source).get(root, numpy.zeros(run.shape(source), numpy.int64))
                if found.shape != tuple(run.shape(source)):
                    return found
                places[source] = numpy.ascontiguousarray(found)
            else:
                places[source] = run.value(source)
        inputs = [helper.make_tensor_value_info(key, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape) for key, value in places.items()]
        outputs = [helper.make_tensor_value_info(output, TensorProto.INT64, None) for output in node.output if output]
        model = helper.make_model(helper.make_graph([node], "places", inputs, outputs), opset_imports=run.model.opset_import, ir_version=run.model.ir_version)
        return numpy.asarray(results(model, [name], places)[0], numpy.int64)

    def read_by(self, node):
        """The inputs that `node` learns with, and the elements that they have."""
        given = {name for name in node.input if name and name not in self.fixed and name not in self.of_shapes}
        for index, name in enumerate(node.input):
            if name not in self.fixed or index in NOT_LEARNED.get(node.op_type, set()):
                continue
            sources = {root: places for root, places in self.sources(name).items() if places.any()}
            # Arithmetic on weights and shapes alone is part of a weight that another node reads. Of products all is learned.
            if not given and node.op_type not in PRODUCTS:
                continue
            if index not in LAYERS.get(node.op_type, set()):
                if not given or node.op_type in QUESTIONS or not self.is_weight(name) or self.is_mask_of_values(node, index):
                    continue
                # A factor or a bound is no weight next to one.
                sources = {root: places for root, places in sources.items() if root not in self.run.stored or self.run.stored[root][2] > 1}
            yield name, sources

    def is_weight(self, name):
        """Whether arithmetic learns with `name`: it is an array of real numbers, or of quantised ones, of 8 bits at most."""
        kind = self.run.kind(name)
        quantised = kind is not None and kind not in REAL and kind != TensorProto.BOOL and helper.tensor_dtype_to_np_dtype(kind).itemsize == 1
        return (kind in REAL or quantised) and any(numpy.count_nonzero(places) > 1 for places in self.sources(name).values())


def madds(node, run):
    """One for each product that is added up: every output of a convolution has as many as a filter has weights, every input of a transposed one meets
    the kernels of its group, and every output of a matrix product has as many as the rows are long."""
    size = lambda name: math.prod(run.shape(name))
    if not is_standard(node):
        return 0
    if node.op_type in ("Conv", "ConvInteger", "QLinearConv"):
        weight = run.shape(node.input[3 if node.op_type == "QLinearConv" else 1])
        return size(node.output[0]) * math.prod(weight[1:])
    if node.op_type == "ConvTranspose":
        return size(node.input[0]) * math.prod(run.shape(node.input[1])[1:])
    if node.op_type in ("MatMul", "MatMulInteger", "QLinearMatMul"):
        return size(node.output[0]) * run.shape(node.input[0])[-1]
    if node.op_type == "Gemm":
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return size(node.output[0]) * run.shape(node.input[0])[0 if transposed else 1]
    if node.op_type == "Einsum" and len(node.input) == 2:
        equation = next(a.s.decode() for a in node.attribute if a.name == "equation").replace(" ", "")
        terms = equation.split("->")[0].split(",")
        if "." not in equation:
            return math.prod({letter: size for term, name in zip(terms, node.input) for letter, size in zip(term, run.shape(name))}.values())
    if node.op_type in GATES:
        # Each step multiplies its input and the state before with the matrices of all gates.
        steps = math.prod(run.shape(node.input[0])[:2])
        return steps * (size(node.input[1]) + size(node.input[2]))
    return 0


def other_image(values, axis, image, random):
    """`values` with another image in the place of one."""
    values = values.copy()
    at = (slice(None),) * axis + (image,)
    if values.dtype.kind == "f":
        values[at] = values[at] * 0.7 + random.uniform(0.01, 0.1, values[at].shape).astype(values.dtype)
    elif values.dtype.kind == "b":
        values[at] = ~values[at]
    else:
        values[at] = random.permutation(values[at].ravel()).reshape(values[at].shape)
    return values


def shares(run, products):
    """Of each of the nodes `products` by how much its multiply-adds are to be divided: by the images of a run, which the first input of four
    dimensions, or else of two or more, has along its first, where it treats them apart; and all by 1 where one of them does not."""
    initial = {tensor.name for tensor in run.graph.initializer}
    inputs = [value for value in run.graph.input if value.name not in initial and hasattr(run.feeds.get(value.name), "shape")]
    ranks = [run.feeds[value.name].ndim for value in inputs]
    of_images = next((value for value, rank in zip(inputs, ranks) if rank == 4), next((value for value, rank in zip(inputs, ranks) if rank > 1), None))
    images = run.feeds[of_images.name].shape[0] if of_images is not None else 1
    whole = {label(node): 1 for node in products}
    if images < 2 or not products:
        return whole
    names = lambda value: [dim.dim_param for dim in value.type.tensor_type.shape.dim]
    symbol = (names(of_images) or [""])[0]
    random, changed = numpy.random.default_rng(7), []
    for image in (0, images - 1):
        feeds = dict(run.feeds)
        for value in inputs:
            axis = names(value).index(symbol) if symbol and symbol in names(value) else 0
            shape = feeds[value.name].shape
            if len(shape) > axis and shape[axis] == images:
                feeds[value.name] = other_image(feeds[value.name], axis, image, random)
        changed.append(run.again(feeds))
    found = {}
    for node in products:
        each = 1
        for name in [*node.input, *node.output]:
            if not name or name in run.stored or not isinstance(run.values.get(name), numpy.ndarray):
                continue
            differ = [run.values[name] != values[name] for values in changed]
            if (differ[0] & differ[1]).any():
                return whole
            if node.op_type in GATES and name == node.input[0]:
                # A state goes from step to step, even where it is too near its bounds for that to be seen.
                others = (0, 2) if any(a.name == "layout" and a.i for a in node.attribute) else (1, 2)
                steps = [of.any(axis=others) for of in differ]
                if (steps[0] != steps[1]).any():
                    return whole
            if differ[0].any() or differ[1].any():
                each = images
        found[label(node)] = each
    return found


def count(path, feeds, without=frozenset(), left_out=frozenset()):
    """Counts `path` for inputs like `feeds`, without the nodes whose labels are in `without` and without the arrays in `left_out`."""
    run = Run(path, feeds)
    weights = Weights(run, without)
    layers, learned, uncounted = {}, {}, []
    # Products of what is stored or follows from shapes are the same for every image, and done once.
    of_images = lambda node: any(name and name not in weights.fixed and name not in weights.of_shapes for name in node.input)
    divided = shares(run, [node for node in run.graph.node if label(node) not in without and of_images(node) and madds(node, run)])
    for node in run.graph.node:
        if label(node) in without:
            continue
        if not is_standard(node) or node.op_type in MULTIPLYING or any(a.HasField("g") for a in node.attribute):
            uncounted.append(label(node))
        products = madds(node, run) if of_images(node) else 0
        if products:
            layers[label(node)] = layers.get(label(node), 0) + products // divided[label(node)]
        for name, sources in weights.read_by(node):
            if name not in left_out:
                for root, places in sources.items():
                    if root not in left_out:
                        learned.setdefault(root, []).append(places)
    params = sum(numpy.count_nonzero(marked(lists)) for lists in learned.values())
    own = sum(map(tensor_bytes, stored_tensors(run.model)))
    nodes = [*run.graph.node, *(node for function in run.model.functions for node in function.node)]
    return Count(params, sum(layers.values()), own + sum(map(listed_bytes, constants(nodes))), layers, uncounted)
