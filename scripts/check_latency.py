"""Measures models with adwp and with the runtimes' own loops in turn. See check-latency."""

import json
import os
import statistics
import sys
import tempfile
import time

import numpy
import onnxruntime

from bench_models import chain
from checked import machine, run, write

ADWP = os.environ["ADWP"]
TRACT_LOOP = os.environ["TRACT_LOOP"]
ROUNDS = int(os.environ.get("ROUNDS", "9"))
SECONDS = float(os.environ.get("SECONDS_EACH", "1"))
TOLERANCE = 0.03
MOST_ADDED_US = 2.0
# Far longer than any way takes.
LIMIT = 60 + 10 * SECONDS
# The name of the network that takes next to no time.
TINY = "tiny.onnx"


def adwp(model, runtime):
    settings = ["--runtime", runtime, "--threads", "1", "--min-time", str(SECONDS), "--repeat", "1", "--no-memory", "--quiet", "--json"]
    _, text = run([ADWP, "bench", model, *settings], LIMIT)
    latency = json.loads(text)["models"][0]["latency"][0]
    if runtime == "ort" and latency["runtime_version"] != onnxruntime.__version__:
        sys.exit(f"adwp runs ONNX Runtime {latency['runtime_version']}, Python {onnxruntime.__version__}: name the library with ORT_DYLIB_PATH")
    return latency["p50_ms"]


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def python(model):
    """ONNX Runtime's own session, made anew as adwp makes it anew."""
    runtime = session(model)
    declared = runtime.get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in declared.shape]
    feed = {declared.name: numpy.random.default_rng(0).uniform(-1, 1, shape).astype("float32")}
    times, warm = [], time.perf_counter() + 0.3
    while time.perf_counter() < warm:
        runtime.run(None, feed)
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        runtime.run(None, feed)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def loop(model):
    """A plain loop around tract: an example of the library."""
    return float(run([TRACT_LOOP, model, str(SECONDS)], LIMIT)[1])


WAYS = {
    "adwp ort": lambda model: adwp(model, "ort"),
    "python ort": python,
    "adwp tract": lambda model: adwp(model, "tract"),
    "loop tract": loop,
}


def fastest(times):
    return statistics.median(sorted(times)[: max(1, len(times) // 3)])


def compared(name, times):
    """The row of a model, whether it is as it should be, and what to print."""
    p50 = {way: fastest(all) for way, all in times.items()}
    row = {"model": name, "rounds_p50_ms": times, "p50_ms": p50}
    fits, lines = True, []
    for runtime, own in [("ort", "python ort"), ("tract", "loop tract")]:
        ours, theirs = p50[f"adwp {runtime}"], p50[own]
        line = f"{name}: {runtime}: adwp {ours:.4f} ms, {own} {theirs:.4f} ms, "
        if name == TINY:
            added = row[f"{runtime}_added_us"] = 1000 * (ours - theirs)
            fits &= added <= MOST_ADDED_US
            lines.append(line + f"added {added:+.2f} us")
        else:
            ratio = row[f"{runtime}_ratio"] = ours / theirs
            fits &= abs(ratio - 1) <= TOLERANCE
            lines.append(line + f"ratio {ratio:.3f}")
    return row, fits, lines


def main():
    out, models = (sys.argv[1] if len(sys.argv) > 1 else None), sys.argv[2:]
    start = machine()
    with tempfile.TemporaryDirectory() as folder:
        if not models:
            for layers, channels, size in [(8, 16, 32), (12, 32, 32), (16, 64, 56)]:
                models.append(os.path.join(folder, f"chain-{layers}x{channels}x{size}.onnx"))
                chain(models[-1], layers, channels, size)
        models.append(os.path.join(folder, TINY))
        chain(models[-1], 1, 1, 2)
        times = {model: {way: [] for way in WAYS} for model in models}
        for number in range(1, ROUNDS + 1):
            print(f"round {number} of {ROUNDS}", file=sys.stderr, flush=True)
            for model in models:
                for way, measure in WAYS.items():
                    times[model][way].append(measure(model))
    results = [compared(os.path.basename(model), measured) for model, measured in times.items()]
    rows, fit, lines = zip(*results)
    print("\n".join(line for some in lines for line in some))
    settings = {"onnxruntime": onnxruntime.__version__, "rounds": ROUNDS, "seconds": SECONDS, "machine": start, "load_after": os.getloadavg()}
    write(out, settings | {"within_limits": all(fit), "models": rows})
    sys.exit(0 if all(fit) else 1)


main()
