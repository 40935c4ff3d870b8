"""Writes ONNX files of many families of networks, made by PyTorch and ONNX Runtime's quantiser, to be counted. See check-cost.

    cost_networks.py DIR [NAME…]

Weights are random, since only their number matters. A file that is there is not made again. What an exporter cannot write is a line on stderr.
"""

import json
import os
import sys
import warnings

import numpy
import onnx
import torch
import torchvision
from onnx import numpy_helper
from onnxruntime import quantization
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from torch import nn
from torch.nn.utils import parametrizations, prune

NETWORKS = {}


def network(name, exporters=("script", "dynamo"), **settings):
    """Registers a function that gives a module and its inputs. `settings` go to the exporters."""

    def register(make):
        for exporter in exporters:
            NETWORKS[f"{name}-{exporter}"] = (make, exporter, settings)
        return make

    return register


def image(size=64, channels=3):
    return (torch.randn(1, channels, size, size),)


# --- classifiers of images ---

CLASSIFIERS = {
    "alexnet": 224, "squeezenet1_1": 96, "resnet18": 64, "resnext50_32x4d": 64, "densenet121": 64, "googlenet": 96, "inception_v3": 96,
    "mobilenet_v2": 64, "mobilenet_v3_small": 64, "efficientnet_b0": 64, "efficientnet_v2_s": 64, "shufflenet_v2_x0_5": 64, "mnasnet0_5": 64,
    "regnet_y_400mf": 64, "convnext_tiny": 64, "vit_b_16": 224, "swin_t": 64, "swin_v2_t": 64, "maxvit_t": 224,
}  # fmt: skip
for of_torchvision, pixels in CLASSIFIERS.items():

    @network(of_torchvision)
    def classifier(of_torchvision=of_torchvision, pixels=pixels):
        return torchvision.models.get_model(of_torchvision, weights=None, init_weights=False) if of_torchvision in (
            "googlenet", "inception_v3") else torchvision.models.get_model(of_torchvision, weights=None), image(pixels)  # fmt: skip


for of_timm in ["mixer_s32_224", "deit_tiny_patch16_224", "levit_128s", "mobilevit_xxs", "poolformer_s12", "ghostnet_050", "repvgg_a0", "xcit_nano_12_p16_224", "nf_resnet26", "beit_base_patch16_224"]:

    @network(f"timm-{of_timm}")
    def classifier_of_timm(of_timm=of_timm):
        import timm

        model = timm.create_model(of_timm, pretrained=False, exportable=True)
        return model, image(224)


@network("resnet18-unfolded", ["script"], training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
def unfolded():
    return torchvision.models.resnet18(), image()


# --- detection, segmentation, video, flow ---

for detector in ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn", "retinanet_resnet50_fpn", "fcos_resnet50_fpn", "maskrcnn_resnet50_fpn"]:

    @network(detector, ["script"])
    def detection(detector=detector):
        model = torchvision.models.get_model(detector, weights=None, weights_backbone=None, num_classes=21)
        if hasattr(model, "transform") and "ssdlite" not in detector:
            model.transform.min_size, model.transform.max_size = (128,), 128
        return model, ([torch.rand(3, 128, 128)],)


for segmenter in ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "fcn_resnet50"]:

    @network(segmenter)
    def segmentation(segmenter=segmenter):
        return torchvision.models.get_model(segmenter, weights=None, weights_backbone=None), image(96)


@network("r3d_18")
def video():
    return torchvision.models.video.r3d_18(weights=None), (torch.randn(1, 3, 4, 32, 32),)


@network("raft_small")
def flow():
    return torchvision.models.optical_flow.raft_small(weights=None), (torch.randn(1, 3, 128, 128), torch.randn(1, 3, 128, 128))


# --- transformers ---


def tokens(length=12, batch=1):
    return torch.arange(1, 1 + batch * length).reshape(batch, length)


