"""deploy/code_engine.sh where something is deployed: what it keeps, and that a look-up that fails changes nothing."""

import re

import pytest

from tests.support.ibmcloud import HOST, READY, Desk, environment

SECRET = "a signature secret, of 32 and more characters"
MY_CLOUDANT = "https://my-bluemix.cloudantnosqldb.appdomain.cloud"


@pytest.mark.parametrize("form", ["application", "function"])
def test_second_run_keeps_the_cloudant_instance_and_the_prefix(desk: Desk, form: str) -> None:
    desk.account([*READY, "cloudant", "my-cloudant"])
    first = desk.run("--form", form, "--cloudant", "my-cloudant", secret=SECRET, DT_DATABASE_PREFIX="dt")
    assert (first.returncode, first.errors) == (0, "")
    done = desk.run("--form", form)
    assert (done.returncode, done.errors) == (0, "")
    assert done.called("resource service-instance-create") == []
    assert environment(done.one(f"ce {form} update"))["DT_CLOUDANT"] == MY_CLOUDANT
    assert f"cloudant:{MY_CLOUDANT}/dt" in done.output.splitlines()


def test_another_cloudant_instance_is_used_and_named(desk: Desk) -> None:
    desk.account([*READY, "cloudant", "my-cloudant"])
    assert desk.run(secret=SECRET).returncode == 0
    done = desk.run("--cloudant", "my-cloudant")
    assert (done.returncode, done.errors) == (
        0,
        f"New events will go to {MY_CLOUDANT}; those so far stay in https://{HOST}.\n",
    )
    assert environment(done.one("ce application update"))["DT_CLOUDANT"] == MY_CLOUDANT


DEPLOYED = [*READY, "project", "secret", "cloudant", "profile", "policy", "link", "application dt-receiver"]


@pytest.mark.parametrize(
    "lookups",
    [
        ["ce project get", "resource service-instances --service-name codeengine"],
        ["ce secret get", "ce secret list"],
        ["ce application get", "ce application list"],
        ["ce application get"],
        ["resource service-instances --service-name cloudantnosqldb"],
        ["resource service-instance CLOUDANT-GUID"],
        ["iam trusted-profile ", "iam trusted-profiles"],
        ["iam trusted-profile-policies"],
    ],
    ids=lambda it: " and ".join(it),
)
def test_failed_lookup_makes_and_changes_nothing(desk: Desk, lookups: list[str]) -> None:
    desk.account([*DEPLOYED, *(f"fails {it}" for it in lookups)])
    done = desk.run(secret=SECRET)
    assert (done.returncode, bool(done.errors)) == (1, True)
    assert [it["argv"] for it in done.calls if re.search("create|update|attach", " ".join(it["argv"][:3]))] == []


def test_failed_lookup_of_a_named_cloudant_instance_makes_nothing(desk: Desk) -> None:
    desk.account([*READY, "project", "fails resource service-instance"])
    done = desk.run("--cloudant", "my-cloudant", secret=SECRET)
    assert (done.returncode, "Whether my-cloudant is there is not known" in done.errors) == (1, True)
    assert done.called("ce secret create") == done.called("resource service-instance-create") == []


def test_deployed_store_that_is_not_found_is_not_replaced(desk: Desk) -> None:
    desk.account([it for it in DEPLOYED if it != "cloudant"])
    done = desk.run(secret=SECRET)
    assert (done.returncode, f"writes to https://{HOST}" in done.errors) == (1, True)
    assert done.called("resource service-instance-create") == done.called("ce application update") == []
