"""Training: what to train (`settings`), the loop itself (`segment`), and the run around it (`run`)."""

from closerlook.training.run import COLUMNS, TrainingRun, train
from closerlook.training.settings import TrainSettings

__all__ = ["COLUMNS", "TrainSettings", "TrainingRun", "train"]
