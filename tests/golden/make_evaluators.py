#!/usr/bin/env python3
"""Golden values for the evaluators, from the packages that others measure with. Weights and pictures are not stored:
both sides make them by one rule, so no file of theirs is needed and nothing large is kept.

    pip install torch torchvision lpips pytorch-fid torch-fidelity scikit-image
    make_evaluators.py > evaluators.json

Value i of the tensor `name` is low + (high - low) * t, in binary64, rounded to binary32 last; t = (m >> 11) / 2^53, m is
number i of SplitMix64 whose state starts at the 64-bit FNV-1a of the name, the seed. low and high by the name's end:
`running_var` and `bn.weight` 0.5 and 1.5; `model.1.weight` (LPIPS's heads) 0 and 1; other weights -+sqrt(6 / fan-in);
the rest -+0.1. Pixels are floor(256 t).
"""

import io
import json
import logging
import re
import tempfile
import warnings
from importlib.metadata import version

import numpy as np
import torch

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
EVERY = 16  # of 2,048 features and 1,008 logits one in so many is kept


def units(name, count):
    """t of `count` values."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) % 2**64
    with np.errstate(over="ignore"):
        m = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        m = (m ^ (m >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        m = (m ^ (m >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        m ^= m >> np.uint64(31)
    return (m >> np.uint64(11)) / 2.0**53


def tensor(name, shape):
    if name.endswith(("running_var", "bn.weight")):
        low, high = 0.5, 1.5
    elif name.endswith("model.1.weight"):
        low, high = 0.0, 1.0
    elif len(shape) > 1:
        high = np.sqrt(6.0 / np.prod(shape[1:]))
        low = -high
    else:
        low, high = -0.1, 0.1
    values = low + (high - low) * units(name, int(np.prod(shape)))
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def fill(module):
    """The module's weights by the rule; counters stay."""
    state = module.state_dict()
    for name, value in state.items():
        if not name.endswith(("num_batches_tracked", "shift", "scale")):
            state[name] = tensor(name, value.shape)
    module.load_state_dict(state)
    return state


def pixels(name, shape):
    return np.floor(256 * units(name, int(np.prod(shape)))).astype(np.uint8).reshape(shape)


def perceptual():
    import lpips
    import torchvision

    shape = [2, 3, 64, 72]
    a, noise = pixels("picture", shape), pixels("noise", shape)
    b = a // 2 + noise // 4
    a, b = (torch.from_numpy(x / 127.5 - 1).float() for x in (a, b))
    out = {"shape": shape}
    for net, maker in [("alex", "alexnet"), ("vgg", "vgg16"), ("squeeze", "squeezenet1_1")]:
        backbone = getattr(torchvision.models, maker)(weights=None)
        state = fill(backbone)
        original = getattr(torchvision.models, maker)
        setattr(torchvision.models, maker, lambda *_, **__: backbone)
        trained = lpips.LPIPS(net=net, version="0.1", verbose=False)
        setattr(torchvision.models, maker, original)
        with torch.no_grad():
            real = trained(a, b).flatten().tolist()
            for name, value in trained.named_parameters():
                if name.startswith("lin"):
                    value.copy_(tensor(name, value.shape))
            shapes = {name: list(value.shape) for name, value in state.items() if name.startswith("features.")}
            out[net] = {"tensors": shapes, "published_heads": real, "heads_by_rule": trained(a, b).flatten().tolist()}
    return out


def inception():
    import pytorch_fid.inception as pytorch_fid
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    state = fill(pytorch_fid._inception_v3(num_classes=1008, aux_logits=False, weights=None))
    shape = [2, 3, 64, 48]
    picture = torch.from_numpy(pixels("picture", shape))
    with tempfile.NamedTemporaryFile(suffix=".pth") as file, torch.no_grad():
        torch.save(state, file.name)
        names = ["2048", "logits_unbiased"]
        fidelity = FeatureExtractorInceptionV3("x", names, feature_extractor_weights_path=file.name)
        features, logits = fidelity(picture)
        pytorch_fid.load_state_dict_from_url = lambda *_, **__: state
        others = pytorch_fid.InceptionV3().eval()(picture / 255.0)[0].flatten(1)
    kept = lambda x: {"values": x[:, ::EVERY].tolist(), "sums": x.double().sum(1).tolist()}
    return {
        "shape": shape,
        "every": EVERY,
        "convolutions": {n[: -len(".conv.weight")]: list(v.shape) for n, v in state.items() if n.endswith("conv.weight")},
        "torch_fidelity": kept(features),
        "pytorch_fid": kept(others),
        "logits": kept(logits),
    }


def frechet():
    from pytorch_fid.fid_score import calculate_frechet_distance

    out = []
    for name, rows, dimension in [("full rank", (200, 150), 24), ("fewer than dimensions", (12, 9), 24)]:
        mix = 2 * units("mix", dimension**2).reshape(dimension, dimension) - 1
        sets = []
        for index, count in enumerate(rows):
            values = 2 * units(f"features.{index}", count * dimension).reshape(count, dimension) - 1
            sets.append((values + 0.1 * index) @ (mix + index * np.eye(dimension)))
        moments = [x for s in sets for x in (s.mean(0), np.cov(s, rowvar=False))]
        out.append(
            {"name": name, "rows": rows, "dimension": dimension, "distance": float(calculate_frechet_distance(*moments))}
        )
    return out


def inception_score():
    from torch_fidelity.metric_isc import isc_features_to_metric

    rows, classes = 57, 11
    logits = torch.from_numpy(8 * units("logits", rows * classes).reshape(rows, classes) - 4)
    score = isc_features_to_metric(logits, splits=10, shuffle=False)
    return {
        "rows": rows,
        "classes": classes,
        "mean": score["inception_score_mean"],
        "deviation": score["inception_score_std"],
    }


def similarity():
    from skimage.metrics import structural_similarity

    shape = [3, 19, 23]
    a, noise = pixels("picture", shape), pixels("noise", shape)
    b = a // 2 + noise // 4
    options = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=0)
    return {"shape": shape, "value": float(structural_similarity(a, b, **options))}


def torch_files():
    """A state dictionary in both of PyTorch's forms, in hexadecimal."""
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(10)[4:7], "c": torch.tensor([0.5]).half()}
    out = {}
    for name, zipped in [("zip", True), ("pickles", False)]:
        file = io.BytesIO()
        torch.save(state, file, _use_new_zipfile_serialization=zipped)
        out[name] = file.getvalue().hex()
    return out


def main():
    packages = ["torch", "torchvision", "lpips", "pytorch-fid", "torch-fidelity", "scikit-image", "scipy", "numpy"]
    text = json.dumps(
        {
            "command": "make_evaluators.py",
            "packages": {name: version(name) for name in packages},
            "lpips": perceptual(),
            "inception": inception(),
            "frechet": frechet(),
            "inception_score": inception_score(),
            "ssim": similarity(),
            "torch_files": torch_files(),
        },
        indent=1,
    )
    # A list of numbers is one line.
    print(re.sub(r"\[[-+.\de,\s]*\]", lambda match: " ".join(match[0].split()), text))


if __name__ == "__main__":
    main()
