"""Attention maps of many questions and of any hypothesis, and the files they are exported to."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from seqgen import viz
from seqgen.cli import attention_file, main
from seqgen.decoding.logits import GenerationConfig
from seqgen.errors import UsageError
from seqgen.families import open_pairs
from seqgen.interop.attention import Attention, export

QUESTIONS = ["1+2", "57+8", "99+99", "0+0"]


@pytest.fixture(scope="module")
def run(attention_run):
    return open_pairs(attention_run)


@pytest.fixture(scope="module")
def seen(run) -> list[Attention]:
    return run.attention(QUESTIONS)


def test_many_questions_are_as_each_alone(run, seen):
    """Fails when a map is another question's, or is cut at a neighbour's length."""
    assert [item.question for item in seen] == QUESTIONS
    for question, item in zip(QUESTIONS, seen, strict=True):
        alone = run.attention(question)
        assert (alone.answer, alone.source, alone.target) == (item.answer, item.source, item.target)
        np.testing.assert_allclose(alone.weights, item.weights, atol=1e-5)
        assert alone.logprob == pytest.approx(item.logprob, abs=1e-4)


def test_axes_are_pieces_in_reading_order(run, seen):
    """Fails when the reversal is not undone, padding or the end symbol is shown, or the answer is
    another than `predict` gives.
    """
    for item, answer in zip(seen, run.predict(QUESTIONS), strict=True):
        assert "".join(item.source) == item.question
        assert "".join(item.target) == item.answer == answer
        assert item.weights.shape == (1, len(item.target), len(item.source))
        np.testing.assert_allclose(item.weights.sum(axis=-1), 1, atol=1e-5)


def test_the_map_is_what_the_model_attended_to(run):
    """Fails when weights are another layer's or another time's: step by step by hand, the reversed
    question alone.
    """
    item, question = run.attention("57+8"), "57+8"
    ids = jnp.array([run.tokenizer.encode(question[::-1])])
    start = run.model.start(run.params, ids, jnp.array([len(question)]))
    carry, token, maps = start.carry, start.token, []
    for _ in item.target:
        carry, out = run.model.step(run.params, start.memory, carry, token)
        token = out.logits.argmax(axis=-1)
        maps.append(np.asarray(out.aux["attention"])[0, :, ::-1])
    np.testing.assert_allclose(item.weights, np.stack(maps, axis=1), atol=1e-5)


def test_any_hypothesis_of_a_beam(run):
    """Fails when a hypothesis' map is the best one's, or does not belong to its answer."""
    beam = GenerationConfig(beam=4)
    answers = run.best(QUESTIONS, beam, n=4)
    for hypothesis in range(4):
        items = run.attention(QUESTIONS, beam, hypothesis=hypothesis)
        assert [item.answer for item in items] == [each[hypothesis] for each in answers]
        for item in items:
            assert item.weights.shape == (1, len(item.answer), len(item.question))
            np.testing.assert_allclose(item.weights.sum(axis=-1), 1, atol=1e-5)
    best, second = (run.attention("57+8", beam, hypothesis=i) for i in (0, 1))
    assert best.answer != second.answer
    assert best.logprob > second.logprob


@pytest.mark.parametrize("hypothesis", [-1, 1, 4])
def test_no_hypothesis_that_there_is_none_of(run, hypothesis):
    """Fails when an index beyond the beam is taken from its other end, or ends in a traceback."""
    beam = GenerationConfig(beam=hypothesis) if hypothesis > 1 else GenerationConfig()
    with pytest.raises(UsageError, match=f"no hypothesis {hypothesis}"):
        run.attention(["1+2"], beam, hypothesis=hypothesis)


def test_json_and_npz_hold_the_same(seen, tmp_path):
    """Fails when a file lacks what the schema says, or the two differ by more than six decimals."""
    for ending in ("json", "npz"):
        export(seen, tmp_path / f"maps.{ending}", run="runs/mine", about={"tokenizer": ["é"]})
    content = json.loads((tmp_path / "maps.json").read_text())
    arrays = np.load(tmp_path / "maps.npz")
    head = {name: content[name] for name in ("format", "version", "run")}
    assert head == {"format": "seqgen-attention", "version": 1, "run": "runs/mine"}
    assert head == {name: arrays[name].item() for name in head}
    assert content["about"] == json.loads(arrays["about"].item()) == {"tokenizer": ["é"]}
    for i, (item, written) in enumerate(zip(seen, content["items"], strict=True)):
        assert written["question"] == item.question == arrays[f"{i}.question"].item()
        assert written["source"] == item.source == arrays[f"{i}.source"].tolist()
        assert written["target"] == item.target == arrays[f"{i}.target"].tolist()
        assert written["answer"] == item.answer == arrays[f"{i}.answer"].item()
        assert written["logprob"] == item.logprob == arrays[f"{i}.logprob"].item()
        np.testing.assert_array_equal(arrays[f"{i}.maps.attention"], item.weights)
        np.testing.assert_allclose(written["maps"]["attention"], item.weights, atol=1e-6)


def test_further_maps_stand_under_their_place(seen, tmp_path):
    """Fails when a map that is not the decoder's on its source is left out."""
    more = seen[0]._replace(maps={"memory.write": np.ones((2, 3, 9), np.float32)})
    export([more], tmp_path / "maps.npz", run="r")
    assert np.load(tmp_path / "maps.npz")["0.maps.memory.write"].shape == (2, 3, 9)


