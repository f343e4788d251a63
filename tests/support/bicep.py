"""Bicep, as much of it as azure_functions/infra is written in: read here, and worked out for a set of parameters.

There is no Bicep compiler to be had, and pycep-parser gives a name and a text of the same letters as the same thing. So
this is a parser of our own, of https://learn.microsoft.com/azure/azure-resource-manager/bicep/file. It takes the place
of Azure too: each resource gets an id, and what Azure alone knows is in `COMPUTED`. What neither knows is an error.

Not compiled, not validated against Azure: whether a resource has such a property, and what Azure makes of it.
"""

import base64
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "azure_functions" / "infra"

TOOLS = Path(os.environ.get("DT_AZURE_TOOLS") or ROOT / ".venv-azure" / "bin")
MISSING = f"no checkov in {TOOLS}: make azure-tools; or set DT_AZURE_TOOLS to the folder that has it"
needs_tools = pytest.mark.skipif(not (TOOLS / "checkov").exists(), reason=MISSING)

SUBSCRIPTION = "/subscriptions/s"
GROUP = f"{SUBSCRIPTION}/resourceGroups/g"

# What Azure adds to a resource, by the last part of its type.
COMPUTED: dict[str, dict[str, Any]] = {
    "sites": {"defaultHostName": "{name}.azurewebsites.net"},
    "storageAccounts": {"primaryEndpoints": {"blob": "https://{name}.blob.core.windows.net/"}},
    "userAssignedIdentities": {"clientId": "CLIENT OF {name}", "principalId": "PRINCIPAL OF {name}"},
    "vaults": {"vaultUri": "https://{name}.vault.azure.net/"},
    "components": {"ConnectionString": "CONNECTION OF {name}"},
}


class BicepError(Exception):
    """The files say something that cannot be, or that this cannot read."""


