"""What holds for the whole suite: the CPU, jax at its strictest, and a compilation cache that runs share."""

import os
from pathlib import Path

# Before jax is imported, and for every process that a test starts.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parents[1] / ".pytest_cache" / "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


@pytest.fixture(scope="session")
def book_files() -> Path:
    """The folder of the book's `addition.txt` and `date.txt`, which are not ours to commit."""
    folder = Path(os.environ.get("SEQGEN_BOOK_DATA", Path(__file__).parents[2] / "shared" / "data" / "book"))
    if not folder.is_dir():
        pytest.skip(f"the book's files are not in {folder} (SEQGEN_BOOK_DATA says where they are)")
    return folder
