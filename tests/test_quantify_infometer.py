"""The roof of InfoMeter: numbers by closed forms, report, command line, refusals."""

import json

import jax
import numpy as np
import pytest

from pidjax.__main__ import main
from pidjax.estimators.infometer import InfometerRecipe
from pidjax.metered import InformationReport, Rate
from pidjax.quantify_infometer import infometer

KEY = jax.random.key(0)
QUICK = InfometerRecipe(folds=2, steps=200, components=4, hidden=8, routes=("conditional",))
TRUTH = 0.830366  # -log(1 - .9^2) / 2


@pytest.fixture(scope="module")
def pair():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(3000, 1))
    return x, 0.9 * x + np.sqrt(1 - 0.81) * generator.normal(size=(3000, 1))


@pytest.fixture
def report():
    """Of two samples and two steps, made up."""
    entropy = {"x1": (2.0, 0.01), "x2": (3.0, 0.01), "joint": (4.25, 0.02)}
    coarse = Rate(1.0, {"sum": (0.5, 0.02), "conditional": (0.51, 0.02)}, entropy, np.array([0.5, 0.52]))
    fine = Rate(0.5, {"sum": (0.75, 0.02), "conditional": (0.76, 0.02)}, entropy, np.array([0.25, 1.27]))
    return InformationReport(
        curve=(coarse, fine), route="conditional", given=None, samples=2, columns=(1, 2), method="made up"
    )


@pytest.mark.slow
def test_a_gaussian_pair_is_measured_at_each_step(pair):
    """The quantised truths are .58749 and .80881 (infometer.md, A.7), the sampling error of 3000 pairs is .017."""
    report = infometer(*pair, key=KEY, step=(1.0, 0.25), recipe=QUICK)
    assert [rate.step for rate in report.curve] == [1.0, 0.25]
    assert report.pointwise.shape == (3000,)
    for rate, truth in zip(report.curve, (0.58749, 0.80881), strict=True):
        value, error = rate.information["conditional"]
        assert error == pytest.approx(0.9 / 3000**0.5, rel=0.3)  # sd of the pointwise values is rho, at fine steps
        assert abs(value - truth) < 3 * error
    assert report.mutual_information == report.rate.information["conditional"][0]
    assert report.mutual_information == pytest.approx(report.pointwise.mean(), abs=1e-5)  # a float32 sum of 3000
    h = {name: value for name, (value, _) in report.rate.entropy.items()}
    assert h["x1"] == pytest.approx(2.80783, abs=0.05)
    assert h["x1"] < h["joint"] < h["x1"] + h["x2"]
    assert report.normalised == report.mutual_information / min(h["x1"], h["x2"])


def test_the_table_and_the_dictionary_say_the_same(report):
    table, found = report.table(), report.to_dict()
    assert f"{report.mutual_information:.5f}" in table
    assert all(len(line) <= 96 for line in table.splitlines())
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["mutual_information"] == report.mutual_information
    assert found["standard_error"] == report.standard_error
    assert set(found["entropy"]) == {"x1", "x2", "joint"}
    assert found["units"] == "nats"
    assert f"{report.mutual_information / np.log(2):.5f}" in report.table(bits=True)
    assert report.normalised == 0.38
    assert "0.7208 ..  0.7992" in table  # 1.96 standard errors


def test_it_is_drawn(report):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    axes = report.plot(Figure().subplots(1, 2))
    drawn = {line.get_label(): line.lines[0].get_ydata().tolist() for line in axes[0].containers}
    assert drawn == {"sum": [0.5, 0.75], "conditional": [0.51, 0.76]}


