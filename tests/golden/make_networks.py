#!/usr/bin/env python3
"""Golden outputs of small networks with random weights, from PyTorch's own layers.

    make_networks.py classifier 5 tests/golden/networks/classifier.safetensors

Writes one safetensors file: the network's weights under their own names, `golden.images` [B, 3, H, W] in [0, 1], and what
PyTorch makes of them under `golden.NAME`. Needs torch and safetensors.
"""

import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file


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


def main():
    kind, seed, output = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    torch.manual_seed(seed)
    with torch.no_grad():
        tensors = {"classifier": classifier}[kind]()
    command = " ".join(["make_networks.py", *sys.argv[1:]])
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, output, {"command": command})


if __name__ == "__main__":
    main()
