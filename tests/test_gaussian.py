"""Gaussian variables: the closed form against independent formulas, its laws, its gradients, its edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax.gaussian import gaussian_pid, gaussian_pid_from_gains

ATOMS = ("redundancy", "unique1", "unique2", "synergy")
EXACT = 1e-10  # nats: float64 rounding of a dozen small factorisations, with room


def atoms(pid):
    return np.stack([np.asarray(getattr(pid, atom)) for atom in ATOMS])


def covariance(h1, h2, cov_y=None, noise=None):
    """Of x1, x2, y with x_i = h_i y + noise."""
    h = np.vstack([h1, h2])
    cov_y = np.eye(h.shape[1]) if cov_y is None else cov_y
    noise = np.eye(len(h)) if noise is None else noise
    return np.block([[h @ cov_y @ h.T + noise, h @ cov_y], [cov_y @ h.T, cov_y]])


def random_covariance(rng, d):
    w = rng.normal(size=(d, 2 * d))
    return w @ w.T / (2 * d)


def conditional(cov, dims, known):
    """Cov(y | known coordinates), by the textbook's inverse."""
    y = np.arange(sum(dims[:2]), sum(dims))
    a, b = cov[np.ix_(known, known)], cov[np.ix_(known, y)]
    return cov[np.ix_(y, y)] - b.T @ np.linalg.inv(a) @ b


def textbook(cov, dims):
    """R, U1, U2, S by inverses, determinants and the eigenvalues of a nonsymmetric matrix."""
    d1, d2, dy = dims
    s1, s2 = conditional(cov, dims, np.arange(d1)), conditional(cov, dims, np.arange(d1, d1 + d2))
    s12 = conditional(cov, dims, np.arange(d1 + d2))
    log = lambda s: np.linalg.slogdet(s)[1]
    prior = log(cov[-dy:, -dy:])
    i1, i12 = (prior - log(s1)) / 2, (prior - log(s12)) / 2
    ratio = np.log(np.linalg.eigvals(np.linalg.inv(s1) @ s2).real)
    u1, u2 = np.maximum(ratio, 0).sum() / 2, np.maximum(-ratio, 0).sum() / 2
    return np.array([i1 - u1, u1, u2, i12 - i1 - u2])


DIMS = (3, 2, 2)


@pytest.fixture(scope="module")
def cov():
    return random_covariance(np.random.default_rng(0), sum(DIMS))


@pytest.mark.parametrize("form", ["gains", pytest.param("covariance", marks=pytest.mark.slow)])
def test_the_published_system_is_met_in_every_digit(form):
    rng = np.random.RandomState(0)  # as published
    hx, hy = rng.randn(16, 2), rng.randn(16, 2)
    printed = [3.8191348, 0.5473780, 0.1799183, 0.6537220]  # bits
    found = gaussian_pid_from_gains(hx, hy) if form == "gains" else gaussian_pid(covariance(hx, hy), (16, 16, 2))
    assert atoms(found) / np.log(2) == pytest.approx(printed, abs=1e-7)


def test_random_systems_are_those_of_the_textbook(x64):
    rng = np.random.default_rng(1)
    many = np.stack([random_covariance(rng, sum(DIMS)) for _ in range(50)])
    found = atoms(jax.jit(jax.vmap(lambda c: gaussian_pid(c, DIMS)))(many))
    assert found == pytest.approx(np.stack([textbook(c, DIMS) for c in many], 1), abs=EXACT)
    assert found[1:].min() >= -EXACT


def test_five_eighths_and_two_thirds():
    p = np.array([2.0, 3.0])
    pid = gaussian_pid_from_gains(np.diag(np.sqrt(p - 1)), np.diag(np.sqrt(p * [8 / 5, 3 / 2] - 1)))
    assert pid.unique1 == pytest.approx(0, abs=EXACT)
    assert pid.unique2 == pytest.approx(np.log(8 / 5 * 3 / 2) / 2, abs=EXACT)
    assert pid.unique2 == pytest.approx(0.43773, abs=5e-6)


def test_commuting_channels_are_compared_direction_by_direction():
    rng = np.random.default_rng(2)
    a, b = np.array([4.0, 0.5]), rng.exponential(3.0, 2)
    turn, left, right = (np.linalg.qr(rng.normal(size=(2, 2)))[0] for _ in range(3))
    pid = gaussian_pid_from_gains(left @ np.diag(np.sqrt(a)) @ turn, right @ np.diag(np.sqrt(b)) @ turn)
    more = np.log((1 + a) / (1 + b))
    u1, u2 = np.maximum(more, 0).sum() / 2, np.maximum(-more, 0).sum() / 2
    i1, i12 = np.log1p(a).sum() / 2, np.log1p(a + b).sum() / 2
    assert atoms(pid) == pytest.approx([i1 - u1, u1, u2, i12 - i1 - u2], abs=EXACT)


