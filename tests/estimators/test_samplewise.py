"""The fitted LSMI: accounting, groups, coordinates, batches; slow: the truth of published and noisy tasks."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pidjax
from pidjax.datasets import gaussian_task
from pidjax.estimators import components, constant_shift, fitted_lsmi, lsmi_from_joint, unseen_lsmi
from pidjax.estimators.samplewise import spectrum

ATOMS = ("redundancy", "unique1", "unique2", "synergy")
HEADS = ("x1", "x2", "x1x2")
KEY = jax.random.key(0)
N = 600  # everywhere below: the tests share what they compile


def drawn(seed=0):
    """LSMI's own data."""
    return gaussian_task("lsmi_2").sample(jax.random.key(seed), N)


@pytest.fixture(scope="module")
def fitted(tiny_lsmi):
    """One fit, looked at by many."""
    return fitted_lsmi(KEY, drawn(), classes=2, recipe=tiny_lsmi)


@pytest.fixture(scope="module")
def batch(tiny_lsmi):
    """Three datasets and three keys, the fit of all of them as one program, and how often that was traced."""
    traces = []

    def run(key, samples):
        traces.append(1)
        return fitted_lsmi(key, samples, classes=2, recipe=tiny_lsmi).values

    samples = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(drawn, range(3)))
    return jax.random.split(KEY, 3), samples, jax.jit(jax.vmap(run)), traces


def atoms(pid):
    return np.array([getattr(pid, atom) for atom in ATOMS])


# Accounting


def test_atoms_of_every_sample_add_up_to_its_informations(fitted):
    pid, (i1, i2, i12) = fitted.values.pid, fitted.values.information
    assert pid.redundancy.shape == (N,)
    # Sums of a few numbers below 10, in float32.
    np.testing.assert_allclose(pid.redundancy + pid.unique1, i1, atol=1e-5)
    np.testing.assert_allclose(pid.redundancy + pid.unique2, i2, atol=1e-5)
    np.testing.assert_allclose(pid.redundancy + pid.unique1 + pid.unique2 + pid.synergy, i12, atol=1e-5)


def test_redundancy_is_the_least_surprisal_less_the_least_given_the_label(fitted):
    (h1, h2), (i1, i2, _) = fitted.values.surprisal, fitted.values.information
    expected = jnp.minimum(h1, h2) - jnp.minimum(h1 - i1, h2 - i2)
    np.testing.assert_allclose(fitted.values.pid.redundancy, expected, atol=1e-5)
    shares = fitted.switches
    assert abs(float(shares.plus) - float((h1 < h2).mean())) < 1e-6
    assert abs(float(shares.minus) - float((h1 - i1 < h2 - i2).mean())) < 1e-6


def test_informations_are_log_posteriors_over_the_counted_prior(fitted):
    y = drawn().y
    shares = np.bincount(y) / N
    entropy = -(shares * np.log(shares)).sum()
    for name, information in zip(HEADS, fitted.values.information, strict=True):
        log_p = fitted.values.log_posterior[name]
        np.testing.assert_allclose(jnp.exp(log_p).sum(1), 1, atol=1e-5)
        np.testing.assert_allclose(information, log_p[jnp.arange(N), y] - np.log(shares)[y], atol=1e-5)
        np.testing.assert_allclose(fitted.quality[name].log_loss, entropy - information.mean(), atol=1e-5)
        # Calibrated: the mean posterior is the share of the label.
        np.testing.assert_allclose(jnp.exp(log_p).mean(0), shares, atol=1e-4)


def test_informations_and_surprisals_are_those_of_exact_densities_to_what_600_samples_allow(fitted):
    """On the same samples, so what is left is what d parameters lack, learned from 300: a chi-square of d over 600.

    Its 99.9 % quantile is 0.027 nats for 3 parameters, a posterior of two classes; 0.034 for the 5 of a density of one
    kernel, which is not the two of the truth: that costs 0.049 more (quadrature), give or take 0.04 with the draw.
    """
    samples = jax.tree.map(np.float64, drawn())
    task, y = gaussian_task("lsmi_2"), np.asarray(drawn().y)
    for log_p, information in zip(task.log_posteriors(samples), fitted.values.information, strict=True):
        truth = log_p[np.arange(N), y] + math.log(2)
        assert abs(float(information.mean()) - truth.mean()) < 0.03
    for log_p, surprisal in zip(task.log_densities(samples), fitted.values.surprisal, strict=True):
        assert 0.009 < float(surprisal.mean()) + log_p.mean() < 0.123


