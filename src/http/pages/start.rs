//! The page's first chapter: a reservation from nothing, in commands that work as they stand.

use super::html::{code, inline};

struct Step {
    title: &'static str,
    text: &'static str,
    command: &'static str,
}

const STEPS: [Step; 5] = [
    Step {
        title: "Create an item with stock",
        text: "Ten of it are in the store `london`. The answer is 201 with the item at version 1.",
        command: "curl -i http://localhost:3000/api/inventory/items \\\n  -H 'Content-Type: application/json' \\\n  \
                  -d '{\"sku\": \"first-steps\", \"name\": \"A first item\", \"quantity\": 10, \"storeId\": \"london\"}'",
    },
    Step {
        title: "Reserve three of it for ten minutes",
        text: "201: `reserved` is 3, `available` is 7, and `reservation` says until when it is held.",
        command: RESERVE,
    },
    Step {
        title: "Send the same again",
        text: "As if the answer had been lost. It is the same answer, with `Idempotency-Replayed: true`, and still three \
               are held.",
        command: RESERVE,
    },
    Step {
        title: "Read the level",
        text: "The `ETag` is its version.",
        command: "curl -i http://localhost:3000/api/inventory/stores/london/inventory/first-steps",
    },
    Step {
        title: "Give it back",
        text: "All ten are available again. With `reservationId` in place of `quantity` you release one certain reservation.",
        command: "curl -i http://localhost:3000/api/inventory/stores/london/inventory/first-steps/release \\\n  \
                  -H 'Content-Type: application/json' -H 'Idempotency-Key: first-steps-release' \\\n  -d '{\"quantity\": 3}'",
    },
];

const RESERVE: &str = "curl -i http://localhost:3000/api/inventory/stores/london/inventory/first-steps/reserve \\\n  \
                       -H 'Content-Type: application/json' -H 'Idempotency-Key: first-steps-reserve' \\\n  \
                       -d '{\"quantity\": 3, \"ttlSeconds\": 600}'";

pub const TITLE: &str = "First reservation in five steps";

pub fn render() -> String {
    let steps = STEPS.iter().enumerate().map(|(i, step)| {
        let Step { title, text, command } = step;
        format!(
            "<h3>{}. {}</h3>\n{}<p>{}</p>\n",
            i + 1,
            inline(title),
            code(title, command),
            inline(text)
        )
    });
    let steps: String = steps.collect();
    format!(
        "<section aria-labelledby=\"start\">\n<h2 id=\"start\">{TITLE}</h2>\n\
         <p>The service listens on port 3000 if you have not chosen another.</p>\n{steps}</section>\n"
    )
}
