"""Builds the networks that engine-bench describes in PyTorch, runs and times them.

Reads requests and writes replies as JSON, one a line. Needs torch alone. On the CPU everything but --threads is PyTorch's default. On a
GPU, single precision is that and not TF32, bf16 is autocast, and the algorithms of convolutions are looked for before times count.
"""

import argparse
import contextlib
import functools
import json
import operator
import os
import platform
import sys
import time

import torch
import torch.fx
import torch.nn.functional as F

# As in the engine's part: the seconds that the runs of a sample on a GPU take together, and the most of them.
BURST = 0.1
MOST_RUNS = 1000


ACTIVATIONS = {"relu6": F.relu6, "hard_sigmoid": F.hardsigmoid, "hard_swish": F.hardswish, "sigmoid": torch.sigmoid, "silu": F.silu}


def build(op, node):
    """The operation as a function of its inputs' values."""
    kind = op["kind"]
    if kind == "conv2d":
        stride, padding, dilation, groups = op["stride"], op["padding"], op["dilation"], op["groups"]
        below, right = op["trailing"]
        if below or right:
            return lambda x, w, b=None: F.conv2d(F.pad(x, (0, right, 0, below)), w, b, stride, padding, dilation, groups)
        return lambda x, w, b=None: F.conv2d(x, w, b, stride, padding, dilation, groups)
    if kind == "relu":
        return F.relu
    if kind in ACTIVATIONS:
        return ACTIVATIONS[kind]
    if kind == "gate":
        return lambda x, gate: x * gate[:, :, None, None]
    if kind == "max_pool":
        return lambda x: F.max_pool2d(x, op["kernel"], op["stride"], op["padding"])
    if kind == "avg_pool":
        return lambda x: F.avg_pool2d(x, op["kernel"], op["stride"], op["padding"], count_include_pad=False)
    if kind == "global_avg_pool":
        return lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1)
    if kind == "add":
        return lambda *xs: functools.reduce(operator.add, xs)
    if kind == "scale":
        return lambda x: x * op["factor"]
    if kind == "weighted_sum":
        terms = op["terms"]

        # Without the pass over memory that Python's sum would spend on its 0.
        def weighted_sum(weights, *xs):
            weights = weights.reshape(-1)
            return functools.reduce(operator.add, [weights[t] * x for t, x in zip(terms, xs)])

        return weighted_sum
    if kind == "channels":
        groups, first, count = op["groups"], op["from"], op["count"]
        return lambda x: x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)[:, first : first + count]
    if kind == "concat":
        return lambda *xs: torch.cat(xs, dim=1)
    if kind == "crop":
        return lambda x: x[:, :, op["top"] :, op["left"] :]
    if kind == "select":
        return lambda x: x.reshape(-1)[op["index"]].reshape(1, 1)
    if kind == "linear":
        return F.linear
    if kind == "reshape":
        shape = node["shape"]
        return lambda x: x.reshape(shape)
    if kind == "softmax":
        return lambda x: F.softmax(x, dim=-1)
    if kind == "drop_path":
        ones = [1] * (len(node["shape"]) - 1)
        return lambda x, mask: x * mask.reshape(-1, *ones)
    if kind == "cross_entropy":
        return lambda logits, labels: F.cross_entropy(logits, labels, label_smoothing=op["smoothing"])
    if kind == "batch_norm":
        return lambda x, mean, var, scale=None, shift=None: F.batch_norm(x, mean, var, scale, shift, True, 0.1, op["epsilon"])
    raise ValueError(f"no PyTorch counterpart of {kind}")


def inputs(node):
    """Names of what the operation reads; the running statistics of a normalisation after its image."""
    names = node["inputs"]
    if node["op"]["kind"] == "batch_norm":
        names = [names[0], node["name"] + "/running_mean", node["name"] + "/running_var", *names[1:]]
    return names


def resident(field):
    """Bytes of a field of /proc/self/status; None where there is none."""
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith(field):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def reset_peak():
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        return resident("VmRSS:")
    except OSError:
        return None


