"""The pages' templates: one way to fill them, with the style sheet they share."""

from importlib import resources
from typing import Any

from lucency.text import t


def filled(package: str, template: str, lang: str, **values: Any) -> str:
    """Return a page that needs nothing else; in its template a name that is not given is an error.

    Args:
        package: Where the template lies.
        template: Its file; it finds ``lang``, ``t`` (a message in the page's language) and ``style`` beside the values.
        lang: ``"en"`` or ``"zh"``.
        **values: What the template asks for.
    """
    from jinja2 import DictLoader, Environment, StrictUndefined  # noqa: PLC0415  costs start-up time

    source = resources.files(package).joinpath(template).read_text(encoding="utf-8")
    style = resources.files("lucency.report").joinpath("page.css").read_text(encoding="utf-8")
    house = Environment(
        loader=DictLoader({"page": source}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def said(key: str, **given: object) -> str:
        return t(key, lang, **given)

    return house.get_template("page").render(lang=lang, t=said, style=style, **values)
