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
/** How far back the history goes, at most; so many movements are asked for less often. */
const MOVEMENTS = 1_000;
const HISTORY = { everyMs: 30_000, settleMs: 5_000 };

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
    const pollers = [
        new Poller(EVERY_MS, () => look(sku), { ...report, onFailure }),
        new Poller(HISTORY.everyMs, () => lookBack(sku), { settleMs: HISTORY.settleMs }),
    ];
    shown = { sku, pollers };
}

export function close() {
    shown?.pollers.forEach((poller) => poller.stop());
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
    if (shown && (events === null || events.some(isAbout))) shown.pollers.forEach((poller) => poller.nudge());
}

async function look(sku) {
    const query = `sku=${encodeURIComponent(sku)}`;
    const [item, { items: movements }, holds] = await Promise.all([
        get(path`/api/inventory/items/${sku}`),
        get(`/api/movements?${query}&limit=${LISTED}`),
        openHolds(`/api/reservations?status=active&${query}&limit=200`),
    ]);
    // Meanwhile another one may be shown.
    if (shown?.sku !== sku) return;
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
    fill($("item-movements"), movements, keyOf, movementCells);
}

async function lookBack(sku) {
    const [item, { items: movements }] = await Promise.all([
        get(path`/api/inventory/items/${sku}`),
        get(`/api/movements?sku=${encodeURIComponent(sku)}&limit=${MOVEMENTS}`),
    ]);
    if (shown?.sku !== sku) return;
    $("item-history").hidden = false;
    chart ??= new Chart($("item-history"), ["On hand"], number, true);
    chart.show(history(item, movements));
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
