# Machine images whose agents run every job in Airlock: Amazon Linux 2023 and Ubuntu 24.04, for
# x86_64 and arm64. How to use them is in docs/install.md#in-a-machine-image.
#
#   packer init images/ami
#   packer build -var distribution=al2023 -var arch=arm64 -var release=build/airlock-0.1.0-aarch64.tar.gz \
#     -var configuration=my/ -var region=eu-central-1 images/ami

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = "~> 1.2"
    }
  }
}

variable "distribution" {
  type        = string
  default     = "al2023"
  description = "The distribution: al2023 or ubuntu2404."

  validation {
    condition     = contains(["al2023", "ubuntu2404"], var.distribution)
    error_message = "Expected al2023 or ubuntu2404 as distribution."
  }
}

variable "arch" {
  type        = string
  default     = "x86_64"
  description = "The architecture: x86_64 or arm64."

  validation {
    condition     = contains(["x86_64", "arm64"], var.arch)
    error_message = "Expected x86_64 or arm64 as arch."
  }
}

variable "region" {
  type        = string
  default     = "us-east-1"
  description = "The region of the build and of the image."
}

variable "instance_type" {
  type        = string
  default     = ""
  description = "The instance of the build; by default m7i.large or m7g.large."
}

variable "release" {
  type        = string
  description = "The archive that images/ami/release has made, on this distribution and architecture."
}

variable "configuration" {
  type        = string
  description = "A directory with airlock.toml, policies/ and, if there are settings of your own, buildkite-agent.cfg without a token."
}

variable "agent_repository" {
  type        = string
  default     = ""
  description = "A repository that has the agent: a line of sources.list, or a baseurl for Amazon Linux, whose packages agent_key signs."
}

variable "agent_key" {
  type        = string
  default     = ""
  description = "The file of the key that signs this repository."
}

variable "agent_binary" {
  type        = string
  default     = ""
  description = "The agent as one binary instead. Buildkite's packages for Amazon Linux have no signature, so there it is this."
}

variable "job_image" {
  type        = string
  default     = ""
  description = "A job image that hosts are to have from their first job on. The build has to be able to pull it."
}

variable "volume_size" {
  type        = number
  default     = 100
  description = "GiB of the root volume; see docs/install.md#disk-space."
}

locals {
  # By distribution: the owner and name of the image to begin with, its user and its root device.
  owner = { al2023 = "amazon", ubuntu2404 = "099720109477" }
  name = {
    al2023     = "al2023-ami-2023.*"
    ubuntu2404 = "ubuntu/images/hvm-ssd*/ubuntu-noble-24.04-*-server-*"
  }
  user     = { al2023 = "ec2-user", ubuntu2404 = "ubuntu" }
  device   = { al2023 = "/dev/xvda", ubuntu2404 = "/dev/sda1" }
  instance = { x86_64 = "m7i.large", arm64 = "m7g.large" }
  pull     = var.job_image == "" ? "" : "--image ${var.job_image}"

  repository = var.agent_binary == "" ? var.agent_repository : ""
}

source "amazon-ebs" "airlock" {
  ami_name        = "airlock-${var.distribution}-${var.arch}-${formatdate("YYYYMMDDhhmmss", timestamp())}"
  ami_description = "Buildkite agents whose jobs run in Airlock (${var.distribution}, ${var.arch})"
  region          = var.region
  instance_type   = var.instance_type != "" ? var.instance_type : local.instance[var.arch]
  ssh_username    = local.user[var.distribution]

  source_ami_filter {
    filters = {
      architecture        = var.arch
      name                = local.name[var.distribution]
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    owners      = [local.owner[var.distribution]]
    most_recent = true
  }

  # The build's own instance. Instances of the image get theirs from the launch template.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  # Instances of the image take no version 1 of the metadata service unless somebody asks for it.
  imds_support = "v2.0"

  launch_block_device_mappings {
    device_name           = local.device[var.distribution]
    volume_size           = var.volume_size
    volume_type           = "gp3"
    iops                  = 3000
    throughput            = 125
    encrypted             = true
    delete_on_termination = true
  }

  tags = {
    Name      = "airlock-${var.distribution}-${var.arch}"
    SourceAMI = "{{ .SourceAMI }}"
  }
}

build {
  sources = ["source.amazon-ebs.airlock"]

  provisioner "file" {
    source      = var.release
    destination = "/tmp/airlock.tar.gz"
  }

  provisioner "file" {
    source      = var.agent_binary != "" ? var.agent_binary : var.agent_key
    destination = "/tmp/agent"
  }

  provisioner "shell" {
    inline = ["mkdir /tmp/configuration"]
  }

  provisioner "file" {
    source      = "${var.configuration}/"
    destination = "/tmp/configuration"
  }

  # Twice: the second run has to change nothing, or the image is not made.
  provisioner "shell" {
    remote_folder    = "/var/tmp"
    environment_vars = ["AGENT_REPOSITORY=${local.repository}", "PULL=${local.pull}"]
    execute_command  = "chmod +x {{ .Path }}; sudo env {{ .Vars }} bash {{ .Path }}"
    script           = "${path.root}/in-a-build"
  }
}
