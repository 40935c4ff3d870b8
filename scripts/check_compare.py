"""Tells how often `adwp compare` errs about latencies. See check-compare."""

import json
import os
import sys
import tempfile
import time

from bench_models import chain
from checked import machine, run, write

ADWP = os.environ["ADWP"]
TRIES = int(os.environ.get("TRIES", "20"))
RUNTIME = os.environ.get("RUNTIME", "ort")
THRESHOLD = os.environ.get("THRESHOLD", "5%")
MIN_TIME = os.environ.get("MIN_TIME", "0.3")
REPEAT = os.environ.get("REPEAT", "10")
# Far longer than it takes.
SECONDS = 120 + 10 * float(MIN_TIME) * int(REPEAT)


def bench(model, out):
    settings = ["--runtime", RUNTIME, "--threads", "1", "--min-time", MIN_TIME, "--repeat", REPEAT, "--no-trial", "--quiet"]
    run([ADWP, "bench", model, *settings, "--out", out], SECONDS)


def latency(before, after):
    """What `compare` says of the latency: `regression`, `improvement`, `within_noise`, or `same` where it is within the threshold."""
    code, text = run([ADWP, "compare", before, after, "--threshold", THRESHOLD, "--quiet", "--json"], 60, accepted=(0, 1))
    changes = json.loads(text)
    if code != any(change["verdict"] == "regression" for change in changes):
        sys.exit(f"compare ended with {code} and said {text}")
    verdicts = [change["verdict"] for change in changes if change["metric"] == "latency_ms"]
    return verdicts[0] if verdicts else "same"


def p50(result):
    with open(result) as file:
        return json.load(file)["models"][0]["latency"][0]["p50_ms"]


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else None
    result = {"runtime": RUNTIME, "threshold": THRESHOLD, "min_time": MIN_TIME, "repeat": REPEAT, "machine": machine(), "tries": []}
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: os.path.join(folder, name)
        chain(path("network.onnx"), 20, 32, 32)
        chain(path("slower.onnx"), 22, 32, 32)
        results = [path(f"{name}.json") for name in ("first", "second", "slower")]
        for number in range(1, TRIES + 1):
            start = time.time()
            for model, measured in zip(("network", "network", "slower"), results):
                bench(path(f"{model}.onnx"), measured)
            first, second, slower = results
            row = {
                "equal": latency(first, second),
                "slower": latency(first, slower),
                "p50_ms": [p50(measured) for measured in results],
                "seconds": time.time() - start,
                "load": os.getloadavg()[0],
            }
            result["tries"].append(row)
            print(f"{number}: equal: {row['equal']}, a tenth slower: {row['slower']}", file=sys.stderr, flush=True)
            agreed = sum(row["equal"] in ("same", "within_noise") for row in result["tries"])
            caught = sum(row["slower"] == "regression" for row in result["tries"])
            result |= {"agreed": agreed, "caught": caught}
            write(out, result)
    print(f"{agreed} of {TRIES} equal pairs agreed; {caught} of {TRIES} networks a tenth slower were caught")
    sys.exit(0 if min(agreed, caught) >= TRIES * 19 / 20 else 1)


main()
