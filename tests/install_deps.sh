#!/usr/bin/env bash
# install_deps.sh -- installs what the Makefile looked for and did not find: `tests/install_deps.sh ZLIB STB ...`
# Debian and Ubuntu: apt-get, as root or with a sudo that asks no password; otherwise the command is printed. What is
# optional may stay missing: the build says what it does without. Only a missing compiler ends the run.
set -euo pipefail

packages=()
for missing in "$@"; do
    case $missing in
    CC) packages+=(gcc libc6-dev) ;;
    CXX) packages+=(g++) ;;
    ZLIB) packages+=(zlib1g-dev) ;;
    STB) packages+=(libstb-dev) ;;
    JPEG) packages+=(libjpeg-dev) ;;
    LAPACKE) packages+=(liblapacke-dev libopenblas-dev) ;;
    CBLAS) packages+=(libopenblas-dev) ;;
    CLANG) packages+=(clang) ;;
    FORMAT) packages+=(clang-format-14) ;;
    OPENMP) ;; # comes with the compiler
    *) echo "install_deps.sh: nothing is known about $missing" >&2; exit 2 ;;
    esac
done
compiler_missing() { [[ " $* " == *" CC "* || " $* " == *" CXX "* ]] && ! { command -v "${CC:-gcc}" && command -v "${CXX:-g++}"; } >/dev/null; }
end() { # the sentence, then whether the build can go on
    echo "$1"
    if compiler_missing "${wanted[@]}"; then
        echo "A C and a C++ compiler are needed: the build cannot go on without them."
        exit 1
    fi
    exit 0
}
wanted=("$@")
absent=()
for package in "${packages[@]}"; do
    if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ]; then
        echo "$package is installed, but not in a version that this can use."
    else
        absent+=("$package")
    fi
done
packages=("${absent[@]}")
[ ${#packages[@]} -gt 0 ] || exit 0

command="apt-get install -y ${packages[*]}"
command -v apt-get >/dev/null || end "Missing: $*. No apt-get here: install the equivalents of: ${packages[*]}"
if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    end "Missing: $*. To install: sudo $command"
fi
echo "Installing what is missing ($*): $command"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o DPkg::Lock::Timeout=120 "$@" </dev/null >>"$log" 2>&1; }
apt update -q || true # an old list may do
failed=()
if ! apt install -y -q "${packages[@]}"; then
    # one of them may not exist here: take the others
    for package in "${packages[@]}"; do apt install -y -q "$package" || failed+=("$package"); done
fi
[ ${#failed[@]} -eq 0 ] || end "Could not be installed (no network?): ${failed[*]}: $(grep -E '^E: ' "$log" | head -n 1)"
