// Totals by store as of the last sync, how the sync stands, and for operators its buttons.

import { get, post } from "./api.js";
import { $, el, fill, setText, setTime } from "./dom.js";
import { compact, millis, number, plural, span } from "./format.js";
import * as health from "./health.js";
import { may } from "./session.js";

export const panel = {
    card: $("stores"),
    everyMs: 5_000,
    async look() {
        const [status, totals] = await Promise.all([get("/api/sync/status"), get("/api/sync/totals")]);
        health.tell({ sync: status, totals });
        showStatus(status);
        showTotals(this.card, status, totals);
        $("sync-buttons").hidden = !may("operator");
    },
    concerns: () => false,
};

function showStatus({ running, intervalMs, lastRunAt, lastDurationMs, lastError, lagEvents }) {
    const schedule = running ? ["Runs every ", [interval(intervalMs)]] : [["Stopped"]];
    const age = el("time");
    if (lastRunAt) setTime(age, { at: lastRunAt });
    const last = lastRunAt ? ["; last ", age, " in ", [millis(lastDurationMs)]] : ["; it has not run yet"];
    const behind = lagEvents ? [", ", [plural(lagEvents, "event")], " behind."] : [", nothing behind."];
    const failed = lastError ? [" The last run failed: ", [lastError]] : [];
    $("sync-sum").replaceChildren(
        ...[...schedule, ...last, ...behind, ...failed].map((part) => (Array.isArray(part) ? el("strong", {}, part[0]) : part)),
    );
}

function showTotals(card, { overdueStores }, { central, stores }) {
    const overdue = new Map(overdueStores.map((store) => [store.storeId, store]));
    const rows = [...stores].sort((a, b) => b.quantity - a.quantity || a.storeId.localeCompare(b.storeId));
    if (rows.length > 1) rows.push({ ...central, storeId: "All stores", isSum: true });
    fill(
        card,
        rows,
        (row) => (row.isSum ? "sum" : `store ${row.storeId}`),
        (row) => [
            { text: row.storeId },
            ...[row.skus, row.quantity, row.reserved, row.available].map((value) => ({
                text: compact(value),
                title: number(value),
                class: "number",
            })),
            lastHeard(row, overdue.get(row.storeId)),
        ],
    );
}

function lastHeard(row, overdue) {
    if (overdue && !row.isSum) {
        const age = el("time");
        if (overdue.lastPushAt) setTime(age, { at: overdue.lastPushAt });
        return { node: el("span", {}, overdue.lastPushAt ? "overdue: " : "overdue", age), class: "bad" };
    }
    return row.updatedAt ? { at: row.updatedAt } : { text: "" };
}

const interval = (ms) => (ms < 60_000 ? millis(ms) : span(ms));

function tell(text, level = "") {
    $("sync-note").dataset.level = level;
    setText($("sync-note"), text);
}

/** What a button asks, one at a time, and what is said of it. */
let isBusy = false;
async function order(poller, url, body, done) {
    if (isBusy) return;
    isBusy = true;
    try {
        tell(done(await post(url, body)));
    } catch (error) {
        tell(error.message, "bad");
    }
    isBusy = false;
    poller().hurry();
}

/** @param poller answers the one that keeps this panel up to date */
export function listen(poller) {
    const seconds = () => Math.round(Number($("sync-seconds").value) * 1000);
    $("sync-run").addEventListener("click", () => order(poller, "/api/sync", {}, ran));
    $("sync-stop").addEventListener("click", () => order(poller, "/api/sync/stop", {}, () => "The sync is stopped."));
    $("sync-start").addEventListener("click", () => {
        if (!(seconds() >= 100)) return tell("The sync runs every 0.1 seconds at most.", "bad");
        order(poller, "/api/sync/start", { intervalMs: seconds() }, started);
    });
}

const started = ({ intervalMs }) => `The sync runs every ${interval(intervalMs)}.`;
const ran = ({ lastDurationMs, lagEvents }) =>
    `The sync ran in ${millis(lastDurationMs)}${lagEvents ? `; ${plural(lagEvents, "event")} have come since` : ""}.`;
