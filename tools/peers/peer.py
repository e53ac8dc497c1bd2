"""The peers' side of `cargo xtask peers`: PyTorch, FAISS and ONNX Runtime at the same work.

Requests and answers are JSON, one a line. {"prepare": {"kind": …}} makes the work ready, {"run": n} does it n times
and answers with the seconds that took and the largest memory beyond what stood before; {"answer": true} returns what
the work computes, so that both sides can be held to the same result.
"""

import json
import os
import pathlib
import platform
import sys
import time
import tomllib

threads = int(sys.argv[1])
os.environ["OMP_NUM_THREADS"] = str(threads)

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(threads)

# Processes that read pictures beside the one that computes.
LOADERS = int(os.environ.get("PEER_LOADERS", "0"))


# --- convolutions


class Convolution:
    """Forward or backward through one convolution, perhaps behind a ×2 nearest upsampling; all operands' gradients."""

    def __init__(self, images, inputs, outputs, side, kernel, stride, padding, upsample, backward, **_):
        self.x = torch.rand(images, inputs, side, side).sub(0.5).requires_grad_()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding)
        self.upsample = upsample
        self.output = self.forward() if backward else None
        self.gradient = torch.ones_like(self.output) if backward else None

    def forward(self):
        x = F.interpolate(self.x, scale_factor=2, mode="nearest") if self.upsample else self.x
        return self.convolution(x)

    def __call__(self):
        if self.output is None:
            self.forward()
        else:
            operands = [self.x, *self.convolution.parameters()]
            torch.autograd.grad(self.output, operands, self.gradient, retain_graph=True)


# --- the networks of a configuration; the names of their parameters are those of encoder.safetensors


class NormSilu(nn.GroupNorm):
    def forward(self, x):
        return F.silu(super().forward(x))


class Stem(nn.Conv2d):
    def forward(self, x):
        return F.silu(super().forward(x))


class Context(nn.Linear):
    def forward(self, x):
        return x + super().forward(F.adaptive_avg_pool2d(x, 4).flatten(1))[:, :, None, None]


class NormResidual(nn.Module):
    def __init__(self, channels, hidden, groups):
        super().__init__()
        self.first_norm, self.second_norm = NormSilu(groups, channels), NormSilu(groups, hidden)
        self.first, self.second = nn.Conv2d(channels, hidden, 3, padding=1), nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x):
        return x + self.second(self.second_norm(self.first(self.first_norm(x))))


class PlainResidual(nn.Module):
    def __init__(self, channels, hidden):
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, hidden, 3, padding=1), nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x):
        return x + self.second(F.relu(self.first(x)))


class Conv(nn.Conv2d):
    def __init__(self, inputs, outputs, activation):
        super().__init__(inputs, outputs, 3, padding=1)
        self.activation = activation

    def forward(self, x):
        x = super().forward(x)
        return F.relu(x) if self.activation == "relu" else x


class Upsample(Conv):
    def forward(self, x):
        return super().forward(F.interpolate(x, scale_factor=2, mode="nearest"))


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        groups, channels, blocks = config["encoder"].get("groups", 8), config["image"]["channels"], []
        for block in config["encoder"]["blocks"]:
            outputs = block.get("channels", channels)
            match block["kind"]:
                case "stem":
                    blocks.append(Stem(channels, outputs, 3, padding=1))
                case "down":
                    blocks.append(nn.Conv2d(channels, outputs, 4, 2, 1))
                case "residual":
                    blocks.append(NormResidual(channels, channels, groups))
                case "context":
                    blocks.append(Context(channels * 16, channels))
            channels = outputs
        self.blocks = nn.ModuleList(blocks)
        self.last_norm, self.last = NormSilu(groups, channels), nn.Conv2d(channels, config["codebook"]["width"], 1)

    def forward(self, x):
        """[B, C, H, W] to [P, B, d], rows of unit length."""
        for block in self.blocks:
            x = block(x)
        z = self.last(self.last_norm(x))
        return F.normalize(z.permute(2, 3, 0, 1).flatten(0, 1), dim=2)


class Decoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.side, channels, blocks = config["pyramid"][-1], config["decoder"]["input"], []
        groups = config["decoder"].get("groups")
        self.first = nn.Linear(config["codebook"]["width"], channels)
        self.grid_bias = nn.Parameter(torch.zeros(channels, *self.side))
        for block in config["decoder"]["blocks"]:
            outputs = block.get("channels", channels)
            match block["kind"]:
                case "conv":
                    blocks.append(Conv(channels, outputs, block.get("activation", "relu")))
                case "residual" if groups:
                    blocks.append(NormResidual(channels, block["hidden"], groups))
                case "residual":
                    blocks.append(PlainResidual(channels, block["hidden"]))
                case "upsample":
                    blocks.append(Upsample(channels, outputs, "none" if groups else "relu"))
            channels = outputs
        self.blocks = nn.ModuleList(blocks)
        self.last_norm = NormSilu(groups, channels) if groups else nn.Identity()
        self.last = nn.Conv2d(channels, config["image"]["channels"], 3, padding=1)

    def forward(self, z):
        """[P, B, d] to [B, C, H, W]."""
        x = self.first(z).unflatten(0, self.side).permute(2, 3, 0, 1)
        x = F.relu(x + self.grid_bias)
        for block in self.blocks:
            x = block(x)
        return self.last(self.last_norm(x))


class Model(nn.Module):
    def __init__(self, config, codebook):
        super().__init__()
        tensors = load(codebook)
        self.words, self.features = tensors["embedding"], tensors
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.projection = nn.Linear(self.words.shape[1], config["codebook"]["width"], bias=False)
        self.layers = [Layer(config["pyramid"], index) for index in range(len(config["pyramid"]))]

    def table(self):
        return F.normalize(self.projection(self.words), dim=1)

    def quantise(self, z, table, temperature=None, guided=0):
        """SAQ: the ids of each layer [n, B], and each guided layer's logits (Eq. 7)."""
        frozen = table.detach()
        norms, sums, ids, logits = frozen.square().sum(1), torch.zeros_like(z), [], []
        for number, layer in enumerate(self.layers):
            with torch.set_grad_enabled(number < guided and torch.is_grad_enabled()):
                z_l = layer.visits * z[layer.at] - sums[layer.at].detach()
                rows = z_l.flatten(0, 1)
                if number < guided:
                    scores = 2 * rows @ table.T - table.square().sum(1)
                    logits.append(scores / temperature)
                else:
                    scores = 2 * rows.detach() @ frozen.T - norms
                chosen = scores.detach().argmax(1).view(z_l.shape[:2])
            sums = sums.index_add(0, layer.at, frozen[chosen])
            ids.append(chosen)
        return ids, logits


