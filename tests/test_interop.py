"""The book's pickles: in and out to the bit, the book's own answers, and nothing run from them."""

import copyreg
import functools
import io
import os
import pickle
import pickletools
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.errors import SeqgenError, UsageError
from seqgen.interop.book import from_params, to_params
from seqgen.interop.pickles import read_pickle, write_pickle
from seqgen.models import build, rnn_decoder, rnn_encoder, rnn_language_model, rnn_seq2seq
from seqgen.nn.cells import LstmCarry
from seqgen.types import Batch
from tests import book_language, book_numpy, oracles

V, D, H = 13, 7, 12
MODELS = (*book_language.MODELS, *book_numpy.VARIANTS)


def book_arrays(model: str) -> list[np.ndarray]:
    """What the book's `save_params` pickles: float16, here with live biases."""
    random = np.random.RandomState(3)
    oracle = book_language if model in book_language.MODELS else book_numpy
    arrays = oracle.draw(model, V, H if model == book_language.BETTER else D, H, random)
    arrays = [(p + np.float32(random.randn(*p.shape) / 2)).astype(np.float16) for p in arrays]
    if model == book_language.BETTER:
        arrays[-2] = arrays[0].T.copy()
    return arrays


def names(model: str) -> list[str]:
    cells = [["Wx", "Wh", "b"][i % 3] for i in range(6)]
    if model in book_language.MODELS:
        two = ["first LSTM"] * 3 + ["second LSTM"] * 3
        lstms = {"rnnlm": ["LSTM"] * 3, "better-rnnlm": two}[model]
        inside = (f"{lstm} {name}" for lstm, name in zip(lstms, cells, strict=False))
        return ["embedding", *inside, "affine W", "affine b"]
    sides = [
        [f"{side} embedding", *(f"{side} LSTM {name}" for name in cells[:3])]
        for side in ("encoder", "decoder")
    ]
    return [*sides[0], *sides[1], "decoder affine W", "decoder affine b"]


def same(actual, expected) -> None:
    """The same arrays to the bit, of the same type."""
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == e.dtype
        np.testing.assert_array_equal(a, e)


def refused(path: Path, *words: str, error: type[SeqgenError] = SeqgenError) -> None:
    """One line that names the file and the reason."""
    with pytest.raises(error) as caught:
        read_pickle(path)
    assert "\n" not in str(caught.value)
    _, of_the_path, reason = str(caught.value).partition(str(path))
    assert of_the_path
    assert all(word in reason for word in words), reason


# There and back


@pytest.mark.parametrize("model", MODELS)
def test_there_and_back(model, tmp_path):
    """Fails when any weight of ours goes to another place in the book's list than where it comes
    from, or loses a bit; when sizes are read from a matrix that has another meaning.
    """
    cfg, params, vocabulary = to_params(model, book_arrays(model))
    init = build(cfg, oracles.SIZES).init(jax.random.key(0))
    assert jax.tree.map(np.shape, init) == jax.tree.map(np.shape, params)
    free = replace(cfg, init="modern", dtype="bfloat16")  # what weights do not know
    write_pickle(tmp_path / "it.pkl", from_params(free, params))
    arrays = read_pickle(tmp_path / "it.pkl")
    same(arrays, [np.float32(array) for array in book_arrays(model)])
    again, restored, _ = to_params(model, arrays)
    assert again == cfg
    assert jax.tree.structure(restored) == jax.tree.structure(params)
    same(jax.tree.leaves(restored), jax.tree.leaves(params))
    assert vocabulary == V


