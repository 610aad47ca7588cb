"""Leaves of a checkpoint: their names, old ones too, what is noted of them, where they live."""

from typing import Any

import jax
import numpy as np

from seqgen.storage.files import sha256
from seqgen.types import Tree

RENAMED = {"bridge": "projection", "broken": "not_finite"}
"""Parts of leaf names in old checkpoints -> their names now."""


def describe(array: np.ndarray) -> dict[str, Any]:
    """A leaf's dtype, shape and SHA-256."""
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return {"dtype": str(array.dtype), "shape": list(array.shape), "sha256": sha256(data)}


def place(array: np.ndarray, target: Any) -> np.ndarray | jax.Array:
    """Where `target` lives; committed only if `target` is: jit would compile once more."""
    if isinstance(target, (np.ndarray, np.generic)):
        return array
    return jax.device_put(array, target.sharding if getattr(target, "committed", True) else None)


def named(tree: Tree) -> dict[str, Any]:
    """Leaves by path ("params.decoder.wx"), in the tree's order."""
    pairs = jax.tree.leaves_with_path(tree)
    found = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in pairs}
    if len(found) != len(pairs):
        raise ValueError("two leaves of the tree have the same dotted name")
    return {
        name: leaf if hasattr(leaf, "dtype") else np.asarray(leaf) for name, leaf in found.items()
    }


def renamed(name: str) -> str:
    """The name that a leaf of a checkpoint has now."""
    return ".".join(RENAMED.get(part, part) for part in name.split("."))


def all_renamed(leaves: dict[str, Any]) -> dict[str, Any]:
    """The leaves under the names that they have now."""
    return {renamed(name): leaf for name, leaf in leaves.items()}