class First(nn.Module):
    """A network of `transformers` whose first result alone is exported."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *inputs):
        return self.model(*inputs, return_dict=False)[0]


def of_transformers(config, model, inputs=None, **sizes):
    import transformers

    settings = getattr(transformers, config)(**sizes)
    settings._attn_implementation = "eager"
    return First(getattr(transformers, model)(settings)), inputs or (tokens(),)


SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 500}
AXES = {"input_names": ["ids"], "dynamic_axes": {"ids": {0: "batch", 1: "length"}}}


@network("bert")
def bert():
    return of_transformers("BertConfig", "BertModel", **SMALL)


@network("bert-open", ["script"], **AXES)
def bert_open():
    return bert()


@network("bert-masked-lm")
def bert_masked_lm():
    # The table of the words is the weight of the last layer too.
    return of_transformers("BertConfig", "BertForMaskedLM", **SMALL)


@network("gpt2", ["dynamo"])
def gpt2():
    return of_transformers("GPT2Config", "GPT2LMHeadModel", n_embd=64, n_layer=2, n_head=4, vocab_size=500, n_positions=64, use_cache=False)


@network("llama", ["dynamo"])
def llama():
    return of_transformers("LlamaConfig", "LlamaForCausalLM", num_key_value_heads=2, use_cache=False, **SMALL)


@network("t5-encoder")
def t5():
    return of_transformers("T5Config", "T5EncoderModel", d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, vocab_size=500)


@network("whisper-encoder")
def whisper():
    import transformers

    config = transformers.WhisperConfig(d_model=64, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=128, decoder_attention_heads=4, max_source_positions=50)
    config._attn_implementation = "eager"
    return First(transformers.WhisperModel(config).get_encoder()), (torch.randn(1, 80, 100),)


@network("wav2vec2")
def wav2vec2():
    sizes = {**SMALL, "vocab_size": 32, "num_conv_pos_embedding_groups": 4, "conv_dim": (32,) * 7}
    return of_transformers("Wav2Vec2Config", "Wav2Vec2Model", (torch.randn(1, 4000),), **sizes)


@network("segformer")
def segformer():
    sizes = {"hidden_sizes": [16, 32, 64, 64], "depths": [1, 1, 1, 1], "decoder_hidden_size": 64}
    return of_transformers("SegformerConfig", "SegformerForSemanticSegmentation", image(64), **sizes)


@network("detr-like")
def set_prediction():
    class Detr(nn.Module):
        """The demonstration of the publication: positions and queries are learned."""

        def __init__(self):
            super().__init__()
            self.backbone = nn.Sequential(*list(torchvision.models.resnet18().children())[:-2])
            self.conv = nn.Conv2d(512, 64, 1)
            self.transformer = nn.Transformer(64, 4, 1, 1, 128, batch_first=True)
            self.classes, self.boxes = nn.Linear(64, 21), nn.Linear(64, 4)
            self.queries = nn.Parameter(torch.rand(10, 64))
            self.rows, self.columns = nn.Parameter(torch.rand(50, 32)), nn.Parameter(torch.rand(50, 32))

        def forward(self, x):
            h = self.conv(self.backbone(x))
            height, width = h.shape[-2:]
            columns = self.columns[:width].unsqueeze(0).repeat(height, 1, 1)
            rows = self.rows[:height].unsqueeze(1).repeat(1, width, 1)
            positions = torch.cat([columns, rows], -1).flatten(0, 1).unsqueeze(0)
            h = self.transformer(positions + 0.1 * h.flatten(2).permute(0, 2, 1), self.queries.unsqueeze(0))
            return self.classes(h), self.boxes(h).sigmoid()

    return Detr(), image(128)


@network("detr-like-open", ["script"], input_names=["x"], dynamic_axes={"x": {2: "height", 3: "width"}})
def set_prediction_open():
    return set_prediction()


@network("encoder-decoder", ["dynamo"])
def encoder_decoder():
    return nn.Transformer(64, 4, 2, 2, 128, batch_first=True), (torch.randn(1, 10, 64), torch.randn(1, 7, 64))


@network("positions-open", ["script"], **AXES)
def learned_positions():
    class Positions(nn.Module):
        """Learned positions, of which as many are cut out or gathered as there are words."""

        def __init__(self):
            super().__init__()
            self.words, self.gathered = nn.Embedding(100, 32), nn.Embedding(40, 32)
            self.cut = nn.Parameter(torch.randn(1, 40, 32))
            self.head = nn.Linear(32, 5)

        def forward(self, ids):
            length = ids.shape[1]
            x = self.words(ids) + self.cut[:, :length] + self.gathered(torch.arange(length))
            return self.head(x)

    return Positions(), (tokens(),)


@network("positions-resized", ["script"], input_names=["x"], dynamic_axes={"x": {2: "height", 3: "width"}})
def resized_positions():
    class Positions(nn.Module):
        """Positions that are resized to as many patches as the image has."""

        def __init__(self):
            super().__init__()
            self.patches, self.head = nn.Conv2d(3, 16, 8, 8), nn.Linear(16, 5)
            self.positions = nn.Parameter(torch.randn(1, 16, 4, 4))

        def forward(self, x):
            x = self.patches(x)
            x = x + nn.functional.interpolate(self.positions, size=x.shape[-2:], mode="bilinear")
            return self.head(x.flatten(2).mean(-1))

    return Positions(), image(64)


# --- weights that are computed ---


def small_convolutions(wrap=lambda layer: layer):
    return nn.Sequential(
        wrap(nn.Conv2d(3, 16, 3, 2)), nn.BatchNorm2d(16), nn.ReLU(), wrap(nn.Conv2d(16, 32, 3, 2, groups=2)), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), wrap(nn.Linear(32, 10)),
    )  # fmt: skip


UNFOLDED = {"do_constant_folding": False}
COMPUTED = {
    "weight-norm": parametrizations.weight_norm,
    "spectral-norm": parametrizations.spectral_norm,
    "weight-norm-older": torch.nn.utils.weight_norm,
}
for kind, wrapped in COMPUTED.items():

    @network(kind)
    @network(f"{kind}-unfolded", ["script"], **UNFOLDED)
    def normed(wrapped=wrapped):
        return small_convolutions(wrapped), image()


def pruned_layer(layer):
    prune.l1_unstructured(layer, "weight", 0.5)
    return layer


@network("pruned")
@network("pruned-unfolded", ["script"], **UNFOLDED)
def pruned():
    return small_convolutions(pruned_layer), image()


@network("pruned-half", ["script"], **UNFOLDED)
def pruned_half():
    return small_convolutions(pruned_layer).half(), (image()[0].half(),)


@network("pruned-boolean", ["script"], **UNFOLDED)
def pruned_boolean():
    class Masked(nn.Linear):
        def __init__(self):
            super().__init__(64, 10)
            self.register_buffer("mask", torch.rand(10, 64) > 0.5)

        def forward(self, x):
            return nn.functional.linear(x, self.weight * self.mask, self.bias)

    return Masked(), (torch.randn(1, 64),)


@network("pruned-channels")
def pruned_channels():
    def structured(layer):
        prune.ln_structured(layer, "weight", 0.25, n=2, dim=0)
        prune.remove(layer, "weight")
        return layer

    return small_convolutions(structured), image()


@network("low-rank", ["script", "dynamo"])
@network("low-rank-unfolded", ["script"], **UNFOLDED)
def low_rank():
    class LowRank(nn.Linear):
        """A weight with a correction of rank 4."""

        def __init__(self, inputs, outputs):
            super().__init__(inputs, outputs)
            self.down, self.up = nn.Parameter(torch.randn(4, inputs)), nn.Parameter(torch.randn(outputs, 4))

        def forward(self, x):
            return nn.functional.linear(x, self.weight + 0.5 * self.up @ self.down, self.bias)

    return nn.Sequential(LowRank(32, 64), nn.GELU(), LowRank(64, 8)), (torch.randn(1, 32),)


@network("sliced-kernels")
@network("sliced-kernels-unfolded", ["script"], **UNFOLDED)
def sliced_kernels():
    class Sliced(nn.Module):
        """A supernet's layers: parts of larger kernels, one of which two layers share."""

        def __init__(self):
            super().__init__()
            self.first, self.shared = nn.Parameter(torch.randn(32, 3, 5, 5)), nn.Parameter(torch.randn(32, 32, 3, 3))

        def forward(self, x):
            x = torch.relu(nn.functional.conv2d(x, self.first[:16, :, 1:4, 1:4]))
            x = torch.relu(nn.functional.conv2d(x, self.shared[:16, :16]))
            return nn.functional.conv2d(x, self.shared[8:24, :16])

    return Sliced(), image(32)


