"""heroku/deploy.sh, with a bare repository in place of Heroku's, and a stand-in for its command line."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.settings import Settings
from tests.support.processes import ROOT

if sys.platform == "win32" or not all(map(shutil.which, ("git", "make", "openssl"))):
    pytest.skip("needs a POSIX shell, git, make and openssl", allow_module_level=True)

# $STATE is the account: a file for each setting, and the repository. --app APP comes last; --shell before it.
FAKE_HEROKU = """#!/bin/sh
printf '%s\\n' "$*" >>"$STATE/calls"
case "$*" in "${FAILING:-nothing}"*) exit 1 ;; esac
case $1 in
auth:whoami) [ ! -e "$STATE/logged-out" ] && echo somebody@example.com ;;
apps:info)
    [ -e "$STATE/app.git" ] || exit 1
    echo "web_url=https://shop-dt-0123456789ab.herokuapp.com/" ;;
create) [ "$2" != taken ] && git init --quiet --bare "$STATE/app.git" ;;
addons:create) echo postgres://u:p@host/db >"$STATE/DATABASE_URL" ;;
config:get) cat "$STATE/$2" 2>/dev/null || echo ;;
config:set) printf '%s\\n' "${2#*=}" >"$STATE/${2%%=*}" ;;
git:remote)
    ln -sfn "$STATE/app.git" "$STATE/$3.git"
    git remote add heroku "$STATE/$3.git" 2>/dev/null || git remote set-url heroku "$STATE/$3.git" ;;
