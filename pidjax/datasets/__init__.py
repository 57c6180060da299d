"""Data with a known answer, continuous tasks, random problems, and three small real sets."""

from pidjax.datasets.gates import GATES, Gate
from pidjax.datasets.gaussian import (
    GAUSSIAN_TASKS,
    MAPS,
    GaussianTask,
    gaussian_task,
    lsmi_gaussian,
    mapped,
    noisy_gate,
    three_classes,
    two_classes,
)
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
    "GAUSSIAN_TASKS",
    "KINDS",
    "MAPS",
    "MFEAT_VIEWS",
    "TASKS",
    "Gate",
    "GaussianTask",
    "Task",
    "avmnist",
    "crema_d",
    "erased",
    "gaussian_task",
    "lsmi_gaussian",
    "mapped",
    "mfeat",
    "noisy_copies",
    "noisy_gate",
    "noisy_xor",
    "padded",
    "power",
    "product",
    "random_joint",
    "swapped",
    "task",
    "three_classes",
    "two_classes",
]
