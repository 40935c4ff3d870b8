"""Measures models with adwp and with the runtimes' own loops in turn. See check-latency."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import onnxruntime

from bench_models import chain

ADWP = os.environ["ADWP"]
ROUNDS = int(os.environ.get("ROUNDS", "9"))
SECONDS = float(os.environ.get("SECONDS_EACH", "1"))
TOLERANCE = 0.03


def adwp(model, runtime):
    command = [ADWP, "bench", model, "--runtime", runtime, "--threads", "1", "--min-time", str(SECONDS), "--repeat", "1"]
    result = subprocess.run(command + ["--no-memory", "--quiet", "--json"], check=True, capture_output=True, text=True)
    return json.loads(result.stdout)["models"][0]["latency"][0]["p50_ms"]


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
    result = subprocess.run([os.environ["TRACT_LOOP"], model, str(SECONDS)], check=True, capture_output=True, text=True)
    return float(result.stdout)


def fastest(times):
    return statistics.median(sorted(times)[: max(1, len(times) // 3)])


def main():
    out, models = sys.argv[1], sys.argv[2:]
    with tempfile.TemporaryDirectory() as folder:
        if not models:
            for layers, channels, size in [(8, 16, 32), (12, 32, 32), (16, 64, 56)]:
                models.append(os.path.join(folder, f"chain-{layers}x{channels}x{size}.onnx"))
                chain(models[-1], layers, channels, size)
        ways = {"adwp ort": lambda model: adwp(model, "ort"), "python ort": python}
        if "TRACT_LOOP" in os.environ:
            ways |= {"adwp tract": lambda model: adwp(model, "tract"), "loop tract": loop}
        times = {model: {way: [] for way in ways} for model in models}
        for _ in range(ROUNDS):
            for model in models:
                for way, measure in ways.items():
                    times[model][way].append(measure(model))
    rows, failed = [], False
    for model, measured in times.items():
        row = {"model": os.path.basename(model), "rounds_p50_ms": measured, "p50_ms": {way: fastest(all) for way, all in measured.items()}}
        for runtime, own in [("ort", "python ort"), ("tract", "loop tract")]:
            if own in measured:
                ratio = row["p50_ms"][f"adwp {runtime}"] / row["p50_ms"][own]
                row[f"{runtime}_ratio"] = ratio
                failed |= abs(ratio - 1) > TOLERANCE
                print(f"{row['model']}: {runtime}: adwp {row['p50_ms'][f'adwp {runtime}']:.4f} ms, {own} {row['p50_ms'][own]:.4f} ms, ratio {ratio:.3f}")
        rows.append(row)
    result = {"onnxruntime": onnxruntime.__version__, "rounds": ROUNDS, "seconds": SECONDS, "cores": os.cpu_count(), "load": os.getloadavg(), "models": rows}
    with open(out, "w") as file:
        json.dump(result, file, indent=1)
    sys.exit(1 if failed else 0)


main()
