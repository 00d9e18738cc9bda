// Finding an item by the beginning of its SKU or by words of its name.

import { get } from "./api.js";
import { $, el, itemUrl, setText } from "./dom.js";
import { number, plural } from "./format.js";

const SHOWN = 8;
const SETTLE_MS = 150;

let timer = null;
let asked = 0;

export function listen() {
    const [form, words, found] = [$("search"), $("words"), $("found")];
    words.addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(look, SETTLE_MS);
    });
    form.addEventListener("submit", async (event) => {
        event.preventDefault();
        clearTimeout(timer);
        await look();
        const first = found.querySelector("a");
        if (first) open(first);
    });
    form.addEventListener("keydown", (event) => {
        if (event.key === "Escape") close();
        if (["ArrowDown", "ArrowUp"].includes(event.key)) step(event, event.key === "ArrowDown" ? 1 : -1);
    });
    $("found-list").addEventListener("click", (event) => {
        if (event.target.closest("a")) close();
    });
    form.addEventListener("focusout", (event) => {
        if (!form.contains(event.relatedTarget)) found.hidden = true;
    });
}

async function look() {
    const query = $("words").value.trim();
    const turn = ++asked;
    if (!query) return close(false);
    let note, items = [];
    try {
        items = (await get(`/api/inventory/items?q=${encodeURIComponent(query)}&limit=${SHOWN + 1}`)).items;
        const isMore = items.length > SHOWN;
        const count = isMore ? `More than ${SHOWN} items; the first of them` : plural(items.length, "item");
        note = items.length ? `${count}:` : `No item begins with or is called “${query}”.`;
    } catch (error) {
        note = error.message;
    }
    // An answer that comes late is about words that are there no more.
    if (turn !== asked) return;
    setText($("found-note"), note);
    $("found-list").replaceChildren(...items.slice(0, SHOWN).map(entry));
    $("found").hidden = false;
}

function entry({ sku, name, available }) {
    const called = name && name !== sku ? `${sku} · ${name}` : sku;
    const parts = [called, `${number(available)} available`].map((text) => el("span", {}, text));
    return el("li", {}, el("a", { href: itemUrl(sku) }, ...parts));
}

function open(link) {
    location.hash = link.getAttribute("href");
    close();
}

function close(andForget = true) {
    asked += 1;
    $("found").hidden = true;
    $("found-list").replaceChildren();
    if (andForget) $("words").value = "";
}

/** Arrow keys go from the words through what was found, and back. */
function step(event, by) {
    const stops = [$("words"), ...$("found-list").querySelectorAll("a")];
    const next = stops[stops.indexOf(document.activeElement) + by];
    if (!next) return;
    event.preventDefault();
    next.focus();
}