def test_two_systems_side_by_side_and_turned_have_twice_of_everything():
    rng = np.random.default_rng(3)
    h1, h2 = rng.normal(size=(2, 2, 2))
    twice = lambda h: np.kron(np.eye(2), h)
    turned = [np.linalg.qr(rng.normal(size=(d, d)))[0] for d in (4, 4, 4)]
    double = gaussian_pid_from_gains(turned[0] @ twice(h1) @ turned[2], turned[1] @ twice(h2) @ turned[2])
    assert atoms(double) == pytest.approx(2 * atoms(gaussian_pid_from_gains(h1, h2)), abs=EXACT)


def test_no_atom_depends_on_coordinates(cov):
    rng = np.random.default_rng(4)
    change = np.zeros_like(cov)
    for start, d in zip((0, 3, 5), DIMS, strict=True):
        change[start : start + d, start : start + d] = rng.normal(size=(d, d)) * 10.0 ** rng.integers(-3, 4)
    changed = change @ cov @ change.T
    assert atoms(gaussian_pid(changed, DIMS)) == pytest.approx(atoms(gaussian_pid(cov, DIMS)), abs=EXACT)


def test_swapping_the_modalities_swaps_the_uniques():
    rng = np.random.default_rng(5)
    h1, h2 = rng.normal(size=(2, 2, 2))
    one, other = gaussian_pid_from_gains(h1, h2), gaussian_pid_from_gains(h2, h1)
    assert atoms(other) == pytest.approx(atoms(one)[[0, 2, 1, 3]], abs=EXACT)


def test_a_garbling_has_nothing_of_its_own():
    rng = np.random.default_rng(6)
    h1, through, more = rng.normal(size=(3, 2)), rng.normal(size=(2, 3)), random_covariance(rng, 2)
    h2, noise = through @ h1, through @ through.T + more
    pid = gaussian_pid_from_gains(h1, h2, (1.0, noise))
    i2 = np.linalg.slogdet(np.eye(2) + h2.T @ np.linalg.inv(noise) @ h2)[1] / 2
    assert pid.unique2 == pytest.approx(0, abs=EXACT)
    assert pid.redundancy == pytest.approx(i2, abs=EXACT)


def test_of_one_dimension_the_redundancy_is_the_lesser_information():
    rng = np.random.default_rng(7)
    h1, h2 = rng.normal(size=(2, 20, 3, 1))
    pid = jax.vmap(lambda a, b: gaussian_pid_from_gains(a, b))(h1, h2)
    i1, i2 = (np.log1p((h**2).sum((1, 2))) / 2 for h in (h1, h2))
    assert np.asarray(pid.redundancy) == pytest.approx(np.minimum(i1, i2), abs=1e-5)  # float32


KINDS = ["correlated", "a covariance each", "one variance", "variances and a variance"]


@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.slow if "var" in k[3:] else ()) for k in KINDS])
def test_gains_are_a_covariance_whatever_the_noise(kind):
    rng = np.random.default_rng(8)
    h1, h2 = rng.normal(size=(3, 2)), rng.normal(size=(2, 2))
    full = random_covariance(rng, 5)
    own = full.copy()
    own[:3, 3:], own[3:, :3] = 0, 0
    variances = rng.exponential(size=3)
    expected = {
        "one variance": (0.5, 0.5 * np.eye(5)),
        "correlated": (full, full),
        "a covariance each": ((full[:3, :3], full[3:, 3:]), own),
        "variances and a variance": ((variances, 2.0), np.diag([*variances, 2.0, 2.0])),
    }
    noise, cov = expected[kind]
    found = gaussian_pid_from_gains(h1, h2, noise)
    assert atoms(found) == pytest.approx(textbook(covariance(h1, h2, noise=cov), DIMS), abs=EXACT)


# Infinite informations.