@network("hypernetwork")
def hypernetwork():
    class Hyper(nn.Module):
        """The kernel of a convolution is what another layer gives."""

        def __init__(self):
            super().__init__()
            self.make, self.task = nn.Linear(8, 16 * 3 * 9), nn.Parameter(torch.randn(1, 8))

        def forward(self, x):
            return nn.functional.conv2d(x, self.make(self.task).reshape(16, 3, 3, 3))

    return Hyper(), image(16)


@network("dynamic-convolution")
def dynamic_convolution():
    class Dynamic(nn.Module):
        """A kernel that the image chooses, mixed from four."""

        def __init__(self):
            super().__init__()
            self.kernels, self.choose = nn.Parameter(torch.randn(4, 16, 3, 3, 3)), nn.Linear(3, 4)

        def forward(self, x):
            weights = self.choose(x.mean((2, 3))).softmax(-1)
            return nn.functional.conv2d(x, (weights.reshape(4, 1, 1, 1, 1) * self.kernels).sum(0))

    return Dynamic(), image(16)


@network("shared-layers")
def shared_layers():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 4))

        def forward(self, a, b):
            return (self.body(a) - self.body(b)).abs()

    return Twice(), image(16) + image(16)


# --- recurrent networks, generators, sound, tables ---


@network("lstm", ["script"])
def lstm():
    return nn.LSTM(16, 32, 2, bidirectional=True, batch_first=True), (torch.randn(1, 7, 16),)


