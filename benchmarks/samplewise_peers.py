"""The published sample-wise codes, unchanged, each behind one call. Runs where torch is; nothing of pidjax or jax.

Nothing is on PyPI: ``LSMI_PATH`` names a checkout of https://github.com/GeWu-Lab/LSMI_Estimator (it needs torch and
hydra-core), ``KNIFE_PATH`` one of https://github.com/g-pichler/knife (it needs torch). A peer is loaded first, so that
its imports are not timed, then given the arrays, then called: ``load("lsmi")(arrays)()`` returns seconds by what was
timed, and the answers.
"""

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

__all__ = ["HOMES", "LOADERS", "load", "versions"]

Arrays = dict[str, np.ndarray]
Call = Callable[[], tuple[dict[str, float], Arrays]]

HOMES = {  # where a checkout is named, and where it comes from
    "LSMI_PATH": "https://github.com/GeWu-Lab/LSMI_Estimator",
    "KNIFE_PATH": "https://github.com/g-pichler/knife",
}
KNIFE_BATCH, KNIFE_EPOCHS = 128, 10  # of 10,000 samples: 780 steps
KNIFE_RATE, KNIFE_KERNELS = 1e-3, 128  # the official KNIFE's default, and its notebook's
CHUNK = 500  # samples that a kernel judges at once: the official one needs 128 d^2 floats for each


def _torch() -> ModuleType:
    """Torch on one thread."""
    import torch

    torch.set_num_threads(1)
    return torch


def _checkout(variable: str, module: str, folder: str = ".") -> ModuleType:
    """A module of a checkout."""
    path = os.environ.get(variable)
    if not path:
        raise ImportError(f"{variable} names no checkout of {HOMES[variable]}")
    sys.path.insert(0, str(Path(path) / folder))
    return importlib.import_module(module)


def versions() -> dict[str, str]:
    """What ran: of torch, and the commits of the checkouts."""
    found = {"torch": _torch().__version__}
    for variable, home in HOMES.items():
        path = os.environ.get(variable)
        done = path and subprocess.run(["git", "-C", path, "rev-parse", "--short", "HEAD"], capture_output=True)
        if done and done.returncode == 0:
            found[home.rsplit("/", 1)[1]] = done.stdout.decode().strip()
    return found


def _lsmi() -> Callable[[Arrays], Call]:
    """``estimation_main`` of main_lsmi.py at the settings of its cfgs/train.yaml, on the CPU.

    Its loaders are made anew of its own dataset class, without the 16 worker processes whose start takes most of its
    time, and for the arrays given. Its functions are wrapped to be timed.
    """
    torch = _torch()
    main_lsmi = _checkout("LSMI_PATH", "main_lsmi")
    from omegaconf import OmegaConf  # comes with hydra-core

    settings = OmegaConf.load(Path(os.environ["LSMI_PATH"]) / "cfgs/train.yaml")
    settings.device = "cpu"

    def place(arrays: Arrays) -> Call:
        settings.n_classes = int(max(arrays["y"].max(), arrays["y_val"].max())) + 1
        settings.input_size_1, settings.input_size_2 = arrays["x1"].shape[1], arrays["x2"].shape[1]
        (*train, y), (*val, y_val) = (
            [torch.from_numpy(arrays[f"{name}{part}"]) for name in ("x1", "x2", "y")] for part in ("", "_val")
        )

        def loaders(*_: Any) -> tuple[Any, ...]:
            generator = torch.Generator()  # at its default seed, as theirs
            return tuple(
                torch.utils.data.DataLoader(
                    main_lsmi.feature_dataset(*x, target),
                    batch_size=settings.batch_size,
                    shuffle=shuffle,
                    generator=generator,
                )
                for x, target, shuffle in ((train, y, True), (val, y_val, False))
            )

        def call() -> tuple[dict[str, float], Arrays]:
            seconds: dict[str, float] = {}
            returned: dict[str, list[Any]] = {}

            def watched(name: str) -> mock._patch:
                function = getattr(main_lsmi, name)

                def wrapper(*args: Any, **keywords: Any) -> Any:
                    start = time.perf_counter()
                    answer = function(*args, **keywords)
                    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
                    returned.setdefault(name, []).append(answer)
                    return answer

                return mock.patch.object(main_lsmi, name, wrapper)

            main_lsmi.setup_seed(settings.random_seed)
            with (
                mock.patch.object(main_lsmi, "get_loader", loaders),
                watched("obtain_discriminator"),
                watched("obtain_entropy_estimator"),
                watched("LSMI_estimation"),
            ):
                start = time.perf_counter()
                main_lsmi.estimation_main(settings)
                total = time.perf_counter() - start
            (classifiers,), (knives,) = returned["obtain_discriminator"], returned["obtain_entropy_estimator"]
            answers: Arrays = {}
            for part, loader, atoms in zip(("_train", ""), loaders(), returned["LSMI_estimation"], strict=True):
                answers |= {f"{name}{part}": np.array(float(atom)) for name, atom in zip(_ATOMS, atoms, strict=True)}
                # Its own pointwise terms: in the order of the data for "val" alone, "train" is shuffled at each pass.
                for which, model in zip(("1", "2", "12"), classifiers, strict=True):
                    values = main_lsmi.get_mutual_info(loader, model, f"modality_{which}", settings)
                    answers[f"i{which}{part}"] = values.numpy()
                for which, model in zip(("1", "2"), knives, strict=True):
                    values = main_lsmi.get_entropy(loader, model, f"modality_{which}", settings)
                    answers[f"h{which}{part}"] = values.numpy()
            return {
                "classifiers": seconds["obtain_discriminator"],
                "knives": seconds["obtain_entropy_estimator"],
                "pipeline": total,
            }, answers

        return call

    return place