# ---- what is written -------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""(?P<skip>[ \t]+|//[^\n]*)
    |(?P<newline>\n)
    |(?P<lines>'''(?:\n)?.*?''')
    |(?P<text>'(?:\\.|[^'\\\n])*')
    |(?P<number>\d+)
    |(?P<name>[A-Za-z_]\w*)
    |(?P<sign>==|!=|<=|>=|&&|\|\||[<>!?:.,=@()\[\]{}-])""",
    re.VERBOSE | re.DOTALL,
)
_LEVELS = (("||",), ("&&",), ("==", "!="), ("<", ">", "<=", ">="))

# An expression: what it is, then its parts.
Node = tuple[Any, ...]


@dataclass
class Declared:
    """A param, var, resource, module or output."""

    kind: str
    name: str
    of: str = ""
    value: Node | None = None
    condition: Node | None = None
    existing: bool = False
    decorators: dict[str, Node | None] = field(default_factory=dict)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        place = 0
        while place < len(text):
            found = _TOKEN.match(text, place)
            if not found:
                raise BicepError(f"cannot read {text[place : place + 40]!r}")
            if found.lastgroup != "skip":
                self._tokens.append((str(found.lastgroup), found.group()))
            place = found.end()
        self._tokens.append(("end", ""))
        self._next = 0

    def _take(self, *wanted: str) -> str | None:
        """Take the next token if it is one of these signs or words."""
        kind, text = self._tokens[self._next]
        if kind in ("sign", "name") and text in wanted:
            self._next += 1
            return text
        return None

    def _need(self, wanted: str) -> None:
        if not self._take(wanted):
            raise BicepError(f"{wanted!r} is missing before {self._tokens[self._next : self._next + 4]}")

    def _a(self, wanted: str) -> str:
        kind, text = self._tokens[self._next]
        if kind != wanted:
            raise BicepError(f"{text!r} where a {wanted} should be")
        self._next += 1
        return text

    def _newlines(self) -> None:
        while self._tokens[self._next][0] == "newline":
            self._next += 1

    def statements(self) -> Iterator[Declared]:
        decorators: dict[str, Node | None] = {}
        while True:
            self._newlines()
            if self._tokens[self._next][0] == "end":
                return
            if self._take("@"):
                name = self._a("name")
                self._need("(")
                decorators[name] = None if self._take(")") else self.expression()
                if decorators[name] is not None:
                    self._need(")")
            elif self._take("targetScope"):
                self._need("=")
                yield Declared("scope", "targetScope", value=self.expression())
            else:
                declared = self._declared(self._a("name"))
                declared.decorators, decorators = decorators, {}
                yield declared
            if self._tokens[self._next][0] != "end":
                self._a("newline")

    def _declared(self, kind: str) -> Declared:
        declared = Declared(kind, self._a("name"))
        if kind in ("param", "output"):
            declared.of = self._a("name")
        elif kind in ("resource", "module"):
            declared.of = self._a("text").strip("'")
            declared.existing = bool(self._take("existing"))
        elif kind != "var":
            raise BicepError(f"no statement: {kind}")
        if kind != "param" or self._tokens[self._next] == ("sign", "="):
            self._need("=")
            if self._take("if"):
                self._need("(")
                declared.condition = self.expression()
                self._need(")")
            declared.value = self.expression()
        return declared

    def expression(self) -> Node:
        condition = self._binary(0)
        if not self._take("?"):
            return condition
        yes = self.expression()
        self._need(":")
        return ("if", condition, yes, self.expression())

    def _binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while sign := self._take(*_LEVELS[level]):
            left = ("binary", sign, left, self._binary(level + 1))
        return left

    def _unary(self) -> Node:
        if sign := self._take("!", "-"):
            return ("unary", sign, self._unary())
        value = self._primary()
        while True:
            if self._take("."):
                value = ("member", value, ("value", self._a("name")))
            elif self._take("["):
                value = ("member", value, self.expression())
                self._need("]")
            else:
                return value

    def _primary(self) -> Node:
        kind, text = self._tokens[self._next]
        self._next += 1
        match kind, text:
            case "number", _:
                return ("value", int(text))
            case "text", _:
                return _interpolated(text[1:-1])
            case "lines", _:
                return ("value", re.sub(r"\A'''\n?|'''\Z", "", text))
            case "name", "true" | "false":
                return ("value", text == "true")
            case "name", _ if self._take("("):
                arguments = []
                while not self._take(")"):
                    arguments.append(self.expression())
                    self._take(",")
                return ("call", text, arguments)
            case "name", _:
                return ("name", text)
            case "sign", "(":
                value = self.expression()
                self._need(")")
                return value
            case "sign", "[":
                return self._array()
            case "sign", "{":
                return ("object", [*self._items("}")])
        raise BicepError(f"no expression: {text!r}")

    def _array(self) -> Node:
        if not self._take("for"):
            return ("array", [*self._items("]")])
        item = self._a("name")
        self._need("in")
        source = self.expression()
        self._need(":")
        body = self.expression()
        self._need("]")
        return ("for", item, source, body)

    def _items(self, end: str) -> Iterator[Any]:
        self._newlines()
        while not self._take(end):
            if end == "]":
                yield self.expression()
            else:
                kind, text = self._tokens[self._next]
                self._next += 1
                if kind not in ("name", "text"):
                    raise BicepError(f"{text!r} where a key should be")
                self._need(":")
                yield (("value", text) if kind == "name" else _interpolated(text[1:-1])), self.expression()
            if not self._take(","):
                if self._tokens[self._next] == ("sign", end):
                    continue
                self._a("newline")
            self._newlines()


def _interpolated(text: str) -> Node:
    parts: list[Node] = []
    for plain, inner in re.findall(r"((?:\\.|(?!\$\{).)+)|\$\{([^{}]*)\}", text):
        parts.append(_Parser(inner).expression() if inner else ("value", re.sub(r"\\(.)", r"\1", plain)))
    if len(parts) == 1 and parts[0][0] == "value":
        return parts[0]
    return ("interpolated", parts) if parts else ("value", "")


def names(node: Any) -> Iterator[str]:
    """Walk what an expression refers to."""
    if isinstance(node, tuple) and node[:1] == ("name",):
        yield node[1]
    elif isinstance(node, list | tuple):
        for part in node:
            yield from names(part)


class File:
    """One file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.declared: dict[str, Declared] = {}
        self.outputs: dict[str, Declared] = {}
        for one in _Parser(path.read_text()).statements():
            into = self.outputs if one.kind == "output" else self.declared
            if one.name in into:
                raise BicepError(f"{path.name}: {one.name} is declared twice")
            into[one.name] = one

    def of_kind(self, kind: str) -> dict[str, Declared]:
        return {name: it for name, it in self.declared.items() if it.kind == kind}


# ---- what comes of it ------------------------------------------------------------------------------------------------


