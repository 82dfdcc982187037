"""Training: what to train (`settings`), the loop itself (`segment`), its parts (`plan`), and the run (`run`)."""

from closerlook.training.log import COLUMNS
from closerlook.training.run import Listener, TrainingRun, train
from closerlook.training.settings import TrainSettings

__all__ = ["COLUMNS", "Listener", "TrainSettings", "TrainingRun", "train"]