class Layer:
    """One layer's positions on the grid, and the running average after it as a matrix [P, tokens]."""

    def __init__(self, pyramid, index):
        height, width = pyramid[-1]

        def positions(layer):
            (rows, columns), (r, c) = pyramid[layer], (height // pyramid[layer][0], width // pyramid[layer][1])
            return [(r * i + r // 2) * width + c * j + c // 2 for i in range(rows) for j in range(columns)]

        before = [at for layer in range(index) for at in positions(layer)]
        here = positions(index)
        tokens = before + here
        self.at = torch.tensor(here)
        self.visits = torch.tensor([before.count(at) + 1.0 for at in here])[:, None, None]
        ratio = height // pyramid[index][0], width // pyramid[index][1]
        self.average, source = torch.zeros(height * width, len(tokens)), []
        for place in range(height * width):
            if place not in tokens:
                cell = place // width // ratio[0], place % width // ratio[1]
                place = here[cell[0] * pyramid[index][1] + cell[1]]
            source.append(place)
        for place, lender in enumerate(source):
            of = [token for token, at in enumerate(tokens) if at == lender]
            self.average[place, of] = 1.0 / len(of)
        self.source = torch.tensor(source)


def load(path):
    from safetensors.torch import load_file

    return {name: tensor.float() for name, tensor in load_file(path).items()}


def read_config(path):
    return tomllib.loads(pathlib.Path(path).read_text())


# --- training


class Step:
    """One whole training step on pictures that lie in memory: both decodings, all losses, Adam, the running average."""

    def __init__(self, config, codebook, **_):
        self.config = read_config(config)
        self.model = Model(self.config, codebook)
        train, image = self.config["train"], self.config["image"]
        self.parameters = list(self.model.parameters())
        self.adam = torch.optim.Adam(self.parameters, lr=train["learning_rate"], betas=train["betas"])
        self.mean = [parameter.detach().clone() for parameter in self.parameters]
        self.pictures = torch.randint(0, 256, (1024, image["channels"], image["height"], image["width"]), dtype=torch.uint8)
        self.labels = torch.randint(0, 10, (1024,))
        self.pools = self.words_of_pools()

    def words_of_pools(self):
        """For each guided layer the probability of each word to be a target, per label."""
        features, pools = self.model.features, []
        similarity = features["caption"] @ features["text"].T
        least, most = similarity.amin(1, keepdim=True), similarity.amax(1, keepdim=True)
        similarity = (similarity - least) / (most - least)
        for pool in self.config["semantic"]["pools"]:
            members = similarity >= pool["threshold"]
            if "top" in pool:
                members &= similarity >= similarity.topk(pool["top"]).values[:, -1:]
            pools.append(members.float())
        return pools

    def appearance(self, x, z, averages, layers):
        """Reconstructions after `layers` layers, with a straight-through gradient."""
        images = torch.arange(z.shape[1])
        source = torch.stack([layer.source for layer in self.model.layers])[layers].T
        reached = torch.stack(averages)[layers, :, images].transpose(0, 1)
        near = z[source, images]
        return near + (reached - near).detach()

    def loss(self, x, y):
        config, model = self.config, self.model
        semantic, train, loss = config["semantic"], config["train"], config["loss"]
        z, table, images = model.encoder(x), model.table(), len(x)
        ids, logits = model.quantise(z, table, semantic["temperature"], len(self.pools))
        vectors = table[torch.cat(ids)].flatten(1)
        averages = [(layer.average @ vectors[: layer.average.shape[1]]).view_as(z) for layer in model.layers]
        whole = torch.full((images,), len(averages) - 1)
        prefix = torch.randint(0, len(averages) - 1, (images,))
        decoder_input = torch.cat([self.appearance(x, z, averages, layers) for layers in (whole, prefix)], 1)
        error = (model.decoder(decoder_input) - x.repeat(2, 1, 1, 1)).square().mean((1, 2, 3))
        kind = loss["reconstruction"]
        if kind["kind"] == "log":
            error = kind["scale"] * torch.log(1 + error / kind["floor"])
        total = error[:images] + train["prefixes"]["weight"] * error[images:]
        commitment = (z - averages[-1].detach()).square().sum(2).mean(0)
        pull = (z.detach() - averages[-1]).square().sum(2).mean(0)
        total = total + loss["commitment"]["weight"] * commitment + loss["pull"] * pull
        meaning = 0
        for scores, pool, layer in zip(logits, self.pools, ids):
            target = torch.multinomial(pool[y], len(layer), replacement=True).T
            meaning = meaning + F.cross_entropy(scores, target.flatten(), reduction="none").view_as(target).mean(0)
        if self.pools:
            meaning = meaning / len(self.pools)
            total = total + semantic["weight"] * (total / (meaning + 1e-6)).detach() * meaning
        return total.mean()

    def __call__(self):
        train = self.config["train"]
        chosen = torch.randint(0, len(self.pictures), (train["batch"],))
        x = self.pictures[chosen].float() / 127.5 - 1
        self.adam.zero_grad()
        self.loss(x, self.labels[chosen]).backward()
        if train["clip"] > 0:
            nn.utils.clip_grad_norm_(self.parameters, train["clip"])
        self.adam.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.mean, self.parameters, 1 - train["average"])


# --- encoding


class Pictures(torch.utils.data.Dataset):
    def __init__(self, folder, mode):
        self.files, self.mode = sorted(pathlib.Path(folder).rglob("*.*")), mode

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        from PIL import Image

        with Image.open(self.files[index]) as picture:
            pixels = np.asarray(picture.convert(self.mode))
        return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1).copy())


class Encode:
    """A folder of picture files, already of the model's size, to ids; reading and decoding the files included."""

    def __init__(self, config, codebook, folder, weights, compared, **_):
        config = read_config(config)
        self.model, self.compared = Model(config, codebook), compared
        self.model.load_state_dict(load(weights))
        self.data = Pictures(folder, "L" if config["image"]["channels"] == 1 else "RGB")

    @torch.inference_mode()
    def __call__(self):
        loader = torch.utils.data.DataLoader(self.data, batch_size=64, num_workers=LOADERS)
        table, all_ids = self.model.table(), []
        for pixels in loader:
            ids, _ = self.model.quantise(self.model.encoder(pixels.float() / 127.5 - 1), table)
            all_ids.append(torch.cat(ids).T)
        self.ids = torch.cat(all_ids)

    def answer(self):
        return self.ids[: self.compared].tolist()


