#!/bin/sh
# Publishes $PACKAGE to the app whose host for that is $HOST, as whoever `az` is
# logged in as. An app that is new is not there at once, and its identity's right to
# keep the package counts after some minutes, so what is refused is tried again.
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

while :; do
  status=$(call -H 'Content-Type: application/zip' --data-binary @"$PACKAGE" "$HOST/api/publish?RemoteBuild=false&Deployer=terraform") || status=000
  case $status in
  200 | 202) break ;;
  esac
  pause "The package is not taken ($status)"
done

# The answer is the id of the deployment, in quotes.
id=$(tr -d '"[:space:]' <"$answer")
case $id in
'' | *[!0-9A-Za-z-]*) id=latest ;;
esac
while :; do
  status=$(call "$HOST/api/deployments/$id") || status=000
  state=$(grep -o '"status": *-\{0,1\}[0-9]*' "$answer" | head -n 1 | tr -dc '0-9-')
  case $status-$state in
  200-4 | 200-6 | 202-4 | 202-6) exit 0 ;;
  # It waits, or goes on.
  200-0 | 200-1 | 200-2 | 202-* | 000-* | 404-* | 429-* | 5??-*) ;;
  *)
    echo "The package is not deployed: $(cat "$answer")" >&2
    exit 1
    ;;
  esac
  pause "The package is not deployed yet ($status)"
done
