"""The tables of the benchmark: solvers, problems, limits. Nothing is computed here, and nothing heavy is imported."""

from typing import NamedTuple

# Ours: the routes of ``pidjax.broja``. Theirs: the loaders of ``peers.py``.
ROUTES = {
    "pidjax": "auto",
    "pidjax_binary": "binary",
    "pidjax_two_binary": "two_binary",
    "pidjax_interior_point": "interior_point",
    "pidjax_scaling": "scaling",
}
PEERS = ("cvxpy_clarabel", "cvxpy_ecos", "broja_2pid", "dit_cone", "dit_admui")
SOLVERS = ("pidjax", *PEERS)
_BINARY = ("pidjax_interior_point", "pidjax_binary", "pidjax_two_binary")  # the first one's bracket judges the others


class Problem(NamedTuple):
    """One problem, or several of one size that share a process: every kind with every seed.

    Attributes:
        shape: number of symbols ``(n1, n2, k)``.
        form: ``"gates"``, ``"joint"`` (random joints), ``"tables"`` (their two pairwise marginals only) or
            ``"batch"`` (``count`` random joints at once).
        kinds: kinds of ``pidjax.datasets.random_joint``; empty for all of them; ``"direct"``: tables drawn as such.
        seeds: of the random numbers.
        count: problems in a batch.
        tol: certified gap at which pidjax stops.
        dtype: float64 or float32.
        solvers: who is asked, in this order; the first is pidjax, whose bracket judges the others.
        limit: seconds that a peer has for each instance, repeats included.
    """

    shape: tuple[int, int, int]
    form: str = "joint"
    kinds: tuple[str, ...] = ("dense",)
    seeds: tuple[int, ...] = (0,)
    count: int = 1
    tol: float = 1e-9
    dtype: str = "float64"
    solvers: tuple[str, ...] = SOLVERS
    limit: float = 60.0


_LASTING = ("pidjax", "cvxpy_clarabel")  # the only peer that is exact on the noisy copy of 50x50x10

# Small problems first: who exceeds the limit is not asked again at that size or above.
PROBLEMS = {
    "gates": Problem((2, 2, 2), "gates"),
    "2x2x2 batch of 20,000": Problem((2, 2, 2), "batch", count=20_000, solvers=(*_BINARY, *PEERS)),
    "2x2x2 batch of 200,000": Problem((2, 2, 2), "batch", count=200_000, solvers=_BINARY),
    "5x5x3 dense": Problem((5, 5, 3), seeds=(0, 1, 2)),
    "5x5x3 every kind": Problem((5, 5, 3), kinds=()),
    "10x10x2 dense": Problem((10, 10, 2), seeds=(0, 1, 2)),
    "20x20x5 dense": Problem((20, 20, 5), seeds=(0, 1, 2)),
    "20x20x5 every kind": Problem((20, 20, 5), kinds=()),
    "50x50x10 dense": Problem((50, 50, 10)),
    "50x50x10 noisy copy": Problem((50, 50, 10), kinds=("noisy_copy",), solvers=SOLVERS[:-1]),
    "100x100x10 dense": Problem((100, 100, 10), limit=120.0),
    "100x100x10 noisy copy": Problem((100, 100, 10), kinds=("noisy_copy",), solvers=_LASTING),
    "200x200x10 dense": Problem((200, 200, 10), limit=120.0),
    "200x200x10 noisy copy": Problem((200, 200, 10), kinds=("noisy_copy",), solvers=_LASTING),
    "binary target, 10^6 symbols each": Problem((10**6, 10**6, 2), "tables", ("direct",), solvers=("pidjax",)),
    "500x500x10 tables to 1e-6": Problem((500, 500, 10), "tables", tol=1e-6, solvers=("pidjax",)),
}
QUICK = {
    "gates": Problem((2, 2, 2), "gates"),
    "2x2x2 batch": Problem((2, 2, 2), "batch", count=200, solvers=(*_BINARY, *PEERS)),
    "5x5x3 dense": Problem((5, 5, 3)),
    "4x4x3 every kind": Problem((4, 4, 3), kinds=()),
    "binary target, 1000 symbols each": Problem((1000, 1000, 2), "tables", ("direct",), solvers=("pidjax",)),
}

# The accelerator: direct solves from the two tables alone, and batches; in both precisions.
_LARGE = {
    f"{n}x{n}x10 {kind.replace('_', ' ')}": Problem((n, n, 10), "tables", (kind,), solvers=("pidjax",))
    for n, kind in ((200, "dense"), (200, "noisy_copy"), (1000, "dense"), (2000, "dense"))
}
_BATCHES = {
    f"2x2x2 batch of {count:,}": Problem((2, 2, 2), "batch", count=count, solvers=_BINARY[:2])
    for count in (100_000, 1_000_000)
}
# As samples of continuous modalities make them: as many symbols as samples. float32 certifies no gap of 1e-3 there.
_UNQUANTISED = {
    f"{n}x{n}x10 to {tol:g}": Problem((n, n, 10), "tables", tol=tol, solvers=("pidjax_scaling",))
    for n, tol in ((4096, 1e-6), (10_000, 1e-3))
}
_SINGLE = {"dtype": "float32", "tol": 1e-4}  # float32 certifies about 3e-5
ACCELERATOR = {
    **_BATCHES,
    **_LARGE,
    **_UNQUANTISED,
    **{f"{name} float32": problem._replace(**_SINGLE) for name, problem in {**_BATCHES, **_LARGE}.items()},
}
ACCELERATOR_QUICK = {
    "20x20x10 dense": Problem((20, 20, 10), "tables", solvers=("pidjax",)),
    "20x20x10 dense float32": Problem((20, 20, 10), "tables", solvers=("pidjax",), **_SINGLE),
    "2x2x2 batch of 1,000": Problem((2, 2, 2), "batch", count=1000, solvers=_BINARY[:2]),
    "2x2x2 batch of 1,000 float32": Problem((2, 2, 2), "batch", count=1000, solvers=_BINARY[:2], **_SINGLE),
}

# Seconds. A process is killed when an instance takes longer than the limit.
PIDJAX_LIMIT = 300.0
START_LIMIT = 60.0  # imports
PEERS_UNTIL = 1500.0  # into the run: no peer begins whose limit reaches beyond; the whole takes 25 minutes
QUICK_LIMIT = 20.0
ACCELERATOR_TOTAL = 450.0

REPEATS = 7  # at most, the median counts; none begins once ENOUGH seconds have gone into them
ENOUGH = 3.0
# A first call that takes longer than this is not repeated and stands for the warm time: a peer compiles nothing, and
# of a long call of ours compilation is a small part.
PEER_REPEATS_BELOW = 1.0
PIDJAX_REPEATS_BELOW = 60.0
LOOP = 100  # problems of a batch that a peer solves, one after the other
EXACT = 1e-6  # nats from the certified bracket: an exact answer

FIRST_CALL_SHAPE = (7, 5, 3)
PACKAGES = ("pidjax", "jax", "jaxlib", "numpy", "scipy", "cvxpy", "clarabel", "ecos", "dit")
