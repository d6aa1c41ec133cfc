# `make tf-lint` checks all modules and examples with this. It needs no more than
# tflint itself has.
#
# The rulesets of the providers are fetched from elsewhere. Where they can be had,
# copy this file, add
#
#   plugin "aws" {
#     enabled = true
#     version = "..."
#     source  = "github.com/terraform-linters/tflint-ruleset-aws"
#   }
#
# and the same for google and azurerm, and set TFLINT_CONFIG_FILE to the copy's whole
# path for `tflint --init` and then for make. What these rulesets know of the clouds'
# values is in the clouds' own descriptions too, which vendor_test.go asks.

plugin "terraform" {
  enabled = true
  preset  = "all"
}

# Files are named for what they make, the same in all three modules, and what is
# small is one file: a module is read from top to bottom.
rule "terraform_standard_module_structure" {
  enabled = false
}
