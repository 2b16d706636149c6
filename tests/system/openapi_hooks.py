# SPDX-License-Identifier: Apache-2.0
"""For Schemathesis: bodies that it has no serializer for are bytes."""

import schemathesis


@schemathesis.serializer('application/x-protobuf')
def protobuf(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode()