class Case:
    def __init__(self, folder, how):
        with open(os.path.join(folder, "case.json")) as file:
            case = json.load(file)
        assert case["schema"] == "adwp/bench-case/1", case["schema"]
        self.how = how
        leaves = {}
        with open(os.path.join(folder, case["file"]), "rb") as file:
            for entry in case["values"]:
                count = 1
                for extent in entry["shape"]:
                    count *= extent
                data = file.read(4 * count)
                assert len(data) == 4 * count, f"{case['file']} is too short"
                # Copied into memory that PyTorch allocated, aligned as it likes.
                values = torch.frombuffer(bytearray(data), dtype=torch.float32).reshape(entry["shape"])
                leaves[entry["name"]] = values.to(how.device, copy=True)
        for node in case["nodes"]:
            if node["op"]["kind"] == "cross_entropy":
                leaves[node["inputs"][1]] = leaves[node["inputs"][1]].long()

        self.nodes = [node for node in case["nodes"] if node["inputs"]]
        self.leaves = leaves
        self.loss, self.output = case["loss"], case["output"]
        self.names = case["trainable"]
        self.trainable = [leaves[name].requires_grad_() for name in self.names]
        self.functions = {}
        self.runs = None

        update = case["update"]
        self.clip, self.optimizer = None, None
        if update["kind"] == "sgd":
            self.clip = update["clip"]
            self.optimizer = torch.optim.SGD(
                self.trainable, lr=update["rate"], momentum=update["momentum"], weight_decay=update["weight_decay"]
            )
        elif update["kind"] == "adam":
            self.optimizer = torch.optim.Adam(
                self.trainable, lr=update["rate"], betas=tuple(update["betas"]), weight_decay=update["weight_decay"]
            )
        self.output_gradient = None

    def function(self, root):
        """A function that computes a node, and the leaves that it takes.

        It is what a person would write, one call after the other, each value forgotten after its last use.
        """
        if root not in self.functions:
            wanted, steps = {root}, []
            for node in reversed(self.nodes):
                if node["name"] in wanted:
                    wanted.update(inputs(node))
                    steps.append(node)
            graph = torch.fx.Graph()
            tracer = torch.fx.proxy.GraphAppendingTracer(graph)
            leaves = [leaf for name, leaf in self.leaves.items() if name in wanted]
            names = [name for name in self.leaves if name in wanted]
            values = {name: torch.fx.Proxy(graph.placeholder(f"leaf{i}"), tracer) for i, name in enumerate(names)}
            for node in reversed(steps):
                values[node["name"]] = build(node["op"], node)(*[values[name] for name in inputs(node)])
            graph.output(values[root].node)
            function = torch.fx.GraphModule(torch.nn.Module(), graph)
            self.functions[root] = (torch.compile(function) if self.how.compile else function, leaves)
        return self.functions[root]

    def forward(self, root):
        function, leaves = self.function(root)
        with self.how.casting():
            return function(*leaves)

    def update(self):
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.trainable, self.clip)
        self.optimizer.step()

    def gradients(self):
        """The loss and its gradients; those of a step are where its optimiser looks for them."""
        if self.optimizer is None:
            loss = self.forward(self.loss)
            return loss, torch.autograd.grad(loss, self.trainable)
        self.optimizer.zero_grad()
        loss = self.forward(self.loss)
        loss.backward()
        return loss, [x.grad for x in self.trainable]

    def first(self):
        before = self.how.reset_peak()
        loss, gradients = self.gradients()
        norms = {name: torch.linalg.vector_norm(g, dtype=torch.float64).item() for name, g in zip(self.names, gradients)}
        if self.optimizer is not None:
            self.update()
        after = self.how.peak()
        peak = max(after - before, 0) if before is not None and after is not None else None
        return {"loss": loss.item(), "norms": norms, "peak_bytes": peak}

    def operator(self):
        start = time.perf_counter()
        output = self.forward(self.output)
        forward = time.perf_counter()
        if self.output_gradient is None:
            self.output_gradient = torch.randn(output.shape, generator=torch.Generator().manual_seed(4))
            return self.operator()
        begin = time.perf_counter()
        torch.autograd.grad(output, self.trainable, self.output_gradient)
        end = time.perf_counter()
        forward, backward = forward - start, end - begin
        return {"forward": forward, "backward": backward, "total": forward + backward}

    def step(self):
        start = time.perf_counter()
        self.optimizer.zero_grad()
        loss = self.forward(self.loss)
        forward = time.perf_counter()
        loss.backward()
        backward = time.perf_counter()
        self.update()
        end = time.perf_counter()
        return {"forward": forward - start, "backward": backward - forward, "update": end - backward, "total": end - start}

    def burst(self):
        """The mean of several runs that are started without waiting for any but the last."""
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(self.runs):
            self.gradients()
            if self.optimizer is not None:
                self.update()
        torch.cuda.synchronize()
        total = (time.perf_counter() - start) / self.runs
        self.runs = int(min(max(BURST / total, 1), MOST_RUNS))
        return {"total": total}

    def sample(self):
        if not self.how.on_gpu:
            return self.operator() if self.optimizer is None else self.step()
        if self.runs is None:
            torch.backends.cudnn.benchmark, self.runs = True, 1
            for _ in range(3):
                self.burst()
        return self.burst()

    def time(self, seconds, at_least):
        start, samples = time.perf_counter(), []
        while len(samples) < at_least or time.perf_counter() - start < seconds:
            samples.append(self.sample())
        return samples