@pytest.mark.parametrize("model", book_numpy.VARIANTS)
def test_the_books_answers(model, tmp_path):
    """Fails when matrices are joined the wrong way round (x and h, h and e, context and h), or the
    configuration is that of another model.
    """
    arrays, random = book_arrays(model), np.random.RandomState(4)
    (tmp_path / "it.pkl").write_bytes(pickle.dumps(arrays))
    cfg, params, _ = to_params(model, read_pickle(tmp_path / "it.pkl"))
    source, inputs = (np.int32(random.randint(V, size=(2, width))) for width in (3, 5))
    batch = Batch(source, None, inputs, inputs, inputs > -1)
    _, out = jax.jit(build(cfg, oracles.SIZES).apply)(params, batch, (), None)
    exact = [np.float64(array) for array in arrays]
    expected, weights = book_numpy.forward(model, exact, source, inputs)
    np.testing.assert_allclose(out.logits, expected, rtol=0, atol=1e-5)
    if weights is not None:
        np.testing.assert_allclose(out.aux["attention"][:, :, 0], weights, atol=1e-5)


@pytest.mark.parametrize("model", book_language.MODELS)
def test_the_books_language_models(model, tmp_path):
    """Fails when the LSTMs change places, x and h do, or the tied matrix is not the embedding."""
    arrays, random = book_arrays(model), np.random.RandomState(4)
    (tmp_path / "it.pkl").write_bytes(pickle.dumps(arrays))
    cfg, params, _ = to_params(model, read_pickle(tmp_path / "it.pkl"))
    tokens = np.int32(random.randint(V, size=(2, 5)))
    carry = [tuple(random.randn(2, 2, H)) for _ in params.cells]
    ours = tuple(LstmCarry(np.float32(h), np.float32(c)) for h, c in carry)
    batch = Batch(None, None, tokens, tokens, tokens > -1)
    _, out = jax.jit(build(cfg, oracles.SIZES).apply)(params, batch, ours, None)
    expected, _ = book_language.forward([np.float64(array) for array in arrays], tokens, carry)
    np.testing.assert_allclose(out.logits, expected, rtol=0, atol=1e-5)


# Files that are what they say


def test_the_books_code_reads_ours(tmp_path):
    """Fails when a file needs a newer Python or NumPy than the book's, or `pickle.load` gives
    another type or other numbers.
    """
    arrays = book_arrays("rnnlm")
    write_pickle(tmp_path / "new" / "it.pkl", [np.float32(array) for array in arrays])
    content = (tmp_path / "new" / "it.pkl").read_bytes()
    opcodes = [(opcode, arg) for opcode, arg, _ in pickletools.genops(content)]
    assert max(opcode.proto for opcode, _ in opcodes) <= 3
    asked = {arg for opcode, arg in opcodes if opcode.name == "GLOBAL"}
    assert asked == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}
    loaded = pickle.loads(content)
    assert type(loaded) is list
    same(loaded, arrays)


MEMORY = {
    "float16": lambda a: a,
    "float32": lambda a: a.astype(np.float32),
    "float64": lambda a: a.astype(np.float64),
    "big-endian float16": lambda a: a.astype(">f2"),
    "big-endian float64": lambda a: a.astype(">f8"),
    "Fortran's order": np.asfortranarray,
    "transposed": lambda a: a.T,
    "every other column": lambda a: a[:, ::2],
    "backwards": lambda a: a[::-1, ::-1],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype),
    "a single number": lambda a: a[0, :1].reshape(()),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("order", MEMORY)
def test_every_protocol_and_order(order, protocol, tmp_path):
    """Fails when an order of axes or of bytes is lost, or an array that is listed twice is refused
    or read otherwise.
    """
    array = MEMORY[order](np.random.RandomState(0).randn(3, 5).astype(np.float16))
    (tmp_path / "it.pkl").write_bytes(
        pickle.dumps([array] * 99 + [array.copy()], protocol=protocol)
    )
    arrays = read_pickle(tmp_path / "it.pkl")
    same(arrays, [np.float32(array)] * 100)
    assert all(a.flags.c_contiguous for a in arrays)


