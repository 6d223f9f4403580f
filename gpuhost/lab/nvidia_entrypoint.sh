#!/bin/bash
# As NVIDIA's framework images have it: a banner on stdout, then the command.
cat <<BANNER

=============
== ${NVIDIA_PRODUCT_NAME} ==
=============

NVIDIA Release ${NVIDIA_PYTORCH_VERSION}
${NVIDIA_PRODUCT_NAME} Version ${PYTORCH_VERSION}

Stand-in of the gpuhost rehearsal lab: this image holds no CUDA and no PyTorch.
BANNER

if ! command -v nvidia-smi >/dev/null; then
    echo
    echo "WARNING: The NVIDIA Driver was not detected.  GPU functionality will not be available."
fi
echo

if [ $# -eq 0 ]; then
    exec /bin/bash
fi
exec "$@"
