// What is shown is said to be as old as it is: each card by itself, and the page where the service does not answer.

import { $, el, setText } from "./dom.js";
import { ago } from "./format.js";

/** A card is stale when its last two looks have come to nothing for so long. */
const STALE_MS = 6_000;

const cards = new Map();
let lastSeen = null;
let isLost = false;

/** What a poller tells of the card that it fills. */
export function reporting(card, staleMs = STALE_MS) {
    const state = { lastGood: null, failure: null, staleMs };
    cards.set(card, state);
    return {
        onSuccess() {
            Object.assign(state, { lastGood: Date.now(), failure: null });
            card.hidden = false;
            show(card, state);
        },
        onFailure(error) {
            // What this service does not have, and what this role may not see, is not shown at all.
            card.hidden = isAbsent(error);
            state.failure = error;
            show(card, state);
        },
    };
}

const isAbsent = (error) => [403, 404].includes(error.status);

export function forget(card) {
    cards.delete(card);
}

function show(card, { lastGood, failure, staleMs }) {
    const age = lastGood === null ? null : Date.now() - lastGood;
    const isStale = failure !== null && !isAbsent(failure) && (age === null || age > staleMs || isLost);
    card.dataset.state = isStale ? "stale" : "fresh";
    const text = lastGood === null ? (failure ? "cannot be shown" : "") : `stale: as of ${ago(age)}`;
    setText(card.querySelector(".asof"), isStale ? text : "");
    card.title = isStale ? failure.message : "";
}

/** The service has answered, whatever it said. */
export function seen() {
    lastSeen = Date.now();
    setLost(false);
}

/** It has not. */
export function missed() {
    setLost(true);
}

function setLost(value) {
    if (isLost === value) return;
    isLost = value;
    document.body.toggleAttribute("data-lost", isLost);
    document.dispatchEvent(new CustomEvent(isLost ? "lost" : "found"));
    refresh();
}

export const lost = () => isLost;

/** Once a second. */
export function refresh() {
    cards.forEach((state, card) => show(card, state));
    const banner = $("banner");
    if (banner.hidden === isLost) {
        banner.hidden = !isLost;
        // Said once: what counts on is not read out again and again.
        const age = el("span", { ariaLive: "off" });
        banner.replaceChildren("The service does not answer. What you see may be out of date", age);
    }
    const since = lastSeen === null ? "." : `: it was last seen ${ago(Date.now() - lastSeen)}. Trying again …`;
    if (isLost) setText(banner.lastChild, since);
}
