#!/bin/sh
# Install designspace's wheel with Python and a C compiler into a Debian image; Dockerfile and designspace.def call it.
# The first argument is the address of an index with other builds of PyTorch, such as those for CPUs only.
set -eu
here=$(dirname "$0")
apt-get update -qq
# The compiler builds the kernels for training on CPUs, on the processor that they will run on.
apt-get install -qq -y --no-install-recommends ca-certificates python3 python3-venv gcc libc6-dev
rm -rf /var/lib/apt/lists/*
python3 -m venv /opt/designspace
pip="/opt/designspace/bin/pip install --no-cache-dir --constraint $here/constraints.txt"
[ -z "${1:-}" ] || $pip --index-url "$1" torch
$pip "$here"/*.whl
/opt/designspace/bin/designspace --version
