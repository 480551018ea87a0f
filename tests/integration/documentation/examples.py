"""Examples in documentation, found and run."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parents[3]
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SECTIONS = re.compile(r"^(Args|Attributes|Returns|Raises|Yields):$", re.MULTILINE)
_INDENTED = re.compile(r"(?:^(?:    .*)?\n)*^    .*$", re.MULTILINE)


def page_blocks(page: str) -> list[str]:
    """The Python code of a page."""
    return PYTHON.findall((CHECKOUT / page).read_text())


def docstring_examples() -> Iterator[tuple[str, str]]:
    """Name and code of every example in a docstring: what is indented before its sections."""
    for path in sorted((CHECKOUT / "datalayer").rglob("*.py")):
        module = ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                told = _SECTIONS.split(ast.get_docstring(node) or "")[0]
                if found := _INDENTED.findall(told):
                    yield f"{module}:{getattr(node, 'name', '')}", textwrap.dedent("\n".join(found)).strip()


async def run(code: str, where: str, names: dict[str, Any]) -> None:
    """Run code that may await, as in a notebook."""
    compiled = compile(code, where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    ran = eval(compiled, names)  # noqa: S307 (our own documentation)
    if inspect.isawaitable(ran):
        await ran