def test_numpy_1_and_python_2(tmp_path):
    """Fails when only the names that today's NumPy writes are known, or bytes that Python 2 wrote
    as text.
    """
    array = -np.arange(6, dtype=np.float16).reshape(2, 3)
    head = b"\x80\x02]cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    shape = b"(K\x01K\x02K\x03\x86"
    dtype = b"cnumpy\ndtype\nU\x02f2K\x00K\x01\x87R(K\x03U\x01<NNN"
    rest = b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"
    python2 = head + shape + dtype + rest + b"\x89U\x0c" + array.tobytes() + b"tba."
    numpy1 = pickle.dumps([array], protocol=5).replace(
        b"\x8c\x13numpy._core.numeric", b"\x8c\x12numpy.core.numeric"
    )
    # The frame is a byte shorter.
    numpy1 = numpy1[:3] + (len(numpy1) - 11).to_bytes(8, "little") + numpy1[11:]
    for content in (python2, numpy1):
        if content is python2:
            same(pickle.loads(content, encoding="latin1"), [array])
        (tmp_path / "it.pkl").write_bytes(content)
        same(read_pickle(tmp_path / "it.pkl"), [np.float32(array)])


# Files that are not


class Call:
    """Pickled, it is a call that whoever unpickles it makes."""

    def __init__(self, *call) -> None:
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


class State:
    """Unpickled, it runs what its state says."""

    def __init__(self, state: str) -> None:
        self.state = state

    def __getstate__(self):
        return self.state

    def __setstate__(self, state):
        os.system(state)


class Described:
    """An array of whose description each part can be anything."""

    def __init__(self, shape=(2,), dtype=np.dtype("f2"), data=b"abcd") -> None:  # noqa: B008
        self.state = (1, shape, dtype, False, data)

    def __reduce__(self):
        return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), self.state


def bombs(marker: Path) -> dict[str, bytes]:
    """Pickles that make the file `marker` when they are read as Python reads them."""
    touch, array = f"touch {marker}", np.ones(2, np.float16)
    call = Call(os.system, touch)
    text = touch.encode()
    asked = {
        "a call": call,
        "eval": Call(eval, f"open({str(marker)!r}, 'w').close()"),
        "exec": Call(exec, f"open({str(marker)!r}, 'w').close()"),
        "a call in a call": Call(os.close, Call(os.open, str(marker), os.O_CREAT)),
        "in the list": [array, call],
        "among objects": [np.array([call], object)],
        "for a dtype": [Described(dtype=call)],
        "in a dtype": [Described(dtype=Call(np.dtype, call))],
        "for a shape": [Described(shape=call)],
        "for the numbers": [Described(data=call)],
        "in a shape": [Described(shape=(2, call))],
        "numpy's own": Call(np.save, str(marker), array),
        "partial": Call(functools.partial(os.system, touch)),
        "a state": State(touch),
        "a state in the list": [array, State(touch)],
    }
    made = {
        f"{name}, protocol {p}": pickle.dumps(item, protocol=p)
        for name, item in asked.items()
        for p in (0, 2, 4)
    }
    return made | {
        "INST": b"(S'" + text + b"'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'" + text + b"'\no.",
        "a name with a dot": b"\x80\x04\x8c\x08tempfile\x8c\x0a_os.system\x93\x8c"
        + bytes([len(text)])
        + text
        + b"\x85R.",
        "after the list": pickle.dumps([array])[:-1] + pickle.dumps(call),
        "popped": b"cos\nsystem\n(S'" + text + b"'\ntR0].",
    }


BOMBS = list(bombs(Path("marker")))


@pytest.mark.parametrize("name", BOMBS)
def test_nothing_runs(name, tmp_path):
    """Fails when `find_class` gives what it is asked for, so that the file is made, as Python's own
    reading makes it.
    """
    marker = tmp_path / "marker.npy"
    content = bombs(marker)[name]
    (tmp_path / "it.pkl").write_bytes(content)
    refused(tmp_path / "it.pkl")
    assert not marker.exists()
    with suppress(Exception):  # what comes after the call
        pickle.loads(content)
    assert marker.exists()


