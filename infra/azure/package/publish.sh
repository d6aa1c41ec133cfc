#!/bin/sh
# Publishes $PACKAGE to the app whose host for that is $HOST, as whoever `az` is
# logged in as, and waits for the function at $FUNCTION, if that is given. An app
# that is new is not there at once, and its identity's right to keep the package
# counts after some minutes, so what is refused or fails is tried again.
set -eu
umask 077
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
token=$(az account get-access-token --query accessToken --output tsv)

# The token is in no argument, which others on the machine could read.
call() {
  printf 'Authorization: Bearer %s\n' "$token" | curl -sS -o "$answer" -w '%{http_code}' -H @- "$@"
}

# Half an hour, with pauses of 10 seconds.
left=180
pause() {
  left=$((left - 1))
  if [ "$left" = 0 ]; then
    echo "$1: $(cat "$answer")" >&2
    exit 1
  fi
  sleep "$PAUSE"
}

publish() {
  until status=$(call -H 'Content-Type: application/zip' --data-binary @"$PACKAGE" "$HOST/api/publish?RemoteBuild=false&Deployer=terraform") &&
    { [ "$status" = 200 ] || [ "$status" = 202 ]; }; do
    pause "The package is not taken ($status)"
  done
  # The answer is the id of the deployment, in quotes.
  id=$(tr -d '"[:space:]' <"$answer")
  case $id in
  '' | *[!0-9A-Za-z-]*) id=latest ;;
  esac
}

# Waits for the end of a deployment, which is in the answer then.
deployed() {
  while :; do
    status=$(call "$HOST/api/deployments/$id") || status=000
    state=$(grep -o '"status": *-\{0,1\}[0-9]*' "$answer" | head -n 1 | tr -dc '0-9-')
    case $status-$state in
    200-4 | 200-6 | 202-4 | 202-6) return 0 ;;
    # It waits, or goes on.
    200-0 | 200-1 | 200-2 | 202-* | 000-* | 404-* | 429-* | 5??-*) ;;
    200-*) return 1 ;;
    *)
      echo "Nothing is told of the deployment ($status): $(cat "$answer")" >&2
      exit 1
      ;;
    esac
    pause "The package is not deployed yet ($status)"
  done
}

# An app that may not keep the package yet takes it, and then fails to deploy it.
tries=10
publish
until deployed; do
  tries=$((tries - 1))
  if [ "$tries" = 0 ]; then
    echo "The package is not deployed: $(cat "$answer")" >&2
    exit 1
  fi
  sleep "$((PAUSE * 6))"
  publish
done

# Event Grid asks Azure for the function, which hears of it from the app.
if [ -n "$FUNCTION" ]; then
  until status=$(call "$FUNCTION") && [ "$status" = 200 ]; do
    pause "The function is not there yet ($status)"
  done
fi
