# Sourced by the emulation checks: Debian packages, unpacked where they are used.
#
# Packages come from the suites this machine is configured for. Nothing is installed, and of apt's own
# files only its configuration is read.

# Says why the check cannot run here, and ends it.
skip() {
    echo "skipped: $*" >&2
    exit 77
}

# use_apt FOLDER: apt with lists of both architectures of its own, in FOLDER.
use_apt() {
    command -v apt-get dpkg >/dev/null || skip "what is missing comes from Debian packages, and here is no apt"
    mkdir -p "$1"/{lists,cache/archives}/partial
    cat >"$1/apt.conf" <<END
Dir::State::lists "$1/lists";
Dir::Cache "$1/cache";
APT::Architectures {"amd64"; "arm64";};
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Debug::NoLocking "true";
END
    export APT_CONFIG=$1/apt.conf
    # A suite that fails may be one that is not needed: what is missing shows later.
    apt-get -qq update >&2 || true
}

# candidate PACKAGE: the version that would be installed; fails if there is none.
candidate() {
    apt-cache policy "$1" | sed -n 's/^  Candidate: //p' | grep -vxF '(none)'
}

# dependency PACKAGE PATTERN: the first dependency whose whole name matches.
dependency() {
    local names
    names=$(apt-cache depends "$1" 2>/dev/null | sed -n 's/^ *Depends: //p')
    grep -m1 -x "$2" <<<"$names"
}

# unpack ROOT PACKAGE…: fetches and unpacks these packages, without what they depend on.
unpack() {
    local root=$1 debs deb
    shift
    debs=$(mktemp -d)
    echo "fetching from Debian: $*" >&2
    (cd "$debs" && apt-get -qq download "$@") || skip "Debian's packages are not reachable"
    mkdir -p "$root"
    for deb in "$debs"/*.deb; do
        dpkg -x "$deb" "$root"
    done
    rm -rf "$debs"
}

# missing PACKAGE…: these packages, and what they depend on that is not installed.
missing() {
    apt-get -qq install --reinstall --no-install-recommends --print-uris "$@" |
        sed -n "s/^'[^']*' \([^_]*\)_.*/\1/p"
}
