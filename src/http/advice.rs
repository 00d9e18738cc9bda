//! What each code means to the client that gets it: why, what to do, whether to come again, and which
//! members it finds beside the common ones.

use super::problem::Code;

pub struct Advice {
    pub cause: &'static str,
    pub remedy: &'static str,
    pub retry: Retry,
    /// The members that such a problem has in any case.
    pub always: &'static [&'static str],
    /// Those that it has where they apply.
    pub sometimes: &'static [&'static str],
}

/// Whether the same request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    Never,
    Later,
    /// Once the caller has said who they are.
    AfterLogin,
    SameKey,
}

impl Retry {
    pub const ALL: [Self; 4] = [Self::Never, Self::Later, Self::AfterLogin, Self::SameKey];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Later => "later",
            Self::AfterLogin => "after_login",
            Self::SameKey => "same_key",
        }
    }

    pub fn sentence(self) -> &'static str {
        match self {
            Self::Never => "No: the same request would be refused again, so change it first. Nothing was changed.",
            Self::Later => {
                "When things have changed: a refusal changes nothing and stores nothing, so the request may be sent \
                 again, also under the same `Idempotency-Key`, and is then judged afresh."
            }
            Self::AfterLogin => {
                "Not as it is: without a valid token it would be refused again. Once you have logged in, send the same \
                 request with the new token, also under the same `Idempotency-Key`: the refusal has changed nothing and \
                 has not used the key up."
            }
            Self::SameKey => {
                "Yes, the same request with the same `Idempotency-Key`: under its key it cannot take effect twice. \
                 Wait for the seconds that `Retry-After` names, or else for a moment that grows with each attempt."
            }
        }
    }
}

impl Code {
    /// The code of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }

    pub fn advice(self) -> Advice {
        match self {
            Self::Unauthenticated
            | Self::Forbidden
            | Self::MisdirectedRequest
            | Self::QuotaExceeded
            | Self::RateLimited => self.of_caller(),
            Self::InvalidRequest
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::RequestTimeout
            | Self::PayloadTooLarge
            | Self::UnsupportedMediaType => self.of_form(),
            Self::VersionMismatch | Self::PreconditionFailed | Self::IdempotencyKeyReused | Self::RequestInFlight => {
                self.of_order()
            }
            Self::InsufficientStock
            | Self::BelowReserved
            | Self::NotReserved
            | Self::QuantityLimit
            | Self::AlreadyExists
            | Self::ReservationNotActive
            | Self::InUse => self.of_stock(),
            Self::Internal | Self::Overloaded | Self::StorageUnavailable | Self::OutcomeUnknown => self.of_service(),
        }
    }

    /// What is wrong with who sent it, or with how much they send.
    fn of_caller(self) -> Advice {
        match self {
            Self::Unauthenticated => Advice {
                cause: "The request has no token, or one that is not valid: misspelt, expired, revoked, or of a user \
                        that is disabled or has a new password.",
                remedy: "Log in at `POST /api/auth/login` and send the token: `Authorization: Bearer TOKEN`.",
                retry: Retry::AfterLogin,
                always: &[],
                sometimes: &[],
            },
            Self::Forbidden => Advice {
                cause: "The caller's role does not allow it, or it touches a store that is not among the caller's.",
                remedy: "Ask an administrator for the role or the store. Of stores that are not yours you are not told \
                         whether they exist.",
                retry: Retry::Later,
                always: &[],
                sometimes: &["sku", "storeId"],
            },
            Self::MisdirectedRequest => Advice {
                cause: "Without authentication the service answers only requests to `localhost`, `127.0.0.1` or \
                        `[::1]`, so that no web page can reach it under another name.",
                remedy: "Ask it by one of these names, or have the operator turn authentication on.",
                retry: Retry::Never,
                always: &[],
                sometimes: &[],
            },
            Self::QuotaExceeded => Advice {
                cause: "The caller's open reservations hold as many lines as they may; or as many of the caller's imports \
                        are coming in as may at a time; or there are as many webhooks as there may be.",
                remedy: "Commit or release some reservations, or wait until they are over; wait until an import has come \
                         in; delete a webhook. `limit` says how many lines may be held at once, how many imports may come \
                         in, or how many webhooks there may be.",
                retry: Retry::Later,
                always: &["limit"],
                sometimes: &["sku", "storeId"],
            },
            _ => Advice {
                cause: "The caller, or its address, has sent more requests than it may in this time. Nothing was \
                        changed.",
                remedy: "Wait for the seconds that `Retry-After` names. `RateLimit` and `RateLimit-Policy` say how \
                         many are left and how many there are.",
                retry: Retry::SameKey,
                always: &[],
                sometimes: &[],
            },
        }
    }

