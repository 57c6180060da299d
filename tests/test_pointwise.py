"""Single samples: means, extremes, the file, the picture."""

import csv
import math
import sys

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest

from pidjax.info import Informations
from pidjax.pid import PID
from pidjax.pointwise import Pointwise, panels

mpl.use("Agg")

ATOMS = ("redundancy", "unique1", "unique2", "synergy")
BIT = math.log(2)


def values(pid):
    return np.array([getattr(pid, atom) for atom in ATOMS])


def drawn(y, seed=0, **more):
    """Random atoms for given labels."""
    atoms = np.random.default_rng(seed).normal(size=(4, len(y)))
    return Pointwise(pid=PID(**dict(zip(ATOMS, atoms, strict=True))), y=y, **more)


@pytest.fixture
def words():
    return drawn(np.array(["dog", "cat", "dog", "a, b", "dog"]))


def test_arrays_leave_the_device_and_labels_stay_as_they_are():
    atoms = jnp.ones(3)
    pointwise = Pointwise(
        pid=PID(redundancy=atoms, unique1=atoms, unique2=atoms, synergy=atoms), y=["a", "b", "a"],
        informations=(atoms, atoms, atoms), surprisal=[atoms, atoms],
    )  # fmt: skip
    leaves = jax.tree.leaves((pointwise.pid, pointwise.informations, pointwise.surprisal))
    assert {(type(leaf), leaf.dtype) for leaf in leaves} == {(np.ndarray, np.dtype(np.float64))}
    assert len(leaves) == 9
    assert pointwise.informations.x1x2.tolist() == [1, 1, 1]
    assert pointwise.y.tolist() == ["a", "b", "a"]


def test_classes_weighted_by_their_samples_average_to_the_whole(words):
    classes = words.by_class()
    assert list(classes) == ["a, b", "cat", "dog"]
    assert [count for count, _ in classes.values()] == [1, 1, 3]
    np.testing.assert_allclose(values(classes["dog"].pid), values(words.pid)[:, [0, 2, 4]].mean(1), atol=1e-15)
    whole = sum(count * values(pid) for count, pid in classes.values()) / 5
    np.testing.assert_allclose(whole, values(words.mean), atol=1e-15)
    assert {type(label) for label in drawn(np.array([3, 1])).by_class()} == {int}


def test_the_table_has_a_row_for_each_class_and_one_for_all(words):
    assert repr(words) == str(words) == words.table()
    for bits, unit in ((False, 1.0), (True, BIT)):
        lines = words.table(bits=bits).splitlines()
        assert lines[2].split() == ["y", "n", "R", "U1", "U2", "S", "I12"]
        dog = next(line for line in lines if line.startswith("dog")).split()
        mean = values(words.by_class()["dog"].pid) / unit
        assert dog[1:] == ["3", *(f"{value:.5f}" for value in (*mean, mean.sum()))]
        assert lines[-1].split()[:2] == ["all", "5"]
        assert len({len(line) for line in lines[2:] if line}) == 1


def test_long_and_broken_labels_leave_the_table_narrow():
    text = drawn(np.array(["x" * 200, "two\nlines"])).table()
    assert max(map(len, text.splitlines())) <= 96
    assert "two lines" in text


def test_extremes_come_in_order_ties_as_they_stand_and_undefined_never():
    atom = np.array([1.0, 3.0, np.nan, 3.0, -np.inf, 2.0])
    pointwise = Pointwise(pid=PID(redundancy=atom, unique1=-atom, unique2=atom, synergy=atom), y=np.zeros(6, int))
    assert pointwise.extremes("synergy", 3).tolist() == [1, 3, 5]
    assert pointwise.extremes("redundancy").tolist() == [1, 3, 5, 0, 4]
    assert pointwise.extremes("unique1", 1).tolist() == [4]
    assert pointwise.extremes("unique2", 0).tolist() == []


def test_a_file_gives_back_every_digit(words, tmp_path):
    path = tmp_path / "samples.csv"
    words.to_csv(path)
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["sample", "y", *ATOMS]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4"]
    assert [row[1] for row in rows] == words.y.tolist()
    assert np.array([[float(cell) for cell in row[2:]] for row in rows]).T.tolist() == values(words.pid).tolist()


def test_a_file_has_what_is_known_and_nan_where_nothing_is(tmp_path):
    path = tmp_path / "samples.csv"
    i1, i2, i12 = np.array([[0.1, 0.2, -np.inf], [1.0, 2.0, 3.0], [5.0, np.nan, np.inf]])
    pointwise = drawn(
        np.array([7, -3, 7]), informations=Informations(i1, i2, i12), surprisal=(i2 / 3, np.array([1e-300, 1e300, 0]))
    )
    pointwise.to_csv(path)
    found = np.genfromtxt(path, delimiter=",", names=True)
    assert found.dtype.names == ("sample", "y", *ATOMS, "i1", "i2", "i12", "h1", "h2")
    assert found["y"].tolist() == [7, -3, 7]
    np.testing.assert_array_equal(found["i1"], [0.1, 0.2, np.nan])
    np.testing.assert_array_equal(found["i12"], [5.0, np.nan, np.nan])
    np.testing.assert_array_equal(found["h1"], i2 / 3)
    np.testing.assert_array_equal(found["h2"], [1e-300, 1e300, 0])
    assert path.read_text().splitlines()[3].count("nan") == 2