def test_no_way_around_find_class(tmp_path):
    """Fails with the unpickler in C, whose extension registry remembers what a name once was and
    asks nobody.
    """

    class Wall(pickle.Unpickler):
        def find_class(self, module, name):
            raise pickle.UnpicklingError(name)

    marker = tmp_path / "marker"
    text = f"touch {marker}".encode()
    copyreg.add_extension("posix", "system", 201)
    try:
        pickle.loads(b"\x80\x02\x82\xc9.")  # now it is remembered
        content = b"\x80\x02\x82\xc9U" + bytes([len(text)]) + text + b"\x85R."
        (tmp_path / "it.pkl").write_bytes(content)
        refused(tmp_path / "it.pkl", "0x82")
        assert not marker.exists()
        Wall(io.BytesIO(content)).load()
        assert marker.exists()
    finally:
        copyreg.remove_extension("posix", "system", 201)


HONEST = pickle.dumps([np.ones((2, 3), np.float16)], protocol=2)
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"


@pytest.mark.parametrize(("reason", "content"), [
    ("instruction", b"\x80\x02Pposix\n."),
    ("instruction", b"\x80\x02Nq\x00Q."),
    ("instruction", b"\x80\x02cnumpy\nndarray\n)\x81."),
    ("instruction", RECONSTRUCT + b"}X\x04\x00\x00\x00nameX\x01\x00\x00\x00xsb."),
    ("instruction", b"cnumpy\nndarray\n}X\x04\x00\x00\x00dataX\x01\x00\x00\x00xsb."),
    ("damaged", RECONSTRUCT + b"N(K\x01K\x02tb."),
    ("not an array", RECONSTRUCT + b"(cnumpy\ndtype\nK\x00\x85U\x01btR."),
    ("latin1", b"c_codecs\nencode\n(X\x01\x00\x00\x00xX\x05\x00\x00\x00rot13tR."),
    ("latin1", b"c_codecs\nencode\n(NX\x06\x00\x00\x00latin1tR."),
    ("asks for 'numpy.load'", b"cnumpy\nload\n(X\x01\x00\x00\x00xtR."),
    ("asks for 'numpy.core.multiarray.scalar'", b"cnumpy.core.multiarray\nscalar\n."),
    ("asks for '\\x1b[2J", b"c\x1b[2J\nx\n."),
    ("asks for 'aaa", b"c" + b"a" * 10_000 + b"\nx\n."),
])  # fmt: skip
def test_no_other_trick(reason, content, tmp_path):
    """Fails when persistent names, other instructions, other states or other arguments of what may
    be named come through; when what a file says is repeated at length, or as it is, to a terminal.
    """
    (tmp_path / "it.pkl").write_bytes(content)
    refused(tmp_path / "it.pkl", reason)
    with pytest.raises(SeqgenError) as caught:
        read_pickle(tmp_path / "it.pkl")
    assert len(str(caught.value)) < 300 + len(str(tmp_path))
    assert str(caught.value).isprintable()
    (tmp_path / "it.pkl").write_bytes(HONEST)
    same(read_pickle(tmp_path / "it.pkl"), [np.ones((2, 3), np.float32)])


def doubled(item: object) -> object:
    """2^60 times the item, each half one object."""
    return functools.reduce(lambda item, _: (item, item), range(60), item)


def many(data: bytes | str) -> list[Described]:
    """Arrays that share their numbers."""
    return [Described(shape=(1 << 17,), data=data) for _ in range(2000)]


