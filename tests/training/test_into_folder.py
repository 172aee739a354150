import logging

from designspace.networks.network import Network, Stage, Stem
from designspace.training.into_folder import train_into
from designspace.trials.recipe import Recipe
from designspace.trials.trial import Trial, TrialResult
from designspace.trials.trial_folder import TrialFolder


def test_log_messages_of_the_training_are_in_the_trials_log(tmp_path):
    logger = logging.getLogger("designspace.training.capture")
    before = logging.getLogger("designspace.training").level

    def train(**options):
        logger.info("a step is captured channels last (%s)", "1 ms")
        logger.debug("a detail")
        return TrialResult(10.0, 9.0, 1, 2.0, "cpu")

    trial = Trial(Network(Stem("cifar", 8), (Stage(1, 8, 1, 1, 4),)), Recipe(epochs=1))
    folder = TrialFolder(tmp_path)
    train_into(folder, trial, train, lambda history: None, lambda: False)
    logger.info("another trial's message")
    log = (tmp_path / "log.txt").read_text()
    assert "a step is captured channels last (1 ms)" in log
    assert "detail" not in log
    assert "another" not in log
    assert logging.getLogger("designspace.training").level == before
