// One item: its levels, how much there was over time, what is held of it, and its movements.

import { get, now, path } from "./api.js";
import { Chart } from "./charts.js";
import { $, figures, fill, setText } from "./dom.js";
import { number } from "./format.js";
import { forget, reporting } from "./freshness.js";
import { ending, openHolds, whose } from "./held.js";
import { cells as movementCells, keyOf } from "./movements.js";
import { Poller } from "./poll.js";

const EVERY_MS = 5_000;
const LISTED = 50;
/** So many movements are asked for at a time: those since the last look, at all but the highest rates. */
const LATEST = 200;
/** How far back the history goes, at most. */
const MOVEMENTS = 1_000;
/** Where more than those have come, all of the history is asked for again, and so less often. */
const SETTLE_MS = { usually: 1_000, flooded: 5_000 };

let chart = null;
let shown = null;

/** Shows the item until `close`. */
export function open(sku) {
    close();
    setText($("item-title"), sku);
    setText($("item-note"), "");
    $("item-body").hidden = $("item-history").hidden = true;
    const report = reporting($("item"));
    const onFailure = (error) => {
        if (error.status !== 404) return report.onFailure(error);
        $("item-body").hidden = true;
        setText($("item-note"), "There is no item of this SKU, or none that you may see.");
    };
    shown = { sku, past: null };
    shown.poller = new Poller(EVERY_MS, () => look(sku), { ...report, onFailure });
}

export function close() {
    shown?.poller.stop();
    forget($("item"));
    shown = null;
    for (const body of $("item").querySelectorAll("tbody")) {
        body.replaceChildren();
        delete body.dataset.filled;
    }
}

/** @param events what has come by the stream; null: it may have been anything */
export function tell(events) {
    const isAbout = (event) => event.changes.some((change) => change.sku === shown.sku);
    if (shown && (events === null || events.some(isAbout))) shown.poller.nudge();
}

/** Figures, levels, history and movements are of one reading, so that none lags behind another. */
async function look(sku) {
    const view = shown;
    const [item, holds] = await Promise.all([
        get(path`/api/inventory/items/${sku}`),
        openHolds(`/api/reservations?status=active&sku=${encodeURIComponent(sku)}&limit=200`),
    ]);
    const past = await pastOf(view);
    // Meanwhile another one may be shown.
    if (shown !== view) return;
    view.past = past;
    const movements = untilRead(past, item);
    setText($("item-note"), "");
    $("item-body").hidden = false;
    setText($("item-about"), about(item));
    figures($("item-figures"), [
        ["On hand", number(item.quantity)],
        ["Held", number(item.reserved)],
        ["Available", number(item.available)],
        ["Stores", number(item.levels.length)],
    ]);
    fill($("item-levels"), item.levels, (level) => level.storeId, levelCells);
    const lines = holds.rows.flatMap((hold) => linesOf(hold, sku));
    fill($("item-holds"), lines, ({ hold, line }) => `${hold.reservationId} ${line.storeId}`, lineCells);
    fill($("item-movements"), movements.slice(0, LISTED), keyOf, movementCells);
    $("item-history").hidden = movements.length === 0;
    chart ??= new Chart($("item-history"), ["On hand"], number, true);
    if (movements.length) chart.show(history(item, movements));
}

/** The item's movements, the newest first: those that were known, and what has come since. */
async function pastOf({ sku, past, poller }) {
    const asked = async (limit) => (await get(`/api/movements?sku=${encodeURIComponent(sku)}&limit=${limit}`)).items;
    poller.settleMs = SETTLE_MS.usually;
    if (!past) return asked(MOVEMENTS);
    const latest = await asked(LATEST);
    if (latest.length < LATEST) return latest;
    const oldest = keyOf(latest.at(-1));
    const place = past.findIndex((movement) => keyOf(movement) === oldest);
    if (place >= 0) return [...latest, ...past.slice(place + 1)].slice(0, MOVEMENTS);
    poller.settleMs = SETTLE_MS.flooded;
    return asked(MOVEMENTS);
}

/** Without those that came after the item was read: each store's newest one has left what is there, or nothing. */
function untilRead(movements, { levels }) {
    const quantities = new Map(levels.map((level) => [level.storeId, level.quantity]));
    const from = new Map();
    movements.forEach(({ storeId, quantityAfter }, place) => {
        if (!from.has(storeId) && (quantities.get(storeId) ?? 0) === quantityAfter) from.set(storeId, place);
    });
    return movements.filter(({ storeId }, place) => place >= (from.get(storeId) ?? Infinity));
}

function about({ sku, name, description, price }) {
    const cost = price && new Intl.NumberFormat("en", { style: "currency", currency: price.currency });
    const digits = cost?.resolvedOptions().maximumFractionDigits;
    const told = cost && cost.format(price.amount / 10 ** digits);
    return [name !== sku && name, description, told].filter(Boolean).join(" · ");
}

const linesOf = (hold, sku) =>
    hold.lines.filter((line) => line.sku === sku && line.held > 0).map((line) => ({ hold, line }));

const lineCells = ({ hold, line }) => [
    whose(hold),
    { text: line.storeId, class: "words" },
    { text: number(line.held), class: "number" },
    ending(hold),
];

/** Back from what there is now: before each movement there was as much less as it brought. */
function history(item, movements) {
    const [moments, quantities] = [[now() / 1000], [item.quantity]];
    let quantity = item.quantity;
    for (const { at, delta } of movements) {
        moments.push(Date.parse(at) / 1000);
        quantities.push(quantity);
        quantity -= delta;
    }
    return [moments.reverse(), quantities.reverse()];
}

const levelCells = ({ storeId, quantity, reserved, available, reorderPoint, updatedAt }) => [
    { text: storeId },
    ...[quantity, reserved].map((value) => ({ text: number(value), class: "number" })),
    { text: number(available), class: `number ${available > (reorderPoint ?? -1) ? "" : available ? "warn" : "bad"}` },
    { text: reorderPoint === undefined ? "–" : number(reorderPoint), class: "number quiet" },
    { at: updatedAt },
];
