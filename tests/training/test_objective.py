"""A user's own loss and metric are checked on made-up outputs before any trial is trained."""

import json

import pytest

from designspace.support.errors import InputError
from designspace.training.objective import Outputs, check_objective, main
from designspace.trials.metric import Metric

CLASSES = Outputs("class", 3)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("nan", "own_objective:nan returned nan, but a metric must return one finite number"),
        ("two", r"own_objective:two returned \(1.0, 2.0\), but a metric must return one finite number"),
        ("two_in_a_tensor", "two_in_a_tensor returned .*tensor.*but a metric must return one finite number"),
        ("nothing", "own_objective:nothing returned None, but a metric must return one finite number"),
        (
            "of_three",
            r"of_three raised TypeError for logits of shape \(8, 3\) and labels of shape \(8,\), torch.int64: ",
        ),
        ("out_of_range", "own_objective:out_of_range: its value must be a number <= 1.5, not 2"),
        ("sideways", "own_objective:sideways: unknown direction of a metric 'up'; choose from: lower, higher"),
        ("no_guess", "own_objective:no_guess: the value of guessing must be a number, not nan"),
        ("broken_guess", r"broken_guess.guess\(3\) raised ZeroDivisionError"),
        ("bare", "own_objective:bare has no name, unit, direction, guess; a metric needs"),
        ("number", "own_objective:number is of type int, which cannot be called"),
        ("missing", "own_objective:missing cannot be imported"),
    ],
)
def test_an_invalid_metric_is_an_error_with_the_reason(metric, message):
    with pytest.raises(InputError, match=f"recipe.metric: .*{message}"):
        check_objective("cross_entropy", f"own_objective:{metric}", CLASSES)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("per_image", r"per_image returned a tensor of shape \(8,\), but a loss must return the mean over a batch"),
        ("detached", "detached returned a number that does not depend on the logits"),
        ("infinite", "infinite returned (-inf|inf|nan), but a loss must return"),
        ("python_number", "python_number returned 1.0, but a loss must return the mean over a batch as a tensor"),
        ("of_three", "of_three raised TypeError"),
        ("number", "own_objective:number is of type int, which cannot be called"),
    ],
)
def test_an_invalid_loss_is_an_error_with_the_reason(loss, message):
    with pytest.raises(InputError, match=f"recipe.loss: .*{message}"):
        check_objective(f"own_objective:{loss}", "top1_error", CLASSES)


def test_a_valid_loss_and_metric_pass(capsys):
    expected = Metric("macro recall", "", "higher", 1 / 3, 0, 1)
    assert check_objective("own_objective:Focal", "own_objective:Recall", CLASSES) == expected
    assert check_objective("own_objective:Focal", "top1_error", CLASSES) is None
    outputs = {"target": "class", "num_classes": 3, "size": []}
    main(json.dumps({"loss": "cross_entropy", "metric": "own_objective:recall", "outputs": outputs}))
    assert json.loads(capsys.readouterr().out) == {"metric": expected.to_dict()}


@pytest.mark.parametrize(
    ("outputs", "logits_shape", "labels_shape"),
    [
        (Outputs("class", 20), (40, 20), (40,)),
        (Outputs("multilabel", 5), (10, 5), (10, 5)),
        (Outputs("regression", 1), (8, 1), (8, 1)),
        (Outputs("dense", 5, (6, 4)), (8, 5, 6, 4), (8, 6, 4)),
    ],
)
def test_made_up_outputs_have_the_shapes_of_a_data_set(outputs, logits_shape, labels_shape):
    logits, labels = outputs.made_up()
    assert (logits.shape, labels.shape) == (logits_shape, labels_shape)
    if outputs.target in ("class", "dense"):
        assert labels.unique().tolist() == list(range(outputs.num_classes))
    if outputs.target == "multilabel":
        assert set(labels.sum(0).tolist()) == {5}
