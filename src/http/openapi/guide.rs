//! What holds for every route, for someone who has never seen the service: the description in the document,
//! and chapters of the page.

/// A title and its paragraphs, in which backticks set code and a blank line parts.
pub struct Chapter {
    pub id: &'static str,
    pub title: &'static str,
    pub text: &'static str,
}

pub const CHAPTERS: &[Chapter] = &[
    Chapter {
        id: "words",
        title: "Words",
        text: "A SKU is what is stocked, a store is where. A level is the stock of one SKU in one store: `quantity` is on \
               hand, `reserved` is held by reservations, `available` is what is left of it. An item is a SKU over all \
               stores. Quantities are whole units from 0 to 9007199254740991.\n\n\
               A reservation takes stock out of what is available until it is released or its time is over. Nobody \
               else can take that stock meanwhile: nothing is ever sold twice. To sell what you hold, wholly or in \
               part, commit it: `POST /api/reservations/{reservationId}/commit`.\n\n\
               Reservations and idempotency keys belong to who made them: a user, or a service token by its name. Where \
               nobody must log in, all callers are one, and \"your own\" reservations are those of everybody who can reach \
               the service: release by `reservationId` rather than by quantity.",
    },
    Chapter {
        id: "callers",
        title: "Logging in",
        text: "Where the operator has turned authentication on, every request needs a token but those that are marked as \
               open. Ask for one: `POST /api/auth/login` with `{\"username\": \"anna\", \"password\": \"…\"}`. The answer has \
               `token` and `expiresAt`; send the token with each request, as `Authorization: Bearer TOKEN`, and log in \
               again when it is over. Machines take a service token instead, which an admin makes at `POST /api/tokens` and \
               revokes when it is no longer wanted.\n\n\
               A `viewer` reads; a `clerk` also moves stock in its `stores`; an `operator` does in all stores, and runs sync and \
               imports; an `admin` also keeps users, service tokens, stores and products. A viewer or clerk with a list \
               of `stores` neither sees nor changes anything of others. A change of a user counts from its next request \
               on. 401 `unauthenticated` is the same for every token that is not good, 403 `forbidden` says that the role or the store \
               is not the caller's.\n\n\
               The first admin is made with `holdfast user add`, or with the setup token that a start without any admin \
               prints to the terminal: `POST /api/auth/register` with `username`, `password` and `setupToken`. Without \
               authentication the service answers only to `localhost`, `127.0.0.1` and `[::1]`; by other names it is 421 \
               `misdirected_request`.",
    },
    Chapter {
        id: "rights",
        title: "Own stores and others",
        text: "A viewer or clerk with a list of stores sees these and no others. Of another store, reads answer 404 and \
               writes 403, whether or not there is such a store; lists, totals and the log leave it out. A reservation \
               is seen by those who see the stores of all its lines: for everybody else it is as if it were not there, \
               and an event of it tells only what has changed in their stores, without its `reservationId`, `reference` \
               and `note`. What belongs to a SKU and to no store is the same for everybody: that there is one, its \
               name and price, and its `version`, which counts the changes in every store.",
    },
    Chapter {
        id: "retries",
        title: "Retries",
        text: "Networks lose answers. Give each write an `Idempotency-Key` of its own, such as a UUID, and send the very \
               same request again when no answer came, or when the answer says that you may: it takes effect once. A repeat of a \
               write that took effect gets the first answer again, with `Idempotency-Replayed: true`, for 24 hours (if \
               the operator has not set another time). The same key with another request is refused with 422.\n\n\
               A write that was answered with 2xx is on stable storage. A refusal has changed nothing and stores \
               nothing, so its key is free and the request is judged afresh when it comes again. Only one answer \
               leaves open what happened: 503 `outcome_unknown`. `GET /api/operations/{key}` tells what became of a write without \
               sending it.\n\n\
               Every write takes a key, so you need make no exception. A few put nothing in the log, such as a run of the sync, \
               a reset of the metrics or a login: their repeat is carried out again, and each says why that does no harm.\n\n\
               `\"dryRun\": true` in the body of a write decides as the write would, answers 200 with `dryRun: true` and \
               the stock as it would be, or the refusal, and changes nothing.",
    },
    Chapter {
        id: "versions",
        title: "Versions",
        text: "Every level and every item has a `version`, which rises by one with each event that touches it and is its \
               `ETag` too (`\"7\"` for version 7). To write only if nobody else has written since you read, send what you \
               read: as `expectedVersion` in the body (refused with 409 `version_mismatch`) or as `If-Match` (refused \
               with 412 `precondition_failed`). Both tell you `currentVersion`. Without either, a write applies to \
               whatever the stock is by then, which is fine for most: a sale or a reservation is checked against what \
               is available at that moment.",
    },
    Chapter {
        id: "refusals",
        title: "Refusals",
        text: "A refusal is an `application/problem+json` document. `error` is its code, for programs; `detail` is a \
               sentence for people; `type` is the address of a page that says what the code means, what to do, and \
               whether to try again. What a client needs to go on is in members of its own, such as `available` or \
               `currentVersion`.\n\n\
               Members and query parameters that a route does not know are refused with 400, so that a misspelt \
               `expectedVersion` never passes unseen. A member may be left out, but null is refused, except \
               for `reorderPoint`, where it clears it, and a user's `stores`, where it means all of them. Bodies have up to \
               4 MiB, if the operator has not set another limit; `GET /api/metrics/limits` says which.\n\n\
               What is no HTTP request at all, or has more headers than the service reads, is answered with 400 or 431 \
               and no body.",
    },
    Chapter {
        id: "methods",
        title: "Methods, ids and times",
        text: "HEAD is answered wherever GET is: the same without the body. OPTIONS is answered everywhere with 204 and \
               `Allow`. Any other method that a path does not have is refused with 405 `method_not_allowed` and \
               `Allow`.\n\n\
               Ids are case-sensitive and may hold spaces, slashes and letters of any script: percent-encode them in a \
               path (`AB/12` is `AB%2F12`). Times are RFC 3339; the service writes them in UTC with milliseconds.\n\n\
               Lists come in pages: `limit` says how long, `next` (and the `Link` header) where the following one \
               begins, until it is null. Every answer has an `X-Request-Id`, which is also in the events that the \
               request made and in the service's log.\n\n\
               Every list is CSV as well: `format=csv`, or `Accept: text/csv`; `format` counts more. It has a line of \
               names, and then one per row: of an item one per level, of a reservation one per line, of an event one per \
               change. `Link` leads to the next page. Cells hold what JSON holds, unaltered: if you open the file in a \
               spreadsheet, import the columns as text, as a note may begin with `=`.",
    },
    Chapter {
        id: "following",
        title: "Following the log",
        text: "Every change of stock is an event with a `seq`, in one order. (Other changes are in the log too, and not shown, so \
               `seq` may jump.) `GET /api/events` shows it in pages \
               and can wait for news; `GET /api/events/stream` sends each event as soon as it is recorded. Keep the last \
               `seq` (the stream's `id`): whoever goes on behind it misses nothing and is told nothing twice, also after \
               a crash of either side. `sku`, `storeId`, `type` and `lowStock` narrow both.\n\n\
               With `format=cloudevents` events are CloudEvents 1.0. `source` and `id` together are an event's name; the \
               operator can set the source.",
    },
];

/// All chapters as CommonMark.
pub fn text() -> String {
    let chapters = CHAPTERS
        .iter()
        .map(|chapter| format!("## {}\n\n{}", chapter.title, chapter.text));
    chapters.collect::<Vec<_>>().join("\n\n")
}
