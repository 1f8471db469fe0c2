"""What the text of a config says, without running it."""

import ast
from typing import Any


def read_literals(text: str) -> dict[str, Any]:
    """The assignments of a config dump (``name = dict(...)``, lists, numbers, strings) as values.

    Only ``dict`` with keywords counts as a call; an assignment that holds anything else is passed over, and a text
    that is no Python gives nothing.
    """
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    values = {}
    for statement in statements:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            try:
                values[statement.targets[0].id] = _value(statement.value)
            except (ValueError, TypeError, RecursionError):
                continue
    return values


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        if getattr(node.func, 'id', '') != 'dict' or node.args or any(word.arg is None for word in node.keywords):
            raise ValueError(ast.dump(node.func))
        return {word.arg: _value(word.value) for word in node.keywords}
    if isinstance(node, ast.Dict):
        values = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:  # **
                raise ValueError('**')
            values[ast.literal_eval(key)] = _value(value)
        return values
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    return ast.literal_eval(node)