    /// What is wrong with the request itself.
    fn of_form(self) -> Advice {
        match self {
            Self::NotFound => Advice {
                cause: "The path leads nowhere, or the level, item, product, store, reservation or key that it names does \
                        not exist. Ids are case-sensitive, and `/` within one is written `%2F`.",
                remedy: "Check the id. A level is made by a count (PUT) or by creating its item; an idempotency key is \
                         found only after its write took effect, and for as long as keys are kept.",
                retry: Retry::Later,
                always: &[],
                sometimes: &["sku", "storeId", "reservationId"],
            },
            Self::MethodNotAllowed => Advice {
                cause: "The path exists, but not with this method.",
                remedy: "Use one of the methods that the `Allow` header lists; `OPTIONS` asks for them.",
                retry: Retry::Never,
                always: &[],
                sometimes: &[],
            },
            Self::RequestTimeout => Advice {
                cause: "The body did not arrive in time: within 30 seconds, if the operator has not set another time.",
                remedy: "Send it again over a better connection, or in smaller batches.",
                retry: Retry::SameKey,
                always: &[],
                sometimes: &[],
            },
            Self::PayloadTooLarge => Advice {
                cause: "The body has more bytes than one may have (4 MiB, if the operator has not set another limit), or a \
                        batch more operations.",
                remedy: "Send it in parts, each under a key of its own. `limit` says how many operations fit; \
                         `GET /api/metrics/limits` how many bytes.",
                retry: Retry::Never,
                always: &[],
                sometimes: &["limit"],
            },
            Self::UnsupportedMediaType => Advice {
                cause: "The `Content-Type` of the body is not one that the route takes: mostly `application/json`; of an \
                        import `text/csv` or `application/x-ndjson`.",
                remedy: "Send JSON and say so: `Content-Type: application/json`. Of an import, say what the file is.",
                retry: Retry::Never,
                always: &[],
                sometimes: &[],
            },
            _ => Advice {
                cause: "The body is not JSON, a member or parameter is missing, unknown, of the wrong type or out of \
                        range, or a header cannot be read. Unknown members are refused, so that a misspelt one never \
                        passes unseen.",
                remedy: "Correct what `fields` lists: each entry names a member, parameter or header and says what is \
                         expected of it.",
                retry: Retry::Never,
                always: &[],
                sometimes: &["fields"],
            },
        }
    }

    /// What is wrong with when the request came, or after what.
    fn of_order(self) -> Advice {
        match self {
            Self::VersionMismatch => Advice {
                cause: "The body's `expectedVersion` is not the version at which the resource stands: somebody else \
                        changed it first. Where there is nothing yet, `currentVersion` is 0.",
                remedy: "Read the resource again, decide anew on what it says, and send the new version.",
                retry: Retry::Never,
                always: &["currentVersion"],
                sometimes: &["sku", "storeId"],
            },
            Self::PreconditionFailed => Advice {
                cause: "`If-Match` or `If-None-Match` does not hold: somebody else changed the resource first, or made \
                        it. Where there is nothing yet, `currentVersion` is 0.",
                remedy: "Read the resource again, decide anew on what it says, and send its new `ETag`.",
                retry: Retry::Never,
                always: &["currentVersion"],
                sometimes: &["sku", "storeId"],
            },
            Self::RequestInFlight => Advice {
                cause: "The first request with this `Idempotency-Key`, or one that makes a reservation of this id, is \
                        still running.",
                remedy: "Wait for the seconds that `Retry-After` names and send the same request again: it gets the \
                         answer of the first.",
                retry: Retry::SameKey,
                always: &[],
                sometimes: &["reservationId"],
            },
            _ => Advice {
                cause: "The `Idempotency-Key` has been used for a request with another method, path, query or body.",
                remedy: "A new request needs a new key. To repeat an old one, send exactly its bytes again.",
                retry: Retry::Never,
                always: &[],
                sometimes: &[],
            },
        }
    }