@dataclass
class Made:
    """A resource, as it would be sent to Azure."""

    symbol: str
    type: str
    api_version: str
    id: str
    body: dict[str, Any]
    scope: str = ""

    @property
    def name(self) -> str:
        return self.id.rpartition("/")[2]

    @property
    def properties(self) -> Any:
        return self.body["properties"]

    @property
    def as_template(self) -> dict[str, Any]:
        """What an ARM template has, into which Bicep is compiled."""
        path = self.id.removeprefix(self.scope).rpartition("/providers/")[2].split("/")[1:]
        return {"type": self.type, "apiVersion": self.api_version} | self.body | {"name": "/".join(path[1::2])}


@dataclass(frozen=True)
class _Reference:
    deployment: "Deployment"
    symbol: str


class Deployment:
    """A file, worked out for some parameters, with the modules that it uses.

    Attributes:
        resources: By symbol, those of modules as ``module.symbol``, those of loops as ``symbol[0]``.
    """

    def __init__(self, path: Path, **given: Any) -> None:
        self.file = File(path)
        self._given = given
        self._values: dict[str, Any] = {}
        parameters = self.file.of_kind("param")
        if unknown := given.keys() - parameters.keys():
            raise BicepError(f"{path.name} has no parameter {unknown}")
        for name, parameter in parameters.items():
            _check(name, parameter, self._value_of(name), lambda node: self._work_out(node, {}))

    def _module(self, name: str) -> "Deployment":
        key = f"{name} as made"
        if key not in self._values:
            module = self.file.declared[name]
            body = self._work_out(module.value, {})
            self._values[key] = Deployment(self.file.path.parent / module.of, **body["params"])
        found: Deployment = self._values[key]
        return found

    @cached_property
    def resources(self) -> dict[str, Made]:
        found: dict[str, Made] = {}
        for name, declared in self.file.of_kind("resource").items():
            if not declared.existing:
                made = self._made(name)
                several = made if isinstance(made, list) else [made]
                for place, one in enumerate(one for one in several if one):
                    found[f"{name}[{place}]" if isinstance(made, list) else name] = one
        for name in self.file.of_kind("module"):
            found |= {f"{name}.{symbol}": made for symbol, made in self._module(name).resources.items()}
        return found

    @cached_property
    def outputs(self) -> dict[str, Any]:
        return {name: self._work_out(it.value, {}) for name, it in self.file.outputs.items()}

    def _value_of(self, name: str) -> Any:
        if name not in self._values:
            if name not in self.file.declared:
                raise BicepError(f"{self.file.path.name}: nothing is called {name}")
            declared = self.file.declared[name]
            if declared.kind in ("resource", "module"):
                self._values[name] = _Reference(self, name)
            elif declared.kind == "param" and name in self._given:
                self._values[name] = self._given[name]
            elif declared.value is None:
                raise BicepError(f"{self.file.path.name} needs {name}")
            else:
                self._values[name] = self._work_out(declared.value, {})
        return self._values[name]

    def _made(self, symbol: str) -> Made | list[Made] | None:
        """Work a resource out; None where its condition does not hold."""
        key = f"{symbol} as made"
        if key not in self._values:
            declared = self.file.declared[symbol]
            if declared.condition and not self._work_out(declared.condition, {}):
                self._values[key] = None
            elif declared.value and declared.value[0] == "for":
                _, item, source, body = declared.value
                items = self._work_out(source, {})
                self._values[key] = [self._sent(declared, body, {item: it}) for it in items]
            else:
                self._values[key] = self._sent(declared, declared.value, {})
        found: Made | list[Made] | None = self._values[key]
        return found

    def _sent(self, declared: Declared, value: Any, local: dict[str, Any]) -> Made:
        of_type, _, version = declared.of.partition("@")
        body = self._work_out(value, local)
        parent, scope = body.pop("parent", None), body.pop("scope", None)
        body.pop("dependsOn", None)  # in `names`, with all else that one waits for
        for outer in (parent, scope):
            if outer is not None and not outer.deployment._made(outer.symbol):
                raise BicepError(f"{declared.name} is there, and {outer.symbol} is not")
        if parent is not None:
            above = self.file.declared[parent.symbol].of.partition("@")[0]
            if of_type.rpartition("/")[0] != above:
                raise BicepError(f"{declared.name} is no child of {parent.symbol}")
            where = f"{self._id(parent)}/{of_type.rpartition('/')[2]}/{body['name']}"
        else:
            where = f"{self._id(scope) if scope else GROUP}/providers/{of_type}/{body['name']}"
        return Made(declared.name, of_type, version, where, body, self._id(scope) if scope else "")

    def _id(self, reference: _Reference) -> str:
        """Return an id. Unlike all else it is known, and the same, whether the resource is made or not."""
        deployment, declared = reference.deployment, reference.deployment.file.declared[reference.symbol]
        of_type = declared.of.partition("@")[0]
        inside = {key[1]: value for key, value in declared.value[1]} if declared.value else {}
        name = deployment._work_out(inside["name"], {})
        if "parent" in inside:
            parent = deployment._work_out(inside["parent"], {})
            return f"{deployment._id(parent)}/{of_type.rpartition('/')[2]}/{name}"
        return f"{GROUP}/providers/{of_type}/{name}"

    def _member(self, of: Any, name: Any) -> Any:
        if not isinstance(of, _Reference):
            try:
                return of[name]
            except (LookupError, TypeError):
                raise BicepError(f"{of!r} has no {name!r}") from None
        deployment, declared = of.deployment, of.deployment.file.declared[of.symbol]
        if declared.kind == "module":
            if name != "outputs":
                raise BicepError(f"a module has no {name}")
            return deployment._module(of.symbol).outputs
        if name in ("id", "name"):
            where = deployment._id(of)
            return where if name == "id" else where.rpartition("/")[2]
        if name != "properties" or not deployment._made(of.symbol):
            raise BicepError(f"{name} of {of.symbol} is not known")
        text = json.dumps(COMPUTED[declared.of.partition("@")[0].rpartition("/")[2]])
        return json.loads(text.replace("{name}", deployment._member(of, "name")))

    def _work_out(self, node: Any, local: dict[str, Any]) -> Any:
        def at(one: Any) -> Any:
            return self._work_out(one, local)

        match node:
            case ("value", value):
                return value
            case ("name", name):
                return local[name] if name in local else self._value_of(name)
            case ("interpolated", parts):
                return "".join(_text(at(part)) for part in parts)
            case ("array", items):
                return [at(item) for item in items]
            case ("object", pairs):
                return {at(key): at(value) for key, value in pairs}
            case ("member", of, name):
                return self._member(at(of), at(name))
            case ("if", condition, yes, no):
                return at(yes if at(condition) else no)
            case ("unary", sign, value):
                return not at(value) if sign == "!" else -at(value)
            case ("binary", "||", left, right):
                return at(left) or at(right)
            case ("binary", "&&", left, right):
                return at(left) and at(right)
            case ("binary", sign, left, right):
                return _COMPARE[sign](at(left), at(right))
            case ("call", name, arguments):
                return _call(name, [at(one) for one in arguments])
        raise BicepError(f"cannot work out {node}")


