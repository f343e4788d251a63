"""deploy.sh, gcloud.sh and github.sh, with stand-ins for gcloud and Terraform that write down how they are called."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

if sys.platform == "win32":
    pytest.skip("needs a POSIX shell", allow_module_level=True)

# What was made is a line in `made`; what is described has to be there.
GCLOUD = """#!/bin/sh
echo "gcloud $*" >>"$CALLS/calls"
named() { echo "$*" | sed 's/ describe / create /; s/ create-oidc / create /; s/@[^ ]*//; s/ --.*//'; }
case "$*" in
*"$(cat "$CALLS/failing")"*) exit 1 ;;
"auth print-access-token") [ -e "$CALLS/logged-in" ] ;;
"auth application-default"*) [ -e "$CALLS/logged-in" ] ;;
"config get project") [ -e "$CALLS/logged-in" ] && echo a-project || echo "(unset)" >&2 ;;
"secrets describe"*location*) cat "$CALLS/secret-region" ;;
*" describe "*) grep -qx "$(named "$*")" "$CALLS/made" ;;
"secrets versions list"*"state=ENABLED"*) cat "$CALLS/enabled" ;;
"secrets versions list"*"state=DISABLED"*) cat "$CALLS/disabled" ;;
"secrets versions add"*) cat >"$CALLS/version" && echo 1 | tee "$CALLS/enabled" ;;
"functions list"*) cat "$CALLS/regions" ;;
"functions deploy"*) echo "$*" | sed 's/.*--region=\\([^ ]*\\).*/\\1/' >"$CALLS/regions" ;;
"run services list"*) cat "$CALLS/ingress" ;;
*" create "* | *" create-oidc "*) named "$*" >>"$CALLS/made" ;;
esac
"""
TERRAFORM = """#!/bin/sh
echo "terraform $*" >>"$CALLS/calls"
[ "$1" != init ] || mkdir -p .terraform
"""
ENABLED = "gcloud services enable cloudresourcemanager.googleapis.com --project=a-project"
DEPLOYED = ["terraform init -input=false", "terraform apply -var=name=b"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("gcloud", GCLOUD), ("terraform", TERRAFORM), ("sleep", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "gcp_functions" / "terraform").mkdir(parents=True)
    for script in ("deploy.sh", "gcloud.sh", "github.sh"):
        shutil.copy(ROOT / "gcp_functions" / script, tmp_path / "gcp_functions")
    (tmp_path / "dist" / "gcp_functions").mkdir(parents=True)
    (tmp_path / "dist" / "gcp_functions" / "main.py").touch()
    for name in ("made", "logged-in", "enabled", "disabled", "regions", "ingress", "secret-region"):
        (tmp_path / name).touch()
    (tmp_path / "failing").write_text("nothing")
    return tmp_path


def run(folder: Path, script: str, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    (folder / "calls").unlink(missing_ok=True)
    environ = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "CALLS": str(folder), **environ}
    command = [shutil.which("sh") or "sh", str(folder / "gcp_functions" / script), *arguments]
    return subprocess.run(command, env=environ, cwd="/", check=False, capture_output=True, text=True, timeout=60)


def changes(folder: Path) -> list[str]:
    """Return the calls that change anything."""
    asking = ("gcloud auth", "gcloud config get", "gcloud secrets versions list")
    listing = ("gcloud functions list", "gcloud run services list")
    calls = (folder / "calls").read_text().splitlines()
    return [it for it in calls if not it.startswith(asking + listing) and " describe " not in it]


def test_first_deployment_takes_the_project_of_gcloud_and_later_ones_keep_the_variables(folder: Path) -> None:
    variables = folder / "gcp_functions" / "terraform" / "terraform.tfvars"
    assert run(folder, "deploy.sh", "-var=name=b").returncode == 0
    assert changes(folder) == [ENABLED, *DEPLOYED]
    assert variables.read_text() == 'project = "a-project"\n'

    variables.write_text('project   = "another"\nregion = "us-east1"\n')
    assert run(folder, "deploy.sh", "-var=name=b").returncode == 0
    assert changes(folder) == DEPLOYED
    (folder / "gcp_functions" / "terraform" / ".terraform").rmdir()
    assert run(folder, "deploy.sh", "-var=name=b").returncode == 0
    assert changes(folder)[0] == ENABLED.replace("a-project", "another"), "a fresh copy, with the variables of another"
    assert "us-east1" in variables.read_text()


def test_workflow_gives_the_project_by_a_variable(folder: Path) -> None:
    assert run(folder, "deploy.sh", "-var=name=b", TF_VAR_project="given").returncode == 0
    assert changes(folder) == [ENABLED.replace("a-project", "given"), *DEPLOYED]
    assert not (folder / "gcp_functions" / "terraform" / "terraform.tfvars").exists()


def test_gcloud_makes_what_is_missing_once(folder: Path) -> None:
    done = run(folder, "gcloud.sh")
    assert done.returncode == 0, done.stderr
    made = (folder / "made").read_text()
    assert made.splitlines() == [
        "iam service-accounts create dt-receiver",
        "iam service-accounts create dt-receiver-build",
        "secrets create dt-receiver-signature",
        "pubsub topics create dt-receiver-events",
        "pubsub subscriptions create dt-receiver-events",
        "firestore databases create",
        "iam roles create dt_receiver",
    ]
    secret = (folder / "version").read_text()
    assert len(secret) == 64
    (deployed,) = (it for it in changes(folder) if it.startswith("gcloud functions deploy"))
    assert "--update-secrets=DT_SIGNATURE_SECRET=dt-receiver-signature:1 " in deployed
    assert "--set-" not in deployed, "that takes away what somebody added"

    assert run(folder, "gcloud.sh").returncode == 0
    assert ((folder / "made").read_text(), (folder / "version").read_text()) == (made, secret)
    assert not any(" create " in it or " add " in it for it in changes(folder))


def deploys(folder: Path) -> str:
    (deployed,) = (it for it in changes(folder) if it.startswith("gcloud functions deploy"))
    return deployed


def test_gcloud_asks_for_the_region_and_keeps_the_settings_of_what_is_there(folder: Path) -> None:
    assert run(folder, "gcloud.sh", REGION="us-east1").returncode == 0
    assert all(it in deploys(folder) for it in ("=us-east1 ", "--memory=512Mi", "--ingress-settings=all", "THREADS=20"))
    for state, ingress in (("all", "all"), ("internal", "internal-only"), ("", None)):
        (folder / "ingress").write_text(state)
        assert run(folder, "gcloud.sh").returncode == 0
        assert "--region=us-east1 " in deploys(folder)
        assert (f"--ingress-settings={ingress} " if ingress else "--trigger-http --service") in deploys(folder)
        assert not any(it in deploys(folder) for it in ("--memory", "--concurrency", "--timeout", "THREADS"))

    done = run(folder, "gcloud.sh", REGION="europe-west1")
    assert (done.returncode, done.stderr.partition(". ")[0]) == (
        1,
        "dt-receiver is in us-east1, and REGION is europe-west1",
    )
    (folder / "regions").write_text("us-east1\neurope-west1\n")
    assert "Name one, such as REGION=us-east1\n" in run(folder, "gcloud.sh").stderr
    assert run(folder, "gcloud.sh", REGION="europe-west1").returncode == 0
    # A run that ended before it made the function.
    (folder / "regions").write_text("")
    (folder / "secret-region").write_text("us-west1\n")
    assert run(folder, "gcloud.sh").returncode == 0
    assert "--region=us-west1 " in deploys(folder)


@pytest.mark.parametrize(
    "failing", ["functions list", "secrets versions list", "state=DISABLED", "secrets versions add", "config get"]
)
def test_look_up_that_fails_deploys_nothing(folder: Path, failing: str) -> None:
    (folder / "failing").write_text(failing)
    assert run(folder, "gcloud.sh").returncode == 1
    assert "functions deploy" not in (folder / "calls").read_text()
    assert not (folder / "version").exists()


def test_look_up_of_ingress_that_fails_deploys_nothing(folder: Path) -> None:
    (folder / "regions").write_text("europe-west1\n")
    (folder / "failing").write_text("run services list")
    assert run(folder, "gcloud.sh").returncode == 1
    assert "functions deploy" not in (folder / "calls").read_text()
    (folder / "failing").write_text("nothing")
    (folder / "ingress").write_text("something-new")
    assert "--ingress-settings" in run(folder, "gcloud.sh").stderr
    assert "functions deploy" not in (folder / "calls").read_text()


def test_no_secret_is_made_where_one_is_disabled_or_openssl_fails(folder: Path) -> None:
    (folder / "disabled").write_text("3\n")
    done = run(folder, "gcloud.sh")
    assert (done.returncode, (folder / "version").exists()) == (1, False)
    assert done.stderr.endswith("gcloud secrets versions enable 3 --secret=dt-receiver-signature\n")
    (folder / "disabled").write_text("")
    for text in ("exit 1", ""):
        (folder / "openssl").write_text(f"#!/bin/sh\n{text}\n")
        (folder / "openssl").chmod(0o755)
        assert (run(folder, "gcloud.sh").returncode, (folder / "version").exists()) == (1, False)
    assert not any("functions deploy" in it for it in changes(folder))


def test_workflow_without_a_project_makes_nothing(folder: Path) -> None:
    (folder / "logged-in").unlink()
    done = run(folder, "github.sh", "repo:me/mine:environment:gcp")
    assert (done.returncode, changes(folder)) == (1, [])
    assert done.stderr.startswith("gcloud has no project")


def test_workflow_of_one_repository_is_let_in(folder: Path) -> None:
    for subject, verb in (
        ("repo:me/mine:environment:gcp", "create-oidc"),
        ("repo:me/other:environment:gcp", "update-oidc"),
    ):
        done = run(folder, "github.sh", subject)
        assert done.returncode == 0, done.stderr
        (provider,) = (it for it in changes(folder) if f" {verb} " in it)
        assert provider.endswith(f"--attribute-condition=assertion.sub == '{subject}'")
        (binding,) = (it for it in changes(folder) if "workloadIdentityUser" in it)
        assert f"/subject/{subject} " in binding
    assert len((folder / "made").read_text().splitlines()) == 3, "each once"
    assert not any(" create" in it for it in changes(folder))


@pytest.mark.parametrize("script", ["deploy.sh", "gcloud.sh"])
def test_everything_that_is_missing_is_named_at_once(folder: Path, script: str) -> None:
    shutil.rmtree(folder / "dist")
    (folder / "gcloud").unlink()
    (folder / "terraform").unlink()
    for name in ("dirname", "sh"):  # what the script itself needs, and no more
        (folder / name).symlink_to(shutil.which(name) or name)
    done = run(folder, script, PATH=str(folder))
    assert (done.returncode, done.stdout) == (1, "")
    said = [line.partition(":")[0] for line in done.stderr.splitlines()]
    assert said == {
        "deploy.sh": ["No terraform", "No gcloud"],
        "gcloud.sh": [
            "No openssl, which makes the signature secret", "dist/gcp_functions/ is not there. First", "No gcloud"
        ],
    }[script]  # fmt: skip


def test_logins_and_project_that_are_missing_are_named(folder: Path) -> None:
    (folder / "logged-in").unlink()
    done = run(folder, "deploy.sh")
    assert (done.returncode, done.stderr) == (1, "gcloud is not logged in: gcloud auth login\n")
    (folder / "gcloud").write_text('#!/bin/sh\n[ "$1 $2" = "auth print-access-token" ] || [ "$1" = config ]\n')
    done = run(folder, "deploy.sh")
    assert done.returncode == 1
    assert [line.rpartition(": ")[2] for line in done.stderr.splitlines()] == [
        "gcloud auth application-default login",
        "gcloud config set project ID",
    ]