@network("gru", ["script"])
def gru():
    return nn.GRU(16, 32, batch_first=True), (torch.randn(1, 7, 16),)


@network("speech-recogniser", ["script"])
def speech():
    class Recogniser(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Sequential(nn.Conv1d(40, 64, 5, 2, 2), nn.BatchNorm1d(64), nn.ReLU())
            self.rnn, self.head = nn.RNN(64, 32, batch_first=True), nn.Linear(32, 29)

        def forward(self, x):
            return self.head(self.rnn(self.conv(x).transpose(1, 2))[0])

    return Recogniser(), (torch.randn(1, 40, 50),)


@network("generator")
def generator():
    layers, channels = [], [64, 64, 32, 16]
    for index, (inputs, outputs) in enumerate(zip(channels, channels[1:])):
        layers += [nn.ConvTranspose2d(inputs, outputs, 4, 1 if index == 0 else 2, 0 if index == 0 else 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    grouped = nn.ConvTranspose2d(16, 8, 3, 2, 1, output_padding=1, groups=4, dilation=2)
    return nn.Sequential(*layers, grouped, nn.Conv2d(8, 3, 1), nn.Tanh()), (torch.randn(1, 64, 1, 1),)


@network("unet")
def unet():
    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.down = nn.ModuleList([nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 2, 1)])
            self.norms = nn.ModuleList([nn.GroupNorm(4, 8), nn.InstanceNorm2d(16, affine=True), nn.GroupNorm(8, 32)])
            self.up = nn.ModuleList([nn.Conv2d(48, 16, 3, padding=1), nn.Conv2d(24, 8, 3, padding=1)])

        def forward(self, x):
            kept = []
            for conv, norm in zip(self.down, self.norms):
                x = nn.functional.silu(norm(conv(x)))
                kept.append(x)
            for conv, skip in zip(self.up, kept[-2::-1]):
                x = nn.functional.interpolate(x, scale_factor=2, mode="nearest")
                x = nn.functional.leaky_relu(conv(torch.cat([x, skip], 1)))
            return x

    return UNet(), image(32)


@network("autoencoder-random", ["script"])
def variational():
    class Variational(nn.Module):
        def __init__(self):
            super().__init__()
            self.encode, self.decode = nn.Linear(64, 16), nn.Linear(8, 64)

        def forward(self, x):
            mean, log = self.encode(x).chunk(2, -1)
            return self.decode(mean + (log / 2).exp() * torch.randn_like(mean))

    return Variational(), (torch.randn(1, 64),)


@network("wavenet")
def wavenet():
    class WaveNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv1d(1, 16, 1), nn.Conv1d(16, 256, 1)
            self.gates = nn.ModuleList(parametrizations.weight_norm(nn.Conv1d(16, 32, 2, dilation=2**level)) for level in range(5))
            self.mixes = nn.ModuleList(nn.Conv1d(16, 16, 1) for _ in range(5))

        def forward(self, x):
            x = self.first(x)
            for gate, mix in zip(self.gates, self.mixes):
                a, b = gate(x).chunk(2, 1)
                y = mix(a.tanh() * b.sigmoid())
                x = x[..., -y.shape[-1] :] + y
            return self.last(x)

    return WaveNet(), (torch.randn(1, 1, 100),)


@network("recommender")
def recommender():
    class Recommender(nn.Module):
        def __init__(self):
            super().__init__()
            self.tables = nn.ModuleList(nn.Embedding(size, 16) for size in (1000, 200, 7))
            self.dense, self.top = nn.Linear(13, 16), nn.Sequential(nn.Linear(22, 32), nn.PReLU(), nn.Linear(32, 1))

        def forward(self, numbers, places):
            vectors = torch.stack([self.dense(numbers)] + [table(places[:, i]) for i, table in enumerate(self.tables)], 1)
            products = vectors @ vectors.transpose(1, 2)
            rows, columns = torch.tril_indices(4, 4, -1)
            return self.top(torch.cat([vectors[:, 0], products[:, rows, columns]], 1)).sigmoid()

    return Recommender(), (torch.randn(1, 13), torch.tensor([[3, 5, 1]]))


@network("bilinear", ["dynamo"])
def bilinear():
    class Bilinear(nn.Module):
        def __init__(self):
            super().__init__()
            self.bilinear, self.scale = nn.Bilinear(8, 6, 4), nn.Parameter(torch.randn(4))

        def forward(self, a, b):
            return self.scale * self.bilinear(a, b)

    return Bilinear(), (torch.randn(1, 8), torch.randn(1, 6))


@network("graph-convolution")
def graph_convolution():
    class GraphConvolution(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(16, 32), nn.Linear(32, 7)])

        def forward(self, x, adjacency):
            return self.layers[1](adjacency @ torch.relu(self.layers[0](adjacency @ x)))

    return GraphConvolution(), (torch.randn(1, 20, 16), torch.rand(1, 20, 20))


@network("pixels-prepared", ["script"])
def prepared():
    class Prepared(nn.Module):
        """Pixels are prepared in the graph."""

        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.rand(1, 3, 1, 1))
            self.register_buffer("deviation", torch.rand(1, 3, 1, 1) + 0.1)
            self.body = small_convolutions()

        def forward(self, x):
            return self.body((x.float() / 255 - self.mean) / self.deviation)

    return Prepared(), (torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8),)


