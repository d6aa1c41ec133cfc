#!/bin/sh
# Has Cloud Run build $BUILD, and waits until that is done. Permissions that are
# new count after a minute or two, so what is refused or fails is tried again.
set -eu
umask 077
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
# The provider's token for this, where there is one, or that of the credentials that
# the provider finds. It is asked for here, because Terraform would write it into
# its state.
token=${GOOGLE_OAUTH_ACCESS_TOKEN:-}
[ -n "$token" ] || token=$(gcloud auth application-default print-access-token)

# The token is in no argument, which others on the machine could read.
call() {
  printf 'Authorization: Bearer %s\n' "$token" |
    curl -sS -o "$answer" -w '%{http_code}' -H @- -H 'Content-Type: application/json' "$@"
}

# The first value of this name in an answer.
value() {
  grep -o "\"$1\": *\"[^\"]*\"" "$answer" | head -n 1 | cut -d '"' -f 4
}

build() {
  status=$(call -d "$BUILD" "$SUBMIT") || return 1
  # The build's own name says in which region it is, which may be another one. The
  # operation's name says none, and nothing is known by it outside of "global".
  operation=$(grep -o '"name": *"projects/[^"]*/builds/[^"]*"' "$answer" | head -n 1 | sed 's|.*/locations/\([^/]*\)/builds/\([^"]*\)"|\1/operations/\2|')
  if [ "$status" != 200 ] || [ -z "$operation" ]; then
    echo "The build is refused ($status): $(cat "$answer")" >&2
    return 1
  fi
  # Half an hour, with pauses of 10 seconds.
  left=180
  until grep -q '"done": *true' "$answer"; do
    left=$((left - 1))
    if [ "$left" = 0 ]; then
      echo "The build takes too long: $(value logUrl)" >&2
      return 1
    fi
    sleep "$PAUSE"
    status=$(call "$BUILDS/$operation") || continue
    case $status in
    200 | 429 | 5??) ;;
    *)
      echo "Nothing is told of the build ($status): $(cat "$answer")" >&2
      return 1
      ;;
    esac
  done
  if grep -q '"error": *{' "$answer"; then
    echo "The build has failed: $(value message) $(value logUrl)" >&2
    return 1
  fi
}

for attempt in 1 2 3; do
  if build; then
    exit 0
  fi
  if [ "$attempt" != 3 ]; then
    sleep "$((PAUSE * 3))"
  fi
done
exit 1