_COMPARE = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    ">": lambda left, right: left > right,
    "<": lambda left, right: left < right,
    ">=": lambda left, right: left >= right,
    "<=": lambda left, right: left <= right,
}
_TYPES = {"string": str, "int": int, "bool": bool}


def _text(value: Any) -> str:
    if type(value) not in (str, int):
        raise BicepError(f"{value!r} inside a text")
    return str(value)


def _call(name: str, arguments: list[Any]) -> Any:
    match name, arguments:
        case "resourceGroup", []:
            return {"id": GROUP, "location": "norwayeast"}
        case "subscription", []:
            return {"tenantId": "t"}
        case "uniqueString", [*parts]:
            digest = hashlib.sha256("-".join(parts).encode()).digest()
            return base64.b32encode(digest).decode().lower()[:13]
        case "guid", [*parts]:
            return str(uuid.uuid5(uuid.NAMESPACE_URL, "-".join(parts)))
        case "empty", [value]:
            return not value
        case "string", [value]:
            return _text(value)
        case "union", [*objects]:
            return {key: value for one in objects for key, value in one.items()}
        case "subscriptionResourceId", [of_type, resource]:
            return f"{SUBSCRIPTION}/providers/{of_type}/{resource}"
    raise BicepError(f"no function {name} with {len(arguments)} arguments")


def _check(name: str, parameter: Declared, value: Any, work_out: Any) -> None:
    """Hold a value to its type and its decorators, as Azure does before it deploys anything."""
    limits = {key: work_out(node) for key, node in parameter.decorators.items() if node is not None}
    if type(value) is not _TYPES[parameter.of]:
        raise BicepError(f"{name} is no {parameter.of}: {value!r}")
    if "allowed" in limits and value not in limits["allowed"]:
        raise BicepError(f"{name} is none of {limits['allowed']}")
    if not limits.get("minValue", value) <= value <= limits.get("maxValue", value):
        raise BicepError(f"{name} is out of bounds: {value}")
