// The page's elements. Text is always set as text: whatever a SKU or a note holds, it never becomes markup.

import { now } from "./api.js";
import { ago, left } from "./format.js";

export const $ = (id) => document.getElementById(id);

/** An element with properties and children; children that are no elements become text. */
export function el(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
}

export function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
}

/** Where an item is shown. */
export const itemUrl = (sku) => `#/item/${encodeURIComponent(sku)}`;

/** The cell of an item: its SKU, which leads to it, and what it is called, where that is anything else. */
export const itemCell = (sku, name) => ({ text: sku, href: itemUrl(sku), about: name && name !== sku ? name : "" });

/**
 * Brings the rows of a table to what `items` say. Rows that stay are kept as they are, and with them focus and
 * selection. The first cell of a row is its header.
 *
 * @param table a section with one table and, for none, a paragraph `.empty`
 * @param keyOf names an item
 * @param cellsOf its cells: `{text, href, about, class, title, at, until, node}`
 */
export function fill(table, items, keyOf, cellsOf) {
    const body = table.querySelector("tbody");
    const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
    const isFirst = body.dataset.filled === undefined;
    const names = [...table.querySelectorAll("thead th")].map((head) => head.textContent);
    let place = body.firstElementChild;
    const times = new Map();
    for (const item of items) {
        // Several may be alike, as movements of one batch that take and give back.
        const name = String(keyOf(item));
        const nth = times.get(name) ?? 0;
        times.set(name, nth + 1);
        const key = nth ? `${name} ${nth}` : name;
        const row = known.get(key) ?? el("tr", { className: isFirst ? "" : "new" });
        known.delete(key);
        row.dataset.key = key;
        cellsOf(item).forEach((cell, index) => setCell(row, index, names[index], cell));
        if (row === place) place = place.nextElementSibling;
        else body.insertBefore(row, place);
    }
    known.forEach((row) => row.remove());
    body.dataset.filled = "";
    table.querySelector(".scroll").hidden = items.length === 0;
    table.querySelector(".empty").hidden = items.length > 0;
}

/** It is told the name of its column for where there is no room for columns. */
function setCell(row, index, name, cell) {
    let element = row.cells[index];
    if (!element) {
        element = el(index === 0 ? "th" : "td");
        if (index === 0) element.scope = "row";
        element.dataset.name = name;
        row.append(element);
    }
    element.className = cell.class ?? "";
    element.title = cell.title ?? "";
    if (cell.node) setNode(element, cell.node);
    else if (cell.at || cell.until) setTime(inner(element, "time"), cell);
    else if (cell.href) setLink(inner(element, "a"), cell);
    else setText(element, cell.text);
    if (cell.about !== undefined) setAbout(element, cell.about);
}

/** One that says the same stays, as somebody may be using it. */
function setNode(cell, node) {
    if (cell.textContent !== node.textContent) cell.replaceChildren(node);
}

/** A second line. */
function setAbout(element, text) {
    const line = element.querySelector(".about") ?? element.appendChild(el("span", { className: "about" }));
    setText(line, text);
}

/** The link, or the time, in a cell. */
function inner(cell, tag) {
    const found = cell.firstElementChild;
    if (found?.localName === tag) return found;
    const made = el(tag);
    cell.replaceChildren(made);
    return made;
}

function setLink(link, { href, text }) {
    link.setAttribute("href", href);
    setText(link, text);
}

/** Makes of a `time` element one that goes on by itself: how long ago `at` was, or how long it is until `until`. */
export function setTime(element, { at, until }) {
    element.dateTime = at ?? until;
    element.title = new Date(at ?? until).toLocaleString();
    element.dataset.ticks = at ? "ago" : "left";
    setText(element, timeText({ at, until }));
}

function timeText({ at, until }) {
    return at ? ago(now() - Date.parse(at)) : until ? left(Date.parse(until) - now()) : "";
}

/** Once a second. */
export function tick() {
    for (const element of document.querySelectorAll("time[data-ticks]")) {
        const moment = element.dateTime;
        setText(element, timeText(element.dataset.ticks === "ago" ? { at: moment } : { until: moment }));
    }
}

/** A list of figures: `[[name, value], …]`. */
export function figures(list, pairs) {
    const entries = [...list.children];
    pairs.forEach(([name, value], index) => {
        const entry = entries[index] ?? list.appendChild(el("div", {}, el("dt"), el("dd")));
        setText(entry.querySelector("dt"), name);
        setText(entry.querySelector("dd"), String(value));
    });
    entries.slice(pairs.length).forEach((entry) => entry.remove());
}

/** A sentence in which parts stand out: `say(p, ["held by ", 3])`; numbers and arrays of one text are strong. */
export function say(element, parts) {
    const made = parts.map((part) => (Array.isArray(part) ? el("strong", {}, String(part[0])) : part));
    if (element.textContent !== made.map((part) => part.textContent ?? part).join("")) element.replaceChildren(...made);
}
