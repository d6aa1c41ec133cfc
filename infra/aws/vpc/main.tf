# Which VPC subnets are in. It is a module of its own so that tests can say what
# EC2 would answer.

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.29, < 7"
    }
  }
}

variable "subnets" {
  description = "Subnets of one VPC."
  type        = set(string)
}

data "aws_subnet" "this" {
  for_each = var.subnets
  id       = each.value
}

output "id" {
  description = "The VPC, or null without subnets."
  value       = one(distinct([for s in data.aws_subnet.this : s.vpc_id]))
}
