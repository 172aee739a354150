"""Reading of YAML with numbers as in YAML 1.2, and with limits on untrusted files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from designspace.support.errors import InputError
from designspace.support.reading import read_text
from designspace.support.text import shown

MAX_YAML_BYTES = 256 << 10
"""Maximum size of a YAML file; reading it takes about 1.5 s. A recipe has 1 kB, a space with long axes 50 kB."""
MAX_YAML_VALUES = 100_000
"""Maximum number of values in a YAML file after its aliases (``*name``), which grow exponentially, are expanded."""


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text, in which ``2e6`` is a number.

    Raises:
        ValueError: the text is not YAML, nested too deeply, expands too much or repeats a key
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{where}{error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())[:200]) from None


def read_yaml(path: Path) -> Any:
    """Read a YAML file (see `parse_yaml`).

    Raises:
        RunError: the file is missing, unreadable or too large.
        InputError: the file is not YAML; the message has the line.
    """
    text = read_text(path, MAX_YAML_BYTES)
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


_INT = re.compile(r"[-+]?(0x[0-9a-fA-F]+|[0-9][0-9_]*)$")
_FLOAT = re.compile(
    r"[-+]?(([0-9][0-9_]*)?\.[0-9]+([eE][-+]?[0-9]+)?|[0-9][0-9_]*\.?[0-9]*[eE][-+]?[0-9]+|[0-9][0-9_]*\."
    r"|\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
)
_MAX_DIGITS = 400


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the numbers of YAML 1.2 (and JSON) and with limits.

    In YAML 1.1, ``2e6`` is a text, ``1:30`` is 90 and ``2001-01-01`` is a date.
    """

    def get_single_data(self) -> Any:
        node = self.get_single_node()
        if node is None:
            return None
        _check_expansion(node)
        return self.construct_document(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):
            seen: set[tuple[str, str]] = set()
            for key, _ in node.value:
                name = (key.tag, str(key.value)) if isinstance(key, yaml.ScalarNode) else None
                if name in seen:
                    problem = f"the key {shown(key.value)} occurs twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                if name is not None and key.tag != "tag:yaml.org,2002:merge":
                    seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> float:
        """Return a whole number as an int and any other number as a float."""
        text = str(self.construct_scalar(node))
        plain = text.replace("_", "")
        if len(plain) > _MAX_DIGITS:
            problem = f"a number of {len(plain):,} digits"
        elif _INT.match(text):
            return int(plain, 16) if "x" in plain else int(plain)
        elif _FLOAT.match(text):
            return float(plain.lower().replace(".inf", "inf").replace(".nan", "nan"))
        else:
            problem = f"{shown(text)} is not a number"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _resolvers() -> dict[str, list[tuple[str, Any]]]:
    """Return PyYAML's implicit resolvers by first character, with its number and date types replaced by ours."""
    replaced = ("int", "float", "timestamp")
    resolvers: dict[str, list[tuple[str, Any]]] = {
        first: [(tag, pattern) for tag, pattern in pairs if tag.rpartition(":")[2] not in replaced]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for first in "-+.0123456789":
        resolvers.setdefault(first, []).extend([("tag:yaml.org,2002:int", _INT), ("tag:yaml.org,2002:float", _FLOAT)])
    return resolvers


_Loader.yaml_implicit_resolvers = _resolvers()
for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)


def _check_expansion(root: yaml.Node) -> None:
    """Raise an error if a document is too large after its aliases are expanded, or if an alias contains itself."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            if not node.value.isascii() and any("\ud800" <= character <= "\udfff" for character in node.value):
                raise yaml.composer.ComposerError(None, None, "a text that is not Unicode", node.start_mark)
            return 1
        if id(node) in sizes:
            if not sizes[id(node)]:
                raise yaml.composer.ComposerError(
                    None, None, "an alias refers to a value that contains it", node.start_mark
                )
            return sizes[id(node)]
        sizes[id(node)] = 0
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        sizes[id(node)] = 1 + sum(map(size, parts))
        if sizes[id(node)] > MAX_YAML_VALUES:
            problem = f"its aliases (*name) expand to more than {MAX_YAML_VALUES:,} values"
            raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
        return sizes[id(node)]

    size(root)