def test_samples_are_written_with_every_digit(report, tmp_path):
    report.to_csv(tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text() == "sample,information\n0,0.25\n1,1.27\n"


@pytest.mark.slow
def test_given_the_label_only_the_rest_is_shared(pair):
    """y is the sign of x: I(X1;X2|Y) = I(X1;X2) - I(Y;X2), as y is a function of x1. I(Y;X2) by quadrature."""
    from scipy.integrate import quad
    from scipy.stats import norm

    x1, x2 = pair
    # p(y=1|x2) = Phi(.9 x2 / sqrt(.19)).
    p = lambda x: norm.cdf(0.9 * x / np.sqrt(0.19))
    h = lambda q: -sum(r * np.log(r) if r > 0 else 0.0 for r in (q, 1 - q))
    told = np.log(2) - quad(lambda x: norm.pdf(x) * h(p(x)), -9, 9)[0]
    report = infometer(x1, x2, key=KEY, given=(x1[:, 0] > 0).astype(int), recipe=InfometerRecipe(folds=3))
    # 1 % of it is lost to cells of .25.
    assert report.mutual_information == pytest.approx(TRUTH - told, abs=0.02 + 3 * report.standard_error)
    assert report.given == "Y"


@pytest.mark.slow
def test_the_command_line_writes_the_numbers(pair, tmp_path, capsys):
    path, out, rows, picture = (tmp_path / name for name in ("in.npz", "out.json", "rows.csv", "out.png"))
    np.savez(path, a=pair[0][:600], b=pair[1][:600], symbols=np.arange(600))
    words = ["infometer", str(path), "--x1", "a", "--x2", "b", "--step", "1", "0.5", "--seed", "4"]
    assert main([*words, "--json", str(out), "--per-sample", str(rows), "--plot", str(picture)]) == 0
    found = json.loads(out.read_text())
    assert found["mutual_information"] == pytest.approx(0.7, abs=0.15)  # between .587 and .751, 600 pairs
    assert (found["step"], found["seed"]) == (0.5, 4)
    values = np.genfromtxt(rows, delimiter=",", names=True)["information"]
    assert values.mean() == pytest.approx(found["mutual_information"], abs=1e-5)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"{found['mutual_information']:.5f}" in capsys.readouterr().out
    assert main(["infometer", str(path), "--x1", "symbols", "--x2", "b"]) == 2
    assert "counted, not coded" in capsys.readouterr().err


def test_wide_modalities_become_components_and_the_report_says_it():
    from pidjax.quantify_infometer import _columns

    generator = np.random.default_rng(1)
    wide = generator.normal(size=(500, 3)) @ generator.normal(size=(3, 20))
    kept, (warning,) = _columns(wide, "x1", 2)
    assert kept.shape == (500, 2)
    np.testing.assert_allclose(np.cov(kept.T), np.eye(2), atol=0.01)  # of 500 rows, divided by 499
    assert "20 columns, 2 principal components" in warning
    assert _columns(wide, "x1", 20) == (pytest.approx(wide.astype(np.float32)), [])


@pytest.mark.slow
def test_maps_are_coded_whole():
    """A map and its copy share all that each takes, to a hundredth."""
    maps = np.random.default_rng(0).normal(size=(300, 4, 4, 1))
    recipe = QUICK._replace(model="masked_convolution", components=2)
    report = infometer(maps, maps, key=KEY, step=1.0, recipe=recipe)
    assert report.columns == (16, 16)
    assert not report.warnings
    assert report.normalised == pytest.approx(1, abs=0.01)


def test_maps_have_four_axes():
    with pytest.raises(ValueError, match=r"feature maps \(n, h, w, c\)"):
        infometer(np.eye(8), np.eye(8), key=KEY, recipe=QUICK._replace(model="masked_convolution"))


def test_bad_input_is_refused(pair):
    x1, x2 = pair
    for x in (np.arange(3000), np.array(["a", "b"] * 1500)):
        with pytest.raises(TypeError, match=r"x1 is symbols.*counted, not coded"):
            infometer(x, x2, key=KEY)
    with pytest.raises(ValueError, match="3000, 2999 and 3000 samples"):
        infometer(x1, x2[1:], key=KEY)
    with pytest.raises(ValueError, match="step is 0"):
        infometer(x1, x2, key=KEY, step=0)
    with pytest.raises(ValueError, match="components is 0"):
        infometer(x1, x2, key=KEY, components=0)
    with pytest.raises(ValueError, match="x2 is constant"):
        infometer(x1, np.ones((3000, 1)), key=KEY)
    with pytest.raises(ValueError, match="NaN"):
        infometer(x1, np.where(x2 > 2, np.nan, x2), key=KEY)
    with pytest.raises(TypeError, match="key is 3"):
        infometer(x1, x2, key=3)
