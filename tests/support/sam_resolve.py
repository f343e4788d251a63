"""Resolves template.yaml for parameters: run by the Python that has SAM's own tools, a line of JSON in and out.

Parameters and names of resources that are known come in; resources, outputs and the rules that refuse them go out.
`sam deploy` would put the S3 address in, so we do. No managed policy is used. A reference to a resource becomes "<ID>",
and to an attribute "<ID ATTRIBUTE>": Fn::Sub would split it at a dot.
"""

import json
import sys
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from samcli.lib.intrinsic_resolver.intrinsic_property_resolver import IntrinsicResolver
from samcli.lib.intrinsic_resolver.intrinsics_symbol_table import IntrinsicsSymbolTable
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

NOTHING = "AWS::NoValue"


def kept(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: kept(it) for name, it in value.items() if it != NOTHING}
    return [kept(it) for it in value if it != NOTHING] if isinstance(value, list) else value


def resolved(template: Any, parameters: dict[str, str], known: dict[str, Any]) -> dict[str, Any]:
    names: dict[str, Any] = {"Ref": lambda name: f"<{name}>" if name in template["Resources"] else name}
    for attribute in ("Arn", "StreamArn", "QueueName", "FunctionUrl"):
        names[attribute] = lambda name, attribute=attribute: f"<{name} {attribute}>"
    for name, it in template["Parameters"].items():
        it["Default"] = parameters.get(name, str(it["Default"]))
    template["Conditions"]["Always"] = {"Fn::Equals": ["", ""]}
    symbols = IntrinsicsSymbolTable(template, {NOTHING: NOTHING, **known}, {"": {}}, names)
    sam = IntrinsicResolver(template, symbols)

    def resolve(value: Any) -> Any:
        return sam.intrinsic_property_resolver(value, False)

    def there(section: str) -> dict[str, Any]:
        found = template[section].items()
        return {name: it for name, it in found if resolve({"Fn::If": [it.get("Condition", "Always"), True, False]})}

    rules = {name: resolve(rule) for name, rule in template["Rules"].items()}
    return {
        "resources": {name: kept(resolve(it)) for name, it in there("Resources").items()},
        "outputs": {name: kept(resolve(it["Value"])) for name, it in there("Outputs").items()},
        "violated": [
            name
            for name, rule in rules.items()
            if rule["RuleCondition"] and not all(it["Assert"] for it in rule["Assertions"])
        ],
    }


def main() -> None:
    template = yaml_parse(Path(sys.argv[1]).read_text())
    template["Resources"]["Receiver"]["Properties"]["CodeUri"] = "s3://code/aws_lambda.zip"
    template = transform(template, {}, SimpleNamespace(load=dict))
    for line in sys.stdin:
        sys.stdout.write(json.dumps(resolved(deepcopy(template), *json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
