"""Runs adwp on hostile ONNX files, each command under limits of its own, and judges how it ends. See check-hostile."""

import argparse
import collections
import contextlib
import ctypes
import dataclasses
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unicodedata
import zlib

import hostile_set

# What a command may take, with all processes that it starts.
SECONDS = float(os.environ.get("SECONDS_EACH", "15"))
BYTES = int(1.5e9)
# What the commands are asked to keep to, where they can.
PROTECTION = ["--load-timeout", "4s", "--max-memory", "1GB"]
# More than that on a screen helps nobody.
LONGEST_MESSAGE = 1 << 20
# No command writes a file of more.
LARGEST_FILE = 64 << 20

PAGE = os.sysconf("SC_PAGE_SIZE")
PR_SET_CHILD_SUBREAPER = 36
# Characters that change the direction of what follows them.
TURNING = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@dataclasses.dataclass
class Ended:
    """How a command ended."""

    code: int | None
    seconds: float
    bytes: int
    stdout: bytes
    stderr: bytes
    # Why it was ended from outside, or what it left behind.
    faults: list


def below(pid):
    """A process and all that it has started."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{each}/task"):
                with contextlib.suppress(OSError):
                    found += map(int, pathlib.Path(f"/proc/{each}/task/{task}/children").read_text().split())
    return found


def held(processes):
    """The bytes that processes hold."""
    total = 0
    for pid in processes:
        with contextlib.suppress(OSError, IndexError):
            total += int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    return total


def end(processes):
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def orphans():
    """What a command has started and not ended: as the reaper of its orphans, this process has them for children."""
    found = below(os.getpid())[1:]
    deadline = time.monotonic() + 0.5
    while found and time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        time.sleep(0.01)
        found = below(os.getpid())[1:]
    end(found)
    for _ in found:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)
    return len(found)


def limited():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))


def run(command, scratch):
    """Runs a command in empty folders below `scratch`, and looks after it until it ends or breaks a limit."""
    folders = [scratch / name for name in ("work", "tmp", "home")]
    for folder in folders:
        folder.mkdir()
    work, temporary, home = folders
    environment = {**os.environ, "TMPDIR": str(temporary), "HOME": str(home), "XDG_CACHE_HOME": str(home), "RUST_BACKTRACE": "0"}
    faults, most = [], 0
    with open(scratch / "stdout", "w+b") as stdout, open(scratch / "stderr", "w+b") as stderr:
        start = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=work, env=environment, start_new_session=True, preexec_fn=limited)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            seconds = time.monotonic() - start
            if pid:
                break
            processes = below(process.pid)
            most = max(most, held(processes))
            if not faults and (seconds > SECONDS or most > BYTES):
                faults.append(f"took more than {SECONDS:.0f} s" if seconds > SECONDS else f"took more than {BYTES / 1e9} GB")
                end(processes)
            time.sleep(0.004 if seconds < 0.5 else 0.02)
        process.returncode = os.waitstatus_to_exitcode(status)
        # What was held between two looks; a process that was forked begins with what this one holds.
        if usage.ru_maxrss * 1024 > BYTES and not faults:
            faults.append(f"took more than {BYTES / 1e9} GB")
        killed = bool(faults)
        if left := orphans():
            if not killed:
                faults.append(f"left {left} processes behind")
        stdout.seek(0)
        stderr.seek(0)
        ended = Ended(None if killed else process.returncode, seconds, most, stdout.read(), stderr.read(), faults)
    for folder in folders:
        left = sorted(str(path.relative_to(scratch)) for path in folder.rglob("*"))
        if left and not killed:
            faults.append(f"left {', '.join(left[:3])} behind")
        shutil.rmtree(folder)
    return ended


def judged(case, name, ended):
    """What is wrong with how a command ended."""
    faults = list(ended.faults)
    if ended.code is not None:
        if ended.code < 0:
            faults.append(f"was ended by signal {-ended.code}")
        elif ended.code not in (0, 1, 2):
            faults.append(f"ended with {ended.code}")
        if name in case.accepted and ended.code != 0:
            faults.append("refused a valid file")
        if name in case.refused and ended.code == 0:
            faults.append("took a file that it must refuse")
        if ended.code in (1, 2) and not re.search(rb"^error: .", ended.stderr, re.MULTILINE):
            faults.append("failed without saying why")
    texts = {}
    for stream, raw in (("stdout", ended.stdout), ("stderr", ended.stderr)):
        if len(raw) > LONGEST_MESSAGE:
            faults.append(f"{stream} has {len(raw):,} bytes")
        try:
            texts[stream] = raw.decode()
        except UnicodeDecodeError:
            faults.append(f"{stream} is not UTF-8")
            texts[stream] = raw.decode(errors="replace")
    for stream, text in texts.items():
        steering = {c for c in text if c not in "\n\t" and (unicodedata.category(c) == "Cc" or c in TURNING)}
        if steering:
            faults.append(f"{stream} steers the terminal: {', '.join(sorted(map(ascii, steering)))}")
        if re.search(r"^\s*error: forged", text, re.MULTILINE):
            faults.append(f"{stream} has a line that the file forged")
    if "panicked at" in texts["stderr"]:
        faults.append("panicked")
    if re.search(r"^(error: )?internal\b", texts["stderr"], re.MULTILINE | re.IGNORECASE):
        faults.append("says that it is at fault itself")
    for secret in ("31337", "4242"):
        # Digits of a time may be the same.
        if re.search(rf"(?<![\d.,]){secret}(?![\d.,])", texts["stdout"]):
            faults.append("shows what another file holds")
            break
    return faults


def counted(case, adwp, path, scratch):
    """What is wrong with the counts of a file whose cost is known."""
    ended = run([adwp, "cost", path, "--json"], scratch)
    if ended.code != 0:
        return [f"no counts: {ended.stderr.decode(errors='replace').strip()[:200]}"]
    try:
        result = json.loads(ended.stdout)
    except json.JSONDecodeError as error:
        return [f"stdout is no JSON: {error}"]
    faults = [f"{key} {result[key]:,}, expected {expected:,}" for key, expected in case.counts.items() if result[key] != expected]
    if faults and result["unknown"]:
        faults.append(f"not counted: {result['unknown'][0]['name'][:60]}")
    return faults


def png(path, shade):
    """A picture of 8×8 pixels of one colour."""
    part = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    rows = b"".join(b"\0" + bytes([shade, 255 - shade, 90]) * 8 for _ in range(8))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b""))


def pictures(folder):
    """A data set of two classes, and one of its pictures."""
    for split in ("train", "test"):
        for number, name in enumerate("ab"):
            (folder / split / name).mkdir(parents=True)
            for shade in (30, 90):
                png(folder / split / name / f"{shade}.png", shade + 100 * number)
    return folder / "test" / "a" / "30.png"


def commands(case, adwp, path, protected, data, picture):
    """The commands that a file is given to, by name."""
    guarded = lambda name: PROTECTION if protected[name] else []
    prepared = [] if case.stated else ["--normalize", "unit"]
    yield "cost", [adwp, "cost", path]
    yield "bench", [adwp, "bench", path, "--threads", "1", "--repeat", "1", "--min-time", "1ms", *guarded("bench")]
    if case.image:
        yield "predict", [adwp, "predict", path, picture, *prepared, *guarded("predict")]
        yield "eval", [adwp, "eval", path, "--dataset", "image-folder", "--data", data, *prepared, *guarded("eval")]


def chosen(sample, only):
    """The cases, or as many of each kind, evenly over them."""
    kinds = hostile_set.KINDS
    for index, (kind, function) in enumerate(kinds):
        cases = list(function())
        for case in cases:
            case.kind = kind
        if sample is not None:
            share = min(len(cases), sample // len(kinds) + (index < sample % len(kinds)))
            cases = [cases[(2 * place + 1) * len(cases) // (2 * share)] for place in range(share)]
        for case in cases:
            if only is None or re.search(only, f"{kind}/{case.name}"):
                yield case


def shown(text, folders, limit=300):
    """The beginning of what was printed, without the paths of this run."""
    text = text.decode(errors="replace").strip()
    for folder in folders:
        text = text.replace(f"{folder}/", "")
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"


def main():
    parser = argparse.ArgumentParser(prog="check-hostile")
    parser.add_argument("--sample", type=int)
    parser.add_argument("--only")
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("log", nargs="?", type=pathlib.Path)
    arguments = parser.parse_args()
    adwp = os.path.abspath(os.environ["ADWP"])
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)

    told = lambda *asked: subprocess.run([adwp, *asked], check=True, capture_output=True, text=True).stdout
    protected = {name: "--load-timeout" in told(name, "--help") for name in hostile_set.RUNTIMES}
    lines, failures, start = [], [], time.monotonic()
    rows = collections.defaultdict(lambda: collections.Counter())
    with tempfile.TemporaryDirectory(prefix="check-hostile-") as root:
        root = pathlib.Path(root)
        picture = pictures(root / "data")
        for case in chosen(arguments.sample, arguments.only):
            label = f"{case.kind}/{case.name}"
            outer = (arguments.keep.absolute() / case.kind / case.name) if arguments.keep else root / "case"
            if outer.exists():
                shutil.rmtree(outer)
            folder = outer / "model"
            folder.mkdir(parents=True)
            path = case.write(folder)
            before = sorted(each.name for each in folder.rglob("*"))
            size = path.stat().st_size if path.is_file() else 0
            scratch = root / "scratch"
            scratch.mkdir()
            row, results = rows[case.kind], []
            row["files"] += 1
            for name, command in commands(case, adwp, path, protected, root / "data", picture):
                ended = run(command, scratch)
                faults = judged(case, name, ended)
                if name == "cost" and case.counts and ended.code == 0:
                    faults += counted(case, adwp, path, scratch)
                if sorted(each.name for each in folder.rglob("*")) != before:
                    faults.append("changed the folder of the model")
                    before = sorted(each.name for each in folder.rglob("*"))
                row["commands"] += 1
                row[f"exit {ended.code}" if ended.code in (0, 1, 2) else "ended from outside" if ended.code is None else "by signal"] += 1
                row["seconds"] = max(row["seconds"], ended.seconds)
                row["bytes"] = max(row["bytes"], ended.bytes)
                code = "ended" if ended.code is None else ended.code
                results.append(f"{name} {code} {ended.seconds:.2f} s {ended.bytes / 1e6:.0f} MB")
                if faults:
                    row["failed"] += 1
                    said = shown(ended.stderr or ended.stdout, (folder, root))
                    failures.append(f"{label} ({size:,} bytes), {name}: {'; '.join(faults)}" + (f"\n    {said}" if said else ""))
                    print(failures[-1], file=sys.stderr, flush=True)
            lines.append(f"{label}, {size:,} bytes: {', '.join(results)}")
            shutil.rmtree(scratch)
            if not arguments.keep:
                shutil.rmtree(outer)

    columns = ["files", "commands", "exit 0", "exit 1", "exit 2", "by signal", "ended from outside", "failed"]
    table = [f"{'kind':<14}" + "".join(f"{column:>20}" if len(column) > 9 else f"{column:>10}" for column in columns) + f"{'most s':>10}{'most MB':>10}"]
    sums = collections.Counter()
    for kind, row in rows.items():
        for column in columns:
            sums[column] += row[column]
        for column in ("seconds", "bytes"):
            sums[column] = max(sums[column], row[column])
    for kind, row in [*rows.items(), ("all", sums)]:
        cells = "".join(f"{row[column]:>20}" if len(column) > 9 else f"{row[column]:>10}" for column in columns)
        table.append(f"{kind:<14}{cells}{row['seconds']:>10.1f}{row['bytes'] / 1e6:>10.0f}")
    guarded = [name for name, has in protected.items() if has]
    title = [
        f"{told('--version').strip()}; limits of a command {SECONDS:.0f} s and {BYTES / 1e9} GB; "
        + (f"{' '.join(PROTECTION)} for {', '.join(guarded)}" if guarded else "the program has no --load-timeout and no --max-memory"),
        f"{sums['files']} files, {sums['commands']} commands, {time.monotonic() - start:.0f} s; {sums['failed']} commands failed the check",
    ]
    report = [*title, "", *table, "", *(["Failures:", *failures] if failures else ["No failures."])]
    print("\n".join([*title, "", *table]))
    if arguments.log:
        arguments.log.parent.mkdir(parents=True, exist_ok=True)
        arguments.log.write_text("\n".join([*report, "", "Every file:", *lines]) + "\n")
    if failures:
        sys.exit(1)


main()
