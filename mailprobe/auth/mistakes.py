"""The usual mistakes with Microsoft's and Google's logins, in the words of who runs mail. Pure.

Chosen by codes alone: reply codes, OAuth errors, AADSTS numbers. What a server writes beside them is worded differently
every other year. Sources: Microsoft's "Authenticate an IMAP, POP or SMTP connection using OAuth", its "Fix issues with
SMTP AUTH" and its list of AADSTS codes; Google's "Using OAuth 2.0 for server to server applications"; RFC 6749 5.2.
"""

from __future__ import annotations

from typing import Final

from mailprobe.errors import Reply
from mailprobe.plan import Grant

_REPLIES: Final = {
    (535, "5.7.139"): "SMTP AUTH is switched off: for the mailbox (Set-CASMailbox -SmtpClientAuthenticationDisabled "
    "$false), for the tenant (Set-TransportConfig), or by the security defaults of Microsoft Entra.",
    (535, "5.7.3"): "Microsoft did not let the login in. With OAuth2: the mailbox has to know the application. "
    "New-ServicePrincipal takes the object id of the *Enterprise application* (not of the app registration); then "
    "Add-MailboxPermission, and SMTP.SendAsApp with admin consent. `username` is the mailbox's address.",
    (550, "5.7.30"): "Basic authentication is no longer taken here; write oauth2 in place of the password.",
    (530, "5.7.57"): "Nobody was logged in; the sender needs `auth`.",
    (534, "5.7.9"): "Google wants an app password here, or oauth2, and not the account's own password.",
    (554, "5.2.252"): "The mailbox may not send as `from`: write its own address, or grant SendAs.",
    (554, "5.2.2"): "The sender's own mailbox is full: what is submitted is kept in its Sent Items.",
    (432, "4.3.2"): "More than three submissions of one mailbox at a time; lower the sender's `limits.connections`.",
}
_ANOTHER: Final = "make a new one (Entra, App registrations, Certificates & secrets) and write its *value*"
_ENTRA: Final = {
    65001: "nobody has consented to the permissions; an administrator grants them in Entra (API permissions)",
    7000215: f"the client secret is wrong; {_ANOTHER}, not its id, into client_secret_file",
    7000222: f"the client secret has expired; {_ANOTHER} into client_secret_file",
    7000218: "the application needs a client secret or a certificate",
    7000216: "the application needs a client secret or a certificate",
    7000112: "the application is switched off in this tenant",
    7000229: "the application has no service principal in this tenant; an administrator has to consent first",
    700016: "there is no such application in this tenant; check client_id and tenant",
    700027: "the certificate is not one of the application's; upload it (Certificates & secrets)",
    700024: "the signed request is too old or too new: check this machine's clock",
    90002: "there is no such tenant; check `tenant`",
    900023: "`tenant` is neither a tenant's id nor one of its domains",
    500011: "what the scope names is not in this tenant; check `scope`",
    70011: "the scope is not valid; check `scope`",
    1002012: "with client credentials the scope must end in /.default",
    70008: "the refresh token has expired; somebody has to sign in and consent again",
    700082: "the refresh token was not used for too long; somebody has to sign in and consent again",
    50173: "the refresh token was withdrawn, as after a change of password; somebody has to consent again",
    50076: "this user has to sign in with a second factor; use an application's own permissions instead",
    50079: "this user has to set up a second factor; use an application's own permissions instead",
    53003: "Conditional Access forbids it; exclude the application",
    50105: "the user is not assigned to the application",
    50034: "there is no such user in this tenant",
    50057: "the user's account is switched off",
}
_BY_GRANT: Final = {
    (Grant.JWT_BEARER, "unauthorized_client"): "the service account may not act for this user: in Google's Admin "
    "console (Security, API controls, domain-wide delegation) allow its client id exactly this scope",
    (Grant.JWT_BEARER, "invalid_grant"): "Google does not take the signed request: check `subject` (a user of the "
    "domain), the key, and this machine's clock",
    (Grant.REFRESH_TOKEN, "invalid_grant"): "the refresh token is not taken (any more); somebody has to consent again",
}
_BY_ERROR: Final = {
    "invalid_client": "the client id or its secret is wrong, or has been withdrawn",
    "unauthorized_client": "this application may not ask in this way; check its permissions",
    "invalid_scope": "check `scope`",
    "unsupported_grant_type": "check `grant`",
}


def of_reply(reply: Reply) -> str:
    """What a server's refusal of a login, or of a mail, most likely means; empty where its codes say no more."""
    return _REPLIES.get((reply.code, str(reply.enhanced)), "")


def of_token_refusal(codes: tuple[int, ...], error: str, grant: Grant) -> str:
    """What an identity provider's refusal most likely means; empty where its codes say no more."""
    known = (_ENTRA[code] for code in codes if code in _ENTRA)
    return next(known, "") or _BY_GRANT.get((grant, error), "") or _BY_ERROR.get(error, "")
