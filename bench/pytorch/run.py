"""Builds the networks that engine-bench describes in eager PyTorch, runs and times them.

Reads requests and writes replies as JSON, one a line. Needs torch alone; everything but --threads is PyTorch's default.
"""

import argparse
import functools
import json
import operator
import os
import platform
import sys
import time

import torch
import torch.nn.functional as F


def build(op, node):
    """The operation as a function of its inputs' values."""
    kind = op["kind"]
    if kind == "conv2d":
        stride, padding, dilation, groups = op["stride"], op["padding"], op["dilation"], op["groups"]
        return lambda x, w, b=None: F.conv2d(x, w, b, stride, padding, dilation, groups)
    if kind == "relu":
        return F.relu
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
        return lambda x, mask: x * mask.reshape(-1, *[1] * (x.dim() - 1))
    if kind == "cross_entropy":
        return lambda logits, labels: F.cross_entropy(logits, labels, label_smoothing=op["smoothing"])
    raise ValueError(f"no PyTorch counterpart of {kind}")


def batch_norm(op, mean, var):
    return lambda x, scale=None, shift=None: F.batch_norm(x, mean, var, scale, shift, True, 0.1, op["epsilon"])


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
    def __init__(self, folder):
        with open(os.path.join(folder, "case.json")) as file:
            case = json.load(file)
        assert case["schema"] == "adwp/bench-case/1", case["schema"]
        leaves = {}
        with open(os.path.join(folder, case["file"]), "rb") as file:
            for entry in case["values"]:
                count = 1
                for extent in entry["shape"]:
                    count *= extent
                data = file.read(4 * count)
                assert len(data) == 4 * count, f"{case['file']} is too short"
                # Copied into memory that PyTorch allocated, aligned as it likes.
                leaves[entry["name"]] = torch.frombuffer(bytearray(data), dtype=torch.float32).reshape(entry["shape"]).clone()
        for node in case["nodes"]:
            if node["op"]["kind"] == "cross_entropy":
                leaves[node["inputs"][1]] = leaves[node["inputs"][1]].long()

        self.nodes = [
            (
                node["name"],
                batch_norm(node["op"], leaves.pop(node["name"] + "/running_mean"), leaves.pop(node["name"] + "/running_var"))
                if node["op"]["kind"] == "batch_norm"
                else build(node["op"], node),
                node["inputs"],
            )
            for node in case["nodes"]
            if node["inputs"]
        ]
        self.leaves = leaves
        self.loss, self.output = case["loss"], case["output"]
        self.names = case["trainable"]
        self.trainable = [leaves[name].requires_grad_() for name in self.names]
        self.plans = {}

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

    def plan(self, root):
        """What to compute for a node, and which values nobody reads any more after each: a module's locals would be gone, too."""
        if root not in self.plans:
            wanted, steps = {root}, []
            for name, compute, inputs in reversed(self.nodes):
                if name in wanted:
                    wanted.update(inputs)
                    steps.append((name, compute, inputs))
            steps.reverse()
            last = {root: None}
            for at, (_, _, inputs) in enumerate(steps):
                for name in inputs:
                    if name not in self.leaves and name != root:
                        last[name] = at
            dead = [[] for _ in steps]
            for name, at in last.items():
                if at is not None:
                    dead[at].append(name)
            self.plans[root] = [(*step, names) for step, names in zip(steps, dead)]
        return self.plans[root]

    def forward(self, root):
        values = dict(self.leaves)
        for name, compute, inputs, dead in self.plan(root):
            values[name] = compute(*[values[i] for i in inputs])
            for value in dead:
                del values[value]
        return values[root]

    def update(self):
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.trainable, self.clip)
        self.optimizer.step()

    def first(self):
        before = reset_peak()
        if self.optimizer is None:
            loss = self.forward(self.loss)
            gradients = torch.autograd.grad(loss, self.trainable)
        else:
            loss = self.forward(self.loss)
            loss.backward()
            gradients = [x.grad for x in self.trainable]
        norms = {name: torch.linalg.vector_norm(g, dtype=torch.float64).item() for name, g in zip(self.names, gradients)}
        if self.optimizer is not None:
            self.update()
        after = resident("VmHWM:")
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
        return {"forward": forward, "backward": backward, "update": 0.0, "total": forward + backward}

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

    def time(self, seconds, at_least):
        start, samples = time.perf_counter(), []
        while len(samples) < at_least or time.perf_counter() - start < seconds:
            samples.append(self.operator() if self.optimizer is None else self.step())
        return samples


def matmul(side):
    a, b = torch.randn(side, side), torch.randn(side, side)
    c = torch.matmul(a, b)
    best, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < 2.0:
        begin = time.perf_counter()
        torch.matmul(a, b, out=c)
        best = min(best, time.perf_counter() - begin)
    return best


def warm_up():
    """Loads what is loaded at first use, so that the memory of a case is its own."""
    x = torch.randn(2, 4, 8, 8, requires_grad=True)
    w = torch.randn(4, 1, 3, 3, requires_grad=True)
    y = F.relu(F.batch_norm(F.conv2d(x, w, None, 1, 1, 1, 4), None, None, training=True))
    y = F.max_pool2d(y, 3, 1, 1) + F.avg_pool2d(y, 3, 1, 1)
    y = F.conv2d(y, torch.randn(4, 4, 1, 1, requires_grad=True))
    logits = F.linear(y.flatten(1), torch.randn(3, 256, requires_grad=True))
    F.cross_entropy(logits, torch.zeros(2, dtype=torch.long)).backward()


def answer(request, state):
    do = request["do"]
    if do == "hello":
        warm_up()
        return {"torch": torch.__version__, "python": platform.python_version(), "threads": torch.get_num_threads()}
    if do == "load":
        state.pop("case", None)
        state["case"] = Case(request["folder"])
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
    torch.set_num_threads(parser.parse_args().threads)
    replies = sys.stdout
    # What a library prints must not end up between the replies.
    sys.stdout = sys.stderr
    state = {}
    for line in sys.stdin:
        try:
            reply = {"ok": answer(json.loads(line), state)}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