# Unseen samples


def test_unseen_samples_are_judged_one_by_one_and_add_up(fitted, tiny_lsmi):
    samples = drawn(1)
    values = unseen_lsmi(fitted.models, samples, classes=2, recipe=tiny_lsmi)
    np.testing.assert_allclose(atoms(values.pid).sum(0), values.information.x1x2, atol=1e-5)
    np.testing.assert_allclose(values.pid.mi1, values.information.x1, atol=1e-5)
    few = unseen_lsmi(fitted.models, jax.tree.map(lambda leaf: leaf[:5], samples), classes=2, recipe=tiny_lsmi)
    np.testing.assert_allclose(atoms(few.pid), atoms(values.pid)[:, :5], atol=1e-5)
    # Those of the same kind are no better and no worse than out of fold: five standard errors of the difference.
    for found, expected in zip(values.information, fitted.values.information, strict=True):
        error = math.sqrt((float(found.var()) + float(expected.var())) / N)
        assert abs(float(found.mean() - expected.mean())) < 5 * error


def test_on_their_own_samples_all_models_hold_half_of_the_model_out_of_fold(fitted, tiny_lsmi):
    """Densities are averaged, and of two models one is the one out of fold: ``p >= p_out / 2``."""
    values = unseen_lsmi(fitted.models, drawn(), classes=2, recipe=tiny_lsmi)
    for together, out in zip(values.surprisal, fitted.values.surprisal, strict=True):
        assert (together <= out + math.log(2) + 1e-5).all()
        assert (together != out).any()


# Coordinates


def test_units_of_the_densities_move_surprisals_and_nothing_else(fitted, tiny_lsmi):
    """h1 + d log a: the density of a scaled coordinate. Informations are of other models, so bit by bit."""
    samples, scale = drawn(), 2.0**-20
    found = fitted_lsmi(KEY, samples, classes=2, densities=(scale * samples.x1, samples.x2), recipe=tiny_lsmi).values
    np.testing.assert_allclose(found.surprisal[0], fitted.values.surprisal[0] + 2 * math.log(scale), atol=1e-4)
    np.testing.assert_array_equal(found.surprisal[1], fitted.values.surprisal[1])
    np.testing.assert_array_equal(jnp.stack(found.information), jnp.stack(fitted.values.information))
    # Always the less surprising, so x1's information is the redundancy: why coordinates have to be comparable.
    np.testing.assert_allclose(found.pid.redundancy, found.information.x1, atol=1e-5)


def correlated(n=500, d=4):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 5 * rng.normal(size=(1, d))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("columns", [1, 3, 4])
def test_components_have_mean_zero_and_covariance_one(columns):
    z = components(jnp.asarray(correlated()), columns)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(z.T @ z / 500, np.eye(columns), atol=1e-10)  # float64, condition numbers of 1e2


@pytest.mark.usefixtures("x64")
def test_components_do_not_depend_on_the_units_of_columns():
    x = correlated()
    scaled = x * np.array([1e-6, 100.0, -1.0, 7.0]) + np.array([0, 1e3, -5, 0])
    expected, found = components(jnp.asarray(x), 3), components(jnp.asarray(scaled), 3)
    sign = np.sign((expected * found).sum(0))[None]
    np.testing.assert_allclose(sign * found, expected, atol=1e-8)  # float64 of columns a thousand times their spread


@pytest.mark.usefixtures("x64")
def test_components_begin_with_the_greatest():
    """Two columns that agree but for a hundredth: their sum comes first, their difference last."""
    rng = np.random.default_rng(1)
    common, own = rng.normal(size=(1000, 1)), 0.1 * rng.normal(size=(1000, 2))
    first = components(jnp.asarray(common + own), 2)[:, 0]
    assert abs(np.corrcoef(first, common[:, 0])[0, 1]) > 0.99  # the correlation with a mean of two: 1 - 0.005 / 2


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda x: x, 4),
        (lambda x: np.hstack([x, np.full((500, 1), 0.1)]), 4),  # a constant
        (lambda x: np.hstack([x, x[:, :1]]), 4),  # a column twice
        (lambda x: np.hstack([x, x @ np.ones((4, 1))]), 4),  # a sum
        (lambda x: x * np.array([1e-9, 1e9, 1, 1]), 4),
        (lambda x: np.eye(3)[np.arange(500) % 3], 2),  # one-hot symbols sum to one
        (lambda x: x[:3], 2),  # three points lie in a plane
        (lambda x: np.full((500, 2), 0.1), 0),
    ],
)
def test_rank_counts_the_directions_in_which_features_vary(make, expected):
    assert spectrum(jnp.asarray(make(correlated()))).rank == expected


