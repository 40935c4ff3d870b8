"""What the checks of the bench share: running a program that must succeed in time, and writing results."""

import json
import os
import pathlib
import subprocess
import sys


def run(command, seconds, accepted=(0,)):
    """The exit code and stdout of a program. Where it fails or takes longer than that, the check ends with what the program said."""
    name = os.path.basename(command[0])
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except FileNotFoundError:
        sys.exit(f"there is no {command[0]}")
    except subprocess.TimeoutExpired:
        sys.exit(f"{name} took longer than {seconds:.0f} s: {' '.join(command)}")
    if ended.returncode not in accepted:
        sys.exit(f"{name} ended with {ended.returncode}: {' '.join(command)}\n{ended.stderr}")
    return ended.returncode, ended.stdout


def write(path, result):
    """Writes a result, all of it or nothing; None is no file."""
    if path is None:
        return
    whole = pathlib.Path(path)
    whole.parent.mkdir(parents=True, exist_ok=True)
    part = whole.with_name(f".{whole.name}.tmp")
    part.write_text(json.dumps(result, indent=1) + "\n")
    part.replace(whole)


def machine():
    """What a reader of the result has to know of the machine."""
    models = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return {"cpu": models[0] if models else "unknown", "cores": os.cpu_count(), "load": os.getloadavg()}
