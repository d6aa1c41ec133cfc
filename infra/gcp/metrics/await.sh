#!/bin/sh
# Waits until Cloud Monitoring knows each of $TYPES. It does so a minute or more
# after a metric of the log has been made, and refuses an alarm before that.
set -eu
umask 077
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
# As for builds, the token is asked for here, because Terraform would write it into
# its state.
token=${GOOGLE_OAUTH_ACCESS_TOKEN:-}
[ -n "$token" ] || token=$(gcloud auth application-default print-access-token)

# The token is in no argument, which others on the machine could read.
known() {
  status=$(printf 'Authorization: Bearer %s\n' "$token" | curl -sS -o "$answer" -w '%{http_code}' -H @- "$DESCRIPTORS/$1") && [ "$status" = 200 ]
}

# Ten minutes for all, with pauses of 10 seconds.
left=60
for type in $TYPES; do
  until known "$type"; do
    left=$((left - 1))
    if [ "$left" = 0 ]; then
      echo "Cloud Monitoring does not know $type yet ($status), so apply again: $(cat "$answer")" >&2
      exit 1
    fi
    sleep "$PAUSE"
  done
done
