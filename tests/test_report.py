"""The report: table, dictionary, picture."""

import dataclasses
import json
import math
import re
import sys

import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.figure
import numpy as np
import pytest

from pidjax.info import Informations
from pidjax.pid import PID, Interval
from pidjax.pointwise import Pointwise
from pidjax.report import Null, Report

mpl.use("Agg")

ATOMS = ("redundancy", "unique1", "unique2", "synergy")
BIT = math.log(2)


def pid(*values):
    return PID(**dict(zip(ATOMS, values, strict=True)))


@pytest.fixture
def report():
    return Report(
        pid=pid(0.4, 0.1, 0.2, 0.3),
        gap=2e-10,
        information=Informations(0.5, 0.6, 1.0),
        label_entropy=1.2,
        interval=Interval(pid(0.3, 0.05, 0.1, 0.2), pid(0.5, 0.15, 0.3, 0.35)),
        null=Null(pid(0.01, 0.02, 0.03, 0.04), pid(0.02, 0.03, 0.04, 0.05), pid(0.005, 0.5, 0.25, 1.0)),
        samples=50,
        shape=(2, 3, 4),
        method="discrete",
        bootstrap=200,
        permutations=100,
        warnings=("beware of the dog",),
        seed=(0, 7),
    )


@pytest.fixture
def bare(report):
    return Report(
        pid=report.pid, gap=0.0, information=report.information, label_entropy=1.2,
        samples=1, shape=(1, 1, 1), method="discrete",
    )  # fmt: skip


@pytest.fixture
def samplewise():
    """As a method reports that fits classifiers: no certificate, atoms of either sign, and what tells of the fit."""
    pointwise = Pointwise(pid=pid(*np.arange(8.0).reshape(4, 2)), y=["cat", "dog"])
    return Report(
        pid=pid(0.4, -0.17, -0.16, 0.5),
        gap=float("nan"),
        information=Informations(0.23, 0.24, 0.57),
        label_entropy=0.69,
        interval=Interval(pid(0.3, -0.25, -0.21, 0.4), pid(0.5, -0.1, -0.1, 0.6)),
        null=Null(pid(*[0.01] * 4), pid(*[0.02] * 4), pid(*[0.5] * 4)),
        samples=2,
        shape=(32, 64, 2),
        nouns=("feature", "symbol"),
        method="LSMI, classifiers held out in 5 folds",
        bootstrap=200,
        permutations=20,
        interval_rule="bootstrap replicates of the means over samples",
        variants={"constant shift": pid(0.23, 0.0, 0.01, 0.33)},
        diagnostics={"log loss (x1)": jnp.float32(0.5), "accuracy (x1)": 0.875, "ECE (x1)": float("nan"), "a": 1e-5},
        pointwise=pointwise,
    )


def test_arrays_leave_the_device():
    report = Report(
        pid=pid(*jnp.ones(4)), gap=jnp.float32(0), information=Informations(*np.ones(3)),
        label_entropy=np.float64(1), samples=1, shape=(1, 1, 1), method="discrete",
    )  # fmt: skip
    leaves = [*vars(report.pid).values(), report.gap, *report.information, report.label_entropy]
    assert {type(leaf) for leaf in leaves} == {float}


def test_the_table_shows_nats_and_bits_with_intervals_and_null(report):
    lines = str(report).splitlines()
    assert repr(report) == str(report)
    synergy = next(line for line in lines if line.startswith("synergy"))
    assert re.findall(r"[\d.]*\d", synergy) == [
        "0.30000", "0.2000", "0.3500",
        f"{0.3 / BIT:.5f}", f"{0.2 / BIT:.4f}", f"{0.35 / BIT:.4f}", "0.0500", "1.000",
    ]  # fmt: skip
    assert any(line.split() == ["I(x1,x2;y)", "1.00000", f"{1 / BIT:.5f}"] for line in lines)
    assert "2.0e-10" in str(report)
    assert "Warning: beware of the dog" in lines


