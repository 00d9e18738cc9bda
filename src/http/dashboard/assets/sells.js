// What sells: the SKUs of which most was sold lately.

import { get, now } from "./api.js";
import { $, el, fill, itemCell, say } from "./dom.js";
import { number, plural, rate } from "./format.js";
import * as names from "./names.js";

const HOURS = 24;
const SHOWN = 25;
/** The 28 days that count at most, nearly: they end with the hour that is running. */
const LONG_OBSERVED_S = 27 * 86_400;

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

const cells = (row) => [
    itemCell(row.sku, names.nameOf(row.sku)),
    { text: number(row.sold), class: "number" },
    { text: row.returned ? number(row.returned) : "–", class: "number quiet" },
    lasting(row),
];

/** For how long what is there lasts, and at what rate, where that was observed for a short time only. */
function lasting({ available, netPerDay, daysOfCover, observedSeconds }) {
    if (available === null) return { text: "–", class: "number quiet", title: "It is in no store." };
    if (available === 0) return { text: "none left", class: "number lasts bad" };
    if (netPerDay === null) return { text: "too early to tell", class: "number lasts quiet" };
    const isLong = observedSeconds >= LONG_OBSERVED_S;
    const time = isLong ? "28 d" : observedFor(observedSeconds / 3600);
    if (daysOfCover === null) return { node: told("–", `no net sales in the last ${time}`), class: "number lasts quiet" };
    const node = told(cover(daysOfCover), isLong ? "" : `at the rate of the last ${time}`);
    return { node, class: `number lasts ${daysOfCover < 3 ? "warn" : "quiet"}` };
}

const observedFor = (hours) => (hours < 48 ? `${rate(hours)} h` : `${Math.floor(hours / 24)} d`);
const told = (text, about) => el("span", {}, text, el("span", { className: "about" }, about));

function cover(days) {
    if (days > 365) return "over a year";
    if (days >= 1) return plural(Math.floor(days), "day");
    return days >= 1 / 24 ? plural(Math.floor(days * 24), "hour") : "under an hour";
}
