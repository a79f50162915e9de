"""Examples of docstrings (>>> ...) are shown as code; mkdocstrings would take them for quotations."""

import re

import griffe


class Examples(griffe.Extension):
    """Puts a fence about every run of example lines, from >>> to the next empty line."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        """Of one module, class or function."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"(?ms)^>>> .*?(?=\n\n|\Z)", r"```pycon\n\g<0>\n```", obj.docstring.value)
