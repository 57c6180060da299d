"""Real data: three small sets that are read from a folder when a loader is called.

Each loader takes the folder as ``path``, or from the environment variable ``PIDJAX_DATA``, and returns numpy
arrays.
"""

import os
from pathlib import Path

import jax
import numpy as np

from pidjax import _checks
from pidjax.typing import Key, Samples

__all__ = ["CREMA_D_EMOTIONS", "CREMA_D_LEVELS", "MFEAT_VIEWS", "avmnist", "crema_d", "mfeat"]

CREMA_D_EMOTIONS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness")
CREMA_D_LEVELS = ("unspecified", "low", "medium", "high")
MFEAT_VIEWS = ("fac", "fou", "kar", "mor", "pix", "zer")


def crema_d(
    path: str | os.PathLike[str] | None = None, *, target: str = "intended", level: str | None = None
) -> Samples:
    """CREMA-D: which emotion people heard in a voice and saw in a face, clip by clip; six symbols each.

    A symbol is the emotion with most votes (the first of tied ones, in the order of ``CREMA_D_EMOTIONS``).

    Args:
        path: folder that holds ``crema_d_ratings.npz``; None reads ``PIDJAX_DATA``.
        target: "intended" (what the actor was asked to show) or "audio_visual" (what most saw and heard).
        level: only the clips acted at this level, one of ``CREMA_D_LEVELS``; None keeps all.

    Returns:
        ``Samples``: x1 the voice, x2 the face, y the target, int32 ``(n,)`` from 0 to 5; n is 7442 in all.

    Raises:
        FileNotFoundError: no such file, or no folder named.
        ValueError: an unknown target or level.

    Example:
        >>> samples = crema_d("data")  # doctest: +SKIP
        >>> samples.x1.shape, round(float((samples.x2 == samples.y).mean()), 3)  # doctest: +SKIP
        ((7442,), 0.69)

    References:
        Cao et al. 2014, "CREMA-D: crowd-sourced emotional multimodal actors dataset", IEEE TAC 5(4).
    """
    targets = ("intended", "audio_visual")
    _checks.require(target in targets, f"target is {target!r}; expected one of {', '.join(targets)}")
    _checks.require(
        level is None or level in CREMA_D_LEVELS,
        f"level is {level!r}; expected None or one of {', '.join(CREMA_D_LEVELS)}",
    )
    data = _arrays(path, "crema_d_ratings.npz", "votes", "intended_emotion", "level")
    voice, face, both = data["votes"].argmax(2).astype(np.int32).T
    y = data["intended_emotion"] if target == "intended" else both
    keep = slice(None) if level is None else data["level"] == CREMA_D_LEVELS.index(level)
    return Samples(voice[keep], face[keep], y[keep])


def mfeat(path: str | os.PathLike[str] | None = None, *, views: tuple[str, str] = ("fou", "mor")) -> Samples:
    """UCI Multiple Features: 2000 handwritten digits, two of six views of each as modalities.

    The views are ``fac`` (216 profile correlations), ``fou`` (76 Fourier coefficients), ``kar`` (64
    Karhunen-Loeve coefficients), ``mor`` (6 morphological features), ``pix`` (240 pixel averages) and ``zer``
    (47 Zernike moments).

    Args:
        path: folder that holds ``mfeat.npz``; None reads ``PIDJAX_DATA``.
        views: the two views, names of ``MFEAT_VIEWS``.

    Returns:
        ``Samples``: x1 and x2 float32 ``(2000, d)``, raw (columns of ``mor`` differ by orders of magnitude:
        standardise), y int32 digits, 200 of each, in order: shuffle before you split.

    Raises:
        FileNotFoundError: no such file, or no folder named.
        ValueError: not two names of ``MFEAT_VIEWS``.

    Example:
        >>> samples = mfeat("data")  # doctest: +SKIP
        >>> samples.x1.shape, samples.x2.shape  # doctest: +SKIP
        ((2000, 76), (2000, 6))

    References:
        Duin, "Multiple Features", UCI Machine Learning Repository.
    """
    _checks.require(
        len(views) == 2 and all(view in MFEAT_VIEWS for view in views),
        f"views is {views!r}; expected two of {', '.join(MFEAT_VIEWS)}",
    )
    data = _arrays(path, "mfeat.npz", "label", *views)
    x1, x2 = (data[view].astype(np.float32) for view in views)
    return Samples(x1, x2, data["label"])


def avmnist(
    path: str | os.PathLike[str] | None = None, *, key: Key, split: str = "train"
) -> tuple[Samples, np.ndarray]:
    """AV-MNIST: every handwritten digit is paired with a random clip of the same digit, spoken.

    The splits share no clip (2700 and 300 of them). Each clip serves many images, so the pairs are not
    independent: resample clips, not pairs, in a bootstrap. This is why the clip is returned.

    Args:
        path: folder that holds ``avmnist.npz``; None reads ``PIDJAX_DATA``.
        key: random key of the pairing.
        split: "train" (20 000 images) or "test" (10 000).

    Returns:
        ``(samples, clip)``. Samples: x1 images, float32 ``(n, 28, 28)`` from 0 to 1; x2 log-mel spectrograms,
        float32 ``(n, 32, 32)`` [mel, time] in decibel; y int32 digits. Clip: ``(n,)``, which of the 3000.

    Raises:
        FileNotFoundError: no such file, or no folder named.
        ValueError: an unknown split.

    Example:
        >>> samples, clip = avmnist("data", key=jax.random.key(0), split="test")  # doctest: +SKIP
        >>> samples.x1.shape, samples.x2.shape, clip.shape  # doctest: +SKIP
        ((10000, 28, 28), (10000, 32, 32), (10000,))

    References:
        Liang et al. 2021, "MultiBench" (the pairing); LeCun et al. 1998 (MNIST); Jackson et al., "Free spoken
        digit dataset".
    """
    _checks.require(split in ("train", "test"), f"split is {split!r}; expected train or test")
    image, label = f"{split}_image", f"{split}_image_label"
    data = _arrays(path, "avmnist.npz", image, label, "audio_logmel", "audio_digit", "audio_is_test")
    y = data[label]
    clips = np.flatnonzero(data["audio_is_test"] == (split == "test"))
    clips = clips[np.argsort(data["audio_digit"][clips], kind="stable")]  # the clips of a digit lie together
    counts = np.bincount(data["audio_digit"][clips], minlength=10)
    starts = np.cumsum(counts) - counts
    clip = clips[starts[y] + np.asarray(jax.random.randint(key, y.shape, 0, counts[y]))]
    return Samples(data[image].astype(np.float32) / 255, data["audio_logmel"][clip], y), clip


def _arrays(path: str | os.PathLike[str] | None, file: str, *names: str) -> dict[str, np.ndarray]:
    """The named arrays of one file of the data folder."""
    folder = os.environ.get("PIDJAX_DATA", "") if path is None else os.fspath(path)
    cure = "pass its folder as path, or set the environment variable PIDJAX_DATA to it"
    _checks.require(folder != "", f"{file}: no data folder is named; {cure}", FileNotFoundError)
    full = Path(folder) / file
    _checks.require(full.is_file(), f"{full} does not exist; {cure}", FileNotFoundError)
    with np.load(full, allow_pickle=False) as data:
        return {name: data[name] for name in names}
