"""What the numbers are for: which data to collect, which model to build."""

from pidjax.applications.collection import Outlook, outlook

__all__ = ["Outlook", "outlook"]
