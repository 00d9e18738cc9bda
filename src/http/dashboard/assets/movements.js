// What has moved last.

import { get } from "./api.js";
import { $, fill, itemUrl } from "./dom.js";
import { capital, number, signed, words } from "./format.js";

const SHOWN = 30;

export const panel = {
    card: $("movements"),
    everyMs: 5_000,
    async look() {
        const { items } = await get(`/api/movements?limit=${SHOWN}`);
        fill(this.card, items, keyOf, (movement) => {
            const [when, what, ...rest] = cells(movement);
            return [when, what, { text: movement.sku, href: itemUrl(movement.sku), class: "words" }, ...rest];
        });
    },
    concerns: (event) => event.changes.some((change) => change.movement),
};

/** A cart may sell of one level more than once. */
export const keyOf = ({ seq, sku, storeId, type, quantityAfter }) =>
    JSON.stringify([seq, sku, storeId, type, quantityAfter]);

/** All cells of a movement but its SKU. */
export function cells(movement) {
    const { at, type, storeId, delta, quantityAfter, by, reference, note } = movement;
    return [
        { at },
        { text: capital(words(type)), title: [reference, note].filter(Boolean).join(" · ") },
        { text: storeId, class: "words" },
        { text: signed(delta), class: `number ${delta < 0 ? "down" : delta > 0 ? "up" : "quiet"}` },
        { text: number(quantityAfter), class: "number" },
        { text: by, class: "words quiet" },
    ];
}