GREEDY = {
    "a shape": pickle.dumps([Described(shape=(1 << 40,))]),
    "two axes of a shape": pickle.dumps([Described(shape=(1 << 62, 1 << 62))]),
    "a long number": pickle.dumps([Described(shape=(10**600, 2))]),
    "an axis to be found out": pickle.dumps([Described(shape=(-1,))]),
    "a shape of shapes": pickle.dumps([Described(shape=doubled(1))]),
    "a type of types": pickle.dumps([Described(dtype=Call(np.dtype, doubled("f2")))]),
    "types of bytes of types": pickle.dumps([Described(dtype=Described(data=doubled("<")))]),
    "numbers of numbers": pickle.dumps([Described(data=doubled(b"ab"))]),
    "bytes for many": pickle.dumps(many(bytes(1 << 18)), protocol=4),
    "text for many": pickle.dumps(many("a" * (1 << 18)), protocol=4),
    "a bytearray": b"\x80\x05\x96" + (1 << 34).to_bytes(8, "little") + b".",
    "bytes": b"\x80\x04\x8e" + (1 << 34).to_bytes(8, "little") + b".",
    "deep lists": b"]" * 200_000 + b"a" * 199_999 + b".",
    "deep tuples": b")" + b"\x85" * 200_000 + b".",
}


@pytest.mark.parametrize("name", GREEDY)
def test_memory_is_the_files(name, tmp_path):
    """Fails when what a file claims is allocated, or written out, before it is there; when many
    arrays of the same bytes each become an array; with a shape of -1, which is whatever fits.
    """
    (tmp_path / "it.pkl").write_bytes(GREEDY[name])
    tracemalloc.start()
    refused(tmp_path / "it.pkl")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20 + 250 * len(GREEDY[name])


@pytest.mark.parametrize(
    "content", [b"]r\xff\xff\xff\x03.", b"\x80\x04\x95" + (1 << 34).to_bytes(8, "little") + b"]."]
)
def test_a_place_in_the_memo_is_no_memory(content, tmp_path):
    """Fails with the unpickler in C, for which the first seven bytes are a gigabyte; when what a
    frame claims is allocated.
    """
    (tmp_path / "it.pkl").write_bytes(content)
    tracemalloc.start()
    assert read_pickle(tmp_path / "it.pkl") == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize(("reason", "content"), [
    ("empty", b""),
    ("ends too early", HONEST[:2]),
    ("damaged", HONEST[:60]),
    ("ends too early", HONEST[:-1]),
    ("exhausted", pickle.dumps([np.ones(9)], protocol=4)[:-9]),
    ("instruction 0x50", b"\x89PNG\r\n\x1a\n"),
    ("not a list", b"addition\n"),
    ("instruction", pickle.dumps({"W": np.ones(2, np.float16)})),
    ("of type Array", pickle.dumps(np.ones(2, np.float16))),
    ("of type tuple", pickle.dumps((np.ones(2, np.float16),))),
    ("array 1 is not an array but of type str", pickle.dumps([np.ones(2, np.float16), "W"])),
    ("array 0 is not an array but of type list", pickle.dumps([[np.ones(2, np.float16)]])),
    ("scalar", pickle.dumps([np.float16(1)])),
])  # fmt: skip
def test_what_is_not_a_list_of_arrays(reason, content, tmp_path):
    """Fails when half a file, another file, or another object ends in a traceback or in arrays."""
    (tmp_path / "it.pkl").write_bytes(content)
    refused(tmp_path / "it.pkl", reason)


