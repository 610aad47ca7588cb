"""What `predict` can be asked beside the best answer: a prefix, JSON."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from seqgen.data.padding import encode_questions
from seqgen.families import PairsRun, open_pairs
from tests import test_commands
from tests.oracles import log_softmax

seq, refused, elsewhere = test_commands.seq, test_commands.refused, test_commands.elsewhere

QUESTIONS = ["1+2", "57+8", "99+99", "0+0"]


def by_hand(run: PairsRun, question: str, prefix: str) -> tuple[str, list[float]]:
    """The greedy answer that begins so, and the log p of its tokens, from the model's own steps."""
    source, length = map(jnp.asarray, encode_questions([question], run.tokenizer, run.padding))
    start = run.model.start(run.params, source, length, capacity=4)
    forced, carry, token = run.tokenizer.encode(prefix), start.carry, start.token
    ids, gains = [], []
    for t in range(run.padding.answer_width + 1):
        carry, out = run.model.step(run.params, start.memory, carry, token)
        own = log_softmax(np.asarray(out.logits[0]))
        chosen = forced[t] if t < len(forced) else int(own.argmax())
        gains.append(own[chosen])
        if chosen == run.tokenizer.special.eos:
            break
        ids.append(chosen)
        token = jnp.array([chosen])
    return run.tokenizer.decode(ids), gains


@pytest.mark.parametrize("prefix", ["9", "00", "123"])
def test_answers_that_begin_with_a_prefix(attention_run, prefix):
    """Fails when the prefix is not fed, is written once more, shifts what follows, or its log p is
    left out.
    """
    run = open_pairs(attention_run)
    found = list(run.asked(QUESTIONS, prefix=prefix))
    assert [each.answers[0].text for each in found] != run.predict(QUESTIONS)
    for question, each in zip(QUESTIONS, found, strict=True):
        text, gains = by_hand(run, question, prefix)
        assert each.answers[0].text == text
        assert text.startswith(prefix)
        np.testing.assert_allclose(each.answers[0].logprobs, gains, rtol=1e-4, atol=1e-5)
        assert each.answers[0].logprob == pytest.approx(sum(gains), rel=1e-4)


def test_json(seq, attention_run, tmp_path):
    """Fails when an object lacks an answer, a token's log p or row of weights is another's, a line
    is no JSON, or a file's answers are not those of the arguments.
    """
    run, words = open_pairs(attention_run), ("--json", "--beam", "3", "--n-best", "2")
    code, out, _ = seq("predict", attention_run, *QUESTIONS, *words)
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, [line["question"] for line in lines]) == (0, QUESTIONS)
    plain = seq("predict", attention_run, *QUESTIONS, *words[1:])[1]
    answers = [[answer["answer"] for answer in line["answers"]] for line in lines]
    assert ["\t".join(each) for each in answers] == plain.splitlines()
    for line in lines:
        assert "".join(line["source"]) == line["question"]
        for answer in line["answers"]:
            assert "".join(answer["tokens"]).removesuffix("_") == answer["answer"]
            _, gains = by_hand(run, line["question"], "".join(answer["tokens"]))
            np.testing.assert_allclose(answer["logprobs"], gains, atol=1e-4)
            assert answer["logprob"] == pytest.approx(sum(answer["logprobs"]), abs=1e-6)
            shape = len(answer["tokens"]), len(line["source"])
            assert np.shape(answer["attention"]) == shape
            np.testing.assert_allclose(np.sum(answer["attention"], axis=1), 1, atol=1e-4)
    Path("in.txt").write_text("\n".join([*QUESTIONS, "", "1+2"]) + "\n")
    assert seq("predict", attention_run, "--input", "in.txt", "--output", "out", *words)[0] == 0
    read = [json.loads(line) for line in Path("out").read_text().splitlines()]
    assert read[:4] + read[5:] == lines + lines[:1]
    assert read[4] == {"question": "", "source": [], "answers": []}
