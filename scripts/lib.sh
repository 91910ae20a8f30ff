# shellcheck shell=bash
# What the scripts share: the repository's folder, messages, root, quiet steps. Sourced, never run.

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
BUILD=$ROOT/.build
ME=${0##*/}
export LC_ALL=C.UTF-8
shopt -s inherit_errexit

say() { printf '%s: %s\n' "$ME" "$*"; }
die() { printf '%s: %s\n' "$ME" "$*" >&2; exit 1; }

# The comment at the head of a script is its help.
usage() { awk 'NR > 1 && /^#/ { sub(/^# ?/, ""); print; next } NR > 1 { exit }' "$0"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo -- "$@"
    else die "this needs root or sudo: $*"
    fi
}

# quiet LOG COMMAND...: runs it with its output in LOG; when it fails, shows the end of that and stops.
quiet() {
    local log=$1
    shift
    mkdir -p "${log%/*}"
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 40 "$log" >&2
        die "failed: $* (whole output: $log)"
    fi
}

# Waits for the lock FILE and holds it until the script ends: two builds of one tree would spoil each other.
hold_lock() {
    mkdir -p "${1%/*}"
    exec 9>"$1"
    flock -w 900 9 || die "waited 15 minutes for another run that holds $1"
}

# Writes a private apt source list for source packages of RELEASE ("" for the installed one) into folder DIR and reads it.
# The mirror is the one that this machine's own binary packages come from.
apt_src_lists() {
    local dir=$1 release=$2 keyring=/usr/share/keyrings/debian-archive-keyring.gpg signed='' uri suite
    [ -r "$keyring" ] && signed="[signed-by=$keyring] "
    mkdir -p "$dir/lists/partial"
    : >"$dir/sources.list"
    # shellcheck disable=SC2016 # apt expands the format, not the shell
    while read -r uri suite; do
        if [ -z "$release" ]; then
            printf 'deb-src %s%s %s main\n' "$signed" "$uri" "$suite"
        elif [[ $suite != *-* ]]; then
            printf 'deb-src %s%s %s main\n' "$signed" "$uri" "$release"
        fi
    done < <(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' |
             awk '$3 == "main" && $4 == "Debian" { print $1, $2 }' | sort -u) >>"$dir/sources.list"
    [ -s "$dir/sources.list" ] || die 'found no Debian mirror in the apt configuration of this machine'
    apt_src "$dir" update
}

# apt-get with that list alone.
apt_src() {
    local dir=$1
    shift
    apt-get -qq -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$dir/lists" -o APT::Sandbox::User=root "$@"
}

# apt_src_fetch DIR PACKAGE VERSION: the source package, unpacked and patched, as DIR/PACKAGE. VERSION is preferred; a
# mirror may have dropped it already or not have it yet, then the newest one that it does have is taken.
apt_src_fetch() {
    local dir=$1 package=$2 version
    for version in ${3:+"$3"} $(apt-cache -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=- \
                                    -o Dir::State::lists="$dir/lists" showsrc "$package" |
                                sed -n 's/^Version: //p' | sort -rVu); do
        rm -f "$dir/$package"_*
        (cd "$dir" && apt_src "$dir" source --download-only "$package=$version") || continue
        (cd "$dir" && dpkg-source --no-check -x "${package}_"*.dsc "$package") >/dev/null && return 0
    done
    return 1
}
