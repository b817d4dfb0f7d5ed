#!/usr/bin/env bash
# localstack.sh runs LocalStack (KMS and DynamoDB) for this checkout:
#
#   start         starts it unless it runs, waits until it is healthy and prints its endpoint
#   stop          stops it
#   with CMD...   runs CMD with LOCALSTACK_ENDPOINT set, and stops LocalStack afterwards if it did not run before; for
#                 several at once, start it first
#
# In Docker where an engine runs, else from its Python package in the user's cache folder (install.sh).
# LOCALSTACK_ENDPOINT names one that runs already: it is only checked. LOCALSTACK_PORT asks for a port; the default is
# 4566 or the next free one. Only results go to stdout.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
run=$here/.run # this checkout's state; git-ignored
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tokenworker

say() { printf 'localstack: %s\n' "$*" >&2; }

die() {
  say "$*"
  exit 1
}

# healthy URL: both services answer there.
healthy() {
  local health
  health=$(curl --fail --silent --max-time 5 "$1/_localstack/health") || return 1
  [[ $health =~ \"dynamodb\":\ *\"(running|available)\" && $health =~ \"kms\":\ *\"(running|available)\" ]]
}

# warm URL: its DynamoDB answers. It is a program of its own, started by the first request, which would take seconds.
warm() {
  curl --fail --silent --max-time 60 --output /dev/null "$1" --data '{}' \
    --header 'Content-Type: application/x-amz-json-1.0' --header 'X-Amz-Target: DynamoDB_20120810.ListTables' \
    --header 'Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0'
}

# processes prints the pids of LocalStack and of its DynamoDB, which runs in a session of its own and outlives a
# killed parent. Both carry this checkout's root in their environment and nothing else does, so a pid that belongs to
# another program by now is never signalled.
processes() {
  [[ -d /proc/self ]] || return 0
  grep --files-with-matches --no-messages --null-data --line-regexp --fixed-strings \
    "FILESYSTEM_ROOT=$run/root" /proc/[0-9]*/environ | cut -d/ -f3 || true
}

docker_runs() { docker compose version && docker info; } >/dev/null 2>&1

# compose ARGS...: one project for each checkout.
compose() {
  docker compose --project-name "tokenworker-$(cksum <<<"$here" | cut -d' ' -f1)" --file "$here/compose.yaml" "$@"
}

# running: this checkout's LocalStack is up and healthy; another one on the same port does not count.
running() {
  [[ -s $run/endpoint ]] || return 1
  [[ -n $(processes) || -n $(compose ps --quiet --status running 2>/dev/null) ]] || return 1
  healthy "$(<"$run/endpoint")"
}

stop() {
  rm -f "$run/endpoint"
  local signal pid deadline
  for signal in TERM KILL; do
    for pid in $(processes); do kill -s "$signal" "$pid" 2>/dev/null || true; done
    deadline=$((SECONDS + 5))
    while [[ -n $(processes) ]] && ((SECONDS < deadline)); do sleep 0.1; done
  done
  if docker_runs; then compose --progress quiet down --timeout 5 >&2; fi
}

# free_port prints the port to listen on.
free_port() {
  local port
  for port in ${LOCALSTACK_PORT:-$(seq 4566 4665)}; do
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      printf '%s\n' "$port"
      return
    fi
  done
  die "port ${LOCALSTACK_PORT:-4566 to 4665} is in use"
}

# await URL ALIVE...: waits until URL is healthy and writes it down; gives up when ALIVE fails or after two minutes.
# What was started does not outlive a start that fails or is interrupted.
await() {
  local deadline=$((SECONDS + 120))
  trap stop EXIT
  until healthy "$1" && warm "$1"; do
    "${@:2}" 2>/dev/null || return 1
    ((SECONDS < deadline)) || return 1
    sleep 0.2
  done
  printf '%s\n' "$1" >"$run/endpoint"
  trap - EXIT
}

start_docker() {
  local port
  port=$(free_port)
  say "starting in Docker on port $port"
  LOCALSTACK_PORT=$port compose --progress quiet up --detach >&2
  await "http://127.0.0.1:$port" true || {
    compose logs --tail 50 >&2
    die "did not become healthy; its last lines are above"
  }
}

start_native() {
  local home port java_home settings lib=$run/root/var/lib/localstack/lib
  home=$("$here/install.sh")

  # Until it is healthy: two starts must not choose the same port.
  exec 9>"$cache/localstack-start.lock"
  flock 9
  if running; then return; fi
  stop # what a killed LocalStack left, or one that hangs

  # LocalStack downloads what it does not find here.
  java_home=$(java -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java\.home = //p')
  rm -rf "$run/root"
  mkdir -p "$lib/dynamodb-local" "$lib/java"
  ln -s "$home/dynamodb" "$lib/dynamodb-local/2"
  ln -s "$java_home" "$lib/java/21"

  port=$(free_port)
  say "starting on port $port"
  mapfile -t settings < <(grep --invert-match --extended-regexp '^(#|$)' "$here/settings.env")
  # OVERRIDE_IN_DOCKER: inside any container it would take itself for its own image and write to system folders.
  # It listens on every interface all the same, whatever host GATEWAY_LISTEN names: nothing here is worth protecting.
  env "${settings[@]}" OVERRIDE_IN_DOCKER=0 FILESYSTEM_ROOT="$run/root" GATEWAY_LISTEN="127.0.0.1:$port" \
    setsid "$home/venv/bin/python" -m localstack.runtime.main >"$run/log" 2>&1 </dev/null 9>&- &
  await "http://127.0.0.1:$port" kill -0 $! || {
    tail -n 50 "$run/log" >&2
    die "did not become healthy; its last lines are above, all of them in $run/log"
  }
}

start() {
  if [[ -n ${LOCALSTACK_ENDPOINT:-} ]]; then
    healthy "$LOCALSTACK_ENDPOINT" ||
      die "no healthy LocalStack with KMS and DynamoDB at LOCALSTACK_ENDPOINT=$LOCALSTACK_ENDPOINT"
    printf '%s\n' "$LOCALSTACK_ENDPOINT"
    return
  fi
  if ! running; then
    mkdir -p "$run"
    if docker_runs; then start_docker; else start_native; fi
  fi
  cat "$run/endpoint"
}

with() {
  if [[ -z ${LOCALSTACK_ENDPOINT:-} ]] && ! running; then trap stop EXIT; fi
  LOCALSTACK_ENDPOINT=$(start)
  export LOCALSTACK_ENDPOINT

  # A process group of its own for CMD, so that a signal reaches all of it and LocalStack is stopped after its end.
  set -m
  "$@" </dev/null &
  set +m
  local command=$! status
  trap 'kill -s INT -- "-$command"' INT
  trap 'kill -s TERM -- "-$command"' TERM HUP
  while :; do # a trapped signal ends wait before the command has ended
    status=0
    wait "$command" || status=$?
    kill -0 "$command" 2>/dev/null || break
  done
  exit "$status"
}

command -v curl >/dev/null || die "curl is missing; on Debian: apt-get install curl"
case ${1:-} in
  start) start ;;
  stop) stop ;;
  with) with "${@:2}" ;;
  *) die "usage: localstack.sh start | stop | with CMD..." ;;
esac
