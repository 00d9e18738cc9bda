//! Logging in, users and service tokens.

use serde_json::json;

use super::{ACCESS, CREATED, DONE, MINIMAL, WRITTEN};
use crate::http::auth::{LoginBody, LoginForm, RegisterBody};
use crate::http::entries::DeleteBody;
use crate::http::openapi::doc::Doc;
use crate::http::openapi::examples as example;
use crate::http::problem::Code::{
    AlreadyExists, Forbidden, InUse, NotFound, Overloaded, PayloadTooLarge, RateLimited, RequestTimeout,
    StorageUnavailable, Unauthenticated, UnsupportedMediaType, VersionMismatch,
};
use crate::http::tokens::{NewTokenForm, TokenBody, TokenForm};
use crate::http::users::{UserBody, UserForm};
use crate::http::{tokens, users};

pub fn login() -> Doc {
    let mut doc = Doc::new(
        "login",
        ACCESS,
        "Gives a token for a username and its password. Send it with every other request, as `Authorization: Bearer \
         TOKEN`, until `expiresAt`. It ends earlier when the user is disabled or deleted or gets a new password. 401 says \
         that it is not so, and not what is wrong. 403: nobody must log in here. `stores` is null for a user who works in all \
         of them, as it is in `/api/users`. To repeat it does no harm: it gives another token, also under the same \
         `Idempotency-Key`.",
    )
    .takes::<LoginBody>(json!({"username": "anna", "password": "correct horse battery"}))
    .answers::<LoginForm>(200, "Logged in.", &[], example::login())
    .refuses(&[
        Unauthenticated,
        Forbidden,
        RateLimited,
        RequestTimeout,
        PayloadTooLarge,
        UnsupportedMediaType,
        Overloaded,
        StorageUnavailable,
    ]);
    doc.headers.push("Idempotency-Key");
    doc
}

pub fn register() -> Doc {
    Doc::write(
        "register",
        ACCESS,
        "Makes a user. The first one, an admin, is made with the `setupToken` that the service prints to its terminal \
         when it starts without any admin, and that works once. After that it takes the token of an admin, who may also give `role` \
         and `stores`; or, where the operator has opened registration, nothing, and the user becomes a viewer. Of a \
         password, only that there is one is compared when an `Idempotency-Key` comes again: a repeat with another one is \
         refused all the same, as the stored hash tells.",
    )
    .takes::<RegisterBody>(json!({
        "username": "ben", "password": "correct horse battery", "role": "clerk", "stores": ["london"],
    }))
    .answers::<UserForm>(201, "The user.", CREATED, example::user())
    .refuses(&[Unauthenticated, Forbidden, AlreadyExists])
}

pub fn users() -> Doc {
    Doc::read("listUsers", ACCESS, "Every user, in order of name.")
        .query(users::LIST)
        .lists::<UserForm>("A page of users.", example::user())
}

pub fn user() -> Doc {
    Doc::read(
        "getUser",
        ACCESS,
        "One user. Nobody is shown a password, nor what is kept of it.",
    )
    .answers::<UserForm>(200, "The user.", &["ETag"], example::user())
    .not_modified()
    .refuses(&[NotFound])
}

pub fn change_user() -> Doc {
    Doc::write(
        "changeUser",
        ACCESS,
        "Sets what the body names and leaves the rest. It counts from the user's next request on: a lower role at once, and \
         none of its tokens any more once it is disabled or has a new password. The last admin that can log in keeps role \
         and access (409 `in_use`).",
    )
    .takes::<UserBody>(json!({"role": "clerk", "stores": ["london", "paris"]}))
    .conditional()
    .answers::<UserForm>(200, "The user after it.", WRITTEN, example::user())
    .minimal(MINIMAL)
    .refuses(&[NotFound, VersionMismatch, InUse])
}

pub fn delete_user() -> Doc {
    Doc::write(
        "deleteUser",
        ACCESS,
        "Deletes a user, whose tokens are worth nothing from then on, also when somebody else gets the name. What the user \
         did stays in the log. The last admin that can log in is not deleted (409 `in_use`).",
    )
    .takes::<DeleteBody>(json!({}))
    .or_nothing()
    .conditional()
    .answers_with(204, "It is gone.", DONE, Vec::new())
    .refuses(&[NotFound, VersionMismatch, InUse])
}

pub fn tokens() -> Doc {
    Doc::read(
        "listServiceTokens",
        ACCESS,
        "Every service token, the oldest first, without its secret.",
    )
    .query(tokens::LIST)
    .lists::<TokenForm>("A page of service tokens.", example::service_token())
}

pub fn token() -> Doc {
    Doc::read("getServiceToken", ACCESS, "One service token, without its secret.")
        .answers::<TokenForm>(200, "The service token.", &["ETag"], example::service_token())
        .not_modified()
        .refuses(&[NotFound])
}

pub fn create_token() -> Doc {
    Doc::write(
        "createServiceToken",
        ACCESS,
        "Makes a token for a machine, which sends it as a user sends that of a login. Its text is in this answer and \
         nowhere else, as only a hash of it is kept: neither a repeat under the same `Idempotency-Key` nor \
         `GET /api/operations/{key}` shows it again. If the answer was lost, revoke the token and make another.",
    )
    .takes::<TokenBody>(json!({"name": "till-7", "role": "clerk", "stores": ["london"]}))
    .answers::<NewTokenForm>(201, "The service token.", CREATED, example::new_service_token())
}

pub fn revoke_token() -> Doc {
    Doc::write(
        "revokeServiceToken",
        ACCESS,
        "Ends a service token, from the next request on.",
    )
    .takes::<DeleteBody>(json!({}))
    .or_nothing()
    .conditional()
    .answers_with(204, "It is revoked.", DONE, Vec::new())
    .refuses(&[NotFound, VersionMismatch])
}
