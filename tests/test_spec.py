"""Sweeps as data: names, combinations, and configurations that refuse what they do not know."""

import re

import pytest

from seqgen import presets
from seqgen.errors import UsageError
from seqgen.families import flat
from seqgen.sweeps.spec import chain, override, product, values, zip_

BASE = presets.preset("addition", "baseline")
MECHANISMS = {"baseline": {}, "peeky": {"model.decoder.inputs": ["context"]}}


def test_product_is_every_combination_the_first_slowest():
    """Fails when a combination is lost, comes twice or in another order, or an empty name leaves a
    dash.
    """
    made = product(MECHANISMS, {"": {}, "reverse": {"reverse": True}}, values("lr", [0.1, 0.2]))
    assert list(made) == [
        "baseline-lr=0.1", "baseline-lr=0.2", "baseline-reverse-lr=0.1", "baseline-reverse-lr=0.2",
        "peeky-lr=0.1", "peeky-lr=0.2", "peeky-reverse-lr=0.1", "peeky-reverse-lr=0.2",
    ]  # fmt: skip
    assert made["peeky-reverse-lr=0.2"] == {
        "model.decoder.inputs": ["context"],
        "reverse": True,
        "lr": 0.2,
    }


def test_zip_pairs_and_refuses_other_lengths():
    """Fails when zip_ is a product, or silently drops what has no partner."""
    assert zip_(values("lr", [1, 2]), values("clip", [3, 4])) == {
        "lr=1-clip=3": {"lr": 1, "clip": 3},
        "lr=2-clip=4": {"lr": 2, "clip": 4},
    }
    with pytest.raises(UsageError, match="1, 2"):
        zip_(values("lr", [1]), values("clip", [3, 4]))


def test_names_and_fields_come_once():
    """Fails when a later variant or value silently takes the place of an earlier one."""
    with pytest.raises(UsageError, match="'a'"):
        chain({"a": {}}, {"a": {"lr": 1}})
    with pytest.raises(UsageError, match="'lr'"):
        product(values("lr", [1]), {"b": {"lr": 2}})


def test_values_are_a_list():
    """Fails when a word becomes a variant for each of its letters."""
    with pytest.raises(UsageError, match=r"values\('optimizer', ...\) needs a list of values, not"):
        values("optimizer", "adam")


def test_a_preset_that_is_not_there():
    """Fails when a slip in a name is a KeyError."""
    for names in [("adition", "peeky"), ("addition", "peaky")]:
        with pytest.raises(UsageError, match=r"; did you mean '(addition|peeky)'\?"):
            presets.preset(*names)


def test_override_changes_what_it_names_and_nothing_else():
    """Fails when a field is set at another place, an end of a path is not found, or another field
    changes.
    """
    changed = override(
        BASE, {"steps": 200, "decoder.hidden": 64, "data.task.digits": 2, "outputs": ("general",)}
    )
    then, now = flat(BASE), flat(changed)
    assert {field: now[field] for field in now if now[field] != then[field]} == {
        "training.steps": 200,
        "model.decoder.hidden": 64,
        "data.task.digits": 2,
        "model.decoder.outputs": ["general"],
    }
    assert override(BASE, {}) == BASE


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stepps": 1}, "did you mean training.steps"),
        ({"training.epoch": 1}, "did you mean training.epochs"),
        ({"qqqqqq": 1}, "there are data.task.digits"),
        ({"hidden": 1}, "ambiguous: model.encoder.hidden or model.decoder.hidden"),
        ({"lr": 0.1, "hyper.lr": 0.2}, "one field, hyper.lr"),
        ({"steps": "many"}, "'many' is not of type int"),
        ({"steps": 2.5}, "2.5 is not of type int"),
        ({"steps": 0}, "steps must be 1 or more, not 0"),
        ({"padding": "ragged"}, "ragged"),
        ({"task": 3}, "no field 'task'"),
        ({"hiden": 1}, "did you mean model.encoder.hidden or model.decoder.hidden?"),
        (
            {"outputs": "dot"},
            "model.decoder.outputs is a list, and 'dot' is not: use [\"dot\"]",
        ),
        ({"seed": 7}, "field 'seed' cannot be set: seeds are given to the whole sweep"),
        ({"vocabulary": 7}, "no field 'vocabulary'; "),
        ({"sha256": "ab"}, "field 'data.sha256' cannot be set: it comes from the file"),
    ],
)
def test_override_refuses(changes, said):
    """Fails when a mistyped field is ignored, a value is cast, or the refusal does not say what
    to use.
    """
    with pytest.raises(UsageError, match=re.escape(said)):
        override(BASE, changes)