# --- the search


class Cdist:
    def __init__(self, vectors, **_):
        tensors = load(vectors)
        self.z, self.table = tensors["z"], tensors["table"]

    @torch.inference_mode()
    def __call__(self):
        self.ids = torch.cdist(self.z, self.table).argmin(1)

    def answer(self):
        return self.ids.tolist()


class Faiss:
    def __init__(self, vectors, **_):
        import faiss

        faiss.omp_set_num_threads(threads)
        tensors = load(vectors)
        self.z, table = tensors["z"].numpy(), tensors["table"].numpy()
        self.index = faiss.IndexFlatL2(table.shape[1])
        self.index.add(table)

    def __call__(self):
        self.ids = self.index.search(self.z, 1)[1]

    def answer(self):
        return self.ids.tolist()


# --- decoding


class OnnxRuntime:
    """The decoder behind the first 1×1 layer, as one graph; `pictures` of them at once."""

    def __init__(self, config, weights, pictures, onnx_threads, **_):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = onnx_threads, 1
        config, tensors = read_config(config), load(weights)
        graph = decoder_graph(config, {name: tensor.numpy() for name, tensor in tensors.items()})
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        shape = pictures, config["decoder"]["input"], *config["pyramid"][-1]
        self.input = {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}

    def __call__(self):
        self.session.run(None, self.input)


def decoder_graph(config, tensors):
    """Ẑ behind the first layer [B, channels, h, w] to pictures, as ONNX."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, initialisers, count = [], [], iter(range(1000))

    def constant(value):
        initialisers.append(numpy_helper.from_array(value, f"c{next(count)}"))
        return initialisers[-1].name

    def node(kind, *inputs, **attributes):
        nodes.append(helper.make_node(kind, inputs, [f"v{next(count)}"], **attributes))
        return nodes[-1].output[0]

    def convolve(x, name):
        parts = (constant(tensors[f"decoder.{name}.{part}"]) for part in ("weight", "bias"))
        return node("Conv", x, *parts, pads=[1, 1, 1, 1])

    x = node("Relu", node("Add", "x", constant(tensors["decoder.grid_bias"][None])))
    for index, block in enumerate(config["decoder"]["blocks"]):
        name = f"blocks.{index}"
        match block["kind"]:
            case "conv":
                x = node("Relu", convolve(x, name)) if block.get("activation", "relu") == "relu" else convolve(x, name)
            case "residual":
                x = node("Add", x, convolve(node("Relu", convolve(x, f"{name}.first")), f"{name}.second"))
            case "upsample":
                scales = constant(np.array([1, 1, 2, 2], np.float32))
                doubled = node("Resize", x, "", scales, mode="nearest", nearest_mode="floor",
                               coordinate_transformation_mode="asymmetric")
                x = node("Relu", convolve(doubled, name))
    y = convolve(x, "last")
    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    height, width = config["image"]["height"], config["image"]["width"]
    source = value("x", ["B", config["decoder"]["input"], *config["pyramid"][-1]])
    graph = helper.make_graph(nodes, "decoder", [source], [value(y, ["B", config["image"]["channels"], height, width])],
                              initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


# --- the conversation


def peak_memory():
    """The largest resident memory since the last reset, in bytes."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def timed(work, repetitions):
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before, start = peak_memory(), time.perf_counter()
    for _ in range(repetitions):
        work()
    return {"seconds": (time.perf_counter() - start) / repetitions, "memory": max(0, peak_memory() - before)}


def versions():
    import faiss
    import onnxruntime

    return {"Python": platform.python_version(), "PyTorch": torch.__version__, "FAISS": faiss.__version__,
            "ONNX Runtime": onnxruntime.__version__, "NumPy": np.__version__}


KINDS = {"convolution": Convolution, "step": Step, "encode": Encode, "cdist": Cdist, "faiss": Faiss,
         "onnx": OnnxRuntime}


def main():
    torch.manual_seed(1)
    work = None
    for line in sys.stdin:
        request = json.loads(line)
        if "prepare" in request:
            work = None
            work, answer = KINDS[request["prepare"]["kind"]](**request["prepare"]), {}
        elif "run" in request:
            answer = timed(work, request["run"])
        elif "answer" in request:
            answer = {"answer": work.answer()}
        else:
            answer = {"versions": versions()}
        print(json.dumps(answer), flush=True)


main()
