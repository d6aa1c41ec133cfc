#!/usr/bin/env bash
# Formats are checked, and each module and example is validated and tested with
# mocked providers. No cloud is reached. Providers come from where the CLI
# configuration says, else from what $TERRAFORM_OFFLINE sets up (a command that
# prints the path of a CLI configuration), else from the public registry.
set -euo pipefail
cd "$(dirname "$0")"

if [ ! -r "${TF_CLI_CONFIG_FILE:-${HOME:-}/.terraformrc}" ]; then
  unset TF_CLI_CONFIG_FILE
  if [ -x "${TERRAFORM_OFFLINE:=../../shared/tools/terraform-offline/install}" ]; then
    TF_CLI_CONFIG_FILE=$("$TERRAFORM_OFFLINE")
    export TF_CLI_CONFIG_FILE
  fi
fi
export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1

# A copy, so that neither lock files nor plugins stay in the source.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar --exclude=.terraform --exclude=.terraform.lock.hcl --exclude='*.tfstate*' -cf - . | tar -C "$work" -xf -
cd "$work"

terraform fmt -no-color -check -diff -recursive
one() {
  cd "$1" && echo "== $1" || return
  terraform init -no-color -backend=false -input=false >init.log 2>&1 || { cat init.log; return 1; }
  # Those of the rotation are run below, where what they make is looked at.
  terraform validate -no-color &&
    terraform test -no-color $(ls tests/*.tftest.hcl | grep -v /rotation | sed s/^/-filter=/)
}
export -f one
printf '%s\n' {,example/}{aws,gcp,azure} {aws,gcp,azure}/federation |
  xargs -P 2 -I{} bash -c 'status=0; out=$(one {} 2>&1) || status=255; echo "$out"; exit $status'

# What the permissions that are made there allow and deny, and whether the clouds
# take the values.
cd "$OLDPWD"
TERRAFORM_WORK="$work" go test -count=1 .
