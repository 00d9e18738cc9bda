// What is held, by whom, and until when.

import { rowsOf } from "./api.js";
import { $, el, fill, itemUrl, say } from "./dom.js";
import { number, plural } from "./format.js";

/** A list has no more in one page. Beyond it, those that end first may not be the ones that are shown, and that is said. */
const ASKED = 1000;
const SHOWN = 50;

export const panel = {
    card: $("held"),
    everyMs: 5_000,
    async look() {
        const { rows, hasMore } = await openHolds(`/api/reservations?status=active&limit=${ASKED}`);
        const pieces = rows.reduce((sum, hold) => sum + piecesOf(hold.lines), 0);
        const told = [[plural(rows.length, "open hold")], hasMore ? " made last: " : ": ", [plural(pieces, "piece")], "."];
        const shown = rows.length > SHOWN ? [` The first ${SHOWN}:`] : [];
        say($("held-sum"), rows.length ? [hasMore ? "The " : "", ...told, ...shown] : []);
        fill(this.card, rows.slice(0, SHOWN), (hold) => hold.reservationId, cells);
    },
    concerns: (event) => event.reservationId !== undefined,
};

/** Those that end first on top; those that do not end by themselves last. */
export async function openHolds(url) {
    const { rows, hasMore } = await rowsOf(url, ASKED);
    const end = (hold) => (hold.expiresAt ? Date.parse(hold.expiresAt) : Infinity);
    rows.sort((a, b) => (end(a) < end(b) ? -1 : end(a) > end(b) ? 1 : 0));
    return { rows, hasMore };
}

export const piecesOf = (lines) => lines.reduce((sum, line) => sum + line.held, 0);

export function whose(hold) {
    const id = hold.reservationId;
    if (hold.reference) return { text: hold.reference, title: id };
    return { text: id.length > 13 ? `…${id.slice(-12)}` : id, title: id, class: "id" };
}

export const ending = (hold) =>
    hold.expiresAt ? { until: hold.expiresAt, class: "number" } : { text: "stays", class: "number quiet" };

function cells(hold) {
    const pieces = { text: number(piecesOf(hold.lines)), class: "number" };
    return [whose(hold), { node: what(hold), class: "words" }, pieces, ending(hold)];
}

function what(hold) {
    const [first, ...others] = hold.lines.filter((line) => line.held > 0);
    const link = el("a", { href: itemUrl(first.sku) }, first.sku);
    const more = others.length ? ` and ${plural(others.length, "line")} more` : "";
    return el("span", {}, link, el("span", { className: "quiet" }, ` in ${first.storeId}${more}`));
}
