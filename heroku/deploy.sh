#!/bin/sh
# Deploys dist/heroku/ to an app, and makes whatever the app lacks: itself, a database, a secret. It keeps what is there,
# so it can run again: after an error, for a new version, or by another person.
#
#   sh heroku/deploy.sh [APP] [OPTION OF heroku create]...
#
# Without APP it is the app of the last deployment from here, which var/heroku-app names, or else one whose name has a hash
# of your account.
set -eu

stop() {
    echo "$1" >&2
    exit 1
}

faults=''
fault() {
    echo "$1" >&2
    faults=yes
}

app=''
case ${1:-} in
"" | -*) ;;
*)
    app=$1
    shift
    ;;
esac
# All at once.
case $app in
*[!a-z0-9-]*) fault 'An app has a name in a-z, 0-9 and -: make deploy-heroku ARGS=APP' ;;
esac
for program in git openssl; do
    command -v "$program" >/dev/null || fault "No $program: install it."
done
if ! command -v heroku >/dev/null; then
    fault "No heroku: install the Heroku CLI, https://devcenter.heroku.com/articles/heroku-cli"
elif ! account=$(heroku auth:whoami 2>/dev/null); then
    fault "Not logged in to Heroku: heroku login"
fi
[ -z "$faults" ] || exit 1

# The folder's own repository by its path, because git otherwise takes the one around it. A build needs every file,
# unchanged, and no hooks or signatures of yours.
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
root=$(cd "$(dirname "$0")/.." && pwd)
package=$root/dist/heroku
own() {
    git --git-dir="$package/.git" --work-tree="$package" -c core.autocrlf=false -c core.hooksPath=/dev/null \
        -c commit.gpgSign=false -c user.name="$name" -c user.email="$email" "$@"
}
name=$(git -C "$root" config user.name || id -un)
email=$(git -C "$root" config user.email || echo receiver@localhost)
version=$(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown)

# In var/, because `make clean` removes dist/: without the name, a second app would be made.
remembered=$root/var/heroku-app
if [ -z "$app" ] && [ -e "$remembered" ]; then
    app=$(cat "$remembered")
    [ -n "$app" ] || stop "var/heroku-app is empty: say which app, make deploy-heroku ARGS=APP"
elif [ -z "$app" ]; then
    # Deployed before there was that file.
    pushed=$(own remote get-url heroku 2>/dev/null) || pushed=''
    app=$(basename "$pushed" .git)
fi
[ -n "$app" ] || app=dt-receiver-$(printf %s "$account" | git hash-object --stdin | cut -c 1-12)

heroku apps:info --app "$app" >/dev/null 2>&1 || heroku create "$app" --no-remote "$@"
mkdir -p "$root/var"
echo "$app" >"$remembered"

[ -e "$package/.git" ] || git init --quiet "$package"
own symbolic-ref HEAD refs/heads/main
(cd "$package" && heroku git:remote --app "$app" >/dev/null)

# On top of what is there, whoever pushed it: nothing is forced.
pushed=$(own ls-remote heroku refs/heads/main)
if [ "$pushed" ]; then
    own fetch --quiet heroku refs/heads/main
    own cat-file -e FETCH_HEAD:heroku/wiring.py 2>/dev/null || stop "The app $app runs something else: take another name."
    own update-ref refs/heads/main FETCH_HEAD
fi

# Assigned first: in a condition, a look-up that fails would count as nothing found, and add a second database.
database=$(heroku config:get DATABASE_URL --app "$app")
if [ -z "$database" ]; then
    heroku addons:create heroku-postgresql:essential-0 --wait --app "$app"
fi
secret=$(heroku config:get DT_SIGNATURE_SECRET --app "$app")
policy=$(heroku config:get DT_SIGNATURE_POLICY --app "$app")
if [ -z "$secret" ] && [ "$policy" != es256 ]; then
    heroku config:set DT_SIGNATURE_SECRET="$(openssl rand -base64 48)" --app "$app" >/dev/null
fi

own add --all --force
own diff --cached --quiet HEAD 2>/dev/null || own commit --quiet --message "Receiver $version"
own push heroku main

# An Eco dyno sleeps, and its start may take longer than DT waits.
dynos=$(heroku ps:type --app "$app")
if echo "$dynos" | grep -qiw eco; then
    heroku ps:type basic --app "$app"
fi
info=$(heroku apps:info --shell --app "$app")
echo "Endpoint URL: $(echo "$info" | sed -n 's/^web_url=//p')"