def test_the_columns_of_the_table_are_aligned_and_fit_a_terminal(report):
    for text in (str(report), report.table(bits=True)):
        rows = [line for line in text.splitlines() if re.match("redun|uniq|syn", line)]
        header = next(line for line in text.splitlines() if "interval" in line)
        assert len({len(line) for line in [*rows, header]}) == 1
        assert max(map(len, text.splitlines())) <= 96


def test_bits_only_shows_no_nats(report):
    redundancy = next(line for line in report.table(bits=True).splitlines() if line.startswith("redundancy"))
    assert redundancy.split()[2] == f"{0.4 / BIT:.5f}"
    assert "0.40000" not in redundancy
    assert f"{0.02 / BIT:.4f}" in redundancy


def test_what_was_switched_off_is_not_in_the_table(bare):
    assert "interval" not in str(bare).lower()
    assert "null" not in str(bare).lower()
    assert "1 sample\n" in str(bare)


def test_rounding_leaves_no_negative_zero(bare):
    negative = Report(
        pid=pid(-1e-12, 0.0, 0.0, 0.0), gap=0.0, information=bare.information, label_entropy=0.0, samples=1,
        shape=(1, 1, 1), method="discrete",
    )  # fmt: skip
    assert "-0.0" not in str(negative)


def test_the_dictionary_has_exactly_the_promised_keys_and_survives_json(report):
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert list(found) == [
        "pid", "gap", "interval", "null", "information", "units", "warnings", "versions", "seed",
        "variants", "diagnostics",
    ]  # fmt: skip
    assert found["pid"] == {"redundancy": 0.4, "unique1": 0.1, "unique2": 0.2, "synergy": 0.3}
    assert found["interval"]["unique1"] == [0.05, 0.15]
    assert found["null"]["synergy"] == {"mean": 0.04, "quantile95": 0.05, "p_value": 1.0}
    assert found["information"] == {"x1": 0.5, "x2": 0.6, "x1x2": 1.0}
    assert found["units"] == "nats"
    assert found["warnings"] == ["beware of the dog"]
    assert {"pidjax", "jax", "python"} <= set(found["versions"])
    assert found["seed"] == [0, 7]
    assert found["variants"] == {}
    assert found["diagnostics"] == {}


def test_what_was_switched_off_is_null_in_json(bare):
    found = bare.to_dict()
    assert found["interval"] is None
    assert found["null"] is None


def test_what_certifies_nothing_says_so(samplewise):
    assert samplewise.gap is None
    assert "No certificate: " in str(samplewise)
    assert "Certified" not in str(samplewise)
    found = json.loads(json.dumps(samplewise.to_dict(), allow_nan=False))
    assert found["gap"] is None


def test_a_fitted_method_shows_its_shift_its_diagnostics_and_its_own_interval(samplewise):
    lines = str(samplewise).splitlines()
    assert "x1: 32 features, x2: 64 symbols, y: 2 labels; LSMI, classifiers held out in 5 folds" in lines
    assert "By other rules, constant shift (nats): R 0.2300, U1 0.0000, U2 0.0100, S 0.3300." in lines
    assert "Interval: 200 bootstrap replicates of the means over samples." in lines
    assert "bias-corrected" not in str(samplewise)
    assert "Diagnostics: log loss (x1) 0.5, accuracy (x1) 0.875, ECE (x1) nan, a 1e-05." in lines
    assert max(map(len, lines)) <= 96
    shifted = f"R {0.23 / BIT:.4f}, U1 0.0000, U2 {0.01 / BIT:.4f}, S {0.33 / BIT:.4f}"
    assert f"shift (bits): {shifted}" in samplewise.table(bits=True)
    found = json.loads(json.dumps(samplewise.to_dict(), allow_nan=False))
    assert found["variants"]["constant shift"] == {"redundancy": 0.23, "unique1": 0.0, "unique2": 0.01, "synergy": 0.33}
    assert list(found["diagnostics"].items()) == [
        ("log loss (x1)", 0.5), ("accuracy (x1)", 0.875), ("ECE (x1)", None), ("a", 1e-5),
    ]  # fmt: skip


