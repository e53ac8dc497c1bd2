#!/usr/bin/env python3
"""Golden outputs of small networks with random weights, from PyTorch's own layers.

    make_networks.py classifier 5 tests/golden/networks/classifier.safetensors
    make_networks.py clip 6 tests/golden/networks/clip.safetensors
    make_networks.py resnet 7 tests/golden/networks/resnet.safetensors

Writes one safetensors file: the network's weights under their own names, `golden.images` [B, 3, H, W] in [0, 1], and what
PyTorch makes of them under `golden.NAME`. Needs torch, torchvision, transformers and safetensors.
"""

import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torchvision.models.resnet import Bottleneck
from transformers import CLIPConfig, CLIPModel


def images(count, side):
    return torch.rand(count, 3, side, side)


def norm(weights, name, channels):
    weights[f"{name}.weight"] = torch.rand(channels) + 0.5
    weights[f"{name}.bias"] = torch.randn(channels) * 0.2
    weights[f"{name}.running_mean"] = torch.randn(channels) * 0.2
    weights[f"{name}.running_var"] = torch.rand(channels) + 0.5


def classifier():
    """As Tiny Darknet: batch norm and leaky ReLU behind all convolutions but the last, pooling after 1 and 3."""
    weights, inputs = {}, 3
    for number, (outputs, kernel) in enumerate([(6, 3), (4, 1), (8, 3), (5, 1)], 1):
        weights[f"conv{number}.weight"] = torch.randn(outputs, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5
        if number < 4:
            norm(weights, f"bn{number}", outputs)
        else:
            weights[f"conv{number}.bias"] = torch.randn(outputs)
        inputs = outputs
    x = weights["golden.images"] = images(2, 9)
    for number in range(1, 5):
        kernel = weights[f"conv{number}.weight"]
        x = F.conv2d(x, kernel, weights.get(f"conv{number}.bias"), padding=kernel.shape[2] // 2)
        if number < 4:
            values = [weights[f"bn{number}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
            x = F.leaky_relu(F.batch_norm(x, *values, eps=1e-3), 0.1)
        weights[f"golden.conv{number}"] = x
        if number in (1, 3):
            x = F.max_pool2d(x, 2)
    weights["golden.logits"] = x.mean((2, 3))
    return weights


class SmallResNet(torch.nn.Module):
    """torchvision's bottlenecks, their names and their order, in small."""

    def __init__(self, widths=(3, 2, 4, 3), blocks=(2, 1, 1, 1), stem=4, classes=5):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(stem)
        inputs = stem
        for number, (width, count) in enumerate(zip(widths, blocks), 1):
            layer = []
            for index in range(count):
                stride = 2 if number > 1 and index == 0 else 1
                downsample = None
                if index == 0:
                    shortcut = torch.nn.Conv2d(inputs, 4 * width, 1, stride=stride, bias=False)
                    downsample = torch.nn.Sequential(shortcut, torch.nn.BatchNorm2d(4 * width))
                layer.append(Bottleneck(inputs, width, stride, downsample))
                inputs = 4 * width
            setattr(self, f"layer{number}", torch.nn.Sequential(*layer))
        self.fc = torch.nn.Linear(inputs, classes)


def resnet():
    """As ResNet-50, with ImageNet's mean and deviation."""
    network = SmallResNet().eval()
    weights = {name: tensor for name, tensor in network.state_dict().items() if "num_batches" not in name}
    for name in [name[: -len(".running_mean")] for name in weights if name.endswith("running_mean")]:
        fresh = {}
        norm(fresh, name, len(weights[f"{name}.weight"]))
        weights.update(fresh)
    network.load_state_dict(weights, strict=False)
    pictures = images(2, 35)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (pictures - mean.reshape(1, 3, 1, 1)) / deviation.reshape(1, 3, 1, 1)
    x = F.max_pool2d(F.relu(network.bn1(network.conv1(x))), 3, stride=2, padding=1)
    weights["golden.images"] = pictures
    for number in range(1, 5):
        x = weights[f"golden.layer{number}"] = getattr(network, f"layer{number}")(x)
    weights["golden.logits"] = network.fc(x.mean((2, 3)))
    return weights


def clip():
    """transformers' CLIPModel with few and narrow layers; ids end with the end mark, which is the largest."""
    text = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 9, "bos_token_id": 38, "eos_token_id": 39}
    vision = {"hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 3, "num_attention_heads": 3,
              "image_size": 12, "patch_size": 4}
    network = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).eval()
    for name, parameter in network.named_parameters():
        scale = 0.3 if parameter.ndim > 1 else 0.1
        parameter.copy_(torch.randn(parameter.shape) * scale + ("norm" in name and name.endswith("weight")))
    weights = {name: tensor for name, tensor in network.state_dict().items() if "position_ids" not in name}
    pictures = weights["golden.images"] = images(2, 7)
    ids = weights["golden.ids"] = torch.tensor([[38, 5, 0, 21, 39], [38, 7, 7, 30, 39]])
    large = F.interpolate(pictures, size=(12, 12), mode="bicubic", antialias=True).clamp(0, 1)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).reshape(1, 3, 1, 1)
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711]).reshape(1, 3, 1, 1)
    output = network(input_ids=ids, pixel_values=(large - mean) / deviation)
    weights["golden.image_features"], weights["golden.text_features"] = output.image_embeds, output.text_embeds
    return weights


def main():
    kind, seed, output = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    torch.manual_seed(seed)
    with torch.no_grad():
        tensors = {"classifier": classifier, "clip": clip, "resnet": resnet}[kind]()
    command = " ".join(["make_networks.py", *sys.argv[1:]])
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, output, {"command": command})


if __name__ == "__main__":
    main()
