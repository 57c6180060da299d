"""Continuous targets through the roof: a closed form as truth, the report, refusals."""

import json

import jax
import numpy as np
import pytest

from pidjax import gaussian_pid_from_gains, quantify

KEY = jax.random.key(0)
ATOMS = ("redundancy", "unique1", "unique2", "synergy")
GAINS = (np.array([[2.0], [1.0]]), np.array([[0.5]]))


@pytest.fixture(scope="module")
def system():
    """x_i = h_i y + white noise, 3000 samples."""
    generator = np.random.default_rng(0)
    y = generator.normal(size=(3000, 1))
    x1, x2 = (y @ h.T + generator.normal(size=(3000, len(h))) for h in GAINS)
    return x1, x2, y[:, 0]


@pytest.fixture(scope="module")
def report(system):
    return quantify(*system, key=KEY, bootstrap=50)


def test_it_is_the_closed_form(report):
    truth = gaussian_pid_from_gains(*GAINS)
    for atom in ATOMS:
        # The spread of an information of 3000 samples is about sqrt(rho^2 / n), below .02.
        assert getattr(report.pid, atom) == pytest.approx(float(getattr(truth, atom)), abs=0.05)
        low, high = (getattr(end, atom) for end in report.interval)
        assert 0 <= low <= high
        assert low - 0.03 <= getattr(truth, atom) <= high + 0.03
    assert report.information.x1 == pytest.approx(np.log(6) / 2, abs=0.05)
    assert not report.warnings


def test_distorted_coordinates_change_nothing(system, report):
    x1, x2, y = system
    other = quantify(np.exp(x1), x2**3, np.cbrt(y), key=KEY, bootstrap=50)
    for atom in ATOMS:
        assert getattr(other.pid, atom) == pytest.approx(getattr(report.pid, atom), abs=1e-9)  # ranks are the same


def test_the_report_says_what_was_done(report):
    table = report.table()
    assert "continuous target, normal scores" in table
    assert "y: 1 column" in table
    assert "H(y)" not in table
    assert "standard errors from Gaussian" in table
    assert "one unique atom is 0 by construction" in " ".join(table.split())
    (unique2,) = (line for line in table.splitlines() if line.startswith("unique to x2"))
    assert ".." not in unique2  # an interval of 0 to 0 would be no finding
    found = report.to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["gap"] is None


def test_pairs_that_are_not_gaussian_are_warned_of(system):
    _, x2, y = system
    found = quantify(y * np.random.default_rng(1).normal(size=3000), x2, y, key=KEY, bootstrap=50)
    (warning,) = (warning for warning in found.warnings if warning.startswith("x1 and y are not jointly Gaussian"))
    assert 'try method="flow", or bin y (pidjax.quantile_codes)' in warning


def test_ties_of_a_modality_are_warned_of(system):
    x1, x2, y = system
    found = quantify(np.c_[x1[:, 0], x1[:, 1].round()], x2, y, key=KEY, bootstrap=50)
    (warning,) = (warning for warning in found.warnings if "distinct values" in warning)
    assert warning.startswith("1 of 2 columns of x1 has fewer than 20 distinct values")
    assert "bin y (pidjax.quantile_codes)" in warning


@pytest.mark.slow
def test_a_flow_of_copies_is_no_surer_than_of_what_was_copied(system):
    """Every sample four times: as groups they are the 150 that they are, half of them held out."""
    copies = [x[:150].repeat(4, 0) for x in system]
    found = quantify(*copies, key=KEY, method="flow", bootstrap=50, groups=np.arange(150).repeat(4))
    assert found.samples == 300
    assert "50 bootstrap replicates of 75 groups" in found.table()
    # 1 - rho^2 = 1/6 for x1, and the spread of an information sqrt(rho^2 / n): .41 for 75 samples, .21 for 300.
    assert found.interval.upper.unique1 - found.interval.lower.unique1 > 0.3


@pytest.mark.slow
def test_a_flow_finds_it_too(system):
    found = quantify(*system, key=KEY, method="flow", bootstrap=0)
    assert found.interval is None
    truth = gaussian_pid_from_gains(*GAINS)
    assert found.samples == 1500
    for atom in ATOMS:
        assert getattr(found.pid, atom) == pytest.approx(float(getattr(truth, atom)), abs=0.08)  # half the samples


def test_bad_input_is_refused(system):
    x1, x2, y = system
    with pytest.raises(ValueError, match=r"2 distinct values.*astype\(int\)"):
        quantify(x1, x2, (y > 0).astype(float), key=KEY)
    with pytest.raises(ValueError, match=r"x1 is symbols.*bin y"):
        quantify((y > 0).astype(int), x2, y, key=KEY)
    with pytest.raises(ValueError, match=r"y is int.*astype\(float\)"):
        quantify(x1, x2, np.arange(3000), key=KEY, method="copula")
    with pytest.raises(ValueError, match=r"which is for labels; expected one of copula, flow.*astype\(int\)"):
        quantify(x1, x2, y, key=KEY, method="lsmi")
    with pytest.raises(ValueError, match="are for labels, and y is continuous"):
        quantify(x1, x2, y, key=KEY, bins=3)
    with pytest.raises(ValueError, match=r'no distributions.*several columns is for method="copula"'):
        quantify(x1, x2, np.c_[y, y**2], key=KEY)
    with pytest.raises(ValueError, match=r"y.ravel\(\) of a column \(a continuous target, if it is of floats\)"):
        quantify(x1, x2, y[:, None], key=KEY)
    with pytest.raises(ValueError, match="groups has 3 distinct values; expected four"):
        quantify(x1, x2, y, key=KEY, method="flow", groups=np.arange(3000) % 3)
    with pytest.raises(ValueError, match="NaN"):
        quantify(x1, x2, np.where(y > 2, np.nan, y), key=KEY)
