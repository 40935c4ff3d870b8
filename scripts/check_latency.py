"""Measures models with adwp and with the runtimes' own loops in turn. See check-latency."""

import json
import os
import statistics
import sys
import tempfile

import onnxruntime

from bench_models import chain
from checked import machine, run, write

ADWP = os.environ["ADWP"]
TRACT_LOOP = os.environ["TRACT_LOOP"]
ROUNDS = int(os.environ.get("ROUNDS", "20"))
SECONDS = float(os.environ.get("SECONDS_EACH", "0.5"))
TOLERANCE = 0.03
MOST_ADDED_US = 2.0
# Medians that each way gives in a round, each of a part of its time.
WINDOWS = 10
# Far longer than any way takes.
LIMIT = 60 + 10 * SECONDS
# The name of the network that takes next to no time.
TINY = "tiny.onnx"


def adwp(model):
    settings = ["--runtime", "ort", "--threads", "1", "--min-time", str(SECONDS / WINDOWS), "--repeat", str(WINDOWS), "--no-trial", "--quiet", "--json"]
    _, text = run([ADWP, "bench", model, *settings], LIMIT)
    latency = json.loads(text)["models"][0]["latency"][0]
    if latency["runtime_version"] != onnxruntime.__version__:
        sys.exit(f"adwp runs ONNX Runtime {latency['runtime_version']}, Python {onnxruntime.__version__}: name the library with ORT_DYLIB_PATH")
    return latency["repeat_p50_ms"]


def python(model):
    """ONNX Runtime's own session."""
    loop = os.path.join(os.path.dirname(__file__), "ort_loop.py")
    return [float(line) for line in run([sys.executable, loop, model, str(SECONDS / WINDOWS), str(WINDOWS)], LIMIT)[1].split()]


def tract(model):
    """What the bench measures of tract, and a plain loop around it, in one program and by turns."""
    lines = run([TRACT_LOOP, model, str(SECONDS / WINDOWS), str(WINDOWS)], LIMIT)[1].splitlines()
    return zip(*(map(float, line.split()) for line in lines))


def fastest(times):
    return statistics.median(sorted(times)[: max(1, len(times) // 10)])


def compared(name, times):
    """The row of a model, whether it is as it should be, and what to print."""
    p50 = {way: fastest(all) for way, all in times.items()}
    row = {"model": name, "p50_of_windows_ms": times, "p50_ms": p50}
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
            for layers, channels, size in [(12, 32, 32), (8, 32, 56), (16, 64, 56)]:
                models.append(os.path.join(folder, f"chain-{layers}x{channels}x{size}.onnx"))
                chain(models[-1], layers, channels, size)
        models.append(os.path.join(folder, TINY))
        chain(models[-1], 1, 1, 2)
        times = {model: {way: [] for way in ("adwp ort", "python ort", "adwp tract", "loop tract")} for model in models}
        for number in range(1, ROUNDS + 1):
            print(f"round {number} of {ROUNDS}", file=sys.stderr, flush=True)
            for model in models:
                for way, p50 in zip(times[model], [adwp(model), python(model), *tract(model)]):
                    times[model][way] += p50
    results = [compared(os.path.basename(model), measured) for model, measured in times.items()]
    rows, fit, lines = zip(*results)
    print("\n".join(line for some in lines for line in some))
    settings = {"onnxruntime": onnxruntime.__version__, "rounds": ROUNDS, "seconds": SECONDS, "machine": start, "load_after": os.getloadavg()}
    write(out, settings | {"within_limits": all(fit), "models": rows})
    sys.exit(0 if all(fit) else 1)


main()
