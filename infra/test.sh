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
for module in {,example/}{aws,gcp,azure} {aws,gcp,azure}/federation; do
  echo "== $module"
  if ! log=$(terraform -chdir="$module" init -no-color -backend=false -input=false 2>&1); then
    echo "$log" >&2
    exit 1
  fi
  terraform -chdir="$module" validate -no-color
  # Those of the rotation are run below, where what they make is looked at.
  (cd "$module" && terraform test -no-color $(ls tests/*.tftest.hcl | grep -v /rotation | sed s/^/-filter=/))
done

# What the permissions that are made there allow and deny.
cd "$OLDPWD"
TERRAFORM_WORK="$work" go test -count=1 .