_ATOMS = ("redundancy", "unique1", "unique2", "synergy")


def _lsmi_knife(zero_grad: bool) -> Callable[[Arrays], Call]:
    """LSMI's kernel (5 modes, random start of scale 1, tanh), Adam 1e-3.

    Args:
        zero_grad: train it with a loop that clears the gradients; LSMI's own does not. Its own trains two kernels at
            once: both get the same data, from different random starts, and its time is halved.
    """
    torch = _torch()
    main_lsmi = _checkout("LSMI_PATH", "main_lsmi")

    def place(arrays: Arrays) -> Call:
        x, held = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["x_val"])
        settings = SimpleNamespace(
            device="cpu",
            input_size_1=x.shape[1],
            input_size_2=x.shape[1],
            num_epochs_entropy_estimator=KNIFE_EPOCHS,
        )
        labels = torch.zeros(len(x), dtype=torch.long)

        def call() -> tuple[dict[str, float], Arrays]:
            main_lsmi.setup_seed(42)
            start = time.perf_counter()
            if zero_grad:
                kernels = [_minimised(main_lsmi.MargKernel(x.shape[1]), x)]
            else:
                data = main_lsmi.feature_dataset(x, x, labels)
                loader = torch.utils.data.DataLoader(data, batch_size=KNIFE_BATCH, shuffle=True, drop_last=True)
                kernels = main_lsmi.obtain_entropy_estimator(settings, loader)
            seconds = (time.perf_counter() - start) / len(kernels)
            return {"entropy": seconds}, {"h": np.stack([_surprisal(kernel, held) for kernel in kernels])}

        return call

    return place


def _knife() -> Callable[[Arrays], Call]:
    """The official KNIFE as its estimate_entropy.py builds it: means on samples, scale 0.01, no tanh."""
    torch = _torch()
    kernels = _checkout("KNIFE_PATH", "estimators.knife", "synthetic_experiments")
    settings = SimpleNamespace(
        optimize_mu=True,
        marg_modes=KNIFE_KERNELS,
        batch_size=KNIFE_KERNELS,
        use_tanh=False,
        init_std=1e-2,
        cov_diagonal="var",
        cov_off_diagonal="var",
        average="var",
    )

    def place(arrays: Arrays) -> Call:
        x, held = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["x_val"])

        def call() -> tuple[dict[str, float], Arrays]:
            torch.manual_seed(0)
            start = time.perf_counter()
            first = x[torch.randperm(len(x))[:KNIFE_KERNELS]].clone()
            kernel = _minimised(kernels.MargKernel(settings, x.shape[1], None, init_samples=first), x)
            return {"entropy": time.perf_counter() - start}, {"h": _surprisal(kernel, held)[None]}

        return call

    return place


def _minimised(kernel: Any, x: Any) -> Any:
    """Adam on the mean surprisal of minibatches, as the official KNIFE trains."""
    torch = _torch()
    optimizer = torch.optim.Adam(kernel.parameters(), lr=KNIFE_RATE)
    data = torch.utils.data.TensorDataset(x)
    loader = torch.utils.data.DataLoader(data, batch_size=KNIFE_BATCH, shuffle=True, drop_last=True)
    for _ in range(KNIFE_EPOCHS):
        for (batch,) in loader:
            optimizer.zero_grad()
            (-kernel.logpdf(batch)).mean().backward()
            optimizer.step()
    return kernel


def _surprisal(kernel: Any, x: Any) -> np.ndarray:
    with _torch().no_grad():
        return np.concatenate([-kernel.logpdf(rows).numpy() for rows in x.split(CHUNK)])


LOADERS: dict[str, Callable[[], Callable[[Arrays], Call]]] = {
    "lsmi": _lsmi,
    "lsmi_knife": lambda: _lsmi_knife(zero_grad=False),
    "lsmi_knife_zero_grad": lambda: _lsmi_knife(zero_grad=True),
    "knife": _knife,
}


def load(name: str) -> Callable[[Arrays], Call]:
    """Import a peer.

    Args:
        name: a key of ``LOADERS``.

    Returns:
        ``place(arrays) -> call``. ``"lsmi"`` takes ``x1``, ``x2`` (float32), ``y`` (int64) and the same with ``_val``;
        it times ``classifiers``, ``knives`` and ``pipeline``, and answers with adjusted aggregates
        (``redundancy`` ...), and pointwise ``i1``, ``i2``, ``i12``, ``h1``, ``h2`` (nats), of the validation samples in
        order; with ``_train`` appended those of the training samples, in a shuffled order. The others take ``x`` and
        ``x_val`` and answer with surprisals ``h`` of the latter, one row for each kernel.

    Raises:
        ImportError: the checkout, or what it needs, is not there.
    """
    return LOADERS[name]()