def test_reports_that_say_the_same_are_equal(samplewise, report):
    again = dataclasses.replace(samplewise, diagnostics={"a": 1})
    assert again == dataclasses.replace(again)
    assert again != dataclasses.replace(again, pointwise=None)
    assert again != report


def test_undefined_atoms_are_null_in_json(bare):
    undefined = dataclasses.replace(bare, pid=pid(*[math.nan] * 4))
    assert json.loads(json.dumps(undefined.to_dict(), allow_nan=False))["pid"]["synergy"] is None
    assert "nan" in str(undefined)


def test_many_diagnostics_and_a_long_method_fit_a_terminal(bare):
    wide = dataclasses.replace(
        bare, method="many words, " * 20, diagnostics={f"log loss of fold {i}": i / 7 for i in range(20)}
    )
    assert max(map(len, str(wide).splitlines())) <= 96


def test_negative_atoms_hang_below_zero(samplewise):
    ax = samplewise.plot(mpl.figure.Figure().add_subplot())
    bars = [container.patches[0] for container in ax.containers if hasattr(container, "patches")]
    ends = [sorted((bar.get_y(), bar.get_y() + bar.get_height())) for bar in bars]
    np.testing.assert_allclose(ends, [(0, 0.4), (-0.17, 0), (-0.33, -0.17), (0.4, 0.9)], atol=1e-15)
    whiskers = [line.get_segments()[0][:, 1] for line in ax.collections]
    np.testing.assert_allclose(whiskers, [(0.3, 0.5), (-0.25, -0.1), (-0.38, -0.27), (0.8, 1.0)], atol=1e-15)


def test_an_atom_that_rounding_puts_below_zero_keeps_its_place_in_the_bar(report):
    ax = dataclasses.replace(report, pid=pid(0.4, -1e-13, 0.2, 0.3)).plot(mpl.figure.Figure().add_subplot())
    whiskers = [line.get_segments()[0][:, 1] for line in ax.collections]
    np.testing.assert_allclose(whiskers[1], (0.4, 0.55), atol=1e-9)  # unique1: [0.05, 0.15] on top of R


def test_the_plot_stacks_the_atoms_and_marks_their_intervals(report):
    ax = report.plot()
    bars = [container for container in ax.containers if hasattr(container, "patches")]
    np.testing.assert_allclose([bar.patches[0].get_height() for bar in bars], [0.4, 0.1, 0.2, 0.3])
    np.testing.assert_allclose([bar.patches[0].get_y() for bar in bars], [0, 0.4, 0.5, 0.7])
    whiskers = [line.get_segments()[0] for line in ax.collections]
    np.testing.assert_allclose([w[:, 1] for w in whiskers], [(0.3, 0.5), (0.45, 0.55), (0.6, 0.8), (0.9, 1.05)])
    assert len({float(w[0, 0]) for w in whiskers}) == 4  # side by side: they can't hide each other
    assert [text.get_text()[-3:] for text in ax.get_legend().get_texts()] == ["(S)", "U2)", "U1)", "(R)"]
    assert "nats" in ax.get_ylabel()
    assert "bits" in report.plot(bits=True).get_ylabel()
    mpl.pyplot.close("all")


def test_bars_stand_side_by_side_under_one_legend(report, bare):
    ax = mpl.figure.Figure().add_subplot()
    assert report.plot(ax, label="first") is ax
    bare.plot(ax, position=1, label="second")
    assert [text.get_text() for text in ax.get_xticklabels()] == ["first", "second"]
    assert len(ax.get_legend().get_texts()) == 4


def test_without_matplotlib_the_plot_names_the_extra(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install pidjax\[plot\]"):
        report.plot()
