"""Ensembles against the mean of probabilities in NumPy, step by step."""

import shutil
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqgen
from seqgen import presets
from seqgen.data.padding import encode_questions
from seqgen.decoding.compiled import read
from seqgen.decoding.logits import GenerationConfig
from seqgen.errors import UsageError
from seqgen.families import Ensemble, PairsRun, create, open_pairs
from seqgen.models.ensemble import ensemble, mean_map
from seqgen.storage import manifest
from seqgen.sweeps import Planned
from seqgen.sweeps.spec import override
from seqgen.sweeps.state import record
from tests import test_commands
from tests.oracles import softmax

seq, refused, elsewhere = test_commands.seq, test_commands.refused, test_commands.elsewhere

QUESTIONS = ["1+2", "57+8", "99+99", "0+0"]


def shaken(run: PairsRun, seed: int) -> PairsRun:
    """The run with other weights: what another seed would have come to."""
    random = np.random.default_rng(seed)
    moved = [leaf + random.normal(size=leaf.shape) * 0.2 for leaf in jax.tree.leaves(run.params)]
    return run.having(
        jax.tree.unflatten(jax.tree.structure(run.params), [jnp.float32(leaf) for leaf in moved])
    )


@pytest.fixture(scope="module")
def members(attention_run, tmp_path_factory) -> list[PairsRun]:
    """Two runs of one architecture, and one of another, which does not attend."""
    run = open_pairs(attention_run)
    cfg = presets.model("baseline", embedding=5, hidden=9)
    other = override(run.config, {})
    other = type(other)(other.data, cfg, other.training, other.hyper)
    made = create(other, str(tmp_path_factory.mktemp("other") / "run"), dataset=run.dataset)
    made.params = made.model.init(jax.random.key(3))
    return [run, shaken(run, 1), made]


@partial(jax.jit, static_argnums=0)
def step(model, params, memory, carry, token):
    """One model's own step."""
    return model.step(params, memory, carry, token)


def steps_of(members: list[PairsRun], question: str, answer: list[int] | None):
    """Greedy tokens, or those of an answer, their log p under the mean of the members'
    probabilities, and the mean of their maps, a question alone, step by step.
    """
    source, length = encode_questions([question], members[0].tokenizer, members[0].padding)
    limit, given = members[0].padding.answer_width + 1, (jnp.asarray(source), jnp.asarray(length))
    starts = [read(each.model, limit, each.params, *given) for each in members]
    carries, token, found, maps = [each.carry for each in starts], starts[0].token, [], []
    for t in range(limit if answer is None else len(answer)):
        p, seen = [], []
        for i, each in enumerate(members):
            carries[i], out = step(each.model, each.params, starts[i].memory, carries[i], token)
            p.append(softmax(np.float64(out.logits[0])))
            seen += (
                [np.asarray(out.aux["attention"][0])[:, : len(question)]]
                if "attention" in out.aux
                else []
            )
        mean = np.mean(p, axis=0)
        chosen = int(mean.argmax()) if answer is None else answer[t]
        found.append((chosen, np.log(mean[chosen])))
        maps.append(np.mean(seen, axis=0))
        token = jnp.array([chosen])
        if chosen == members[0].tokenizer.special.eos:
            break
    tokens, gains = zip(*found, strict=True)
    return list(tokens), np.array(gains), np.stack(maps)


def test_an_ensemble_is_the_mean_of_probabilities(members):
    """Fails when logits or log p are averaged instead, a member gets another's state or memory,
    is left out, or a map is one member's alone.
    """
    together = Ensemble(members)
    tokens, logprob, _, aux = together.decode(QUESTIONS)
    alone = [each.predict(QUESTIONS) for each in members]
    assert together.predict(QUESTIONS) not in alone
    for row, question in enumerate(QUESTIONS):
        expected, gains, maps = steps_of(members, question, None)
        assert tokens[row, 0][tokens[row, 0] >= 0].tolist() == expected
        np.testing.assert_allclose(logprob[row, 0], gains.sum(), rtol=1e-4)
        seen = aux["attention"][row, 0, : len(expected), :, : len(question)]
        np.testing.assert_allclose(seen, maps, atol=1e-4)


def test_a_beam_searches_the_mean(members):
    """Fails when a hypothesis of an ensemble goes on with another's state in one of the members."""
    tokens, logprob, *_ = Ensemble(members).decode(QUESTIONS, GenerationConfig(beam=3))
    for row, question in enumerate(QUESTIONS):
        for rank in range(3):
            answer = tokens[row, rank][tokens[row, rank] >= 0].tolist()
            _, gains, _ = steps_of(members, question, answer)
            np.testing.assert_allclose(logprob[row, rank], gains.sum(), rtol=1e-4)


def test_the_loss_is_of_the_mean(members):
    """Fails when teacher forcing averages losses or logits, or one run twice is not that run."""
    batch = members[0].batch("test")
    given = jax.tree.map(jnp.asarray, batch)
    each = [one.model.apply(one.params, given, (), None)[1].logits for one in members[:2]]
    p = np.mean([softmax(np.float64(logits)) for logits in each], axis=0)
    own = np.take_along_axis(np.log(p), np.asarray(batch.targets)[..., None], axis=2)[..., 0]
    loss = -own[np.asarray(batch.mask)].mean()
    assert Ensemble(members[:2]).evaluate().loss == pytest.approx(loss, rel=1e-5)
    twice, once = Ensemble([members[0]] * 2).evaluate(), members[0].evaluate()
    assert twice == pytest.approx(once, rel=1e-5)


