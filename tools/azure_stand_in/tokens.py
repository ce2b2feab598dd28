"""The token services of Entra and the managed identity: signed tokens that expire."""

from __future__ import annotations

import base64
import secrets
import time
import uuid
from typing import Any
from urllib.parse import parse_qsl

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from azure_stand_in.wire import Answer, ArmError, Request

TENANT = "11111111-2222-3333-4444-555555555555"


class Tokens:
    """Issue and check tokens.

    `seconds` is the lifetime of new tokens. `end_all()` expires all tokens so far. `given` counts tokens.
    """

    def __init__(self) -> None:
        self.client_id, self.client_secret = str(uuid.uuid4()), secrets.token_urlsafe(24)
        self.identity_header = secrets.token_urlsafe(16)
        self.seconds = 3600.0
        self.given = 0
        self._ended = 0.0
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def end_all(self) -> None:
        """Expire every token so far."""
        self._ended = time.time()

    def make(self, audience: str, seconds: float | None = None) -> str:
        """Return a token for one audience."""
        self.given += 1
        now = time.time()
        claims: dict[str, Any] = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{TENANT}/",
            "tid": TENANT,
            "oid": self.client_id,
            "appid": self.client_id,
            "idtyp": "app",
            "iat": now,
            "nbf": int(now) - 60,
            "exp": int(now + (self.seconds if seconds is None else seconds)),
            "uti": secrets.token_urlsafe(12),
        }
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": "stand-in"})

    def check(self, request: Request) -> dict[str, Any]:
        """Return the claims of a request's token. Raises ArmError 401."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        challenge = {
            "WWW-Authenticate": 'Bearer authorization_uri="https://127.0.0.1/", error="invalid_token"'
        }
        if kind.lower() != "bearer" or not token:
            text = "Authentication failed. The 'Authorization' header is missing."
            raise ArmError(401, "AuthenticationFailed", text, headers=challenge)
        try:
            claims = jwt.decode(
                token, self._key.public_key(), algorithms=["RS256"], options={"verify_aud": False}, leeway=0
            )
        except jwt.ExpiredSignatureError as error:
            raise _expired(challenge) from error
        except jwt.InvalidTokenError as error:
            text = f"The access token is invalid: {error}."
            raise ArmError(401, "InvalidAuthenticationToken", text, headers=challenge) from error
        if claims["iat"] <= self._ended:
            raise _expired(challenge)
        return dict(claims)

    def answer(self, request: Request, base: str) -> Answer | None:
        """Answer requests to the token services, which need no token; return None for others."""
        parts = request.path.strip("/").split("/")
        if request.path.endswith("/.well-known/openid-configuration"):
            tenant = f"{base}/{parts[0]}"
            return Answer(
                content={
                    "issuer": f"{tenant}/v2.0",
                    "authorization_endpoint": f"{tenant}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{tenant}/oauth2/v2.0/token",
                    "device_authorization_endpoint": f"{tenant}/oauth2/v2.0/devicecode",
                    "jwks_uri": f"{tenant}/discovery/v2.0/keys",
                    "response_types_supported": ["code", "id_token"],
                    "subject_types_supported": ["pairwise"],
                    "id_token_signing_alg_values_supported": ["RS256"],
                }
            )
        if request.path.endswith("/oauth2/v2.0/token") and request.method == "POST":
            return self._client_credentials(parts[0], request)
        if request.path == "/msi/token":
            return self._managed_identity(request)
        return None

    def _client_credentials(self, tenant: str, request: Request) -> Answer:
        form = dict(parse_qsl(request.body.decode()))
        client, secret = form.get("client_id"), form.get("client_secret")
        if basic := request.headers.get("authorization", "").removeprefix("Basic "):
            client, _, secret = base64.b64decode(basic).decode().partition(":")
        if tenant != TENANT:
            return _oauth(400, "invalid_request", 90002, f"Tenant '{tenant}' not found.")
        if client != self.client_id:
            text = f"Application with identifier '{client}' was not found in the directory."
            return _oauth(400, "unauthorized_client", 700016, text)
        if secret != self.client_secret:
            text = f"Invalid client secret provided for app '{client}'."
            return _oauth(401, "invalid_client", 7000215, text)
        if form.get("grant_type") != "client_credentials" or not form.get("scope", "").endswith("/.default"):
            return _oauth(400, "invalid_scope", 1002012, "The provided value for scope is not valid.")
        token = self.make(form["scope"].split()[0].removesuffix("/.default").rstrip("/"))
        lives = max(0, int(self.seconds))
        content = {
            "token_type": "Bearer",
            "expires_in": lives,
            "ext_expires_in": lives,
            "access_token": token,
        }
        return Answer(content=content)

    def _managed_identity(self, request: Request) -> Answer:
        if request.headers.get("x-identity-header") != self.identity_header:
            return Answer(401, {"statusCode": 401, "message": "The identity header is wrong."})
        resource = request.query.get("resource", "").rstrip("/")
        content = {
            "access_token": self.make(resource),
            "expires_on": str(int(time.time() + self.seconds)),
            "resource": resource,
            "token_type": "Bearer",
        }
        return Answer(content=content)


def _expired(headers: dict[str, str]) -> ArmError:
    text = "The access token expiry UTC time is earlier than current UTC time. The token has expired."
    return ArmError(401, "ExpiredAuthenticationToken", text, headers=headers)


def _oauth(status: int, error: str, number: int, text: str) -> Answer:
    return Answer(
        status, {"error": error, "error_description": f"AADSTS{number}: {text}", "error_codes": [number]}
    )