@pytest.mark.parametrize(
    ("h2", "noise2", "infinite"),
    [([[1, 1], [0, 2]], 1.0, ["unique1"]), ([[0, 1], [2, 1]], 0.0, ["unique1", "unique2"])],
)
def test_a_direction_known_without_noise_is_infinite_and_the_rest_is_the_limit(h2, noise2, infinite):
    h1, noise = [[1, 0], [1, 1]], np.diag([0, 1, noise2, 1])
    found = atoms(gaussian_pid(covariance(h1, h2, noise=noise), (2, 2, 2)))
    assert np.isinf(found).tolist() == [atom in infinite for atom in ATOMS]
    near = textbook(covariance(h1, h2, noise=noise + np.diag([1e-9, 0, 1e-9 * (noise2 == 0), 0])), (2, 2, 2))
    # 1e-9 of noise moves what stays finite by about as much; the textbook's inverse is right to a thousandth of that.
    assert found[np.isfinite(found)] == pytest.approx(near[np.isfinite(found)], abs=1e-6)


def test_what_both_know_without_noise_is_redundant_and_the_rest_is_as_if_it_were_given():
    h1, h2, noise = [[1, 0], [1, 1]], [[1, 0], [0, 2]], np.diag([0, 1, 0, 1])
    found = atoms(gaussian_pid(covariance(h1, h2, noise=noise), (2, 2, 2)))
    assert np.isposinf(found[0])
    rest = textbook(covariance([[1]], [[2]]), (1, 1, 1))  # y2, given y1
    assert found[1:] == pytest.approx(rest[1:], abs=1e-7)
    everything = atoms(gaussian_pid(covariance(h1, h2, noise=np.zeros((4, 4))), (2, 2, 2)))
    assert np.isposinf(everything[0])
    assert everything[1:] == pytest.approx(np.zeros(3), abs=1e-7)


@pytest.mark.parametrize("angle", [1.0, 0.1])
def test_of_two_oblique_directions_known_without_noise_none_is_synergy(angle):
    """x1 = y1 and x2 = y1 cos + y2 sin leave no coupling to choose; the redundancy is that of any small noise."""
    h1, h2 = [[1.0, 0.0]], [[np.cos(angle), np.sin(angle)]]
    found = atoms(gaussian_pid(covariance(h1, h2, noise=np.zeros((2, 2))), (1, 1, 2)))
    assert np.isposinf(found[1:3]).all()
    # What is empty counts as 1.5e-8, of the variance sin^2 that x1 leaves of x2.
    assert found[[0, 3]] == pytest.approx([-np.log(np.sin(angle)), 0], abs=3e-8 / np.sin(angle) ** 2)


def test_modalities_that_are_nearly_copies_keep_what_their_difference_says():
    d = 1e-4  # x1 = e, x2 = e + d (y + n / 10)
    cov = np.array([[1, 1, 0], [1, 1 + 1.01 * d**2, d], [0, d, 1]])
    # Entries are rounded to 1e-16, of a noise of 1e-10.
    assert gaussian_pid(cov, (1, 1, 1)).synergy == pytest.approx(np.log(101) / 2, abs=2e-6)


def test_what_only_both_know_is_infinite_synergy():
    h, noise = [[1.0, 0.0], [0.0, 0.0]], np.eye(4)
    noise[0, 2] = noise[2, 0] = -1.0  # x1 = y1 + e, x2 = y1 - e
    found = gaussian_pid(covariance(h, h, noise=noise), (2, 2, 2))
    assert np.isposinf(found.synergy)
    assert atoms(found)[:3] == pytest.approx([np.log(2) / 2, 0, 0], abs=EXACT)


def test_a_copy_of_a_modality_is_redundant(cov):
    twice = np.r_[3:5, 3:5, 5:7]
    found = atoms(gaussian_pid(cov[np.ix_(twice, twice)], (2, 2, 2)))
    s1 = conditional(cov, DIMS, np.arange(3, 5))
    i1 = (np.linalg.slogdet(cov[5:, 5:])[1] - np.linalg.slogdet(s1)[1]) / 2
    assert found == pytest.approx([i1, 0, 0, 0], abs=EXACT)


# Gradients.


def differences(function, x, step=1e-5):
    """Central differences of a vector function of an array."""
    sides = [jax.jit(jax.vmap(lambda e, s=s: function(x + s * step * e))) for s in (1, -1)]
    basis = np.eye(x.size).reshape(-1, *x.shape)
    up, down = (np.asarray(side(basis)) for side in sides)
    return ((up - down) / (2 * step)).T.reshape(-1, *x.shape)


def stacked(pid):
    return jnp.stack([getattr(pid, atom) for atom in ATOMS])


