"""How fast this machine does the matrix products of the fitting net: the floor under any DeepPot-SE model of its shape.

Prints {"float64": {"64": 30.1, ...}, "float32": ...}: rows a product -> 1e9 multiply-adds a second.
"""

import argparse
import json
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

LAYERS = ((1600, 240), (240, 240), (240, 240))  # 100 x 16 descriptor; the last layer, 240 x 1, is no matrix product
ROWS = (64, 128, 192, 512, 1024)  # 64 and 128: the O and H of 192 atoms
REPEATS = 9


def products(rows: int, dtype: torch.dtype, device: str) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Factors and room for the result, forward (x W) and backward (g W^T)."""
    pairs = []
    for n_in, n_out in LAYERS:
        weight = torch.randn(n_in, n_out, dtype=dtype, device=device)
        x, g = (torch.randn(rows, n, dtype=dtype, device=device) for n in (n_in, n_out))
        pairs += [(x, weight, torch.empty_like(g)), (g, weight.T, torch.empty_like(x))]
    return pairs


def gigamacs(rows: int, dtype: torch.dtype, device: str) -> float:
    """Rate of one forward and one backward pass, 1e9 multiply-adds a second."""
    factors = products(rows, dtype, device)
    passes = max(1, 2048 // rows)  # some ten milliseconds
    times = []
    for _ in range(REPEATS + 1):
        start = perf_counter()
        for _ in range(passes):
            for a, b, out in factors:
                torch.mm(a, b, out=out)
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(perf_counter() - start)
    work = passes * sum(2 * rows * n_in * n_out for n_in, n_out in LAYERS)
    return work / median(times[1:]) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    kinds = {"float64": torch.float64, "float32": torch.float32}
    print(json.dumps({name: {rows: gigamacs(rows, dtype, device) for rows in ROWS} for name, dtype in kinds.items()}))


if __name__ == "__main__":
    main()
