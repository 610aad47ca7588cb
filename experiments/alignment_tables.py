"""Where attention looks, beside where it should, as Markdown tables."""

from experiments.markdown import interval, table
from experiments.records import load
from seqgen.evaluation.statistics import wilson

CLASSES = ("all", "year", "day", "month", "month word")
"""Of characters, scored."""

APART = ("implied-zero", "century", "separator")
"""Of those without one right place."""

SCORES = {
    "mass": "mass on gold",
    "hit": "hit@1",
    "near": "within one",
    "error_rate": "AER",
    "entropy": "entropy, nats",
}
"""A field of a score -> its column."""


def alignment_table() -> str:
    """Scores by class of character, over seeds; hit@1 of uniform attention is chance."""
    rows = []
    for name, model in load("alignment")["models"].items():
        for label in (*CLASSES, *APART):
            seeds = [seed["trained"][label] for seed in model["seeds"].values()]
            fields = [
                interval((seed[field] for seed in seeds), 3) if field in seeds[0] else ""
                for field in SCORES
            ]
            chance = model["controls"]["uniform"][label].get("hit")
            rows.append([name, label, *fields, "" if chance is None else f"{chance:.3f}"])
    return table(["attention", "class", *SCORES.values(), "chance of a hit"], rows)


def book_weights_table() -> str:
    """The model of dates that the book gives away: its answers, and where it looks."""
    model = load("book_weights")["models"]["attention"]
    right = wilson(round(model["exact_match"] * model["examples"]), model["examples"])
    looks = model["alignment"]["trained"]
    rows = [
        [SCORES[field], *(f"{looks[label][field]:.3f}" for label in CLASSES)]
        for field in ("hit", "near")
    ]
    ends = f"{100 * right.low:.2f}-{100 * right.high:.2f}"
    answers = f"exact match {100 * model['exact_match']:.2f} % ({ends})"
    return table([answers, *CLASSES], rows)


def controls_table() -> str:
    """What the scores say of attention that is none, or that knows all.

    Over all classes but those apart.
    """
    rows = []
    for name, model in load("alignment")["models"].items():
        known = {kind: model["controls"][kind]["all"] for kind in ("oracle", "uniform")}
        rows += [
            [name, kind, *(f"{scores[field]:.3f}" for field in SCORES)]
            for kind, scores in known.items()
        ]
        seeds = [seed["shuffled"]["all"] for seed in model["seeds"].values()]
        fields = [interval((seed[field] for seed in seeds), 3) for field in SCORES]
        rows.append([name, "shuffled", *fields])
    return table(["attention", "control", *SCORES.values()], rows)


def blinded_table() -> str:
    """How often the character changes that is written without a look at one position."""
    rows = []
    for name, model in load("alignment")["models"].items():
        seeds = [seed["changed"] for seed in model["seeds"].values()]
        shares = [interval(100 * seed[kind] for seed in seeds) for kind in ("looked_at", "random")]
        rows.append([name, *shares])
    header = ["the position most looked at is hidden", "another one is hidden"]
    return table(["character written changes, % of", *header], rows)


def places_table() -> str:
    """By place in the answer: hit@1, within one character, and changes without that look."""
    models, columns = load("alignment")["models"], {**SCORES, "changed": "changes when hidden"}
    missed = next(iter(models.values()))["controls"]["not_most_frequent"]
    shares = [f"{100 * share:.1f}" for share in missed]
    rows = [["is not the most frequent character, %", *shares]]
    for name, model in models.items():
        for field in ("hit", "near", "changed"):
            seeds = [seed["by_place"][field] for seed in model["seeds"].values()]
            places = [[100 * value for value in place] for place in zip(*seeds, strict=True)]
            cells = [interval(place, 1) for place in places]
            rows.append([f"{name}: {columns[field]}, %", *cells])
    return table(["", "Y", "Y", "Y", "Y", "M", "M", "D", "D"], rows)


def delay_table() -> str:
    """Where the largest weight is, by how far the encoder has read on since the right place."""
    rows = []
    for name, model in load("alignment")["models"].items():
        seeds = [seed["by_delay"] for seed in model["seeds"].values()]
        shares = [interval((100 * seed[delay] for seed in seeds), 1) for delay in seeds[0]]
        rows.append([name, *shares])
    late = ["1 late", "2 late", "3 late", "later"]
    return table(["looks, % of", "not read yet", "its own state", *late], rows)
