#!/usr/bin/env bash
# install.sh installs LocalStack and DynamoDB Local, as pinned in requirements.txt and pom.xml, into the user's cache
# folder unless it did before, and prints the folder. What is missing on the machine it names, with the way to get it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tokenworker
missing=()

say() { printf 'localstack: %s\n' "$*" >&2; }

# need NAME HOW CHECK...: notes NAME and the way to get it when the check fails.
need() {
  "${@:3}" >/dev/null 2>&1 || missing+=("$1: $2")
}

python_fits() {
  python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))'
}

java_fits() {
  local version
  version=$(java -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java\.specification\.version = //p')
  [[ ${version%%.*} -ge 17 ]]
}

need "Linux" "the way without Docker reads /proc" test -r /proc/self/environ
need "flock" "on Debian: apt-get install util-linux" command -v flock
need "python3 3.11 or newer, with venv" "on Debian: apt-get install python3 python3-venv" python_fits
need "java 17 or newer" "on Debian: apt-get install openjdk-17-jre-headless" java_fits
need "mvn" "on Debian: apt-get install maven" command -v mvn
if [[ ${#missing[@]} -gt 0 ]]; then
  say "cannot run LocalStack here. Missing:"
  printf '  - %s\n' "${missing[@]}" >&2
  say "Nothing of this is needed with a Docker engine and its compose plugin, or when LOCALSTACK_ENDPOINT names a" \
    "LocalStack that runs elsewhere."
  exit 1
fi

# The name covers every input, so a changed pin is a new installation, and a finished one never changes.
version=$(cat "$here"/{install.sh,requirements.txt,pom.xml} <(python3 -V) | sha256sum | cut -c1-16)
home=$cache/localstack-$version

if [[ ! -d $home ]]; then
  mkdir -p "$cache"
  exec 9>"$home.lock"
  flock 9
fi
if [[ ! -d $home ]]; then # nor did whoever held the lock install it
  # Renamed when it is whole: what an interrupted installation leaves is never taken for a good one.
  part=$home.part
  rm -rf "$part"
  mkdir "$part"

  say "installing LocalStack from PyPI into $home (once, about 40 s)"
  python3 -m venv "$part/venv"
  "$part/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$here/requirements.txt" >&2

  say "fetching DynamoDB Local from Maven Central (once, about 60 s)"
  # Its colour codes are worth seeing with an error only.
  output=$(mvn --quiet --batch-mode --file "$here/pom.xml" -Dtarget="$part/dynamodb" \
    dependency:copy-dependencies jar:jar 2>&1) || {
    printf '%s\n' "$output" >&2
    exit 1
  }
  cp "$part"/dynamodb/DynamoDBLocal_lib/byte-buddy-agent-*.jar "$part/dynamodb/ddb-local-loader-0.1.jar"
  # Java looks the native library up by a name without a version.
  for library in "$part"/dynamodb/DynamoDBLocal_lib/libsqlite4java-*.so; do
    ln -s "$(basename "$library")" "${library%-[0-9]*}.so"
  done

  mv -T "$part" "$home"
fi
printf '%s\n' "$home"
