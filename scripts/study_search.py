#!/usr/bin/env python3
"""Holds what searches found against architectures drawn evenly, random search and published cells.

    scripts/study_search.py STUDY

STUDY is the folder of `scripts/study-search`. Test accuracies in percent; intervals of a bootstrap over searches and over
architectures, each with its retraining, so that both kinds of luck are in them. Writes search.json, prints search.txt.
"""
import json
import random
import statistics
import sys
from pathlib import Path

RESAMPLES = 10_000
KINDS = ["search", "random-search", "drawn", "published"]


def accuracy(run):
    """The test accuracy of the retrained network of a run in percent; None where it has none yet."""
    if not (run / "weights.safetensors").exists():
        return None
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    tested = [line["test_accuracy"] for line in lines if "test_accuracy" in line]
    return 100 * tested[-1]


def pools(run):
    """How many of the pairs of a normal and a reduction cell are pools; None for published cells, whose file only names them."""
    file = run / "genotype.json"
    if not file.exists():
        return None
    cells = {cell["kind"]: cell for cell in json.loads(file.read_text())["cells"]}
    return sum("pool" in pair["op"] for cell in cells.values() for node in cell["nodes"] for pair in node)


def difference(a, b, rng):
    """Mean of a less mean of b, with the standard error and the 95% interval of the bootstrap."""
    if len(a) < 2 or len(b) < 2:
        return None
    resampled = lambda values: statistics.fmean(rng.choices(values, k=len(values)))
    drawn = sorted(resampled(a) - resampled(b) for _ in range(RESAMPLES))
    at = lambda share: drawn[round(share * (RESAMPLES - 1))]
    return {
        "points": statistics.fmean(a) - statistics.fmean(b),
        "standard_error": statistics.pstdev(drawn),
        "interval": [at(0.025), at(0.975)],
        "n": [len(a), len(b)],
    }


def main(study):
    runs = {kind: sorted((study / kind).glob("*"), key=lambda run: run.name) for kind in KINDS}
    known = {kind: [(run, accuracy(run)) for run in runs[kind]] for kind in KINDS}
    known = {kind: [(run, value) for run, value in of if value is not None] for kind, of in known.items()}
    values = {kind: [value for _, value in of] for kind, of in known.items()}
    rng = random.Random(0)
    held = {kind: difference(values["search"], values[kind], rng) for kind in KINDS[1:3]}
    # Architectures drawn that have as many pools as those found, give or take one of their range.
    found = [pools(run) for run, _ in known["search"]]
    alike = [value for run, value in known["drawn"] if found and min(found) <= pools(run) <= max(found)]
    held["drawn, with as many pools"] = difference(values["search"], alike, rng)
    names = sorted({run.name.rsplit(".", 1)[0] for run, _ in known["published"]})
    for name in names:
        of = [value for run, value in known["published"] if run.name.rsplit(".", 1)[0] == name]
        held[name] = difference(values["search"], of, rng)
        values[name] = of
    del values["published"]
    result = {"accuracies": values, "pools": found, "searched less": held}
    (study / "search.json").write_text(json.dumps(result, indent=1) + "\n")
    text = f"{'test accuracy, %':<28}{'n':>4}{'mean':>8}{'sd':>7}   searched less these, ± standard error, 95% interval\n"
    for kind in [*KINDS[:3], "drawn, with as many pools", *names]:
        of = alike if kind == "drawn, with as many pools" else values[kind]
        if not of:
            continue
        sd = f"{statistics.stdev(of):7.2f}" if len(of) > 1 else " " * 7
        text += f"{kind:<28}{len(of):>4}{statistics.fmean(of):8.2f}{sd}"
        less = held.get(kind)
        if less:
            low, high = less["interval"]
            text += f"   {less['points']:+.2f} ± {less['standard_error']:.2f}  [{low:+.2f}, {high:+.2f}]"
        text += "\n"
    (study / "search.txt").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
