"""host.json, azure.yaml and .funcignore, as data.

Not run: neither Azure's host nor azd nor Core Tools is to be had here. What is in host.json has its reason here, since
JSON has no place for one.

functionTimeout: the receiver answers within 8 seconds, and DT waits for 10, so this ends no request. It ends a worker
with a thread that hangs, and with it whatever else the worker has in hand, which DT sends again. So it is far above
what a request takes, and far below 30 minutes, the default:
https://learn.microsoft.com/azure/azure-functions/functions-host-json#functiontimeout

No extensionBundle: it holds bindings for other services. HTTP is in the host itself, and stores are written to by
Azure's SDKs: https://learn.microsoft.com/azure/azure-functions/extension-bundles

logLevel: a category has the level of the longest name that it begins with. Kept are the receiver's line of each request
(`Function.receive.User`), and the row of each in the table `requests` (`Host.Results`), which an alert looks at. Left
out is what the host says of each (`Function.receive`: "Executing", "Executed"), but its warnings and errors stay:
https://learn.microsoft.com/azure/azure-functions/configure-monitoring

samplingSettings: sampling is on by default and leaves out lines when there are many. An alert counts them.
"""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pathspec import GitIgnoreSpec

from core.receiver import DEADLINE
from tests.support.bicep import INFRA, ROOT
from tests.support.found import targets

FOLDER = ROOT / "azure_functions"
host = json.loads((FOLDER / "host.json").read_text())
FUNCTION = "receive"


def test_host_json() -> None:
    assert host == {
        "version": "2.0",
        "functionTimeout": "00:01:00",
        "extensions": {"http": {"routePrefix": ""}},
        "logging": {
            "logLevel": {
                "default": "Warning",
                "Host.Results": "Information",
                f"Function.{FUNCTION}.User": "Information",
            },
            "applicationInsights": {"samplingSettings": {"isEnabled": False}},
        },
    }


@pytest.mark.parametrize("store", ["service_bus", "storage_queue", "table"])
def test_function_name_matches_the_log_category(store: str, index: Callable[..., Any]) -> None:
    assert [function["name"] for function in index(DT_STORE=store)["functions"]] == [FUNCTION]


def test_function_timeout_is_longer_than_any_request() -> None:
    hours, minutes, seconds = map(int, host["functionTimeout"].split(":"))
    timeout = timedelta(hours=hours, minutes=minutes, seconds=seconds).total_seconds()
    assert 3 * max(DEADLINE, 10) <= timeout <= 300


def level(category: str) -> str:
    """Return the level of the longest rule that is a prefix of the category, as the host's filter does."""
    levels: dict[str, str] = host["logging"]["logLevel"]
    found = max((name for name in levels if category.startswith(name)), key=len, default="default")
    return levels[found]


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        (f"Function.{FUNCTION}.User", "Information"),
        ("Host.Results", "Information"),
        (f"Function.{FUNCTION}", "Warning"),
        ("Host.Aggregator", "Warning"),
        ("Microsoft.Azure.WebJobs.Script", "Warning"),
    ],
)
def test_log_levels_keep_the_lines_that_alerts_query(category: str, expected: str) -> None:
    assert level(category) == expected


# ---- azd -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def azd() -> Any:
    return pytest.importorskip("yaml").safe_load((FOLDER / "azure.yaml").read_text())


def test_azd_deploys_the_staged_folder(azd: Any) -> None:
    """azd joins a path above its project unchanged, in service_config.go."""
    (service,) = azd["services"].values()

    assert service == {
        "project": "../dist/azure_functions",
        "language": "python",
        "host": "function",
        "remoteBuild": True,
    }
    assert (FOLDER / service["project"]).resolve() == (ROOT / "dist" / "azure_functions").resolve()


def test_azd_provisions_infra(azd: Any) -> None:
    assert azd["infra"] == {"provider": "bicep", "path": "infra", "module": "main"}
    assert (FOLDER / azd["infra"]["path"] / f"{azd['infra']['module']}.bicep") == INFRA / "main.bicep"
    assert azd.keys() == {"name", "infra", "services", "hooks"}
    assert re.fullmatch("[a-z0-9]([a-z0-9-]*[a-z0-9])?", azd["name"])


def test_azd_never_deploys_a_stale_folder(azd: Any) -> None:
    """`azd up` packages, provisions and deploys; `azd deploy` packages without the hook of `azd package`."""
    package = {"shell": "sh", "run": "make -C .. package-azure"}
    assert azd["hooks"] == {"prepackage": package, "predeploy": package}
    assert "package-azure" in targets()


# ---- what is uploaded ------------------------------------------------------------------------------------------------

IGNORED = GitIgnoreSpec.from_lines((FOLDER / ".funcignore").read_text().splitlines())


@pytest.mark.parametrize(
    "path",
    [
        "core/__pycache__/receiver.cpython-313.pyc",
        ".venv/bin/python",
        "azure_functions_env/pyvenv.cfg",  # `azd restore` makes it
        ".azure/config.json",
        ".env",
        ".vscode/settings.json",
        ".git/config",
        "local.settings.json",
    ],
)
def test_funcignore_leaves_out_files_of_tools(path: str) -> None:
    assert IGNORED.match_file(path)


def test_funcignore_keeps_the_whole_package() -> None:
    """What tools/package.py puts there."""
    modules = [path for folder in ("core", "azure_functions") for path in (ROOT / folder).rglob("*.py")]
    staged = ["function_app.py", "host.json", "requirements.txt", "LICENSE"]
    staged += [path.relative_to(ROOT).as_posix() for path in modules]
    assert len(staged) > 20
    assert [path for path in staged if IGNORED.match_file(path)] == []
