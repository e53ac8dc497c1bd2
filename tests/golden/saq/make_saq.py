#!/usr/bin/env python3
"""Golden values for streaming average quantisation, in plain Python: no packages and no code of the project.

    make_saq.py SEED HEIGHT WIDTH WORDS DIMENSION LAYERS > NAME.json
    make_saq.py 11 6 4 9 3 1x1,2x2,3x4,6x4 > oblong.json

Prints one JSON object: `command`; `z` [H][W][C]; `codebook` [V][C]; `layers`, for each layer its `shape`, the `ids` that
it takes (row-major) and `zhat` [H][W][C], what a decoder sees once the layer is complete.

Every input is a multiple of 1/4 with a small magnitude, so sums and squared distances are exact in binary32 as well as
in Python's binary64: ids must agree exactly, ties included.
"""

import json
import random
import sys


def centre(cell, ratio):
    """Grid row (or column) that stands for a layer's row `cell`, where one such row covers `ratio` grid rows."""
    return cell * ratio + ratio // 2


def nearest(codebook, vector):
    """The lowest id among the closest codewords."""
    distances = [sum((e - v) ** 2 for e, v in zip(word, vector)) for word in codebook]
    return distances.index(min(distances))


def golden(z, codebook, shapes):
    height, width, dimension = len(z), len(z[0]), len(codebook[0])
    taken = {}  # (row, column) -> ids of the tokens there, in order
    layers = []
    for number, (rows, columns) in enumerate(shapes):
        ids = []
        for i in range(rows):
            for j in range(columns):
                at = centre(i, height // rows), centre(j, width // columns)
                before = taken.setdefault(at, [])
                total = [sum(codebook[k][c] for k in before) for c in range(dimension)]
                target = [(len(before) + 1) * z[at[0]][at[1]][c] - total[c] for c in range(dimension)]
                ids.append(nearest(codebook, target))
                before.append(ids[-1])
        finest_rows, finest_columns = shapes[number]  # no layer is coarser than the one before it
        zhat = []
        for y in range(height):
            zhat.append([])
            for x in range(width):
                tokens = taken.get((y, x))
                if tokens is None:
                    r, s = height // finest_rows, width // finest_columns
                    tokens = taken[centre(y // r, r), centre(x // s, s)]
                mean = [sum(codebook[k][c] for k in tokens) / len(tokens) for c in range(dimension)]
                zhat[-1].append([round(value, 7) for value in mean])
        layers.append({"shape": [rows, columns], "ids": ids, "zhat": zhat})
    return layers


def main():
    seed, height, width, words, dimension = map(int, sys.argv[1:6])
    shapes = [tuple(int(side) for side in shape.split("x")) for shape in sys.argv[6].split(",")]
    rng = random.Random(seed)
    vector = lambda: [rng.randint(-6, 6) / 4 for _ in range(dimension)]
    z = [[vector() for _ in range(width)] for _ in range(height)]
    codebook = [vector() for _ in range(words)]
    command = " ".join(["make_saq.py", *sys.argv[1:]])
    layers = golden(z, codebook, shapes)
    json.dump({"command": command, "z": z, "codebook": codebook, "layers": layers}, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