class How:
    """What is computed with."""

    def __init__(self, args):
        self.device, self.compile = torch.device(args.device), args.compile
        self.on_gpu, self.half = self.device.type == "cuda", args.precision == "bf16"
        torch.set_num_threads(args.threads)
        if self.on_gpu:
            torch.cuda.set_device(self.device)
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def casting(self):
        return torch.autocast("cuda", torch.bfloat16) if self.half else contextlib.nullcontext()

    def mode(self):
        eager = "torch.compile" if self.compile else "eager"
        if not self.on_gpu:
            return f"{torch.get_num_threads()} threads, {eager}, default flags"
        precision = "bf16 autocast" if self.half else "f32 without TF32"
        return f"{torch.cuda.get_device_name(self.device)}, CUDA {torch.version.cuda}, {eager}, {precision}, cudnn.benchmark"

    def reset_peak(self):
        """Starts looking for a peak of memory; gives what is taken now, where that is known."""
        if not self.on_gpu:
            return reset_peak()
        torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device)

    def peak(self):
        return torch.cuda.max_memory_allocated(self.device) if self.on_gpu else resident("VmHWM:")


def matmul(side):
    a, b = torch.randn(side, side), torch.randn(side, side)
    c = torch.matmul(a, b)
    best, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < 2.0:
        begin = time.perf_counter()
        torch.matmul(a, b, out=c)
        best = min(best, time.perf_counter() - begin)
    return best


def warm_up(device):
    """Loads what is loaded at first use, so that the memory of a case is its own."""
    torch.set_default_device(device)
    x = torch.randn(2, 4, 8, 8, requires_grad=True)
    w = torch.randn(4, 1, 3, 3, requires_grad=True)
    y = F.relu(F.batch_norm(F.conv2d(x, w, None, 1, 1, 1, 4), None, None, training=True))
    y = F.max_pool2d(y, 3, 1, 1) + F.avg_pool2d(y, 3, 1, 1)
    y = F.conv2d(y, torch.randn(4, 4, 1, 1, requires_grad=True))
    logits = F.linear(y.flatten(1), torch.randn(3, 256, requires_grad=True))
    F.cross_entropy(logits, torch.zeros(2, dtype=torch.long)).backward()
    torch.set_default_device(None)


def answer(request, state, how):
    do = request["do"]
    if do == "hello":
        warm_up(how.device)
        return {"torch": torch.__version__, "python": platform.python_version(), "threads": torch.get_num_threads(), "mode": how.mode()}
    if do == "load":
        state.pop("case", None)
        state["case"] = Case(request["folder"], how)
        return None
    if do == "first":
        return state["case"].first()
    if do == "time":
        return state["case"].time(request["seconds"], request["at_least"])
    if do == "matmul":
        return matmul(request["side"])
    raise ValueError(f"unknown request {do}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--compile", action="store_true")
    how = How(parser.parse_args())
    replies = sys.stdout
    # What a library prints must not end up between the replies.
    sys.stdout = sys.stderr
    state = {}
    for line in sys.stdin:
        try:
            reply = {"ok": answer(json.loads(line), state, how)}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