def test_a_model_with_a_carry_shows_that_it_attends(attention_run, monkeypatch):
    """Fails when a model whose carry crosses batches is asked without one."""
    run = open_pairs(attention_run)

    def apply(params, batch, carry, dropout_state):
        assert carry.shape == (1, 3)
        return carry, model.apply(params, batch, (), dropout_state)[1]

    model = run.model
    carrying = model._replace(initial_state=lambda params, rows: jnp.zeros((rows, 3)), apply=apply)
    monkeypatch.setattr(type(run), "model", carrying)
    assert run.attends


def test_further_maps_have_the_schemas_axes(run, monkeypatch):
    """Fails when a further map is written time by head, past its answer's end, or with the source
    reversed and padded; or when slots of a memory are cut as the source is.
    """
    decode = type(run).decode

    def with_more(self, questions, generation, seed, *, prefix):
        made = decode(self, questions, generation, seed, prefix=prefix)
        weights = made.aux["attention"]
        slots = np.broadcast_to(np.arange(9.0), (*weights.shape[:-2], 2, 9))
        more = {"decoder.source.1": np.repeat(weights, 2, axis=-2), "memory.write": slots}
        return made._replace(aux={**made.aux, **more})

    monkeypatch.setattr(type(run), "decode", with_more)
    for item in run.attention(QUESTIONS):
        source, memory = item.maps["decoder.source.1"], item.maps["memory.write"]
        np.testing.assert_array_equal(source, np.repeat(item.weights, 2, axis=0))
        np.testing.assert_array_equal(
            memory, np.broadcast_to(np.arange(9.0), (2, len(item.target), 9))
        )


def test_the_command_writes_what_its_ending_says(attention_run, tmp_path, capsys):
    """Fails when an ending gives another format, a beam's hypothesis is not the one that was asked
    for, or an unknown ending leaves a file.
    """
    out = tmp_path / "maps.json"
    words = ["attention", str(attention_run), *QUESTIONS, "-o", str(out)]
    assert main([*words, "--beam", "3", "--hypothesis", "2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    written = json.loads(out.read_text())
    items, about, run = written["items"], written["about"], open_pairs(attention_run)
    assert about["tokenizer"]["table"] == list(run.tokenizer.table)
    assert about["tokenizer"]["special"] == run.sizes.special._asdict()
    assert about["padding"]["reverse"] is run.padding.reverse is True
    assert (about["generation"]["beam"], about["hypothesis"], about["seed"]) == (3, 2, 0)
    assert printed[-1] == str(out)
    assert printed[:-1] == [
        f"{question} -> {item['answer']}" for question, item in zip(QUESTIONS, items, strict=True)
    ]
    assert main([*words[:-1], str(tmp_path / "maps.txt")]) == 2
    assert ".png, .svg, .json, .npz" in capsys.readouterr().err
    assert not (tmp_path / "maps.txt").exists()


@pytest.fixture
def questions(tmp_path, monkeypatch) -> Path:
    """A file of questions, with an empty line, in blocks of three."""
    monkeypatch.setattr(attention_file, "BLOCK", 3)
    (tmp_path / "in.txt").write_text("\n".join([*QUESTIONS, "", "1+2", "50+5"]) + "\n")
    return tmp_path / "in.txt"


@pytest.mark.parametrize("words", [[], ["--beam", "3", "--hypothesis", "1"]])
def test_the_maps_of_a_file(run, attention_run, questions, tmp_path, capsys, words):
    """Fails when a line's map is another's, the order is lost, a block is answered all at once with
    the others, or formats differ.
    """
    given = ["attention", str(attention_run), "--input", str(questions), *words]
    for ending in ("json", "jsonl", "npz"):
        assert main([*given, "-o", str(tmp_path / f"maps.{ending}")]) == 0
        assert capsys.readouterr().out == f"{tmp_path}/maps.{ending}\n"
    items = json.loads((tmp_path / "maps.json").read_text())["items"]
    lines = (tmp_path / "maps.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == items
    asked = [*QUESTIONS, "1+2", "50+5"]
    beam = {"generation": GenerationConfig(beam=3), "hypothesis": 1} if words else {}
    seen, arrays = run.attention(asked, **beam), np.load(tmp_path / "maps.npz")
    for i, (item, one) in enumerate(zip(items, seen, strict=True)):
        assert (item["question"], item["answer"]) == (asked[i], one.answer)
        np.testing.assert_allclose(item["maps"]["attention"], one.weights, atol=1e-4)
        np.testing.assert_allclose(arrays[f"{i}.maps.attention"], one.weights, atol=1e-4)


def test_pages(attention_run, questions, tmp_path, monkeypatch, capsys):
    """Fails when a page has more maps than it should, some are lost, a bad line leaves a folder, or
    a folder is written over.
    """
    shown = []
    monkeypatch.setattr(attention_file, "A_PAGE", 4)
    draw = viz.attention_figure
    monkeypatch.setattr(viz, "attention_figure", lambda maps: shown.append(len(maps)) or draw(maps))
    words = ["attention", str(attention_run), "--input", str(questions), "--pages", "svg", "-o"]
    assert main([*words, str(tmp_path / "pages")]) == 0
    assert shown == [4, 2]
    assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == ["0001.svg", "0002.svg"]
    questions.write_text(questions.read_text() + "5+x\n")
    for name, line in {"pages": "exists; use another --output", "new": "line 8: unknown"}.items():
        assert main([*words, str(tmp_path / name)]) == 2
        assert line in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"in.txt", "pages"}
    assert main([*words[:-3], "-o", str(tmp_path / "maps.npz")]) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"in.txt", "pages"}