ps:type) [ "$2" = basic ] && echo Basic >"$STATE/dyno" || cat "$STATE/dyno" 2>/dev/null || echo "web  Eco  1" ;;
esac
"""
GIT = {f"GIT_{who}_{what}": "tests" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


class Account:
    """An account at Heroku, and persons who deploy to it, each from a checkout of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "bin" / "heroku").write_text(FAKE_HEROKU)
        (folder / "bin" / "heroku").chmod(0o755)
        # What a person's own git ignores everywhere is part of the package.
        (folder / ".config" / "git").mkdir(parents=True)
        (folder / ".config" / "git" / "ignore").write_text(".python-version\n")
        self.environ = {
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHON": sys.executable,
            "STATE": str(folder),
            "GIT_CONFIG_NOSYSTEM": "1",
        }

    def checkout(self, name: str) -> Path:
        """Return a checkout that is a repository itself, as everybody's is."""
        checkout = self.folder / name
        for folder in ("core", "heroku", "server", "tools"):
            shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("Makefile", "LICENSE", ".gitignore"):
            shutil.copy(ROOT / file, checkout)
        for command in ("init --quiet", "add --all", "commit --quiet --message outer"):
            subprocess.run(["git", *command.split()], cwd=checkout, env=self.environ | GIT, check=True)
        return checkout

    def deploy(self, checkout: Path, arguments: str = "shop-dt", **environ: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["make", "deploy-heroku", f"ARGS={arguments}"],
            cwd=checkout,
            env=self.environ | environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def must_deploy(self, checkout: Path, arguments: str = "shop-dt", **environ: str) -> str:
        done = self.deploy(checkout, arguments, **environ)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def git(self, *arguments: str, repository: str = "app.git") -> list[str]:
        command = ["git", "--git-dir", str(self.folder / repository), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    def state(self, name: str) -> str:
        return (self.folder / name).read_text().strip()


@pytest.fixture
def account(tmp_path: Path) -> Account:
    return Account(tmp_path)


def test_first_deployment_makes_everything_and_a_second_keeps_it(account: Account) -> None:
    checkout = account.checkout("mine")
    said = account.must_deploy(checkout, "shop-dt --region eu")
    assert said.endswith("Endpoint URL: https://shop-dt-0123456789ab.herokuapp.com/\n")
    secret = account.state("DT_SIGNATURE_SECRET")
    assert len(secret) == 64
    assert secret not in said
    assert Settings.load({"DT_SIGNATURE_SECRET": secret}).warnings == ()
    (plan,) = (addon["plan"] for addon in json.loads((ROOT / "heroku/app.json").read_text())["addons"])
    assert {"create shop-dt --no-remote --region eu", f"addons:create {plan} --wait --app shop-dt"} <= set(
        account.state("calls").splitlines()
    )
    assert account.state("dyno") == "Basic"
    names = {"Procfile", "requirements.txt", "app.json", ".python-version", "core", "heroku"}
    assert names <= set(account.git("ls-tree", "--name-only", "main"))

    (account.folder / "dyno").write_text("web  Standard-1X  1")
    (account.folder / "calls").unlink()
    account.must_deploy(checkout)
    (checkout / "heroku" / "worker.py").write_text("# Another\n")
    account.must_deploy(checkout)
    assert account.state("DT_SIGNATURE_SECRET") == secret
    assert {call.split()[0] for call in account.state("calls").splitlines()} == {
        *("auth:whoami", "apps:info", "git:remote", "config:get", "ps:type")
    }
    assert account.state("dyno") == "web  Standard-1X  1"
    assert len(account.git("log", "--oneline", "main")) == 2, "no commit where nothing changed"
    assert account.git("show", "main:heroku/worker.py") == ["# Another"]


def test_app_without_a_name_is_that_of_the_last_deployment_or_of_the_account(account: Account) -> None:
    account.must_deploy(account.checkout("mine"), "")
    (created,) = (call for call in account.state("calls").splitlines() if call.startswith("create "))
    name = created.split()[1]
    assert re.fullmatch("dt-receiver-[0-9a-f]{12}", name), "Heroku takes 30 characters"
    account.must_deploy(account.folder / "mine", "")
    account.must_deploy(account.checkout("another of mine"), "--region eu")
    calls = account.state("calls").splitlines()
    assert calls.count(created) == len([it for it in calls if it.startswith("create ")]) == 1
    account.must_deploy(account.folder / "mine", "shop-dt")
    account.must_deploy(account.folder / "mine", "")
    assert account.state("calls").splitlines()[-1] == "apps:info --shell --app shop-dt"


def test_name_of_the_app_survives_make_clean(account: Account) -> None:
    checkout = account.checkout("mine")
    account.must_deploy(checkout, "shop-dt")
    subprocess.run(["make", "clean"], cwd=checkout, env=account.environ, check=True, capture_output=True)
    assert not (checkout / "dist").exists()
    account.must_deploy(checkout, "")
    calls = account.state("calls").splitlines()
    assert calls[-1] == "apps:info --shell --app shop-dt"
    assert len([call for call in calls if call.startswith(("create ", "addons:create "))]) == 2
    (checkout / "var" / "heroku-app").write_text("")
    done = account.deploy(checkout, "")
    assert done.returncode != 0
    assert "var/heroku-app is empty" in done.stderr


def test_app_deployed_before_its_name_was_kept_is_the_one_pushed_to(account: Account) -> None:
    checkout = account.checkout("mine")
    account.must_deploy(checkout, "shop-dt")
    (checkout / "var" / "heroku-app").unlink()
    account.must_deploy(checkout, "")
    assert account.state("calls").splitlines()[-1] == "apps:info --shell --app shop-dt"
    assert (checkout / "var" / "heroku-app").read_text() == "shop-dt\n"


@pytest.mark.parametrize(
    "failing",
    [
        *("config:get DATABASE_URL", "config:get DT_SIGNATURE_SECRET", "config:get DT_SIGNATURE_POLICY"),
        *("git:remote", "ps:type", "apps:info --shell"),
    ],
)
def test_look_up_that_fails_ends_the_deployment(account: Account, failing: str) -> None:
    checkout = account.checkout("mine")
    account.must_deploy(checkout)
    (account.folder / "calls").unlink()
    done = account.deploy(checkout, FAILING=failing)
    assert done.returncode != 0
    assert "Endpoint URL" not in done.stdout
    calls = account.state("calls").splitlines()
    assert calls[-1].startswith(failing)
    assert not [call for call in calls if call.startswith(("addons:create", "config:set", "ps:type basic"))]


def test_everything_that_is_missing_is_named_at_once(account: Account) -> None:
    (account.folder / "logged-out").touch()
    done = account.deploy(account.checkout("mine"), "https://x")
    assert done.returncode != 0
    assert "An app has a name in a-z" in done.stderr
    assert "Not logged in to Heroku: heroku login" in done.stderr


def test_another_person_deploys_on_top(account: Account) -> None:
    account.must_deploy(account.checkout("mine"))
    (first,) = account.git("rev-parse", "main")
    other = account.checkout("theirs")
    (other / "heroku" / "worker.py").unlink()
    account.must_deploy(other)
    assert account.git("rev-parse", "main^") == [first]
    assert "heroku/worker.py" not in account.git("ls-tree", "-r", "--name-only", "main")
    account.must_deploy(account.folder / "mine")
    assert len(account.git("log", "--oneline", "main")) == 3


@pytest.mark.parametrize("environ", [{}, {"GIT_DIR": "{}/.git", "GIT_WORK_TREE": "{}"}], ids=["plain", "in a hook"])
def test_repository_around_it_stays_as_it_is(account: Account, environ: dict[str, str]) -> None:
    checkout = account.checkout("mine")
    before = account.git("for-each-ref", repository="mine/.git"), (checkout / ".git" / "config").read_text()
    account.must_deploy(checkout, **{name: value.format(checkout) for name, value in environ.items()})
    assert before == (account.git("for-each-ref", repository="mine/.git"), (checkout / ".git" / "config").read_text())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [("https://x", "An app has a name in"), ("taken", ""), ("shop-dt", "runs something else")],
)
def test_what_cannot_be_deployed_to_is_left_alone(account: Account, arguments: str, said: str) -> None:
    if arguments == "shop-dt":
        subprocess.run(["git", "init", "--quiet", "--bare", str(account.folder / "app.git")], check=True)
        work = ["git", "--git-dir", str(account.folder / "app.git"), "--work-tree", str(account.folder / "bin")]
        for command in ("symbolic-ref HEAD refs/heads/main", "add heroku", "commit --quiet --message theirs"):
            subprocess.run([*work, *command.split()], env=account.environ | GIT, check=True)
    done = account.deploy(account.checkout("mine"), arguments)
    assert done.returncode != 0
    assert said in done.stderr
    calls = account.folder / "calls"
    assert not calls.exists() or not {"addons:create", "config:set"} & set(calls.read_text().split())
    assert not (account.folder / "app.git").exists() or account.git("ls-tree", "--name-only", "main") == ["heroku"]
