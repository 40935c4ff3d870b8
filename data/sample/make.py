#!/usr/bin/env python3
"""Makes the embedded sample: the first images of every class of Fashion-MNIST.

    make.py SOURCE          writes the four files beside this script
    make.py SOURCE --check  writes nothing; exit status 1 if a file's content differs

SOURCE is a folder with the four original gzip files, for example
/usr/share/datasets/fashion-mnist of Debian's package `dataset-fashion-mnist`.

From the training set the first 600 images of each class are taken (6,000), from the
test set the first 100 (1,000), in their original order. The output depends on nothing
but SOURCE: no time, file name or random choice enters it. (Compression is Python's
zlib at level 9; a Python built on another implementation may compress the same
content to other bytes, which is why --check compares the content.)
"""

import gzip
import io
import pathlib
import struct
import sys

SPLITS = {"train": 600, "t10k": 100}
CLASSES = 10
SIDE = 28
LABELS_MAGIC = 0x801
IMAGES_MAGIC = 0x803
HERE = pathlib.Path(__file__).resolve().parent


def read(path):
    with gzip.open(path, "rb") as file:
        return file.read()


def compress(content):
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(content)
    return buffer.getvalue()


def select(source, split, per_class):
    """The idx contents {file name: bytes} of one split's sample."""
    image_name = f"{split}-images-idx3-ubyte.gz"
    label_name = f"{split}-labels-idx1-ubyte.gz"
    images, labels = read(source / image_name), read(source / label_name)
    magic, count, height, width = struct.unpack_from(">IIII", images)
    assert (magic, height, width) == (IMAGES_MAGIC, SIDE, SIDE), image_name
    assert struct.unpack_from(">II", labels) == (LABELS_MAGIC, count), label_name
    pixels, labels = images[16:], labels[8:]
    size = SIDE * SIDE

    taken, room = [], [per_class] * CLASSES
    for index, label in enumerate(labels):
        if room[label]:
            room[label] -= 1
            taken.append(index)
    assert not any(room), f"{label_name} has too few images of a class"

    return {
        image_name: struct.pack(">IIII", IMAGES_MAGIC, len(taken), SIDE, SIDE)
        + b"".join(pixels[i * size : (i + 1) * size] for i in taken),
        label_name: struct.pack(">II", LABELS_MAGIC, len(taken)) + bytes(labels[i] for i in taken),
    }


def main():
    arguments = [a for a in sys.argv[1:] if a != "--check"]
    if len(arguments) != 1:
        sys.exit(__doc__)
    differs = False
    for split, per_class in SPLITS.items():
        for name, content in select(pathlib.Path(arguments[0]), split, per_class).items():
            target = HERE / name
            if "--check" in sys.argv:
                same = target.exists() and read(target) == content
                print(f"{name}: {'same' if same else 'DIFFERS'}")
                differs |= not same
            else:
                target.write_bytes(compress(content))
                print(f"{name}: {target.stat().st_size} bytes")
    sys.exit(differs)


if __name__ == "__main__":
    main()
