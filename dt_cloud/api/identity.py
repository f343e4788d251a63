"""Identity: tokens for clients, and the public keys for DT-Asymmetric-Signature."""

import time
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dt_cloud.accounts import TOKEN_LIFE
from dt_cloud.api.endpoint import MAX_BODY
from dt_cloud.cloud import Cloud

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def routes(cloud: Cloud) -> list[Route]:
    """Return the routes outside ``/v2``."""

    async def token(request: Request) -> Response:
        """RFC 7523; errors in the form of RFC 6749, section 5.2."""
        body = await request.body()
        form = parse_qs(body.decode("utf-8", "replace")) if len(body) <= MAX_BODY else {}
        if form.get("grant_type") != [_GRANT]:
            return _refused("unsupported_grant_type", f"grant_type must be {_GRANT}")
        try:
            access = cloud.accounts.issue(form.get("assertion", [""])[0], time.time())
        except ValueError as error:
            return _refused("invalid_grant", str(error))
        return JSONResponse({"access_token": access, "token_type": "bearer", "expires_in": TOKEN_LIFE})

    async def discovery(_request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": cloud.issuer,
                "jwks_uri": f"{cloud.issuer}/jwks.json",
                "id_token_signing_alg_values_supported": ["ES256"],
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
            }
        )

    async def jwks(_request: Request) -> Response:
        return JSONResponse(cloud.key.jwks)

    return [
        Route("/oauth2/token", token, methods=["POST"]),
        Route("/data-connector/.well-known/openid-configuration", discovery),
        Route("/data-connector/jwks.json", jwks),
    ]


def _refused(error: str, description: str) -> Response:
    return JSONResponse({"error": error, "error_description": description}, 400)
