"""How often `adwp data split` puts another form of a photo on another side than the photo.

    python scripts/check_divided.py ADWP PHOTOS OUT

PHOTOS: a folder CLASS/*. OUT: a folder that is made. Pillow is needed. Each photo is saved again in several ways; every way is a
folder of its own, which is divided by itself.
"""

import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageEnhance

WAYS = {
    "as it is": lambda image: (image, {"format": "PNG"}),
    "JPEG of quality 60": lambda image: (image, {"format": "JPEG", "quality": 60}),
    "two thirds of the size, JPEG of quality 80": lambda image: (
        image.resize([side * 2 // 3 for side in image.size], Image.Resampling.LANCZOS),
        {"format": "JPEG", "quality": 80},
    ),
    "a tenth brighter": lambda image: (ImageEnhance.Brightness(image).enhance(1.1), {"format": "PNG"}),
    "2% of each edge cut off": lambda image: (
        image.crop([image.width // 50, image.height // 50, image.width - image.width // 50, image.height - image.height // 50]),
        {"format": "PNG"},
    ),
    "mirrored": lambda image: (image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), {"format": "PNG"}),
}


def sides(adwp, photos, out):
    subprocess.run([adwp, "data", "split", photos, out, "--quiet"], check=True, capture_output=True)
    return {(path.parent.name, path.stem): path.parts[-3] for path in out.glob("*/*/*")}


def main():
    adwp, photos, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True)
    files = sorted(photos.glob("*/*"))
    own = sides(adwp, photos, out / "divided")
    print(f"{len(files)} photos, {sum(side == 'val' for side in own.values())} for testing")
    for number, (way, change) in enumerate(WAYS.items()):
        folder = out / f"way{number}"
        for path in files:
            image, how = change(Image.open(path).convert("RGB"))
            to = folder / path.parent.name / f"{path.stem}.{how['format'].lower()}"
            to.parent.mkdir(parents=True, exist_ok=True)
            image.save(to, **how)
        theirs = sides(adwp, folder, out / f"way{number}-divided")
        same = sum(theirs[key] == side for key, side in own.items())
        print(f"{100 * same / len(own):6.2f}% on the same side: {way}", flush=True)


if __name__ == "__main__":
    main()