    /// What the stock does not allow.
    fn of_stock(self) -> Advice {
        match self {
            Self::BelowReserved => Advice {
                cause: "A count says that less is there than reservations hold.",
                remedy: "Release reservations first, or count again. `reserved` says how much is held.",
                retry: Retry::Later,
                always: &["requested", "reserved", "sku", "storeId"],
                sometimes: &[],
            },
            Self::NotReserved => Advice {
                cause: "The reservation holds nothing of this level, or your own reservations hold less of it than is \
                        to be released.",
                remedy: "Release no more than `reserved`, or name the reservation that holds it.",
                retry: Retry::Later,
                always: &["sku", "storeId"],
                sometimes: &["requested", "reserved", "reservationId"],
            },
            Self::QuantityLimit => Advice {
                cause: "The quantity of the level, or of its SKU over all stores, would pass 9007199254740991, the \
                        largest integer that every JSON reader takes for what it is.",
                remedy: "Check the quantity: most likely it is in the wrong unit.",
                retry: Retry::Later,
                always: &["sku", "storeId"],
                sometimes: &[],
            },
            Self::AlreadyExists => Advice {
                cause: "There is an item or product of this SKU, a store of this id or a user of this name already, or there \
                        is or was a reservation of this id.",
                remedy: "Read what is there; if it is not yours, choose another id.",
                retry: Retry::Never,
                always: &[],
                sometimes: &["reservationId", "sku", "storeId"],
            },
            Self::InUse => Advice {
                cause: "The product or store that was to be deleted still has stock on hand, or reservations hold some \
                        of it. Or something was to come to a store that is just being deleted. Or the user is the last \
                        admin that can log in, and without one nobody could change users.",
                remedy: "Sell, transfer or count to 0 what is left, end the reservations, and delete it then. Of a store \
                         that is being deleted, try again in a moment. Make another admin first.",
                retry: Retry::Later,
                always: &[],
                sometimes: &["sku", "storeId"],
            },
            Self::ReservationNotActive => Advice {
                cause: "The reservation was committed or released, or its time is over: it holds nothing any more, and \
                        `reservationStatus` says which. Or it holds less than what was asked of it: then `lines` says \
                        of which.",
                remedy: "Look at `reservation`, which says what became of it. If that is what you wanted, all is well. \
                         If its stock is still wanted, reserve again.",
                retry: Retry::Never,
                always: &["reservationId", "reservationStatus"],
                sometimes: &["reservation", "lines", "sku", "storeId"],
            },
            _ => Advice {
                cause: "Less is available than was asked for: what is on hand less what reservations hold. Of a \
                        reservation of several lines, `lines` lists each that failed, and the other members speak of \
                        the first that is short.",
                remedy: "Ask for no more than `available`, or come again at `nextExpiry`, when the next hold \
                         ends (it is left out where no hold has an end).",
                retry: Retry::Later,
                always: &["requested", "available", "reserved", "sku", "storeId"],
                sometimes: &["nextExpiry", "lines", "operations"],
            },
        }
    }

    /// What the service cannot do at present.
    fn of_service(self) -> Advice {
        match self {
            Self::Overloaded => Advice {
                cause: "More requests wait for this SKU, or more passwords to be checked, than the service lets wait. \
                        Nothing was changed.",
                remedy: "Wait for the seconds that `Retry-After` names and send it again; if it lasts, send less at once.",
                retry: Retry::SameKey,
                always: &[],
                sometimes: &["sku"],
            },
            Self::StorageUnavailable => Advice {
                cause: "The stock is being recovered after a start, the disk is full, or storage has failed. This \
                        write was not applied, and will not be.",
                remedy: "Send it again later. `GET /api/health/ready` tells the operator why.",
                retry: Retry::SameKey,
                always: &[],
                sometimes: &[],
            },
            Self::OutcomeUnknown => Advice {
                cause: "Storage failed while the write was under way: it may or may not have taken effect, and only a \
                        restart of the service can tell.",
                remedy: "Do not send it under a new key. Repeat it under the same one, or ask \
                         `GET /api/operations/{key}`, once the service has been restarted. Without a key, read the \
                         resource and look at its version.",
                retry: Retry::SameKey,
                always: &[],
                sometimes: &[],
            },
            _ => Advice {
                cause: "The service met a defect of its own, or a stored record that it cannot read back.",
                remedy: "Repeat it under the same key, and tell the operator the `requestId`: the service's log has \
                         the cause.",
                retry: Retry::SameKey,
                always: &[],
                sometimes: &[],
            },
        }
    }
}
