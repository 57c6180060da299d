"""The loaders: errors without data; with ``PIDJAX_DATA``, the counts and informations of the sets."""

import os

import jax
import numpy as np
import pytest

from pidjax.datasets import CREMA_D_LEVELS, avmnist, crema_d, mfeat
from pidjax.info import informations, to_bits

needs_data = pytest.mark.skipif(
    "PIDJAX_DATA" not in os.environ, reason="set PIDJAX_DATA to the folder of the data sets"
)
LOADERS = [crema_d, mfeat, lambda path=None: avmnist(path, key=jax.random.key(0))]


def joint_of(samples):
    p = np.zeros((6, 6, 6))
    np.add.at(p, (samples.x1, samples.x2, samples.y), 1 / len(samples.y))
    return p


@pytest.mark.parametrize("load", LOADERS)
def test_no_folder_named_tells_the_cure(load, monkeypatch):
    monkeypatch.delenv("PIDJAX_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="environment variable PIDJAX_DATA"):
        load()


@pytest.mark.parametrize("load", LOADERS)
def test_folder_without_the_file_tells_which(load, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"\.npz does not exist; pass its folder"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: crema_d(target="emotion"), "target is 'emotion'"),
        (lambda: crema_d(level="HI"), "level is 'HI'"),
        (lambda: mfeat(views=("fou", "sift")), "expected two of fac"),
        (lambda: mfeat(views=("fou",)), "expected two of fac"),
        (lambda: avmnist(key=jax.random.key(0), split="dev"), "split is 'dev'"),
    ],
)
def test_what_is_wrong_is_refused_before_any_file_is_read(call, message, monkeypatch):
    monkeypatch.delenv("PIDJAX_DATA", raising=False)
    with pytest.raises(ValueError, match=message):
        call()


@needs_data
def test_crema_d_has_the_informations_of_its_counts():
    samples = crema_d()
    assert len(samples.y) == 7442
    assert all(np.issubdtype(leaf.dtype, np.integer) for leaf in samples[:3])
    bits = np.array([float(i) for i in to_bits(informations(joint_of(samples)))])
    np.testing.assert_allclose(bits, [0.599, 1.291, 1.470], atol=5e-4)  # published to three decimals


@needs_data
def test_crema_d_audio_visual_total_is_that_of_the_reference():
    # BROJA_2PID with ECOS, in bits to five decimals: R + U1 + U2 + S
    bits = to_bits(informations(joint_of(crema_d(target="audio_visual"))))
    assert float(bits.x1x2) == pytest.approx(0.63547 + 0.02252 + 0.71264 + 0.19584, abs=2e-5)
    assert float(bits.x1) == pytest.approx(0.63547 + 0.02252, abs=1e-5)


@needs_data
def test_crema_d_levels_partition_the_clips():
    sizes = {level: len(crema_d(level=level).y) for level in CREMA_D_LEVELS}
    assert sum(sizes.values()) == 7442
    assert sizes["low"] == sizes["high"] == 455


@needs_data
def test_mfeat_views_have_their_features():
    samples = mfeat(views=("fac", "pix"))
    assert samples.x1.shape == (2000, 216)
    assert samples.x2.shape == (2000, 240)
    assert samples.x1.dtype == samples.x2.dtype == np.float32
    np.testing.assert_array_equal(np.bincount(samples.y), 200)


@needs_data
def test_avmnist_pairs_an_image_with_a_clip_of_its_digit():
    key = jax.random.key(0)
    with np.load(os.path.join(os.environ["PIDJAX_DATA"], "avmnist.npz")) as data:
        digit, is_test = data["audio_digit"], data["audio_is_test"]
    for split, n in (("train", 20_000), ("test", 10_000)):
        samples, clip = avmnist(key=key, split=split)
        assert samples.x1.shape == (n, 28, 28)
        assert samples.x2.shape == (n, 32, 32)
        assert samples.x1.dtype == samples.x2.dtype == np.float32
        assert (samples.x1.min(), samples.x1.max()) == (0.0, 1.0)
        np.testing.assert_array_equal(digit[clip], samples.y)
        np.testing.assert_array_equal(is_test[clip], split == "test")
        # 2700 or 300 clips, each used 7 or 33 times on average: a clip left out has probability below e^-6
        assert len(np.unique(clip)) > 0.98 * np.sum(is_test == (split == "test"))
    again = avmnist(key=key, split="test")[1]
    np.testing.assert_array_equal(again, clip)
    assert (avmnist(key=jax.random.key(1), split="test")[1] != clip).any()
