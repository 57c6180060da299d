"""CompressAI's EntropyBottleneck on a tensor, in its own interpreter: updates a second and the rate reached, as JSON.

    python infometer_peer.py FOLDER COLUMNS BATCH UPDATES STEP

FOLDER holds the package ``compressai`` (a checkout, or the site-packages of ``pip install compressai``). Only its
entropy models are imported: the package itself asks for compiled range coders, which rates don't need.
"""

import json
import sys
import time
import types
from pathlib import Path

import numpy as np
import torch  # type: ignore[import-not-found]

WARM_UP = 20


def main(folder: str, columns: int, batch: int, updates: int, step: float) -> None:
    """Print the row."""
    torch.set_num_threads(1)
    package = types.ModuleType("compressai")
    package.__path__ = [str(Path(folder) / "compressai")]
    package.get_entropy_coder = lambda: "ans"  # type: ignore[attr-defined]
    package.available_entropy_coders = lambda: ["ans"]  # type: ignore[attr-defined]
    sys.modules["compressai"] = package
    for name in ("scipy", "scipy.stats"):  # asked for at import, used for Gaussian models only
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["scipy"].stats = sys.modules["scipy.stats"]  # type: ignore[attr-defined]
    from compressai.entropy_models.entropy_models import EntropyBottleneck  # type: ignore[import-not-found]

    x, test = (
        torch.tensor(np.random.default_rng(seed).normal(size=(n, columns)) / step, dtype=torch.float32)
        for seed, n in ((0, 20_000), (1, 200_000))
    )
    torch.manual_seed(0)
    model = EntropyBottleneck(columns)
    optimiser = torch.optim.Adam([p for name, p in model.named_parameters() if "quantiles" not in name], lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates)
    model.train()
    for number in range(updates):
        if number == WARM_UP:
            start = time.perf_counter()
        _, likelihood = model(x[torch.randint(0, len(x), (batch,))].T[None])
        loss = -torch.log(likelihood).sum() / batch
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    seconds = time.perf_counter() - start
    model.eval()
    with torch.no_grad():
        model.quantiles.zero_()  # whole numbers, and not whole numbers from a median, are what is coded
        _, likelihood = model(test.T[None])
    row = {"updates_per_second": (updates - WARM_UP) / seconds, "rate": float(-torch.log(likelihood).sum() / len(test))}
    print(json.dumps(row))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]), float(sys.argv[5]))