def test_equal_samples_are_equal_whatever_is_undefined(words):
    undefined = PID(**{atom: np.array([np.nan, 1.0]) for atom in ATOMS})
    assert Pointwise(pid=undefined, y=[0, 1]) == Pointwise(pid=undefined, y=[0, 1])
    assert Pointwise(pid=undefined, y=[0, 1]) != Pointwise(pid=undefined, y=[0, 2])
    assert words != drawn(words.y, seed=1)
    assert words != drawn(words.y, surprisal=(np.zeros(5), np.zeros(5)))
    assert words != "words"


@pytest.mark.parametrize(("bits", "unit"), [(False, 1.0), (True, BIT)])
def test_the_picture_has_a_box_and_dots_for_each_class_in_each_panel(bits, unit):
    # Two classes told apart by their redundancy alone: 0..4 and 10..14; all else is 0.
    atom = np.array([0.0, 1, 2, 3, 4, 10, 11, 12, 13, 14])
    zero = np.zeros(10)
    pointwise = Pointwise(
        pid=PID(redundancy=atom, unique1=zero, unique2=zero, synergy=zero), y=np.repeat(["a", "b"], 5)
    )
    axes = pointwise.plot(bits=bits)
    assert [ax.get_title().split(" (")[0] for ax in axes] == ["redundancy", "unique to x1", "unique to x2", "synergy"]
    assert [text.get_text() for text in axes[3].get_xticklabels()] == ["a", "b"]
    assert axes[0].get_ylabel() == ("bits" if bits else "nats")
    boxes = [patch.get_path().vertices[:, 1] for patch in axes[0].patches]
    # The quartiles of 0..4 are 1 and 3.
    np.testing.assert_allclose([(box.min(), box.max()) for box in boxes], np.array([(1, 3), (11, 13)]) / unit)
    for at, dots in enumerate(axes[0].collections):
        x, y = dots.get_offsets().T
        np.testing.assert_allclose(np.sort(y), (np.arange(5) + 10 * at) / unit)
        assert (abs(x - at) < 0.35).all()  # inside the box, which is 0.7 wide
        assert len(set(x.tolist())) == 5
    diamonds = [line for line in axes[0].lines if line.get_marker() == "D"]
    np.testing.assert_allclose([line.get_ydata()[0] for line in diamonds], np.array([2, 12]) / unit)
    assert len({ax.get_ylim() for ax in axes}) == 1
    assert axes[0].get_ylim()[0] < 0 < 14 / unit < axes[0].get_ylim()[1]
    mpl.pyplot.close("all")


def test_one_wild_sample_in_a_thousand_flattens_no_panel():
    pointwise = drawn(np.zeros(1000, int))
    pointwise.pid.synergy[17] = -1000.0
    low, high = pointwise.plot(panels(mpl.figure.Figure, pointwise))[0].get_ylim()
    # All standard normal but one, whose weight moves the mean to -1.
    assert -6 < low < high < 6


@pytest.mark.parametrize(("classes", "grid"), [(1, (2, 2)), (10, (2, 2)), (20, (4, 1))])
def test_the_panels_hold_the_classes(classes, grid):
    pointwise = drawn(np.array([f"emotion {i}" for i in np.arange(40) % classes]))
    axes = panels(mpl.figure.Figure, pointwise)
    assert np.shape(axes) in (grid, (4,))
    axes = pointwise.plot(axes)
    figure = axes[0].figure
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes[3].get_xticklabels() if text.get_text()]
    assert len(boxes) == classes
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_own_axes_are_drawn_on_and_undefined_samples_are_not():
    atom = np.array([np.nan, np.nan, 1.0, np.inf])
    pointwise = Pointwise(pid=PID(redundancy=atom, unique1=atom, unique2=atom, synergy=atom), y=[0, 0, 1, 1])
    axes = mpl.figure.Figure().subplots(1, 4)
    assert list(pointwise.plot(axes)) == list(axes)
    assert [dots.get_offsets()[:, 1].tolist() for dots in axes[0].collections] == [[1.0]]
    assert [text.get_text() for text in axes[0].get_xticklabels()] == ["0", "1"]


@pytest.mark.parametrize(
    ("refused", "found"),
    [
        (lambda: drawn(np.zeros((3, 2))), r"y has shape \(3, 2\)"),
        (lambda: drawn(np.zeros(3), surprisal=(np.zeros(3), np.zeros(2))), r"'h2': \(2,\)"),
        (lambda: drawn(np.zeros(0)), "no samples"),
        (lambda: drawn(np.zeros(3)).extremes("total"), "unknown atom 'total'; expected one of redundancy, unique1"),
        (lambda: drawn(np.zeros(3)).extremes("synergy", -1), "count is -1"),
        (lambda: drawn(np.zeros(3)).plot(mpl.figure.Figure().subplots(1, 2)), "axes holds 2; expected four"),
    ],
)
def test_what_does_not_fit_is_refused(refused, found):
    with pytest.raises(ValueError, match=found):
        refused()


def test_without_matplotlib_the_plot_names_the_extra(words, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"Pointwise.plot needs.*pip install pidjax\[plot\]"):
        words.plot()