# --- half precision ---


@network("half-resnet18", ["script", "dynamo"])
def half():
    return torchvision.models.resnet18().half(), (image()[0].half(),)


@network("bfloat16-mlp", ["dynamo"])
def brain():
    return nn.Sequential(nn.Linear(32, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 4)).bfloat16(), (torch.randn(1, 32).bfloat16(),)


@network("double-mlp")
def double():
    return nn.Sequential(nn.Linear(32, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 4)).double(), (torch.randn(1, 32).double(),)


# --- quantised by ONNX Runtime ---


class Noise(quantization.CalibrationDataReader):
    def __init__(self, path):
        given = onnx.load(path).graph.input[0]
        shape = [dim.dim_value for dim in given.type.tensor_type.shape.dim]
        generator = numpy.random.default_rng(0)
        self.batches = iter([{given.name: generator.standard_normal(shape, dtype=numpy.float32)} for _ in range(2)])

    def get_next(self):
        return next(self.batches, None)


def static(kind, **settings):
    def quantise(source, out):
        # What it asks for first: shapes written down and constants folded.
        prepared = out + ".prepared"
        quantization.quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(prepared, out, Noise(source), quant_format=kind, **settings)
        os.remove(prepared)

    return quantise


def words_of_4_bits(source, out):
    quantiser = MatMulNBitsQuantizer(onnx.load(source), block_size=32)
    quantiser.process()
    quantiser.model.save_model_to_file(out)


