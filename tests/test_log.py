"""The log's evaluations: what each must have, whatever the kind of run."""

import json

import pytest

from seqgen.storage import log

SCORED = {"event": "evaluate", "split": "validation", "step": 3, "epoch": 1.0, "loss": 0.5}
KINDS = {
    "pairs": {"exact_match": 0.25, "token_accuracy": 1, "examples": 40},
    "pairs with error rates": {
        "exact_match": 0.25,
        "token_accuracy": 1,
        "examples": 40,
        "token_error_rate": 1.5,
        "word_error_rate": 2,
        "sequence_error_rate": 0.75,
    },
    "text": {"perplexity": 1.6, "tokens": 900, "lanes": 1},
    "another": {},
}


@pytest.mark.parametrize("kind", KINDS)
def test_evaluations_of_every_kind_are_events(kind):
    """Fails when the log asks for scores that another kind of run does not have."""
    event = SCORED | KINDS[kind] | {"a_new_score": "?"}
    assert log.parse(json.dumps(event)) == event


@pytest.mark.parametrize("name", [*SCORED, *KINDS["pairs with error rates"], *KINDS["text"]])
def test_a_score_of_another_type_is_no_score(name):
    """Fails when a score that is there is not looked at, or the message does not name it."""
    event = SCORED | KINDS["pairs with error rates"] | KINDS["text"]
    for damaged in (None, [1], {"value": 1}):
        reason = "not an event" if name == "event" else f"evaluate event without '{name}'"
        with pytest.raises(ValueError, match=reason):
            log.parse(json.dumps(event | {name: damaged}))


def test_what_an_evaluation_scores_is_not_asked_of_training():
    """Fails when a field of another event is held against the scores of that name."""
    event = {"event": "train", "step": 1, "epoch": 0.5, "loss": 2.0, "gradient_norm": 1.0}
    assert log.parse(json.dumps(event | {"tokens": None})) == event | {"tokens": None}
