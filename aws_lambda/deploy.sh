#!/bin/sh
# `sam deploy` with what aws_lambda/samconfig.toml says, which begins as a copy of the defaults. It asks once, whether to
# make the changes that it shows; in CI it does not ask.
#
#   PARAMETERS="KeepDays=30 ..." TAGS="team=facilities ..." sh aws_lambda/deploy.sh
#
# Both are kept: parameters by the stack, which uses the former value of what is not given; tags in the file, because SAM
# removes those that it is not given again.
set -eu
cd "$(dirname "$0")"

command -v sam >/dev/null || {
    echo "No SAM CLI: see aws_lambda/README.md." >&2
    exit 1
}
# A quote or a line end would break the line of samconfig.toml, and awk reads a backslash as an escape.
case ${TAGS-} in
*[\'\\]* | *"
"*)
    echo "TAGS has a character that AWS takes in no tag: use letters, digits, spaces and + - = . _ : / @" >&2
    exit 1
    ;;
esac
[ -e samconfig.toml ] || cp samconfig.defaults.toml samconfig.toml

# Put a line in the place of those that set a name, or remove these. `sam deploy --save-params` writes tags that SAM
# itself cannot read.
set_line() {
    awk -v name="$1" -v line="$2" '
        $1 == name { next }
        { print }
        line != "" && /^\[default\.deploy\.parameters\]/ { print line }' samconfig.toml >samconfig.new
    mv samconfig.new samconfig.toml
}

set -- --no-fail-on-empty-changeset
if [ -n "${PARAMETERS-}" ]; then
    # What `sam deploy --guided` saved would be deployed again next time.
    set_line parameter_overrides ''
    set -- "$@" --parameter-overrides "$PARAMETERS"
fi
[ -z "${TAGS-}" ] || set_line tags "tags = '$TAGS'"
[ -z "${CI-}" ] || set -- "$@" --no-confirm-changeset
exec sam deploy "$@"