def halved_by_hand(source, out):
    """The initializers as half precision, and a Cast of each back: how weights alone are compressed."""
    model = onnx.load(source)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            name, values = tensor.name, numpy_helper.to_array(tensor).astype(numpy.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, name + "_half"))
            casts.append(onnx.helper.make_node("Cast", [name + "_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, out)


QDQ, Q_OPERATOR = quantization.QuantFormat.QDQ, quantization.QuantFormat.QOperator
REWRITTEN = {
    "qdq-resnet18": ("resnet18-script", static(QDQ)),
    "qdq-channels-mobilenet_v2": ("mobilenet_v2-script", static(QDQ, per_channel=True)),
    "qdq-deit": ("timm-deit_tiny_patch16_224-script", static(QDQ)),
    "qoperator-resnet18": ("resnet18-script", static(Q_OPERATOR)),
    "qoperator-squeezenet1_1": ("squeezenet1_1-script", static(Q_OPERATOR, per_channel=True)),
    "dynamic-resnet18": ("resnet18-script", quantization.quantize_dynamic),
    "dynamic-bert": ("bert-script", quantization.quantize_dynamic),
    "dynamic-channels-bert": ("bert-script", lambda source, out: quantization.quantize_dynamic(source, out, per_channel=True)),
    "dynamic-gpt2": ("gpt2-dynamo", quantization.quantize_dynamic),
    "dynamic-recommender": ("recommender-script", quantization.quantize_dynamic),
    "dynamic-lstm": ("lstm-script", quantization.quantize_dynamic),
    "4-bits-bert": ("bert-script", words_of_4_bits),
    "half-stored-resnet18": ("resnet18-script", halved_by_hand),
    "half-stored-bert": ("bert-script", halved_by_hand),
}  # fmt: skip


def trainable(module):
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def export(name, path):
    make, exporter, settings = NETWORKS[name]
    torch.manual_seed(0)
    module, inputs = make()
    module.eval()
    settings = {"input_names": [f"input{index}" for index in range(len(inputs))], **settings}
    if isinstance(inputs[0], list):
        settings["input_names"] = ["input0"]
    torch.onnx.export(module, inputs, path, dynamo=exporter == "dynamo", external_data=False, verbose=False, **settings)
    tensors = [input for given in inputs for input in (given if isinstance(given, list) else [given])]
    return {"params": trainable(module), "shapes": dict(zip(settings["input_names"], [list(tensor.shape) for tensor in tensors]))}


def main(folder, chosen):
    os.makedirs(folder, exist_ok=True)
    warnings.simplefilter("ignore")
    for name in [*NETWORKS, *REWRITTEN]:
        path = os.path.join(folder, f"{name}.onnx")
        if os.path.exists(path) or (chosen and name not in chosen):
            continue
        part = path + ".part"
        try:
            if name in REWRITTEN:
                source, rewrite = REWRITTEN[name]
                rewrite(os.path.join(folder, f"{source}.onnx"), part)
            else:
                described = export(name, part)
                with open(os.path.join(folder, f"{name}.json"), "w") as file:
                    json.dump(described, file)
        except Exception as error:
            reason = next(iter(str(error).splitlines()), "")
            print(f"{name}: cannot be written: {type(error).__name__}: {reason}", file=sys.stderr)
            continue
        os.rename(part, path)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
