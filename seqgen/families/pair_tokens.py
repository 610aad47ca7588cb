"""What vocabulary.json of a run of pairs holds."""

from dataclasses import dataclass
from typing import Any

from seqgen.config import strict_converter
from seqgen.data.padding import Padding, pair_vocabulary
from seqgen.data.pair_tokenizer import PairTokenizer
from seqgen.data.tokenizer import Vocabulary


@dataclass(frozen=True)
class Tokens:
    """The tokens of both sides, and the padding scheme; a `source_tokenizer` is another one."""

    tokenizer: Vocabulary | PairTokenizer
    padding: Padding
    source_tokenizer: PairTokenizer | None = None

    @property
    def source(self) -> Vocabulary | PairTokenizer:
        """What the ids of questions stand for."""
        return self.source_tokenizer or self.tokenizer


def unstructured(tokens: Tokens) -> dict[str, Any]:
    """What vocabulary.json has; a source's tokenizer only where it is another one."""
    content = strict_converter().unstructure(tokens)
    if tokens.source_tokenizer is None:
        del content["source_tokenizer"]
    return content


def migrated(content: dict[str, Any]) -> dict[str, Any]:
    """A vocabulary.json; one of version 1 had characters and a layout."""
    if "characters" not in content:
        return content
    layout = content["layout"]
    vocabulary = pair_vocabulary(content["characters"], layout["kind"])
    tokenizer = strict_converter().unstructure(vocabulary)
    return {"tokenizer": tokenizer, "padding": layout}
