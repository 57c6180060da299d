"""What the numbers are for: which data to collect and to train on, which model to build."""

from pidjax.applications.collection import Outlook, outlook
from pidjax.applications.schemes import diversified, repaired, sorted_parts
from pidjax.applications.study import RankCorrelation, rank_correlation, trained_accuracies

__all__ = [
    "Outlook",
    "RankCorrelation",
    "diversified",
    "outlook",
    "rank_correlation",
    "repaired",
    "sorted_parts",
    "trained_accuracies",
]
