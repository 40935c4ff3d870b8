"""Writes a network of the zoo as PyTorch exports it, to be timed beside the file that adwp writes.

    pytorch_networks.py darts GENOTYPE.json OUT.onnx      14 cells, 48 channels, the ImageNet stem, 224x224 pixels
    pytorch_networks.py mobilenet OUT.onnx                MobileNet of width 1, 224x224 pixels

The modules are those that a reader of the publications would write: a ReLU before each convolution of a cell, a BatchNorm after it.
"""

import json
import sys

import torch
from torch import nn

CHANNELS = 48
CLASSES = 1000


def conv_bn(inputs, outputs, kernel, stride=1, groups=1):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Separable(nn.Sequential):
    """ReLU, depthwise, pointwise, BatchNorm."""

    def __init__(self, channels, kernel, stride, dilation):
        padding = dilation * (kernel // 2)
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )


class FactorizedReduction(nn.Module):
    """Two pointwise convolutions of stride 2, the second a pixel further, and one BatchNorm over both."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.even = nn.Conv2d(inputs, outputs // 2, 1, 2, bias=False)
        self.odd = nn.Conv2d(inputs, outputs - outputs // 2, 1, 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        x = torch.relu(x)
        return self.bn(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], dim=1))


def project(inputs, outputs):
    return nn.Sequential(nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


def operation(name, channels, stride):
    if name == "identity":
        return nn.Identity() if stride == 1 else FactorizedReduction(channels, channels)
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, 1)
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    kernel = int(name[-1])
    if name.startswith("dil_conv"):
        return Separable(channels, kernel, stride, 2)
    if name.startswith("sep_conv"):
        return nn.Sequential(Separable(channels, kernel, stride, 1), Separable(channels, kernel, 1, 1))
    raise ValueError(f"no PyTorch counterpart of {name}")


class Cell(nn.Module):
    def __init__(self, cell, inputs, channels, halved):
        super().__init__()
        first = FactorizedReduction(inputs[0], channels) if halved else project(inputs[0], channels)
        self.inputs = nn.ModuleList([first, project(inputs[1], channels)])
        self.reads = [[pair["input"] for pair in pairs] for pairs in cell["nodes"]]
        reduces = cell["kind"] == "reduction"
        of_pair = lambda pair: operation(pair["op"], channels, 2 if reduces and pair["input"] < 2 else 1)
        self.nodes = nn.ModuleList(nn.ModuleList(of_pair(pair) for pair in pairs) for pairs in cell["nodes"])

    def forward(self, before, last):
        states = [self.inputs[0](before), self.inputs[1](last)]
        for operations, reads in zip(self.nodes, self.reads):
            states.append(sum(operation(states[read]) for operation, read in zip(operations, reads)))
        return torch.cat(states[2:], dim=1)


class Darts(nn.Module):
    def __init__(self, genotype):
        super().__init__()
        channels = CHANNELS
        self.stem0 = nn.Sequential(conv_bn(3, channels // 2, 3, 2), nn.ReLU(), conv_bn(channels // 2, channels, 3, 2))
        self.stem1 = nn.Sequential(nn.ReLU(), conv_bn(channels, channels, 3, 2))
        self.cells = nn.ModuleList()
        # The first cell reads two sizes, as the one after a reduction does.
        inputs, halved = [channels, channels], True
        for cell in genotype["cells"]:
            reduces = cell["kind"] == "reduction"
            channels *= 2 if reduces else 1
            self.cells.append(Cell(cell, inputs, channels, halved))
            inputs, halved = [inputs[1], len(cell["nodes"]) * channels], reduces
        self.classifier = nn.Linear(inputs[1], CLASSES)

    def forward(self, images):
        before = self.stem0(images)
        last = self.stem1(before)
        for cell in self.cells:
            before, last = last, cell(before, last)
        return self.classifier(last.mean((2, 3)))


def mobilenet():
    """Table 1 of the publication."""
    blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + 5 * [(512, 1)] + [(1024, 2), (1024, 1)]
    layers, channels = [conv_bn(3, 32, 3, 2), nn.ReLU()], 32
    for outputs, stride in blocks:
        layers += [conv_bn(channels, channels, 3, stride, channels), nn.ReLU(), conv_bn(channels, outputs, 1), nn.ReLU()]
        channels = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


def settle(network):
    """Gives every BatchNorm the statistics of noise and a shift, as training gives it some. With those that it starts from, folding would leave
    biases of zero, which the exporter removes."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.normal_(module.bias, std=0.1)
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 224, 224))


def main(arguments):
    torch.manual_seed(0)
    match arguments:
        case ["darts", genotype, out]:
            with open(genotype) as file:
                network = Darts(json.load(file))
        case ["mobilenet", out]:
            network = mobilenet()
        case _:
            sys.exit(__doc__)
    settle(network)
    images = torch.randn(1, 3, 224, 224)
    torch.onnx.export(network.eval(), (images,), out, input_names=["images"], output_names=["logits"], external_data=False)
    print(f"PyTorch {torch.__version__}: {out}", file=sys.stderr)


main(sys.argv[1:])
