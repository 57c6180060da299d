"""Data with a known answer, random problems, and three small real sets."""

from pidjax.datasets.gates import GATES, Gate
from pidjax.datasets.problems import KINDS, random_joint
from pidjax.datasets.real import CREMA_D_EMOTIONS, CREMA_D_LEVELS, MFEAT_VIEWS, avmnist, crema_d, mfeat
from pidjax.datasets.tasks import (
    TASKS,
    Task,
    erased,
    noisy_copies,
    noisy_xor,
    padded,
    power,
    product,
    swapped,
    task,
)

__all__ = [
    "CREMA_D_EMOTIONS",
    "CREMA_D_LEVELS",
    "GATES",
    "KINDS",
    "MFEAT_VIEWS",
    "TASKS",
    "Gate",
    "Task",
    "avmnist",
    "crema_d",
    "erased",
    "mfeat",
    "noisy_copies",
    "noisy_xor",
    "padded",
    "power",
    "product",
    "random_joint",
    "swapped",
    "task",
]
