#!/bin/bash
# As TorchServe's image has it: "serve" starts the server, anything else is run instead.
set -e
if [ "$1" = serve ]; then
    torchserve --start --ts-config /home/model-server/config.properties
    exec tail -f /dev/null
fi
exec "$@"