def test_what_is_not_a_file(tmp_path):
    """Fails when the system's reason is not told."""
    refused(tmp_path, "directory")
    refused(tmp_path / "none.pkl", "No such file")


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize(("reason", "array"), [
    ("'i8'", np.arange(3)),
    ("'O8'", np.array([None, None])),
    ("'c16'", np.ones(2, complex)),
    ("'U3'", np.array(["abc"])),
    ("'b1'", np.ones(2, bool)),
    ("'V4'", np.zeros(2, [("a", "f2"), ("b", "f2")])),
    ("finite: 1 of 3", np.array([1, np.nan, 2], np.float16)),
    ("finite: 2 of 3", np.array([np.inf, 1, -np.inf], np.float32)),
    ("finite: 1 of 2", np.array([1e300, 1])),
    ("empty", np.ones((0, 3), np.float32)),
])  # fmt: skip
def test_what_no_weights_are(reason, array, protocol, tmp_path):
    """Fails when numbers of another type, none, or such as spoil all others are read, or the error
    does not say where.
    """
    content = pickle.dumps([np.ones(2, np.float16)] * 2 + [array], protocol=protocol)
    (tmp_path / "it.pkl").write_bytes(content)
    if array.dtype.names or (protocol == 2 and not array.size):
        refused(tmp_path / "it.pkl")  # before it is an array
        return
    refused(tmp_path / "it.pkl", "array 2", reason)
    with pytest.raises(SeqgenError, match=r"it.pkl: array 2 \(encoder LSTM Wh\) "):
        read_pickle(tmp_path / "it.pkl", names("peeky"))


def described(array: np.ndarray, protocol: int) -> bytes:
    return pickle.dumps([array, array.T, array[:1].copy()], protocol=protocol)


FUZZED = [
    described(a, p)
    for p in range(6)
    for a in (np.ones((2, 3), np.float16), np.full((3, 2), -2.5, ">f8"))
]


def test_any_bytes_are_arrays_or_an_error(tmp_path):
    """Fails when some flipped, lost or mixed bytes lead to another exception than ours, or to other
    than finite float32.
    """
    path = tmp_path / "it.pkl"
    edits = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4)
    cut = st.integers(0, 10_000)

    @settings(max_examples=1500, deadline=None)
    @given(st.sampled_from(FUZZED), st.sampled_from(FUZZED), edits, st.none() | st.tuples(cut, cut))
    def check(content, other, edits, splice):
        content = bytearray(content)
        for at, value in edits:
            content[at % len(content)] = value
        if splice:
            content = content[: splice[0] % len(content)] + other[splice[1] % len(other) :]
        path.write_bytes(content)
        arrays, message = [], ""
        try:
            arrays = read_pickle(path)
        except SeqgenError as error:
            message = str(error)
        assert "\n" not in message
        assert type(arrays) is list
        for array in arrays:
            assert type(array) is np.ndarray
            assert array.dtype == np.float32
            assert np.isfinite(array).all()
            assert array.size <= len(content)

    check()


# Lists that are not the model's


@pytest.mark.parametrize("model", MODELS)
def test_every_array_is_checked(model):
    """Fails when a list that is too short, too long or of wrong shapes becomes a model, or the
    error names another array, or not what it should be.
    """
    arrays = book_arrays(model)
    for wrong in (arrays[:-1], [*arrays, arrays[-1]], []):
        said = f"has {len(arrays)} arrays, and here are {len(wrong)}"
        with pytest.raises(SeqgenError, match=said):
            to_params(model, wrong)
    for number, (name, array) in enumerate(zip(names(model), arrays, strict=True)):
        for bad in (
            np.zeros((array.shape[0] + 4, *array.shape[1:]), "e"),
            np.zeros((*array.shape, 1), "e"),
            np.array(array[0]),
        ):
            with pytest.raises(SeqgenError) as caught:
                to_params(model, [*arrays[:number], bad, *arrays[number + 1 :]])
            for word in (f"array {number} ({name}) ", f"shape {bad.shape} ", f"of {array.shape}"):
                assert word in str(caught.value)
        spoilt = array.copy()
        spoilt.flat[1] = np.nan
        said = rf"array {number} \({name}\) holds .* finite: 1 of {array.size}"
        with pytest.raises(SeqgenError, match=said):
            to_params(model, [*arrays[:number], spoilt, *arrays[number + 1 :]])


