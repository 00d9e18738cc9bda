// What sells: the SKUs of which most was sold lately.

import { get, now } from "./api.js";
import { $, fill, itemCell, say } from "./dom.js";
import { number, plural } from "./format.js";
import * as names from "./names.js";

const HOURS = 24;
const SHOWN = 25;

export const panel = {
    card: $("sells"),
    // The service sums up a day for each look.
    everyMs: 30_000,
    settleMs: 5_000,
    async look() {
        const from = new Date(now() - HOURS * 3_600_000).toISOString();
        const { items, total } = await get(`/api/analytics/sales?group=sku&sort=sold&from=${from}&limit=${SHOWN}`);
        const sold = items.filter((row) => row.sold > 0);
        say($("sells-sum"), sold.length ? [[plural(total.sold, "piece")], ` sold in ${HOURS} hours.`] : []);
        fill(this.card, sold, (row) => row.sku, cells);
        await names.ask(sold.map((row) => row.sku));
        fill(this.card, sold, (row) => row.sku, cells);
    },
    concerns: (event) => event.changes.some((change) => ["SALE", "RETURN"].includes(change.movement)),
};

const cells = ({ sku, sold, returned, daysOfCover }) => [
    itemCell(sku, names.nameOf(sku)),
    { text: number(sold), class: "number" },
    { text: returned ? number(returned) : "–", class: "number quiet" },
    { text: cover(daysOfCover), class: `number ${daysOfCover < 3 ? "warn" : "quiet"}`, title: "at the pace of late" },
];

/** For how long what is there lasts. */
function cover(days) {
    if (days === undefined || days === null) return "–";
    return days < 1 ? "under a day" : days > 365 ? "over a year" : plural(Math.floor(days), "day");
}
