"""A plain loop around ONNX Runtime's own session: `ort_loop.py MODEL.onnx SECONDS TURNS` prints the median of the runs of each turn in milliseconds.

check-latency compares them with what adwp measures.
"""

import statistics
import sys
import time

import numpy
import onnxruntime


def main(model, seconds, turns):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    declared = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in declared.shape]
    feed = {declared.name: numpy.random.default_rng(0).uniform(-1, 1, shape).astype("float32")}
    warm = time.perf_counter() + 0.5
    while time.perf_counter() < warm:
        session.run(None, feed)
    for _ in range(turns):
        times, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            session.run(None, feed)
            times.append(1000 * (time.perf_counter() - start))
        print(statistics.median(times))


main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