def test_a_tied_matrix_is_the_embedding():
    """Fails when the second copy of the matrix is not looked at, or has to be as exact as no
    float16 is.
    """
    arrays = [np.float32(array) for array in book_arrays("better-rnnlm")]
    arrays[-2] = arrays[-2] * np.float32(1 + 2**-14)
    to_params("better-rnnlm", arrays)
    arrays[-2][3, 4] += 0.01
    with pytest.raises(SeqgenError, match=r"array 7 \(affine W\) .* array 0 \(embedding\)"):
        to_params("better-rnnlm", arrays)


def test_an_unknown_model():
    """Fails when the name's owner does not hear which names there are."""
    there = "rnnlm, better-rnnlm, baseline, peeky, attention"
    with pytest.raises(UsageError, match=f"'seq2seq'.*{there}"):
        to_params("seq2seq", book_arrays("baseline"))


PEEKY_ATTENTION = rnn_decoder.Config(D, H, inputs=("context",), outputs=("context", "dot"))
LM = rnn_language_model.Config(H, H)


@pytest.mark.parametrize(("cfg", "reason"), [
    (oracles.config(), "its baseline has decoder.embedding 7, not 9"),
    (oracles.config(encoder="gru"), "encoder.cell 'lstm', not 'gru'"),
    (oracles.config((), ("dot",), initial_state="h+c"),
     "its attention has .*initial_state 'h', not 'h\\+c'"),
    (oracles.config(("additive",)), r"decoder.inputs \(\), not \('additive',\)"),
    (oracles.config((), ("general",), width=10), r"decoder.outputs .*not \('general',\)"),
    (rnn_seq2seq.Config(rnn_encoder.Config(D, H), PEEKY_ATTENTION), "peeky"),
    (rnn_seq2seq.Config(rnn_encoder.Config(D, 10), rnn_decoder.Config(D, H)),
     "its baseline has decoder.hidden 10, not 12"),
    (replace(LM, layers=2), "its rnnlm has layers 1, not 2"),
    (replace(LM, layers=2, tied=True, cell="gru"), "its better-rnnlm has cell 'lstm', not 'gru'"),
    (replace(LM, tied=True), "its rnnlm has tied False, not True"),
    (rnn_decoder.Config(), "no seqgen.models.rnn_decoder"),
])  # fmt: skip
def test_models_that_the_book_does_not_have(cfg, reason):
    """Fails when another model's weights are written as one of the book's, or its owner does not
    hear what differs.
    """
    whole = not isinstance(cfg, rnn_decoder.Config)
    params = build(cfg, oracles.SIZES).init(jax.random.key(0)) if whole else None
    with pytest.raises(UsageError, match=reason):
        from_params(cfg, params)


def test_what_float16_does_not_have(tmp_path):
    """Fails when a large weight becomes infinite, or a file is lost in which the next one cannot be
    written.
    """
    cfg, params, _ = to_params("attention", book_arrays("attention"))
    embedding = params.encoder.embedding.at[2, 3].set(-65520.0)
    large = params._replace(encoder=params.encoder._replace(embedding=embedding))
    with pytest.raises(SeqgenError, match=r"array 0 \(encoder embedding\) holds 65520; .* 65504"):
        from_params(cfg, large)
    path, arrays = tmp_path / "it.pkl", [np.ones(3, np.float32), np.float64([1, 65504.0, -7])]
    write_pickle(path, arrays)
    for bad, reason in ((70000.0, "holds 70000"), (np.nan, "not finite: 1 of 3")):
        said = f"array 1 {reason}|array 1 holds numbers that are {reason}"
        with pytest.raises(SeqgenError, match=said):
            write_pickle(path, [arrays[0], np.array([1, bad, -7])])
        same(read_pickle(path), [np.float32(array) for array in arrays])
    assert [file.name for file in tmp_path.iterdir()] == ["it.pkl"]
    with pytest.raises(SeqgenError, match="cannot write"):
        write_pickle(path / "inside.pkl", arrays)