def test_the_gradient_of_each_atom_is_that_of_finite_differences(x64):
    rng = np.random.default_rng(9)
    h1, h2 = rng.normal(size=(2, 3, 2))

    def function(h):
        return stacked(gaussian_pid_from_gains(h[:3], h[3:]))

    h = np.vstack([h1, h2])
    # Second-order differences at a step of 1e-5: truncation 1e-10, rounding 1e-11.
    assert jax.jit(jax.jacrev(function))(h) == pytest.approx(differences(function, h), abs=1e-6)


@pytest.mark.slow
def test_the_gradient_in_the_covariance_is_that_of_finite_differences(x64, cov):
    function = lambda c: stacked(gaussian_pid((c + c.T) / 2, DIMS))
    assert jax.jacrev(function)(cov) == pytest.approx(differences(function, cov), abs=1e-6)


def test_equal_eigenvalues_have_gradients(x64):
    # x2 = noise: every lambda is 1/5, and both atoms are smooth there (an eigenvalue alone is not).
    rng = np.random.default_rng(10)
    h = np.vstack([2 * np.eye(3), np.zeros((3, 3))])
    move = rng.normal(size=h.shape)
    function = lambda t: stacked(gaussian_pid_from_gains((h + t * move)[:3], (h + t * move)[3:]))
    slope = jax.jit(jax.jacfwd(function))(0.0)
    u1 = lambda t: np.linalg.slogdet(np.eye(3) + (h + t * move)[:3].T @ (h + t * move)[:3])[1] / 2
    assert slope[1] == pytest.approx((u1(1e-5) - u1(-1e-5)) / 2e-5, abs=1e-6)  # x2 says nothing to first order
    assert slope[np.array([0, 2])] == pytest.approx(np.zeros(2), abs=EXACT)


def test_where_both_say_the_same_the_gradient_is_the_mean_of_both_sides(x64):
    function = lambda a: stacked(gaussian_pid_from_gains(a * np.ones((1, 1)), np.ones((1, 1))))
    u1 = lambda a: np.log((1 + a**2) / 2) / 2
    mean = (u1(1 + 1e-5) - u1(1 - 1e-5)) / 4e-5  # on the other side of 1 there is nothing unique
    assert jax.jit(jax.grad(lambda a: function(a)[1]))(1.0) == pytest.approx(mean, abs=1e-9)
    both = jax.jit(jax.jacrev(lambda h: stacked(gaussian_pid_from_gains(h, h))))(np.ones((2, 2)))
    assert np.isfinite(both).all()
    assert both[1] == pytest.approx(np.zeros((2, 2)), abs=EXACT)  # together they never differ


# The contract.


@pytest.mark.slow
def test_jit_and_vmap_are_eager_and_dtypes_are_kept(cov):
    eager = gaussian_pid(cov, DIMS)
    assert all(np.asarray(leaf).dtype == np.float64 for leaf in jax.tree.leaves(eager))
    single = jax.jit(jax.vmap(lambda c: gaussian_pid(c, DIMS)))(jnp.asarray(cov, jnp.float32)[None])
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(single))
    assert atoms(single)[:, 0] == pytest.approx(atoms(eager), abs=1e-4)  # float32, condition 1e2


def test_refused_values_are_named_and_nan_inside_jit(cov):
    twice = cov[np.ix_([0, 0, 2, 3, 4, 5, 6], [0, 0, 2, 3, 4, 5, 6])]
    impossible = cov.copy()
    impossible[0, 3] = impossible[3, 0] = 0.99 * np.sqrt(cov[0, 0] * cov[3, 3])
    bad = {
        "NaN or infinite": np.where(np.eye(7) > 0, np.nan, cov),
        "differs from its transpose": cov + 1e-3 * np.triu(cov) * (np.arange(7) > 4),
        "x1 are linearly dependent": twice,
        "coordinates of x2 are": twice[np.ix_([3, 4, 5, 0, 1, 2, 6], [3, 4, 5, 0, 1, 2, 6])],
        "not positive semidefinite": impossible,
    }
    for message, value in bad.items():
        with pytest.raises(ValueError, match=message):
            gaussian_pid(value, DIMS)
    inside = jax.jit(jax.vmap(lambda c: gaussian_pid(c, DIMS)))(jnp.asarray(np.stack(list(bad.values()))))
    assert np.isnan(atoms(inside)).all()


