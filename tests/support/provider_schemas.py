"""The arguments that a provider of Terraform has, reduced to their names.

    python -m tests.support.provider_schemas gcp_functions/terraform WHEEL...

writes them, for the types that the folder uses, to ``tests/gcp_functions/providers/NAME-VERSION.json``. A wheel has the
bindings of a provider, made by HashiCorp for CDKTF, and by CDK Terrain for its successor: ``pip download --no-deps``
``cdktf-cdktf-provider-NAME==VERSION`` for older versions, ``cdktn-provider-NAME`` for newer ones.

An argument is true if it is required, else false; a block is an object of arguments, with ``*`` if it is required.
"""

import io
import json
import re
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from tests.support.terraform import META, ROOT, Configuration, provider_of

# By the folder of their documentation. The bindings have no ephemeral resources.
KINDS = {"resource": "resources", "data": "data-sources"}


def used(configuration: Configuration, provider: str) -> dict[str, list[Any]]:
    """Return the bodies of each type of a provider, such as ``resources/google_pubsub_topic``."""
    found: dict[str, list[Any]] = {}
    for kind, pages in KINDS.items():
        for block in configuration.files.get(kind, []):
            for quoted, names in block.items():
                of_type = quoted.strip('"')
                ours = [body for body in names.values() if provider_of(of_type, body) == provider]
                if ours:
                    found.setdefault(f"{pages}/{of_type}", []).extend(ours)
    return found


def provider_schemas(adapter: str, provider: str) -> dict[str, Any]:
    """Return the arguments of each version of a provider that is described."""
    paths = (ROOT / "tests" / adapter / "providers").glob("*.json")
    named = {path.stem.rpartition("-")[::2]: path for path in paths}
    return {version: json.loads(path.read_text()) for (name, version), path in named.items() if name == provider}


def faults(body: Any, schema: Any, where: str) -> list[str]:
    """Return what a provider refuses of a resource or a block: unknown and missing arguments."""
    blocks = [(name.strip('"'), it["content"]) for one in body.get("dynamic", []) for name, it in one.items()]
    given = [*((name, value) for name, value in body.items() if name not in META | {"dynamic"}), *blocks]
    found = [f"{where}.{name} is unknown" for name, _ in given if name not in schema]
    needed = {name for name, it in schema.items() if it is True or (isinstance(it, dict) and it.get("*"))} - {"*"}
    # A dynamic block may be none.
    found += [f"{where}.{name} is missing" for name in needed - body.keys()]
    for name, value in given:
        if isinstance(schema.get(name), dict):
            for block in value if isinstance(value, list) else [{f"{name} is a block": value}]:
                found += faults(block, schema[name], f"{where}.{name}")
        elif isinstance(value, list) and any(isinstance(it, dict) for it in value):
            found.append(f"{where}.{name} is no block")
    return found


def reduced(types: dict[str, Any], of: str) -> dict[str, Any]:
    """Return the arguments of a type of the bindings, from jsii's description of them."""
    found: dict[str, Any] = {}
    for it in types[of].get("properties", []):
        # Its name in Terraform, which few descriptions cut off.
        named = re.search(r"#(\w+) \w+#", json.dumps(it["docs"]))
        name = named[1] if named else re.sub("([A-Z])", r"_\1", it["name"]).lower()
        nested = [name for name in re.findall(r'"fqn": "([^"]+)"', json.dumps(it["type"])) if name in types]
        required = not it.get("optional", False)
        found[name] = ({"*": True} if required else {}) | reduced(types, nested[0]) if nested else required
    return found


def main(folder: str, *wheels: str) -> None:
    """Write the file of each wheel."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as files:
            (archive,) = (name for name in files.namelist() if name.endswith(".jsii.tgz"))
            with tarfile.open(fileobj=io.BytesIO(files.read(archive))) as package:
                package.extractall(temporary := tempfile.mkdtemp(), filter="data")
        types = json.loads((Path(temporary) / "package" / ".jsii").read_text())["types"]
        provider = json.loads((Path(temporary) / "package" / "package.json").read_text())["cdktf"]["provider"]
        name = provider["name"].rpartition("/")[2]
        configs: dict[str, list[str]] = {}
        for fqn, it in types.items():
            link = re.search(r"/docs/([\w-]+)/(\w+)#", json.dumps(it.get("properties", [])))
            if fqn.endswith("Config") and link:
                # Bindings of a beta have the whole name.
                of_type = link[2] if name.endswith("-beta") else f"{name}_{link[2]}"
                configs.setdefault(f"{link[1]}/{of_type}", []).append(fqn)
        # The shortest name is that of the type; the others are those of its blocks.
        types_used = used(Configuration(ROOT / folder), name)
        found = {of_type: reduced(types, min(configs[of_type], key=len)) for of_type in types_used}
        to = ROOT / "tests" / folder.split("/")[0] / "providers" / f"{name}-{provider['version']}.json"
        to.parent.mkdir(exist_ok=True)
        to.write_text(json.dumps(found, sort_keys=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
