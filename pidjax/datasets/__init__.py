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
    xor_signs,
)
from pidjax.datasets.latent import LATENT_LABELS, LATENT_TASKS, LatentTask, latent_gaussians, latent_task
from pidjax.datasets.polar import POLAR_TASKS, PolarTask, polar_classes, polar_task
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
    "LATENT_LABELS",
    "LATENT_TASKS",
    "MAPS",
    "MFEAT_VIEWS",
    "POLAR_TASKS",
    "TASKS",
    "Gate",
    "GaussianTask",
    "LatentTask",
    "PolarTask",
    "Task",
    "avmnist",
    "crema_d",
    "erased",
    "gaussian_task",
    "latent_gaussians",
    "latent_task",
    "lsmi_gaussian",
    "mapped",
    "mfeat",
    "noisy_copies",
    "noisy_gate",
    "noisy_xor",
    "padded",
    "polar_classes",
    "polar_task",
    "power",
    "product",
    "random_joint",
    "swapped",
    "task",
    "three_classes",
    "two_classes",
    "xor_signs",
]