def test_shapes_that_do_not_fit_are_refused(cov):
    with pytest.raises(ValueError, match=r"dims is \(7,\)"):
        gaussian_pid(cov, (7,))
    with pytest.raises(ValueError, match=r"expected \(6, 6\) for dims"):
        gaussian_pid(cov, (2, 2, 2))
    with pytest.raises(ValueError, match="h1 has shape"):
        gaussian_pid_from_gains(np.ones((2, 2)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="noise has shape"):
        gaussian_pid_from_gains(np.ones((2, 2)), np.ones((2, 2)), np.eye(3))
    with pytest.raises(ValueError, match="noise has 1 parts that are not positive definite"):
        gaussian_pid_from_gains(np.ones((2, 2)), np.ones((2, 2)), (0.0, 1.0))
    with pytest.raises(ValueError, match=r"differs from its transpose by 0\.9"):
        gaussian_pid_from_gains(np.ones((1, 1)), np.ones((1, 1)), np.array([[1.0, 0.9], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="so large, or the noise so small"):
        gaussian_pid_from_gains(np.full((1, 1), 1e200), np.ones((1, 1)))
    with pytest.raises(ValueError, match=r"differs from its transpose by 0\.9"):  # whatever the units of the rest
        gaussian_pid(np.array([[1e16, 0, 0], [0, 1, 0.9], [0, 0, 1]]), (1, 1, 1))
    with pytest.raises(TypeError):
        gaussian_pid(cov, (3.5, 2, 2))


@pytest.mark.slow
def test_a_linear_encoder_is_trained_to_synergy(x64):
    """Of two measurements m1 = y + e and m2 = e + 0.1 n, x1 and x2 are one combination each.

    Any two different combinations say together what m1 and m2 do, log(102) / 2, as e is known to 1/101 from m2. All of
    it is synergy where neither says anything alone: as both come close to m2.
    """
    mixing = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.1]])  # of (y, e, n)

    def synergy(encoder):
        x = encoder @ mixing
        cov = jnp.block([[x @ x.T, x[:, :1]], [x[:, :1].T, jnp.eye(1)]])
        return gaussian_pid(cov, (1, 1, 1)).synergy

    def step(encoder, _):
        encoder = encoder + 0.05 * jax.grad(synergy)(encoder)
        return encoder / jnp.linalg.norm(encoder, axis=1, keepdims=True), synergy(encoder)

    start = np.array([[1.0, 0.3], [0.6, 0.8]])
    trained, values = jax.jit(lambda e: jax.lax.scan(step, e, None, length=500))(start)
    assert values[0] < 2.1
    assert values[-1] == pytest.approx(np.log(102) / 2, abs=1e-3)
    assert np.abs(trained[:, 0]).max() < 0.01


# That nothing beats it: couplings of noise I are Cov(x1,x2|y) = C with |C| <= 1 in the spectral norm.


@pytest.mark.slow
def test_no_coupling_found_by_projected_ascent_beats_it(x64):
    rng = np.random.default_rng(11)
    systems, steps = 200, 1000
    h1, h2 = rng.normal(size=(2, systems, 4, 3))

    def information(c, h1, h2):
        # The smallest of eigenvalues of the joint noise is kept from zero, at which the inverse has no gradient.
        noise = jnp.block([[jnp.eye(4), c], [c.T, jnp.eye(4)]]) + 1e-9 * jnp.eye(8)
        h = jnp.concatenate([h1, h2])
        return jnp.linalg.slogdet(jnp.eye(3) + h.T @ jnp.linalg.solve(noise, h))[1] / 2

    def projected(c):
        u, s, v = jnp.linalg.svd(c, full_matrices=False)
        return (u * jnp.minimum(s, 1 - 1e-6)[None]) @ v

    def search(h1, h2, start):
        def step(carry, _):
            c, best, length = carry
            slope = jax.grad(information)(c, h1, h2)
            trial = projected(c - length * slope)
            value = information(trial, h1, h2)
            better = value < best
            carry = jnp.where(better, trial, c), jnp.where(better, value, best), length * jnp.where(better, 1.3, 0.5)
            return carry, None

        start = projected(start)
        return jax.lax.scan(step, (start, information(start, h1, h2), 0.1), None, length=steps)[0][1]

    found = jax.jit(jax.vmap(search))(h1, h2, 0.3 * rng.normal(size=(systems, 4, 4)))
    pid = jax.vmap(gaussian_pid_from_gains)(h1, h2)
    off = np.asarray(found - (pid.redundancy + pid.unique1 + pid.unique2))
    assert off.min() >= -1e-7  # what the 1e-9 above may take off
    assert np.median(off) < 1e-2  # and the search did search
