// What runs out: levels that have fallen to their reorder point.

import { rowsOf } from "./api.js";
import { $, fill, itemCell, say } from "./dom.js";
import { number, plural } from "./format.js";
import * as health from "./health.js";

const ITEMS = 100;

export const panel = {
    card: $("runs-out"),
    everyMs: 10_000,
    settleMs: 3_000,
    async look() {
        const { rows, hasMore } = await rowsOf(`/api/inventory/items?lowStock=true&limit=${ITEMS}`, ITEMS);
        const low = rows.flatMap(lowLevels).sort((a, b) => a.available - b.available || a.sku.localeCompare(b.sku));
        const soldOut = low.filter((level) => level.available === 0);
        health.tell({ soldOut });
        const items = [hasMore ? "More than " : "", [plural(rows.length, "item")], " to reorder"];
        const levels = [hasMore ? "; those below at " : ", at ", [plural(low.length, "level")]];
        const none = soldOut.length ? ["; ", [number(soldOut.length)], " with nothing left."] : ["."];
        say($("runs-out-sum"), low.length ? [...items, ...levels, ...none] : []);
        fill(this.card, low, (level) => JSON.stringify([level.sku, level.storeId]), cells);
    },
    concerns: (event) => event.changes.some((change) => change.lowStock || change.movement || event.reservationId),
};

const lowLevels = (item) => {
    const isLow = (level) => level.reorderPoint !== undefined && level.available <= level.reorderPoint;
    return item.levels.filter(isLow).map((level) => ({ ...level, name: item.name }));
};

const cells = ({ sku, name, storeId, available, reorderPoint }) => [
    itemCell(sku, name),
    { text: storeId, class: "words" },
    { text: available === 0 ? "none" : number(available), class: `number ${available === 0 ? "bad" : "warn"}` },
    { text: number(reorderPoint), class: "number quiet" },
];
