"""What InfoMeter trains: the entropy models of two modalities and of the pair, and the guard of the pair's."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pidjax import _checks
from pidjax.estimators.autoregressive import autoregressive
from pidjax.estimators.base import Estimator, parallel
from pidjax.estimators.cells import RECIPE as CODER
from pidjax.estimators.factorised import factorised
from pidjax.estimators.hyperprior import hyperprior
from pidjax.estimators.invertible import invertible
from pidjax.estimators.masked_convolution import masked_convolution
from pidjax.typing import Array, Key, Samples

__all__ = ["RECIPE", "InfometerRecipe", "check_joint", "check_model", "coder", "meter", "routes_of"]

PAIR = ("x1", "x2")
# The model of feature maps; all others are of columns.
MAPS = "masked_convolution"
# Their joint models see both modalities.
CROSSING = ("autoregressive", MAPS, "invertible", "hyperprior")


class InfometerRecipe(NamedTuple):
    """The settings of what is learned; static to jit.

    Attributes:
        model: ``"autoregressive"``, which has both routes; ``"masked_convolution"``, for feature maps ``(n, h, w, c)``
            of one height and width, by the conditional route: a pixel is coded given those of the other map around it;
            ``"invertible"`` or ``"hyperprior"``, which code pairs, so the route of sums only; or a dictionary
            ``{"x1": Estimator, "x2": Estimator, "joint": Estimator}`` of your own, of whole numbers as they are
            (``step=1.0, units="raw"``), as a tuple of its items.
        routes: of ``"sum"`` and ``"conditional"``; None for all that the model has.
        folds: parts of the data; each sample is judged by models of the others.
        repeats: how often the data are divided anew; probabilities are averaged.
        validation: share of each training part that chooses the best states.
        steps: updates of each model.
        batch_size: of a minibatch.
        hidden: width of the networks.
        components: of the autoregressive mixtures.
    """

    model: Any = "autoregressive"
    routes: tuple[str, ...] | None = None
    folds: int = 5
    repeats: int = 1
    validation: float = 0.1
    steps: int = CODER["steps"]
    batch_size: int = CODER["batch_size"]
    hidden: int = 32
    components: int = 8


RECIPE = InfometerRecipe()


# Built once for each setting: an estimator is static by identity.
@functools.cache
def meter(recipe: InfometerRecipe, condition: bool, classes: int | None) -> Estimator:
    """All models of a recipe, by the names of their surprisals."""
    routes = routes_of(recipe)
    whole: dict[str, Any] = {"step": 1.0, "units": "raw"}
    if isinstance(recipe.model, tuple):
        parts = dict(recipe.model)
        _checks.require(
            set(parts) == {*PAIR, "joint"},
            f"model has the parts {sorted(parts)}; expected estimators by the names x1, x2 and joint",
        )
    elif recipe.model == "autoregressive":
        known = ("y",) if condition else ()
        settings = whole | {
            "components": recipe.components, "hidden": recipe.hidden, "steps": recipe.steps, "classes": classes,
        }  # fmt: skip
        code = lambda of, *given: autoregressive(of, given=(*given, *known), **settings)
        parts = {name: code(name) for name in PAIR}
        if "sum" in routes:
            parts["joint"] = code(PAIR)
        if "conditional" in routes:
            parts |= {"x2|x1": code("x2", "x1"), "x1|x2": code("x1", "x2")}
    elif recipe.model == MAPS:
        settings = whole | {"components": recipe.components, "hidden": recipe.hidden, "steps": recipe.steps}
        parts = {name: masked_convolution(name, **settings) for name in PAIR}
        parts |= {f"{of}|{known}": masked_convolution(of, given=known, **settings) for known, of in (PAIR, PAIR[::-1])}
    else:
        model: Any = {"invertible": invertible, "hyperprior": hyperprior, "factorised": factorised}[recipe.model]
        settings = whole | {"steps": recipe.steps}
        if recipe.model != "factorised":
            settings |= {"hidden": recipe.hidden}
        parts = {name: model(of, **settings) for name, of in (*zip(PAIR, PAIR, strict=True), ("joint", PAIR))}
    _checks.require(
        not condition or recipe.model == "autoregressive",
        f"model {recipe.model!r} takes no condition; expected 'autoregressive'",
    )
    return parallel(**parts)


def routes_of(recipe: InfometerRecipe) -> tuple[str, ...]:
    """The routes that are asked for, or all that the model has."""
    able = {"autoregressive": ("sum", "conditional"), MAPS: ("conditional",)}.get(recipe.model, ("sum",))
    routes = able if recipe.routes is None else recipe.routes
    _checks.require(
        len(routes) > 0 and set(routes) <= set(able),
        f"routes is {recipe.routes} with model {recipe.model!r}; expected some of {able}",
    )
    return routes


@functools.cache
def check_joint(joint: Estimator, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    """Refuses a model of pairs which, whatever it learns, makes the modalities independent.

    Its information by the route of sums is that of its own errors, about 0 for all data. A model factorises exactly if
    ``s(a, b) + s(a', b') - s(a, b') - s(a', b)`` is 0 for all symbols; here that is looked at with parameters moved at
    random.

    Args:
        joint: an estimator of surprisals of ``Samples(x1, x2)``.
        shapes: of one sample of x1 and of x2.

    Raises:
        ValueError: it factorises.

    Example:
        >>> try:
        ...     check_joint(factorised(("x1", "x2"), step=1.0, units="raw"), ((1,), (1,)))
        ... except ValueError as error:
        ...     print(str(error)[:46])
        the joint model factorises over the modalities
    """
    n = 64
    with jax.ensure_compile_time_eval():
        rng = np.random.default_rng(0)
        a, b, c, d = (jnp.asarray(rng.integers(-3, 4, (n, *shapes[i % 2])), jnp.float32) for i in range(4))

        def mixed(key: Key) -> Array:
            state = joint.init(key, Samples(a, b))
            leaves, structure = jax.tree.flatten(state.params)
            moved = [
                leaf + 0.3 * jax.random.normal(jax.random.fold_in(key, i), leaf.shape, leaf.dtype)
                for i, leaf in enumerate(leaves)
            ]
            state = state._replace(params=jax.tree.unflatten(structure, moved))
            all_four = Samples(jnp.concatenate([a, c, a, c]), jnp.concatenate([b, d, d, b]))
            four = joint.estimate(state, all_four).reshape(4, n)
            return jnp.abs(four[0] + four[1] - four[2] - four[3]).max() / (1 + jnp.abs(four).max())

        found = float(jax.jit(mixed)(jax.random.key(0)))
    # Rounding of float32 leaves 1e-6; models that see the other modality, 1e-2 and more.
    _checks.require(
        found > 1e-4,
        "the joint model factorises over the modalities: whatever the data, its information is 0 but for errors of the "
        "models; take one that codes x2 given x1 ('autoregressive') or transforms the pair ('invertible')",
    )


def check_model(recipe: InfometerRecipe, samples: Samples) -> None:
    """Models of our own that cross are known to; all others are looked at."""
    x1, x2 = samples.x1, samples.x2
    _checks.require(x1 is not None and x2 is not None, "samples lacks x1 or x2; information is between the two")
    _checks.require(
        isinstance(recipe.model, tuple) or recipe.model in (*CROSSING, "factorised"),
        f"model is {recipe.model!r}; expected one of {CROSSING}, or a tuple of the items of "
        "{'x1': ..., 'x2': ..., 'joint': ...}",
    )
    if recipe.model in CROSSING:
        return
    shapes = (np.shape(jnp.asarray(x1))[1:], np.shape(jnp.asarray(x2))[1:])
    if recipe.model == "factorised":
        check_joint(factorised(PAIR, step=1.0, units="raw"), shapes)
    else:
        check_joint(dict(recipe.model)["joint"], shapes)


@functools.cache
def coder(recipe: InfometerRecipe) -> Estimator:
    """Of one modality on its own, autoregressive."""
    return autoregressive(
        "x1", step=1.0, units="raw", components=recipe.components, hidden=recipe.hidden, steps=recipe.steps
    )
