#!/bin/sh
# Prints the path of the Python for this project: $PYTHON if set, or else the first suitable of 3.13 (the clouds'
# version), 3.14, 3.12 and 3.11 in the usual places. Each is tested by running it: pyenv has shims for versions that are
# not installed, and Debian's Python may be unable to create environments.
#
#   tools/python.sh
#   tools/python.sh 3.11    # that version and no other
#   PYTHON=/path/to/python3.12 tools/python.sh
set -u

# Another root for the places outside the home folder; the tests of this script set it.
root=${PYTHON_SH_ROOT-}
home=${HOME-}

# If one version is required, PYTHON is ignored.
wanted=${1-}
export wanted

# Prints the interpreter's path, or on stderr why it is unsuitable.
probe='
import os, sys
version = "%d.%d" % sys.version_info[:2]
if sys.version_info < (3, 11) or os.environ["wanted"] not in ("", version):
    sys.exit("is Python " + version)
import sysconfig
if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
    sys.exit("is not the ordinary CPython, for which the requirements have binaries")
try:
    import ensurepip, sqlite3, ssl, venv
except ImportError as error:
    sys.exit("lacks the module " + str(error.name))
print(sys.executable)
'

works() {
    "$1" -I -c "$probe" </dev/null
}

if [ -n "${PYTHON-}" ] && [ -z "$wanted" ]; then
    if path=$(works "$PYTHON"); then
        printf '%s\n' "$path"
        exit 0
    fi
    echo "PYTHON=$PYTHON is not suitable. Set it to a Python 3.11 or newer with venv, sqlite3 and ssl, or unset it." >&2
    exit 1
fi

# The versions that a manager has in a folder, newest patch first: 3.13.10 before 3.13.9.
installed() {
    for folder in "$1/$2"*; do
        [ -d "$folder" ] && printf '%s\n' "${folder##*/}"
    done | sort -t . -k 3,3nr | while IFS= read -r name; do
        printf '%s\n' "$1/$name/bin/python$3"
    done
}

# Every folder of PATH, not only the first match, which may be a shim.
on_path() {
    printf '%s\n' "${PATH-}" | tr ':' '\n' | while IFS= read -r folder; do
        printf '%s\n' "${folder:-.}/$1"
    done
}

candidates() {
    version=$1
    on_path "python$version"
    installed "${PYENV_ROOT:-$home/.pyenv}/versions" "$version." "$version"
    installed "$home/.pyenv/versions" "$version." "$version"
    installed "${UV_PYTHON_INSTALL_DIR:-${XDG_DATA_HOME:-$home/.local/share}/uv/python}" "cpython-$version." "$version"
    for folder in \
        "$root/opt/homebrew/bin" "$root/opt/homebrew/opt/python@$version/bin" \
        "$root/home/linuxbrew/.linuxbrew/bin" \
        "$root/usr/local/bin" "$root/usr/local/opt/python@$version/bin" \
        "$root/opt"/*/bin "$root/opt/python/$version"*/bin \
        "$root/Library/Frameworks/Python.framework/Versions/$version/bin" \
        "$root/usr/bin"; do # deadsnakes' and Debian's
        printf '%s\n' "$folder/python$version"
    done
}

all() {
    for version in ${wanted:-3.13 3.14 3.12 3.11}; do
        candidates "$version"
    done
    on_path python3
    on_path python
}

exec 3>&1 # the answer, past the substitution that gathers what was passed over
passed_over=$(
    all 2>/dev/null | { # it may still be writing when the first good one is found
        while IFS= read -r path; do
            if ! [ -f "$path" ] || ! [ -x "$path" ]; then
                continue
            fi
            # A shim's message is long: its first line is enough.
            if found=$(works "$path" 2>&1); then
                printf '%s\n' "$found" >&3
                exit 0
            fi
            printf '  %s %s\n' "$path" "$(printf '%s\n' "$found" | sed -n 1p)"
        done
        exit 1
    }
) && exit 0

{
    echo "No suitable Python: this needs ${wanted:-3.11 or newer}, with venv, sqlite3 and ssl. Install one, then try again:"
    echo "  Debian, Ubuntu  sudo apt-get install python3 python3-venv"
    echo "  macOS           brew install python@3.13"
    echo "  Windows         wsl --install, then as on Debian, inside"
    echo "Or name the one to use: make run PYTHON=/path/to/python3"
    if [ -n "$passed_over" ]; then
        printf 'Passed over:\n%s\n' "$passed_over" | awk '!seen[$0]++'
    fi
} >&2
exit 1