# Groups, batches, refusals


def test_nobody_of_a_group_is_judged_by_models_that_saw_one_of_it(fitted, tiny_lsmi):
    """Thirty groups of twenty. When one sample moves, the surprisals of its own group stay, but for its own."""
    samples, mates = drawn(), np.arange(20)
    groups = np.arange(N) // 20
    moved = samples._replace(x1=samples.x1.at[0].add(5.0))

    def surprisals(samples, groups):
        values = fitted_lsmi(KEY, samples, classes=2, recipe=tiny_lsmi, groups=groups).values
        return np.asarray(values.surprisal[0])

    changed = surprisals(samples, groups) != surprisals(moved, groups)
    assert changed[mates].tolist() == [True] + [False] * 19
    assert changed[20:].any()
    # Without groups, half of them are judged by a model that has seen it.
    assert (np.asarray(fitted.values.surprisal[0]) != surprisals(moved, None))[mates].sum() > 2


def test_vmap_over_datasets_and_keys_is_the_loop_in_one_trace(batch, tiny_lsmi):
    keys, samples, run, traces = batch
    together = run(keys, samples)
    run(keys[::-1], samples)
    assert len(traces) == 1
    for i in range(3):
        alone = fitted_lsmi(keys[i], drawn(i), classes=2, recipe=tiny_lsmi).values
        # Sums in another order, in float32, through a hundred steps of Adam: what is asked of values of samples.
        np.testing.assert_allclose(atoms(together.pid)[:, i], atoms(alone.pid), atol=1e-3)
        np.testing.assert_allclose(together.surprisal[0][i], alone.surprisal[0], atol=1e-3)


def test_missing_features_are_refused_and_poison_their_own_dataset_inside_jit(batch, tiny_lsmi):
    keys, samples, run, _ = batch
    expected = run(keys, samples)
    spoilt = samples._replace(x2=samples.x2.at[1, 7, 0].set(jnp.nan))
    found = run(keys, spoilt)
    assert np.isnan(atoms(found.pid)[:, 1]).all()
    np.testing.assert_array_equal(atoms(found.pid)[:, [0, 2]], atoms(expected.pid)[:, [0, 2]])
    with pytest.raises(ValueError, match="x2 has 1 NaN or infinite values"):
        fitted_lsmi(KEY, jax.tree.map(lambda leaf: leaf[1], spoilt), classes=2, recipe=tiny_lsmi)


@pytest.mark.parametrize("missing", ["x1", "x2", "y"])
def test_a_missing_part_is_refused(missing, tiny_lsmi):
    with pytest.raises(ValueError, match="samples lacks x1, x2 or y"):
        fitted_lsmi(KEY, drawn()._replace(**{missing: None}), classes=2, recipe=tiny_lsmi)


def test_fewer_samples_than_folds_are_refused(tiny_lsmi):
    with pytest.raises(ValueError, match="folds is 2"):
        fitted_lsmi(KEY, jax.tree.map(lambda leaf: leaf[:1], drawn()), classes=2, recipe=tiny_lsmi)


# Slow: the truth


@pytest.mark.slow
def test_eight_datasets_and_eight_keys_are_the_loop_in_one_trace(tiny_lsmi):
    samples = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(drawn, range(8)))
    keys, traces = jax.random.split(KEY, 8), []

    def run(key, samples):
        traces.append(1)
        return fitted_lsmi(key, samples, classes=2, recipe=tiny_lsmi).values

    together = jax.jit(jax.vmap(run))(keys, samples)
    assert len(traces) == 1
    for i in range(8):
        alone = fitted_lsmi(keys[i], drawn(i), classes=2, recipe=tiny_lsmi).values
        np.testing.assert_allclose(atoms(together.pid)[:, i], atoms(alone.pid), atol=1e-3)  # as above


@functools.cache
def report_of(name):
    """20,000 draws of a task, the default recipe; kept for all that look at it."""
    samples = gaussian_task(name).sample(KEY, 20_000)
    return pidjax.quantify(*map(np.asarray, samples[:3]), key=KEY, method="lsmi", bootstrap=0)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "allowed"), [("lsmi_2", 0.01), ("lsmi_10", 0.03), ("c3", 0.02)])
