"""Changes AWS's SDK in the package: what a cold start does not need is imported when it is first used.

Nothing is replaced by an empty stand-in: documentation, dates, paginators and transfers to S3 are all there. A library
that has changed, so that a later import might not be equivalent, stops the packager.
"""

import ast
from pathlib import Path

# By file: modules that it imports at its top and uses later. What it imports from a module it only calls, and of a
# module that it imports it only uses attributes.
_MODULES = {
    "boto3/docs/__init__.py": ("boto3.docs.service",),
    "boto3/docs/docstring.py": (
        "boto3.docs.action",
        "boto3.docs.attr",
        "boto3.docs.collection",
        "boto3.docs.subresource",
        "boto3.docs.waiter",
    ),
    "botocore/auth.py": ("calendar",),
    "botocore/configloader.py": ("configparser",),
    "botocore/credentials.py": ("dateutil.parser", "dateutil.tz", "subprocess"),
    "botocore/docs/__init__.py": ("botocore.docs.service",),
    "botocore/docs/docstring.py": (
        "botocore.docs.bcdoc.restdoc",
        "botocore.docs.method",
        "botocore.docs.paginator",
        "botocore.docs.waiter",
    ),
    "botocore/serialize.py": ("calendar",),
    "botocore/tokens.py": ("dateutil.tz",),
    "botocore/utils.py": ("dateutil.tz",),
    "urllib3/http2/__init__.py": ("importlib.metadata",),
}
_FUNCTION = """\
def {name}(*args, **kwargs):
    from {module} import {name} as deferred
    return deferred(*args, **kwargs)
"""
_ATTRIBUTES = """\
class _Deferred_{module}:
    def __getattr__(self, name):
        import {module}
        return getattr({module}, name)
{module} = _Deferred_{module}()
"""
# dateutil imports its own modules when they are first used.
_DATEUTIL = ("import dateutil.parser\n", "import dateutil\n")
# By file: lines, and what replaces them. The client's two errors come from operations that the package lacks.
_LINES = {
    "boto3/compat.py": (
        ("from s3transfer.manager import TransferConfig\n", ""),
        (
            "TRANSFER_CONFIG_SUPPORTS_CRT = hasattr(TransferConfig, 'UNSET_DEFAULT')\n",
            """\
def __getattr__(name):
    if name not in ('TransferConfig', 'TRANSFER_CONFIG_SUPPORTS_CRT'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from s3transfer.manager import TransferConfig
    return TransferConfig if name == 'TransferConfig' else hasattr(TransferConfig, 'UNSET_DEFAULT')
""",
        ),
    ),
    "botocore/client.py": (
        (
            """\
            f"'{self.__class__.__name__}' object has no attribute '{item}'"
""",
            """\
            f"{self.__class__.__name__} has no {item!r} in this package. If that is an operation of AWS, add it to "
            "SERVICES in tools/lambda_zip.py"
""",
        ),
        (
            """\
        actual_operation_name = self._PY_TO_OP_NAME[operation_name]
""",
            """\
        getattr(self, operation_name)
        actual_operation_name = self._PY_TO_OP_NAME[operation_name]
""",
        ),
    ),
    # It returns the class to callers, who call it.
    "botocore/compat.py": (
        ("from dateutil.tz import tzlocal\n", _FUNCTION.format(module="dateutil.tz", name="tzlocal")),
    ),
    "botocore/credentials.py": (
        _DATEUTIL,
        (
            """\
    def __init__(self, profile_name, load_config, popen=subprocess.Popen):
""",
            """\
    def __init__(self, profile_name, load_config, popen=lambda *args, **kwargs: subprocess.Popen(*args, **kwargs)):
""",
        ),
    ),
    "botocore/tokens.py": (_DATEUTIL,),
    "botocore/utils.py": (_DATEUTIL,),
}
# The libraries' licences ask for it.
_NOTICE = "# Changed by tools/lambda_sdk.py: some imports come later.\n"


class SdkError(Exception):
    """A library is not as this module expects. ``str()`` is for the user."""

    def __init__(self, file: str, what: str) -> None:
        super().__init__(f"{file}: {what} is not what tools/lambda_sdk.py expects. Compare the two; change its tables.")


def change(target: Path) -> None:
    """Change the libraries in ``target``.

    Raises:
        SdkError: A library is not as expected.
    """
    for file in sorted({*_MODULES, *_LINES}):
        path = target / file
        text = path.read_text(encoding="utf-8")
        for line, replacement in _LINES.get(file, ()):
            if text.count(f"\n{line}") != 1:
                raise SdkError(file, line.strip())
            text = text.replace(f"\n{line}", f"\n{replacement}")
        for module in _MODULES.get(file, ()):
            text = _deferred(file, text, module)
        path.write_text(_NOTICE + text, encoding="utf-8")


def _deferred(file: str, text: str, module: str) -> str:
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    imports = [node for node in tree.body if _imported(node) == module]
    if len(imports) != 1:
        raise SdkError(file, f"the import of {module}")
    (statement,) = imports
    later: list[ast.expr]
    if isinstance(statement, ast.ImportFrom):
        names = {alias.name for alias in statement.names}
        later = [node.func for node in nodes if isinstance(node, ast.Call)]
        replacement = "".join(_FUNCTION.format(module=module, name=alias.name) for alias in statement.names)
    else:
        names = {module}
        later = [node.value for node in nodes if isinstance(node, ast.Attribute)]
        replacement = _ATTRIBUTES.format(module=module)
    if any(isinstance(node, ast.Name) and node.id in names and node not in later for node in nodes):
        raise SdkError(file, f"the use of {module}")
    lines = text.splitlines(keepends=True)
    lines[statement.lineno - 1 : statement.end_lineno] = [replacement]
    return "".join(lines)


def _imported(statement: ast.stmt) -> str | None:
    """Return the one module that a statement imports, or imports from, without renaming."""
    if not isinstance(statement, ast.Import | ast.ImportFrom) or any(alias.asname for alias in statement.names):
        return None
    if isinstance(statement, ast.ImportFrom):
        return statement.module
    return statement.names[0].name if len(statement.names) == 1 else None