def test_models_are_shared_and_heads_may_differ(members):
    """Fails when the same members make another model, so that all compiles anew; or when a map of
    four heads cannot stand beside one of one.
    """
    models = tuple(each.model for each in members)
    assert ensemble(models) is Ensemble(members).model is ensemble(models)
    four, one = jnp.arange(48.0).reshape(2, 1, 2, 4, 3), jnp.ones((1, 2, 1, 3))
    np.testing.assert_allclose(mean_map([*four]), np.mean(four, axis=0))
    expected = (np.mean(four[0], axis=-2, keepdims=True) + 1) / 2
    np.testing.assert_allclose(mean_map([four[0], one]), expected)


@pytest.fixture(scope="module")
def sweep(attention_run, members, tmp_path_factory) -> Path:
    """A sweep with two finished members of one variant, one that is not, and another variant."""
    folder = tmp_path_factory.mktemp("sweep")
    names = ["attention-2", "attention-10", "attention-3", "attention-fast-0"]
    config = open_pairs(attention_run).config
    for name in names:
        shutil.copytree(attention_run, folder / name)
    shutil.rmtree(folder / "attention-3" / "checkpoints")
    shutil.rmtree(folder / "attention-fast-0" / "checkpoints")
    for name in names[2:]:
        manifest.unseal(folder / name)
    record(folder, [Planned(folder / name, config, None) for name in names], "seqgen sweep")
    return folder


def test_the_commands_take_several_runs(seq, members, attention_run, sweep):
    """Fails when a run among the words is answered as a question, a question as a run, or a member
    of a sweep that is not finished, or of another variant, answers.
    """
    other = Path(shutil.copytree(attention_run, "1+1"))
    answers = "".join(f"{each}\n" for each in members[0].predict(["2+2", "1+1"]))
    twice = f"an ensemble of 2: {attention_run}, {other}\n"
    assert seq("predict", attention_run, other, "2+2", "1+1") == (0, answers, twice)
    alone = seq("predict", attention_run, "--", "1+1")
    assert alone == (0, members[0].predict(["1+1"])[0] + "\n", "")
    code, out, err = seq("predict", sweep, "2+2", "1+1", "--members", "attention")
    assert (code, out) == (0, answers)
    assert err == f"an ensemble of 2: {sweep}/attention-2, {sweep}/attention-10\n"
    once = seq("evaluate", attention_run)[1]
    assert seq("evaluate", sweep, "--members", "attention") == (0, once, err)
    assert seq("evaluate", attention_run, other) == (0, once, twice)
    words = "2+2", "-o", "map.npz"
    assert seq("attention", attention_run, other, *words)[2] == twice
    assert seq("attention", sweep, *words, "--members", "attention")[2] == err


def test_an_ensemble_has_no_epochs(members):
    """Fails when a member's epoch is taken for the ensemble's, or other weights do not answer."""
    both = Ensemble(members[:2])
    for ask in (lambda: both.at(100), both.selected_step, both.tested):
        with pytest.raises(UsageError, match="an ensemble has no"):
            ask()
    twice = both.having((members[0].params, members[0].params))
    assert twice.predict(QUESTIONS) == members[0].predict(QUESTIONS)


REFUSED = [
    ("evaluate {run} --members attention", "no sweep at {run}: it has no sweep.json"),
    ("evaluate {sweep} {run} --members attention", "several runs are named"),
    ("evaluate {sweep} --members attentoin", "no variant 'attentoin'; did you mean 'attention'?"),
    ("predict {sweep} 1+1 --members attention-fast", "no member of attention-fast is finished"),
    ("predict {run} {book} 1+1", "are no ensemble: they have other tokens"),
    ("predict {run} {forward} 1+1", "are no ensemble: reverse of their padding is True and False"),
    ("evaluate {run} {data}", "were not made with the same data"),
]


@pytest.mark.parametrize(("words", "line"), REFUSED)
def test_what_is_no_ensemble_is_refused(
    refused, attention_run, book_run, sweep, tmp_path, words, line
):
    """Fails when runs whose ids stand for other things are averaged, or the one's training rows
    test the other.
    """
    places = {"run": attention_run, "book": book_run, "sweep": sweep}
    run = open_pairs(attention_run)
    for name, change in {"forward": {"reverse": False}, "data": {"data.seed": 1}}.items():
        if f"{{{name}}}" in words:
            places[name] = create(override(run.config, change), str(tmp_path / name)).path
    assert line.format(**places) in refused(2, *words.format(**places).split())


def test_seqgen_load(attention_run):
    """Fails when several runs are loaded as the first of them."""
    loaded = seqgen.load(attention_run, attention_run)
    assert isinstance(loaded, Ensemble)
    assert repr(loaded) == f"seqgen.load('{attention_run}', '{attention_run}')"
    with pytest.raises(UsageError, match="no run at"):
        seqgen.load(attention_run, attention_run.parent / "nothing")