def test_means_of_informations_are_the_truth(name, allowed):
    """Three standard errors of 20,000 draws: the information of a sample of 2, 10, 3 labels spreads by 0.45, 1, 0.7.

    Every sample is judged by models that never saw it, so what they lack is a loss, and not made up for by luck.
    """
    report, task = report_of(name), gaussian_task(name)
    truth = task.truth
    np.testing.assert_allclose(report.information, [truth.mi1, truth.mi2, truth.total], atol=allowed)
    # The same samples under their exact posteriors: what is left is what was not learned, and calibration's 2 k / 2n.
    samples = jax.tree.map(np.float64, task.sample(KEY, 20_000))
    y = samples.y.astype(int)
    for found, log_p in zip(report.information, task.log_posteriors(samples), strict=True):
        exact = (log_p[np.arange(len(y)), y] + math.log(log_p.shape[1])).mean()
        assert -allowed / 2 < found - exact < 0.002


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lsmi_2", "lsmi_10", "c3"])
def test_the_shift_clamps_redundancy_to_the_lesser_information(name):
    """A raw unique is negative, so the second branch of the published rule fires; 1e-3 is float32's, many times."""
    report = report_of(name)
    assert min(report.pid.redundancy, report.pid.synergy) > 0 > min(report.pid.unique1, report.pid.unique2)
    i1, i2, _ = report.information
    assert report.variants["constant shift"].redundancy == pytest.approx(min(i1, i2), abs=1e-3)
    assert any("sets R to min(I1, I2)" in warning for warning in report.warnings)


@pytest.mark.slow
def test_lsmi_is_not_broja():
    """Three classes, two of which each modality sees as one: both have something of their own, LSMI sees none of it."""
    report, truth = report_of("c3"), gaussian_task("c3").truth
    assert truth.redundancy < 0.1
    assert truth.unique1 > 0.3
    # min(I1, I2), to the standard error of an information.
    assert report.variants["constant shift"].redundancy == pytest.approx(min(truth.mi1, truth.mi2), abs=0.02)
    assert report.variants["constant shift"].unique1 < 0.02


@functools.cache
def noisy(name):
    """A gate's symbols one-hot under noise of 0.1, in exact proportions: what errs is the estimate, not the draw."""
    task, rng = gaussian_task(f"{name}_noise_0.1"), np.random.default_rng(0)
    cells = np.argwhere(task.joint > 0)
    s1, s2, y = np.repeat(cells, np.rint(20_000 * task.joint[task.joint > 0]).astype(int), axis=0).T
    x1, x2 = (means[s] + task.noise * rng.normal(size=(len(y), means.shape[1]))
              for means, s in ((task.means1, s1), (task.means2, s2)))  # fmt: skip
    return task, pidjax.quantify(x1, x2, y, key=KEY, method="lsmi", bootstrap=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["and", "or", "xor", "unique1", "redundant", "copy"])
def test_noisy_gates_are_what_their_symbols_are_after_the_shift(name):
    """To the 0.01 nats of the specification. Before the shift they aren't: noise makes surprisals of its own."""
    task, report = noisy(name)
    exact = constant_shift(lsmi_from_joint(task.joint), weight=task.joint)
    shifted = atoms(report.variants["constant shift"])
    np.testing.assert_allclose(shifted, (task.joint * atoms(exact)).sum((1, 2, 3)), atol=0.01)
    truth = task.truth
    np.testing.assert_allclose(report.information, [truth.mi1, truth.mi2, truth.total], atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_units_of_a_modality_change_nothing(scale):
    """Neither means nor samples, to 1e-3, though scaling in single precision rounds every feature anew."""
    x1, x2, y = map(np.asarray, gaussian_task("lsmi_2").sample(KEY, 20_000)[:3])
    scaled = pidjax.quantify(np.float32(scale) * x1, x2, y, key=KEY, method="lsmi", bootstrap=0)
    expected = report_of("lsmi_2")
    np.testing.assert_allclose(atoms(scaled.pid), atoms(expected.pid), atol=1e-3)
    np.testing.assert_allclose(atoms(scaled.pointwise.pid), atoms(expected.pointwise.pid), atol=1e-3)
    np.testing.assert_allclose(scaled.pointwise.surprisal, expected.pointwise.surprisal, atol=1e-3)
