"""The documentation site: the READMEs as they stand, and every docstring of seqgen.

Command   make docs      (python -m experiments.site; into build/docs, which git ignores)
"""

import re
import shutil
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from posixpath import normpath
from types import ModuleType
from typing import Any

import jinja2
import tyro
from pdoc import render
from pdoc.doc import Class, Module
from pdoc.render_helpers import to_markdown_with_context

ROOT = Path(__file__).parents[1]

PAGES = {
    "index": "README.md",
    "contributing": "CONTRIBUTING.md",
    "experiments": "experiments/README.md",
    "notebooks": "notebooks/README.md",
    **{
        f"data-{card.parent.name}": f"data/{card.parent.name}/README.md"
        for card in sorted(ROOT.glob("data/*/README.md"))
    },
    "changelog": "CHANGELOG.md",
}
"""A page's name -> the file that it shows."""

TEMPLATE = """
{% extends "default/module.html.jinja2" %}
{% set name = module.modulename %}
{% set up = "../" * name.count(".") %}
{% block title %}{{ "seqgen" if name == "index" else name }}{% endblock %}
{% block style %}
    {{ super() }}
    <style>
        main.pdoc { max-width: 1200px; }
        main.pdoc img { max-width: 100%; }
        main.pdoc table { display: block; overflow-x: auto; font-size: 0.9em; }
        main.pdoc .pdoc-code .param { white-space: pre-wrap; }
    </style>
{% endblock %}
{% block module_list_link %}{% endblock %}
{% block nav_title %}<a href="{{ up }}index.html"><h2>seqgen</h2></a>{% endblock %}
{% block nav_submodules %}
    <h2>Modules</h2>
    <ul>
    {% for each in all_modules if each not in pages %}
        {% set parent, _, last = each.rpartition(".") %}
        {% if each.count(".") < 2 or (name + ".").startswith(parent + ".") %}
            <li style="padding-left: {{ each.count(".") }}em">
                <a href="{{ up }}{{ each.replace(".", "/") }}.html">{{ last }}</a>
            </li>
        {% endif %}
    {% endfor %}
    </ul>
    <h2>Pages</h2>
    <ul>
    {% for page in pages %}
        <li><a href="{{ up }}{{ page }}.html">{{ "README" if page == "index" else page }}</a></li>
    {% endfor %}
    </ul>
{% endblock %}
{% block attribution %}{% endblock %}
{% defaultmacro module_name() %}
    {% if module.modulename not in pages %}
        <h1 class="modulename">{{ module.modulename }}</h1>
    {% endif %}
{% enddefaultmacro %}
"""


def documented(name: str) -> Module:
    """A module, without what Python itself says of the fields of NamedTuples.

    What jax has wrapped is documented as the function that it is.
    """
    found = import_module(name)
    for key, value in vars(found).items():
        if hasattr(value, "__wrapped__") and not isinstance(value, type):
            setattr(found, key, value.__wrapped__)
    module = Module(found)
    for each in module.flattened_own_members:
        for member in each.own_members if isinstance(each, Class) else ():
            if member.docstring.startswith("Create new instance of "):
                member.docstring = "@private"
            elif member.docstring.startswith("Alias for field number "):
                member.docstring = ""
    return module


def page(name: str, file: str, out: Path) -> Module:
    """A Markdown file as a page: links lead to the site's pages, pictures are copied.

    Args:
        name: the page's.
        file: its path in the checkout.
        out: the site's folder.

    Raises:
        ValueError: for a link to what is not there.

    """
    there = {path: f"{each}.html" for each, path in PAGES.items()}

    def led(link: re.Match) -> str:
        picture, text, target, anchor = link.groups(default="")
        if "://" in target or not target:
            return link[0]
        path = normpath(Path(file).parent / target)
        path = f"{path}/README.md" if (ROOT / path / "README.md").exists() else path
        if not (ROOT / path).exists():
            raise ValueError(f"{file} links to {target}, which is not there")
        if picture:
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, out / path)
            return f"![{text}]({path})"
        return f"[{text}]({there[path]}{anchor})" if path in there else text

    text = re.sub(r"<!-- .* -->\n", "", (ROOT / file).read_text(encoding="utf-8"))
    link = r"(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)"
    return Module(ModuleType(name, re.sub(link, led, text)))


def preformatted(docstring: str) -> str:
    """Markdown in which equations, trees and lists of signatures keep their lines."""

    def kept(block: str) -> str:
        lines = block.splitlines()
        aligned = any(re.search(r"\S {2,}\S", line) for line in lines)
        signatures = len(lines) > 1 and re.match(r"\w+\(.*?\)(:| ->) ", block)
        if lines and not lines[0].startswith(("|", " ", "`")) and (aligned or signatures):
            return "\n".join(f"    {line}" for line in lines)
        return block if block.startswith("    ") else re.sub(r"\*(?=[A-Z])", r"\\*", block)

    return "\n\n".join(map(kept, docstring.split("\n\n")))


@jinja2.pass_context
def to_markdown(context: jinja2.runtime.Context, docstring: str) -> str:
    """As pdoc's, with `preformatted`; a README is Markdown already."""
    if context["module"].modulename in PAGES:
        return docstring
    return to_markdown_with_context(context, preformatted(docstring))


DOT = r"(?:</span><span class=\"o\">)?\.(?:</span><span class=\"n\">)?"
LIBRARIES = (
    rf"\b(?:jax{DOT})?(?:jaxtyping|jaxlib{DOT}_jax|typing|collections{DOT}abc){DOT}(?=[A-Z])"
)
"""What stands before a type in annotations, and says nothing to a reader."""


def main(out: Path = ROOT / "build" / "docs") -> None:
    """Write the site.

    Args:
        out: its folder, which is made anew.

    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    names = ["seqgen", *(each.name for each in walk_packages([str(ROOT / "seqgen")], "seqgen."))]
    every = {name: documented(name) for name in names if name != "seqgen.__main__"}
    every |= {name: page(name, file, out) for name, file in PAGES.items()}
    render.configure(docformat="google")
    assert render.env.loader
    own = jinja2.DictLoader({"module.html.jinja2": TEMPLATE})
    render.env.loader = jinja2.ChoiceLoader([own, render.env.loader])
    template_globals: dict[str, Any] = render.env.globals
    template_globals["pages"] = PAGES
    render.env.filters["to_markdown"] = to_markdown
    for name, module in every.items():
        path = out / f"{name.replace('.', '/')}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        html = re.sub(LIBRARIES, "", render.html_module(module, every))
        path.write_text(html, encoding="utf-8")
    (out / "search.js").write_text(render.search_index(every), encoding="utf-8")
    print(f"{len(every)} pages: {out / 'index.html'}")


if __name__ == "__main__":
    tyro.cli(main)
